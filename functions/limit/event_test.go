package limit

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	dto "github.com/prometheus/client_model/go"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/eventing/receiver"
)

func scaled(t *testing.T) cloudevents.Event {
	t.Helper()
	event, err := eventing.NewRevisionScaled(eventing.RevisionScaled{
		Model: eventing.Ref{Namespace: "team", Name: "m"}, Revision: "m-1", Scale: eventing.Scale{Desired: 2, Ready: 1}, ResourceVersion: "7",
	})
	if err != nil {
		t.Fatal(err)
	}
	return event
}

// However far the sender's clock is off, an event says "look", changes nothing by
// itself, and spoils no figure.
func TestClocksMayDiffer(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, rateLimit("m"))
	b.until("the first limit", b.applied(10))
	b.until("its event", func() bool { return b.events() == 1 })
	slots, statuses := b.slotWrites(), writesIn(b.sluice.Actions())
	for name, test := range map[string]struct {
		off   time.Duration
		timed uint64
	}{
		"in step": {-5 * time.Millisecond, 1}, "a little ahead": {time.Second, 1},
		"an hour ahead": {time.Hour, 0}, "an hour behind": {-time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			event := scaled(t)
			event.SetTime(time.Now().Add(test.off))
			b.arrives(t, event, test.timed)
		})
	}
	t.Run("without a time", func(t *testing.T) { b.arrives(t, scaled(t), 0) })
	if b.slotWrites() != slots || writesIn(b.sluice.Actions()) != statuses || b.events() != 1 {
		t.Errorf("slots were written %d times more, statuses %d, events sent %d", b.slotWrites()-slots, writesIn(b.sluice.Actions())-statuses, b.events()-1)
	}
}

// arrives has an event received, and checks that a pass comes of it, and how often its
// way was timed.
func (b *bench) arrives(t *testing.T, event cloudevents.Event, timed uint64) {
	t.Helper()
	count, sum := timedEvents(t)
	if err := b.Door(nil).Receive(t.Context(), event); err != nil {
		t.Fatalf("Receive() = %v", err)
	}
	b.until("the look", func() bool { return len(b.look) == 0 && b.asked.Load() == nil })
	after, lasted := timedEvents(t)
	if after-count != timed || lasted-sum < 0 || lasted-sum > longestWay.Seconds() {
		t.Errorf("%d ways timed, %g s in all; want %d", after-count, lasted-sum, timed)
	}
}

func timedEvents(t *testing.T) (count uint64, sum float64) {
	t.Helper()
	var m dto.Metric
	if err := steps.WithLabelValues("event").(prometheus.Metric).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()
}

// What is refused is counted, and the answer says why, by field.
func TestRejectedEvents(t *testing.T) {
	const event = `{"specversion":"1.0","id":"1","source":"/s","type":"dev.sluice.revision.scaled.v1","subject":"team/m","partitionkey":"team/m","data":{"model":{"namespace":"team","name":"m"},"revision":"m-1","desired":1,"ready":0,"resourceVersion":"1"}}`
	change := func(old, now string) string { return strings.Replace(event, old, now, 1) }
	letIn := func(http.ResponseWriter, *http.Request) error { return nil }
	keepOut := func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusUnauthorized)
		return errors.New("a stranger")
	}
	for name, test := range map[string]struct {
		admit           func(http.ResponseWriter, *http.Request) error
		body, eventType string
		status          int
		answer          string
	}{
		"good":         {letIn, event, "", http.StatusOK, ""},
		"a stranger's": {keepOut, event, "unknown", http.StatusUnauthorized, "rejected: a stranger"},
		"no event":     {letIn, "{}", "unknown", http.StatusBadRequest, "rejected: not a CloudEvent"},
		"too long":     {letIn, change(`"m-1"`, `"`+strings.Repeat("m", receiver.MaxBytes)+`"`), "unknown", http.StatusBadRequest, "too large"},
		"another type": {letIn, change("scaled", "stretched"), "unknown", http.StatusBadRequest, "type is"},
		"a wrong field": {letIn, change(`"desired":1`, `"desired":"all"`), eventing.RevisionScaledType, http.StatusBadRequest,
			"data.desired: got string, want integer"},
		"another namespace's": {letIn, change(`"source":"/s"`, `"source":"/apis/serving.knative.dev/v1/namespaces/rival/revisions/r-1"`),
			eventing.RevisionScaledType, http.StatusForbidden, `source is of namespace "rival"`},
		"another's": {letIn, change(`"subject":"team/m"`, `"subject":"team/n"`), eventing.RevisionScaledType, http.StatusBadRequest, "subject is"},
	} {
		t.Run(name, func(t *testing.T) {
			f := New()
			f.Log = zap.NewNop().Sugar()
			counter := eventsReceived.WithLabelValues(test.eventType, "rejected")
			before := counted(t, counter)
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(test.body))
			r.Header.Set("Content-Type", cloudevents.ApplicationCloudEventsJSON)
			f.Door(test.admit).ServeHTTP(w, r)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.answer) {
				t.Errorf("answered %d %q, want %d and %q", w.Code, w.Body, test.status, test.answer)
			}
			if got := counted(t, counter) - before; test.eventType != "" && got != 1 {
				t.Errorf("%d counted, want 1", got)
			}
		})
	}
}
