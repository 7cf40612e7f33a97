package trigger

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

const (
	requestPath = "/brokers/team/default/b-1"
	requested   = `{"name":"nightly","spec":{"model":"ranker","input":{"configMap":{"name":"items","key":"items.jsonl"}},"request":{"path":"/score"},` +
		`"output":{"volume":{"claimName":"results","folder":"runs/7"}},"ttlAfterFinished":"1h"}}`
)

// taking is a function behind its door that takes the requests of a Broker, and what there is of
// Batches, and what was told of the Broker.
type taking struct {
	*bench
	*store
	mu   sync.Mutex
	told []string
}

func newTaking(t *testing.T, change func(*eventingv1.Broker)) *taking {
	t.Helper()
	b, s := keeping(t)
	broker := &eventingv1.Broker{ObjectMeta: metav1.ObjectMeta{
		Namespace: "team", Name: "default", UID: "b-1", Labels: map[string]string{sluice.BatchRequestsLabelKey: sluice.BatchRequestsTaken},
	}}
	if change != nil {
		change(broker)
	}
	out := &taking{bench: b, store: s}
	b.Broker = func(namespace, name string) (*eventingv1.Broker, error) {
		if namespace != broker.Namespace || name != broker.Name {
			return nil, apierrs.NewNotFound(schema.GroupResource{Resource: "brokers"}, name)
		}
		return broker, nil
	}
	b.Tell = func(of *eventingv1.Broker, reason, message string) {
		out.mu.Lock()
		defer out.mu.Unlock()
		out.told = append(out.told, fmt.Sprintf("%s %s %s", of.Name, reason, message))
	}
	return out
}

// request is what the Broker does with a request.
func (b *taking) request(t *testing.T, id, data string, change ...func(*http.Request)) (told, string) {
	t.Helper()
	return b.deliver(t, requestPath, append([]func(*http.Request){func(r *http.Request) {
		r.Header.Set("Ce-Id", id)
		r.Header.Set("Ce-Type", eventing.BatchRequestedType)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(data)), int64(len(data))
	}}, change...)...)
}

// A request that comes twice, also at the same time, starts one Batch, and none that is another's.
func TestRequestsStartBatches(t *testing.T) {
	t.Parallel()
	b := newTaking(t, nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got, why := b.request(t, "7", requested); got.StatusCode != http.StatusAccepted || why != "" {
				t.Errorf("%d, %s", got.StatusCode, why)
			}
		})
	}
	all.Wait()
	if b.created != 1 {
		t.Fatalf("%d Batches were created", b.created)
	}
	for _, made := range b.batches {
		if made.Namespace != "team" || !strings.HasPrefix(made.Name, "nightly-") || made.Labels[sluice.RequestedByLabelKey] != "default" || made.Spec.Workers == nil {
			t.Errorf("%+v", made)
		}
		made.Annotations = nil // somebody else's
	}
	if got, why := b.request(t, "7", requested); got.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(why, "that no event of Broker team/default started") {
		t.Errorf("another's Batch: %d, %s", got.StatusCode, why)
	}
	if got, why := b.request(t, "8", requested); got.StatusCode != http.StatusAccepted || b.created != 2 {
		t.Errorf("another event: %d, %s", got.StatusCode, why)
	}
	const ofResults = `{"spec":{"model":"ranker","input":{"volume":{"claimName":"results","folder":"runs/7/results"}},"request":{"path":"/score"},` +
		`"output":{"volume":{"claimName":"results","folder":"second"}},"ttlAfterFinished":"1h"}}`
	if got, why := b.request(t, "9", ofResults); got.StatusCode != http.StatusAccepted || b.created != 3 {
		t.Errorf("a Batch of what another one wrote: %d, %s", got.StatusCode, why)
	}
}

// What can't be a Batch goes to the dead letter at once, and is told of the Broker; what can't be one
// for now comes again, and isn't.
func TestRequestsThatStartNothing(t *testing.T) {
	t.Parallel()
	b := newTaking(t, nil)
	for name, c := range map[string]struct {
		data   string
		change func(*http.Request)
		want   string
	}{
		"a misspelt field": {strings.Replace(requested, `"path"`, `"paht"`, 1), nil, `unknown field "spec.request.paht" (did you mean spec.request.path?)`},
		"a wrong value":    {strings.Replace(requested, `"/score"`, `"score"`, 1), nil, `must be a path that begins with /, with or without a query, is "score": data.spec.request.path`},
		"no JSON":          {"x", nil, "data: "},
		"another type":     {requested, func(r *http.Request) { r.Header.Set("Ce-Type", "com.example.click") }, `type is "com.example.click", and only ` + eventing.BatchRequestedType},
	} {
		before, change := len(b.told), c.change
		if change == nil {
			change = func(*http.Request) {}
		}
		got, why := b.request(t, "7", c.data, change)
		if got.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(why, c.want) {
			t.Errorf("%s: %d, %s", name, got.StatusCode, why)
		}
		if len(b.told) != before+1 || !strings.HasPrefix(b.told[before], `default BatchRefused Event "7" of "/clicks": `) || !strings.Contains(b.told[before], c.want) {
			t.Errorf("%s: told %q", name, b.told[before:])
		}
	}
	long := strings.Repeat("x", 5000)
	if b.request(t, long, "x"); len(b.told[len(b.told)-1]) > longestWhy+100 || !strings.Contains(b.told[len(b.told)-1], "data: ") {
		t.Errorf("told %q", b.told[len(b.told)-1])
	}
	before := len(b.told)
	b.err = apierrs.NewServiceUnavailable("later")
	if got, why := b.request(t, "7", requested); !retried(got.StatusCode) || got.Header.Get("Retry-After") == "" || !strings.Contains(why, "later") {
		t.Errorf("away: %d, %s", got.StatusCode, why)
	}
	if len(b.told) != before || b.created != 0 {
		t.Errorf("told %q, created %d", b.told[before:], b.created)
	}
}

