package receiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/eventing"
)

const event = `{"specversion":"1.0","id":"1","source":"/apis/serving.knative.dev/v1/namespaces/team/revisions/m-1",` +
	`"type":"dev.sluice.revision.scaled.v1","subject":"team/m","partitionkey":"team/m",` +
	`"data":{"model":{"namespace":"team","name":"m"},"revision":"m-1","desired":1,"ready":0,"resourceVersion":"1"}}`

// counts are those of a door.
type counts struct {
	mu sync.Mutex
	of map[string]int
}

func (c *counts) count(eventType string, outcome Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[eventType+" "+string(outcome)]++
}

func letIn(http.ResponseWriter, *http.Request) error { return nil }

func door(namespace string, take func(context.Context) (Outcome, error)) (*Door, *counts) {
	c := &counts{of: map[string]int{}}
	return New(Options{Admit: letIn, Namespace: namespace, Count: c.count, Clock: clock.RealClock{}, Log: zap.NewNop().Sugar()},
		Of(eventing.RevisionScaledType, eventing.ParseRevisionScaled, func(ctx context.Context, _ eventing.RevisionScaled, _ cloudevents.Event) (Outcome, error) {
			return take(ctx)
		})), c
}

func taken(context.Context) (Outcome, error) { return "taken", nil }

func post(handler http.Handler, body io.Reader) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/", body)
	r.Header.Set("Content-Type", cloudevents.ApplicationCloudEventsJSON)
	handler.ServeHTTP(w, r)
	return w
}

// Each event is answered so that a Broker does the right thing with it, and counted by
// words that no sender chooses.
func TestDoor(t *testing.T) {
	t.Parallel()
	const scaled = eventing.RevisionScaledType
	change := func(old, now string) string { return strings.ReplaceAll(event, old, now) }
	for _, c := range []struct {
		name, namespace, body string
		take                  func(context.Context) (Outcome, error)
		status                int
		answer, count         string
	}{
		{"what is taken", "sluice-system", event, taken, http.StatusOK, "", scaled + " taken"},
		{
			"what can't be taken now", "sluice-system", event, func(context.Context) (Outcome, error) { return "", errors.New("the store is down") },
			http.StatusServiceUnavailable, "the store is down", scaled + " failed",
		},
		{"no event", "sluice-system", "{}", taken, http.StatusBadRequest, "not a CloudEvent", "unknown rejected"},
		{"too long", "sluice-system", change("m-1", strings.Repeat("m", MaxBytes)), taken, http.StatusBadRequest, "too large", "unknown rejected"},
		{"another type", "sluice-system", change(scaled, "sender.s.own"), taken, http.StatusBadRequest, `type is "sender.s.own"`, "unknown rejected"},
		{"a wrong field", "sluice-system", change(`"desired":1`, `"desired":"all"`), taken, http.StatusBadRequest, "data.desired", scaled + " rejected"},
		{"another namespace's source", "sluice-system", change("namespaces/team", "namespaces/rival"), taken, http.StatusForbidden, `source is of namespace "rival"`, scaled + " rejected"},
		{"one's own, by its namespace", "team", event, taken, http.StatusOK, "", scaled + " taken"},
		{"another's, by a namespace", "rival", event, taken, http.StatusForbidden, `subject is of namespace "team"`, scaled + " rejected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, counted := door(c.namespace, c.take)
			w := post(d, strings.NewReader(c.body))
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.answer) {
				t.Errorf("answered %d %q, want %d and %q", w.Code, w.Body, c.status, c.answer)
			}
			if len(counted.of) != 1 || counted.of[c.count] != 1 {
				t.Errorf("counted %v, want %q", counted.of, c.count)
			}
			if again := w.Header().Get("Retry-After"); (again != "") != (c.status == http.StatusServiceUnavailable) {
				t.Errorf("Retry-After is %q", again)
			}
		})
	}
}

// Whoever isn't let in has nothing read.
func TestStrangers(t *testing.T) {
	t.Parallel()
	d, counted := door("sluice-system", taken)
	d.Admit = func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusUnauthorized)
		return errors.New("a stranger")
	}
	body := strings.NewReader(event)
	if w := post(d, body); w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "rejected: a stranger") || body.Len() != len(event) {
		t.Errorf("answered %d %q, and %d of %d bytes are left", w.Code, w.Body, body.Len(), len(event))
	}
	if counted.of["unknown rejected"] != 1 {
		t.Errorf("counted %v", counted.of)
	}
}

// However many send at once, and however slowly, no more is under way than the bound.
func TestEventsUnderWayAreBounded(t *testing.T) {
	t.Parallel()
	d, counted := door("sluice-system", taken)
	slow, sent := io.Pipe()
	var senders sync.WaitGroup
	for range atOnce {
		senders.Go(func() { post(d, slow) })
	}
	for deadline := time.Now().Add(30 * time.Second); len(d.underWay) < atOnce; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d are under way", len(d.underWay))
		}
	}
	if w := post(d, strings.NewReader(event)); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || counted.of["unknown busy"] != 1 {
		t.Errorf("one more got %d %q, counted %v", w.Code, w.Body, counted.of)
	}
	_ = sent.Close()
	senders.Wait()
	if w := post(d, strings.NewReader(event)); w.Code != http.StatusOK {
		t.Errorf("the next got %d %q", w.Code, w.Body)
	}
}

// Headers are bounded as well: attributes of an event may be in them.
func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	d, _ := door("sluice-system", taken)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := d.Server("")
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(listener) }()
	for size, want := range map[int]int{1 << 10: http.StatusOK, 4 * MaxBytes: http.StatusRequestHeaderFieldsTooLarge} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+listener.Addr().String(), strings.NewReader(event))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", cloudevents.ApplicationCloudEventsJSON)
		request.Header.Set("Ce-Subject", strings.Repeat("s", size))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("with a header of %d bytes: %s, want %d", size, response.Status, want)
		}
	}
}

// Each reason is logged once for each sender, and not without end.
func TestRejectionsDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	core, logged := observer.New(zap.WarnLevel)
	d, _ := door("sluice-system", taken)
	d.Log = zap.New(core).Sugar()
	for range 3 {
		d.reject("x", "somebody", errors.New("data.revision: "+strings.Repeat("r", 1000)))
		d.reject("x", "somebody else", errors.New("data.revision"))
	}
	if logged.Len() != 2 {
		t.Errorf("%d lines for two rejections, each repeated", logged.Len())
	}
	for _, line := range logged.All() {
		for key, value := range line.ContextMap() {
			if len(fmt.Sprint(value)) > textLogged {
				t.Errorf("%s has %d bytes", key, len(fmt.Sprint(value)))
			}
		}
	}
	for i := range 3 * rejectionsLogged {
		d.reject("x", fmt.Sprint("sender ", i), errors.New("data.revision"))
	}
	if logged.Len() != rejectionsLogged {
		t.Errorf("%d lines, want at most %d", logged.Len(), rejectionsLogged)
	}
}