// A Broker whose label doesn't say so, or that is another, starts nothing, whoever delivers.
func TestBrokersThatTakeNoRequests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*eventingv1.Broker)
		want   string
	}{
		"one that came after":      {func(b *eventingv1.Broker) { b.UID = "b-2" }, "there is no Broker team/default of UID b-1"},
		"another one":              {func(b *eventingv1.Broker) { b.Name = "other" }, "there is no Broker team/default of UID b-1"},
		"another namespace's":      {func(b *eventingv1.Broker) { b.Namespace = "rival" }, "there is no Broker team/default of UID b-1"},
		"one that is going":        {func(b *eventingv1.Broker) { b.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, "there is no Broker"},
		"one that says so no more": {func(b *eventingv1.Broker) { b.Labels[sluice.BatchRequestsLabelKey] = "false" }, "the label sluice.dev/batch-requests of Broker team/default isn't true"},
		"one that says it wrongly": {func(b *eventingv1.Broker) { b.Labels[sluice.BatchRequestsLabelKey] = "True" }, "isn't true"},
		"one that never has":       {func(b *eventingv1.Broker) { b.Labels = nil }, "isn't true"},
	} {
		b := newTaking(t, c.change)
		if got, why := b.request(t, "7", requested); got.StatusCode != http.StatusGone || !strings.Contains(why, c.want) || b.created != 0 {
			t.Errorf("%s: %d, %s, created %d", name, got.StatusCode, why, b.created)
		}
	}
	b := newTaking(t, nil)
	if got, why := b.deliver(t, "/brokers/team/default/"); got.StatusCode != http.StatusGone || !strings.Contains(why, "no Broker") {
		t.Errorf("no path of one: %d, %s", got.StatusCode, why)
	}
	b.Broker = func(string, string) (*eventingv1.Broker, error) {
		return nil, errors.New("the caches are not filled yet")
	}
	if got, why := b.request(t, "7", requested); !retried(got.StatusCode) || !strings.Contains(why, "caches") {
		t.Errorf("not known yet: %d, %s", got.StatusCode, why)
	}
}

// As many Batches that a Broker's events ask for are under way as may, whatever InferenceTriggers
// have started.
func TestUnfinishedRequestedBatchesAreBounded(t *testing.T) {
	t.Parallel()
	b := newTaking(t, nil)
	if got, why := b.deliver(t, path); got.StatusCode != http.StatusAccepted {
		t.Fatalf("an InferenceTrigger's: %d, %s", got.StatusCode, why)
	}
	for i := range mostUnfinished {
		if got, why := b.request(t, fmt.Sprint(i), requested); got.StatusCode != http.StatusAccepted {
			t.Fatalf("%d: %d, %s", i, got.StatusCode, why)
		}
	}
	if got, why := b.request(t, "more", requested); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "60" || !strings.Contains(why, "100 Batches of Broker team/default aren't over yet") {
		t.Errorf("one more: %d, %s", got.StatusCode, why)
	}
	if len(b.told) > 0 {
		t.Errorf("told %q", b.told)
	}
}

// Requests are counted as such, and as none of InferenceTriggers' events, whatever comes of them.
func TestRequestsAreCounted(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{requestPath: asRequest, "/brokers/team/default/": asRequest, path: asEvent, "/": asEvent, "/brokers/score/u-1": asEvent} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if got := countedAs(r); got != want {
			t.Errorf("%s is counted as %s, want %s", path, got, want)
		}
	}
	of := func(as string) float64 {
		counter := events
		if as == asRequest {
			counter = requests
		}
		var m dto.Metric
		if err := counter.WithLabelValues("test").Write(&m); err != nil {
			t.Fatal(err)
		}
		return m.GetCounter().GetValue()
	}
	for as, other := range map[string]string{asRequest: asEvent, asEvent: asRequest} {
		before, beside := of(as), of(other)
		if count(as, "test"); of(as) != before+1 || of(other) != beside {
			t.Errorf("%s: %g and %g, were %g and %g", as, of(as), of(other), before, beside)
		}
	}
}

func TestKnativeTriggerOfBroker(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]types.NamespacedName{
		requestPath:          {Namespace: "team", Name: "default-batch-requests"},
		"/brokers/score/u-1": {Namespace: "brokers", Name: "score"}, // an InferenceTrigger of a namespace of that name
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := KnativeTrigger(r); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", path, got, err, want)
		}
	}
}
