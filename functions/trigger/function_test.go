package trigger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// within bounds the waits of these tests, on a machine that is busy.
const within = time.Minute

func score(changes ...func(*v1alpha1.InferenceTrigger)) *v1alpha1.InferenceTrigger {
	t := &v1alpha1.InferenceTrigger{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "score", UID: "u-1", Generation: 1},
		Spec: v1alpha1.InferenceTriggerSpec{
			Broker: "default", Model: "ranker",
			Request: &v1alpha1.TriggerRequest{Path: "/score?of=${event.subject}", Headers: map[string]string{"X-Type": "${event.type}"}},
		},
	}
	for _, change := range changes {
		change(t)
	}
	return t
}

// bench is the function behind its door, with a Model that answers as a test says.
type bench struct {
	*Function
	door *httptest.Server

	mu sync.Mutex
	// asked are the requests that came to the Model.
	asked []asked
}

type asked struct {
	*http.Request
	body string
}

func newBench(t *testing.T, trigger *v1alpha1.InferenceTrigger, model http.HandlerFunc) *bench {
	t.Helper()
	b := &bench{Function: New(clock.RealClock{}, zap.NewNop().Sugar())}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		b.mu.Lock()
		b.asked = append(b.asked, asked{r, string(body)})
		b.mu.Unlock()
		model(w, r)
	}))
	t.Cleanup(server.Close)
	b.Trigger = func(namespace, name string) (*v1alpha1.InferenceTrigger, error) {
		if trigger == nil || namespace != trigger.Namespace || name != trigger.Name {
			return nil, apierrs.NewNotFound(sluice.InferenceTriggersResource, name)
		}
		return trigger, nil
	}
	b.Model = func(namespace, name string) (string, error) {
		if namespace != "team" || name != "ranker" {
			return "", fmt.Errorf("there is no Model %q in namespace %q", name, namespace)
		}
		return server.URL, nil
	}
	b.door = httptest.NewServer(b.Door(func(http.ResponseWriter, *http.Request) error { return nil }))
	t.Cleanup(b.door.Close)
	return b
}

const path = "/team/score/u-1"

// told is what the Broker is told of an event, but for the body.
type told struct {
	StatusCode int
	Header     http.Header
}

// deliver is what the Broker does.
func (b *bench) deliver(t *testing.T, path string, change ...func(*http.Request)) (told, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.door.URL+path, strings.NewReader(`{"clicks": 3}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "7", "Ce-Source": "/clicks", "Ce-Type": "com.example.click", "Ce-Subject": "user-1",
		"Content-Type": "application/json", "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	} {
		r.Header.Set(name, value)
	}
	for _, c := range change {
		c(r)
	}
	answer, err := (&http.Client{Timeout: within}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return told{answer.StatusCode, answer.Header}, string(body)
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// A Model that answers plain JSON is asked once, as its online callers ask it, and its answer is
// an event, whose id is the same when the event comes again.
func TestReply(t *testing.T) {
	t.Parallel()
	b := newBench(t, score(), says(http.StatusOK, `{"score": 0.5}`))
	first, body := b.deliver(t, path)
	again, _ := b.deliver(t, path)
	if first.StatusCode != http.StatusOK || body != `{"score": 0.5}` || first.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d, %v, %s", first.StatusCode, first.Header, body)
	}
	for name, want := range map[string]string{
		"Ce-Type": v1alpha1.InferenceCompletedType, "Ce-Source": "/apis/sluice.dev/v1alpha1/namespaces/team/inferencetriggers/score",
		"Ce-Subject": "user-1", "Ce-Causationid": "7", "Ce-Causationsource": "/clicks", "Ce-Partitionkey": "user-1",
	} {
		if got := first.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	id := first.Header.Get("Ce-Id")
	if id == "" || again.Header.Get("Ce-Id") != id {
		t.Errorf("the replies' ids are %q and %q", id, again.Header.Get("Ce-Id"))
	}
	if len(b.asked) != 2 {
		t.Fatalf("the Model was asked %d times", len(b.asked))
	}
	r := b.asked[0]
	if r.Method != http.MethodPost || r.RequestURI != "/score?of=user-1" || r.body != `{"clicks": 3}` {
		t.Errorf("%s %s %s", r.Method, r.RequestURI, r.body)
	}
	for name, want := range map[string]string{
		"Idempotency-Key": id, "X-Type": "com.example.click", "Content-Type": "application/json", "Sluice-Batch": "",
		"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Ce-Id": "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("the Model's %s is %q, want %q", name, got, want)
		}
	}
}

// retried is what Knative's Broker delivers again; all else but 2xx goes to the dead letter.
func retried(status int) bool {
	return status >= 500 || status == 404 || status == 408 || status == 409 || status == 429
}

// InferenceTriggers that answer each other's replies come to an end: the eighth reply has no other,
// but asks a Model that is to give none.
func TestHopsEnd(t *testing.T) {
	t.Parallel()
	silent := func(t *v1alpha1.InferenceTrigger) { t.Spec.Reply = &v1alpha1.TriggerReply{To: v1alpha1.ReplyToNone} }
	for name, c := range map[string]struct {
		trigger *v1alpha1.InferenceTrigger
		hops    string
		status  int
		reply   string
	}{
		"no reply yet":        {score(), "", http.StatusOK, "1"},
		"the last but one":    {score(), "7", http.StatusOK, "8"},
		"the last":            {score(), "8", http.StatusAccepted, ""},
		"more":                {score(), "2147483647", http.StatusAccepted, ""},
		"a sender's own":      {score(), "-5", http.StatusOK, "1"},
		"the last, to nobody": {score(silent), "8", http.StatusAccepted, ""},
	} {
		b := newBench(t, c.trigger, says(http.StatusOK, "{}"))
		got, why := b.deliver(t, path, func(r *http.Request) { r.Header.Set("Ce-Sluicehops", c.hops) })
		if got.StatusCode != c.status || got.Header.Get("Ce-Sluicehops") != c.reply {
			t.Errorf("%s: %d, %q, %s", name, got.StatusCode, got.Header.Get("Ce-Sluicehops"), why)
		}
		if asks := c.reply != "" || c.trigger.Spec.Reply != nil; (len(b.asked) == 1) != asks {
			t.Errorf("%s: the Model was asked %d times", name, len(b.asked))
		}
	}
}

// What asking again can't change goes to the dead letter at once, what it can is delivered again;
// either says why.
func TestAnswers(t *testing.T) {
	t.Parallel()
	later := func(status int, retryAfter string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", retryAfter)
			http.Error(w, "full", status)
		}
	}
	for name, c := range map[string]struct {
		model      http.HandlerFunc
		status     int
		retryAfter string
		why        string
	}{
		"bad":                {says(400, `{"error": "no such input"}`), 400, "", `the Model answered 400 Bad Request: {"error": "no such input"}`},
		"unprocessable":      {says(422, ""), 422, "", "the Model answered 422 Unprocessable Entity"},
		"none of that path":  {says(404, "no such model"), 422, "", "the Model answered 404 Not Found: no such model"},
		"a conflict":         {says(409, "twice"), 422, "", "the Model answered 409 Conflict: twice"},
		"elsewhere":          {says(302, ""), 422, "", "the Model answered 302 Found"},
		"too many":           {later(429, "7"), 429, "7", "the Model answered 429 Too Many Requests: full"},
		"away":               {later(503, "Wed, 21 Oct 2026 07:28:00 GMT"), 503, "Wed, 21 Oct 2026 07:28:00 GMT", "the Model answered 503"},
		"away, but nonsense": {later(503, "soon"), 503, "1", "the Model answered 503"},
		"away for a year":    {later(503, "31536000"), 503, "31536000", "the Model answered 503"},
		"away till the past": {later(429, "-5"), 429, "1", "the Model answered 429"},
		"away for ages":      {later(503, "99999999999999999999"), 503, "1", "the Model answered 503"},
		"deleted, so without a route": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Server", "istio-envoy")
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusNotFound)
		}, 503, "", "the gateway has no route to the Model"},
		"none of that path, without a word": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Server", "istio-envoy")
			w.Header().Set("X-Envoy-Upstream-Service-Time", "3")
			w.WriteHeader(http.StatusNotFound)
		}, 422, "", "the Model answered 404 Not Found"},
		"too early":        {says(425, ""), 503, "1", "the Model answered 425 Too Early"},
		"broken":           {says(500, strings.Repeat("x", 10_000)), 500, "", "xxx…"},
		"a timeout of its": {says(408, ""), 408, "", "the Model answered 408"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "x")
		}, 503, "", "the Model gave no answer: unexpected EOF"},
		"over the bound": {func(w http.ResponseWriter, _ *http.Request) {
			for range 50 {
				_, _ = w.Write(make([]byte, 1<<20)) // who reads it has gone by then
			}
		}, 422, "", "is longer than 8388608 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, why := newBench(t, score(), c.model).deliver(t, path)
			if got.StatusCode != c.status || got.Header.Get("Retry-After") != c.retryAfter || !strings.Contains(why, c.why) || len(why) > longestWhy+10 {
				t.Errorf("%d, Retry-After %q, %s", got.StatusCode, got.Header.Get("Retry-After"), why)
			}
			if got.Header.Get("Ce-Id") != "" {
				t.Error("what was refused is answered by an event")
			}
		})
	}
}

// A Model that never answers has its time, and the event comes again.
func TestModelThatNeverAnswers(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	b := newBench(t, score(func(t *v1alpha1.InferenceTrigger) {
		t.Spec.Request.Timeout = &metav1.Duration{Duration: 2 * time.Second}
	}),
		func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-end:
			case <-r.Context().Done():
			}
		})
	t.Cleanup(func() { close(end) })
	got, why := b.deliver(t, path)
	if got.StatusCode != http.StatusGatewayTimeout || !strings.Contains(why, "no answer within 2s (spec.request.timeout)") {
		t.Errorf("%d, %s", got.StatusCode, why)
	}
}

// A dial that the request's time has ended is late as all else is; one that fails before isn't.
func TestDialsThatFail(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	dial := fmt.Errorf("asking: %w", &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded})
	if got := verdict(unanswered(ended, question{timeout: time.Second}, dial)); got.Status != http.StatusGatewayTimeout || !strings.Contains(got.Why, "no answer within 1s (spec.request.timeout)") {
		t.Errorf("after the time: %+v", got)
	}
	if got := verdict(unanswered(t.Context(), question{timeout: time.Second}, dial)); got.Status != http.StatusServiceUnavailable || !strings.Contains(got.Why, "can't be reached") {
		t.Errorf("before: %+v", got)
	}
}

// What an event says of its data can be no header, however often it comes.
func TestContentTypesThatAreNoHeaders(t *testing.T) {
	t.Parallel()
	b := newBench(t, score(), says(http.StatusOK, "{}"))
	for contentType, want := range map[string]int{
		`application/json\n`:              http.StatusUnprocessableEntity,
		`text/plain;\n charset=utf-8`:     http.StatusUnprocessableEntity,
		`text/plain; note=\"\u0001\"`:     http.StatusUnprocessableEntity,
		`application/json; charset=utf-8`: http.StatusOK,
	} {
		got, why := b.deliver(t, path, func(r *http.Request) {
			r.Header = http.Header{"Content-Type": {"application/cloudevents+json"}}
			body := `{"specversion": "1.0", "id": "7", "source": "/clicks", "type": "t", "subject": "s", "datacontenttype": "` + contentType + `", "data": "x"}`
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		})
		if got.StatusCode != want || (want != http.StatusOK) != strings.Contains(why, "correct the event") {
			t.Errorf("%s: %d, %s", contentType, got.StatusCode, why)
		}
	}
	if len(b.asked) != 1 {
		t.Errorf("the Model was asked %d times, want 1", len(b.asked))
	}
}

func TestLargeAnswersAreWhole(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", maxAnswer)
	b := newBench(t, score(), says(http.StatusOK, large))
	for range 2 * largeAtOnce { // room is given back
		if got, body := b.deliver(t, path); got.StatusCode != http.StatusOK || body != large {
			t.Fatalf("%d, %d bytes", got.StatusCode, len(body))
		}
	}
}

// What isn't the Model's doing.
func TestDeliveries(t *testing.T) {
	t.Parallel()
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	deleted := func(t *v1alpha1.InferenceTrigger) { t.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }
	for name, c := range map[string]struct {
		trigger *v1alpha1.InferenceTrigger
		path    string
		change  func(*http.Request)
		status  int
		why     string
		asked   int
	}{
		"an InferenceTrigger that has gone": {nil, path, nil, http.StatusGone, "there is no InferenceTrigger team/score", 0},
		"one that came after":               {score(), "/team/score/u-0", nil, http.StatusGone, "of UID u-0", 0},
		"one that is going":                 {score(deleted), path, nil, http.StatusGone, "there is no InferenceTrigger", 0},
		"no path of one":                    {score(), "/", nil, http.StatusGone, "no InferenceTrigger", 0},
		"another namespace's":               {score(), "/rival/score/u-1", nil, http.StatusGone, "there is no InferenceTrigger rival/score", 0},
		"no event":                          {score(), path, func(r *http.Request) { r.Header.Del("Ce-Specversion") }, http.StatusBadRequest, "not a CloudEvent", 0},
		"an event without an id":            {score(), path, func(r *http.Request) { r.Header.Del("Ce-Id") }, http.StatusBadRequest, "id", 0},
		"its own reply":                     {score(), path, header("Ce-Source", "/apis/sluice.dev/v1alpha1/namespaces/team/inferencetriggers/score"), http.StatusAccepted, "", 0},
		"what expressions don't come to":    {score(), path, func(r *http.Request) { r.Header.Del("Ce-Subject") }, http.StatusUnprocessableEntity, `request.path: ${event.subject}: the event has no attribute "subject"`, 0},
		"no Model":                          {score(func(t *v1alpha1.InferenceTrigger) { t.Spec.Model = "none" }), path, nil, http.StatusServiceUnavailable, `there is no Model "none"`, 0},
		"more than is read": {score(), path, func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", maxEvent+1))), maxEvent+1
		}, http.StatusBadRequest, "too large", 0},
		"what the webhook would have refused": {score(func(t *v1alpha1.InferenceTrigger) { t.Spec.Request.Path = "${event.Id}" }), path, nil, http.StatusUnprocessableEntity, "spec.request.path", 0},
		"a number where text has to be": {score(func(t *v1alpha1.InferenceTrigger) { t.Spec.Request.Path = "/${event.data.clicks}" }), path, nil,
			http.StatusUnprocessableEntity, "request.path: ${event.data.clicks}", 0},
		"what calls itself another tenant's": {score(), path, func(r *http.Request) {
			for _, name := range []string{"Ce-Tenant", "Ce-Namespace", "Ce-Model", "Ce-Sluicetenant"} {
				r.Header.Set(name, "rival")
			}
		}, http.StatusOK, "{}", 1},
		"an answer that nobody wants": {score(func(t *v1alpha1.InferenceTrigger) { t.Spec.Reply = &v1alpha1.TriggerReply{To: v1alpha1.ReplyToNone} }), path, nil, http.StatusAccepted, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, c.trigger, says(http.StatusOK, "{}"))
			if c.change == nil {
				c.change = func(*http.Request) {}
			}
			got, why := b.deliver(t, c.path, c.change)
			if got.StatusCode != c.status || !strings.Contains(why, c.why) || (c.why == "" && why != "") {
				t.Errorf("%d, %q; want %d, %q", got.StatusCode, why, c.status, c.why)
			}
			if len(b.asked) != c.asked {
				t.Errorf("the Model was asked %d times, want %d", len(b.asked), c.asked)
			}
			if (got.Header.Get("Ce-Id") != "") != (c.status == http.StatusOK) {
				t.Error("there is a reply, or none")
			}
		})
	}
}

// Whatever fails for now is delivered again, and what the webhook lets in changes with the
// generation.
func TestLater(t *testing.T) {
	t.Parallel()
	b := newBench(t, score(), says(http.StatusOK, "{}"))
	known := b.Trigger
	b.Trigger = func(string, string) (*v1alpha1.InferenceTrigger, error) {
		return nil, errors.New("the caches are not filled yet")
	}
	if got, why := b.deliver(t, path); !retried(got.StatusCode) || got.Header.Get("Retry-After") == "" || !strings.Contains(why, "caches") {
		t.Errorf("%d, %s", got.StatusCode, why)
	}
	b.Trigger = known
	b.Function.Model = func(string, string) (string, error) { return "", nil }
	if got, why := b.deliver(t, path); !retried(got.StatusCode) || !strings.Contains(why, "has no address yet") {
		t.Errorf("%d, %s", got.StatusCode, why)
	}
	b.Function.Model = func(string, string) (string, error) { return "http://127.0.0.1:1", nil }
	if got, why := b.deliver(t, path); !retried(got.StatusCode) || !strings.Contains(why, "the Model can't be reached") {
		t.Errorf("%d, %s", got.StatusCode, why)
	}
}

func TestChangesAreTakenUp(t *testing.T) {
	t.Parallel()
	trigger := score()
	b := newBench(t, trigger, says(http.StatusOK, "{}"))
	b.deliver(t, path)
	trigger.Generation, trigger.Spec.Request.Path = 2, "/other"
	b.deliver(t, path)
	if len(b.asked) != 2 || b.asked[1].RequestURI != "/other" {
		t.Errorf("%+v", b.asked)
	}
}

// One InferenceTrigger whose Model is slow has a quarter of the room; what comes beyond is delivered
// again.
func TestShareOfATrigger(t *testing.T) {
	t.Parallel()
	end, entered := make(chan struct{}), make(chan struct{}, perTrigger)
	b := newBench(t, score(), func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-end
		says(http.StatusOK, "{}")(w, nil)
	})
	var all sync.WaitGroup
	for i := range perTrigger {
		all.Go(func() {
			if got, why := b.deliver(t, path, func(r *http.Request) { r.Header.Set("Ce-Id", fmt.Sprint(i)) }); got.StatusCode != http.StatusOK {
				t.Errorf("%d, %s", got.StatusCode, why)
			}
		})
	}
	for range perTrigger {
		select {
		case <-entered:
		case <-time.After(within):
			t.Fatal("not all are under way")
		}
	}
	if got, why := b.deliver(t, path); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "1" || !strings.Contains(why, "64 events") {
		t.Errorf("%d, %s", got.StatusCode, why)
	}
	close(end)
	all.Wait()
}

// store is what there is of Batches.
type store struct {
	mu      sync.Mutex
	batches map[string]*v1alpha1.Batch
	err     error
	created int
}

func (s *store) Create(_ context.Context, b *v1alpha1.Batch, _ metav1.CreateOptions) (*v1alpha1.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return nil, s.err
	case s.batches[b.Name] != nil:
		return nil, apierrs.NewAlreadyExists(sluice.BatchesResource, b.Name)
	}
	s.created++
	s.batches[b.Name] = b
	return b, nil
}

func (s *store) Get(_ context.Context, name string, _ metav1.GetOptions) (*v1alpha1.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.batches[name]; ok {
		return b, nil
	}
	return nil, apierrs.NewNotFound(sluice.BatchesResource, name)
}

// started is what a cache has of the Batches.
func (s *store) started(_, label, value string) ([]*v1alpha1.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var of []*v1alpha1.Batch
	for _, b := range s.batches {
		if b.Labels[label] == value {
			of = append(of, b)
		}
	}
	return of, nil
}

func starting(t *v1alpha1.InferenceTrigger) {
	t.Spec.Model, t.Spec.Request, t.Spec.Batch = "", nil, &v1alpha1.TriggerBatch{}
	s := &t.Spec.Batch.Template.Spec
	s.Model = "ranker"
	s.Input.HTTP = &v1alpha1.BatchHTTPInput{URLs: []string{"https://store.example.com/${event.subject}.jsonl"}}
	s.Request.Path = "/score"
	s.Output.Volume = &v1alpha1.BatchVolumeOutput{ClaimName: "results", Folder: "runs/${event.id}"}
	s.TTLAfterFinished = &metav1.Duration{Duration: time.Hour}
}

// keeping is a function behind its door that starts Batches, and what there is of those.
func keeping(t *testing.T) (*bench, *store) {
	t.Helper()
	s := &store{batches: map[string]*v1alpha1.Batch{}}
	b := newBench(t, score(starting), says(http.StatusOK, ""))
	b.Started = s.started
	b.Batches = func(namespace string) Batches {
		if namespace != "team" {
			t.Errorf("a Batch of namespace %q", namespace)
		}
		return s
	}
	return b, s
}

// An event that comes twice, also at the same time, starts one Batch, and none that is another's.
func TestBatches(t *testing.T) {
	t.Parallel()
	b, s := keeping(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got, why := b.deliver(t, path); got.StatusCode != http.StatusAccepted || why != "" {
				t.Errorf("%d, %s", got.StatusCode, why)
			}
		})
	}
	all.Wait()
	if s.created != 1 {
		t.Fatalf("%d Batches were created", s.created)
	}
	for _, made := range s.batches {
		if made.Spec.Output.Volume.Folder != "runs/7" || made.Spec.Input.HTTP.URLs[0] != "https://store.example.com/user-1.jsonl" || made.Spec.Workers == nil {
			t.Errorf("%+v", made.Spec)
		}
		made.Annotations = nil // somebody else's
	}
	if got, why := b.deliver(t, path); got.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(why, "that no event of InferenceTrigger team/score started") {
		t.Errorf("another's Batch: %d, %s", got.StatusCode, why)
	}
}

// A store tells of what runs write, too. What a Batch of an InferenceTrigger wrote starts none of
// the same one; what another's wrote does.
func TestResultsStartNothing(t *testing.T) {
	t.Parallel()
	b, s := keeping(t)
	b.Trigger = func(string, string) (*v1alpha1.InferenceTrigger, error) {
		return score(starting, func(t *v1alpha1.InferenceTrigger) {
			t.Spec.Batch.Template.Spec.Input = v1alpha1.BatchInput{Volume: &v1alpha1.BatchVolumeInput{ClaimName: "results", File: "${event.subject}"}}
		}), nil
	}
	about := func(id, file string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Ce-Id", id); r.Header.Set("Ce-Subject", file) }
	}
	for _, event := range []struct {
		id, file string
		batches  int
	}{
		{"1", "in/1.jsonl", 1},
		{"2", "runs/1/results/000000000000.jsonl", 1},
		{"3", "runs/10/results/000000000000.jsonl", 2},
		{"1", "in/1.jsonl", 2},
	} {
		if got, why := b.deliver(t, path, about(event.id, event.file)); got.StatusCode != http.StatusAccepted || s.created != event.batches {
			t.Errorf("of %s: %d, %s, and %d Batches", event.file, got.StatusCode, why, s.created)
		}
	}
	for _, made := range s.batches {
		made.Labels[sluice.TriggerLabelKey] = "other"
	}
	if got, why := b.deliver(t, path, about("4", "runs/1/results/000000000000.jsonl")); got.StatusCode != http.StatusAccepted || s.created != 3 {
		t.Errorf("of another's: %d, %s, and %d Batches", got.StatusCode, why, s.created)
	}
}

// What can't be a Batch goes to the dead letter; what can't be one for now comes again.
func TestBatchesThatAreNotStarted(t *testing.T) {
	t.Parallel()
	b, s := keeping(t)
	id := func(id string) func(*http.Request) { return func(r *http.Request) { r.Header.Set("Ce-Id", id) } }
	if got, why := b.deliver(t, path, id("../x")); got.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(why, "batch.template.spec.output.volume.folder") {
		t.Errorf("no folder: %d, %s", got.StatusCode, why)
	}
	s.err = apierrs.NewInvalid(v1alpha1.Kind("Batch"), "x", field.ErrorList{field.Required(field.NewPath("spec"), "x")})
	if got, why := b.deliver(t, path, id("8")); got.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(why, "spec: Required") {
		t.Errorf("refused: %d, %s", got.StatusCode, why)
	}
	s.err = apierrs.NewServiceUnavailable("later")
	if got, why := b.deliver(t, path, id("8")); !retried(got.StatusCode) || got.Header.Get("Retry-After") == "" || !strings.Contains(why, "later") {
		t.Errorf("away: %d, %s", got.StatusCode, why)
	}
}

// As many Batches of one InferenceTrigger are under way as may; an event comes again until there is
// room, but for one whose Batch is there already.
func TestUnfinishedBatchesAreBounded(t *testing.T) {
	t.Parallel()
	b, s := keeping(t)
	id := func(id int) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Ce-Id", fmt.Sprint(id)) }
	}
	for i := range mostUnfinished {
		if got, why := b.deliver(t, path, id(i)); got.StatusCode != http.StatusAccepted {
			t.Fatalf("%d: %d, %s", i, got.StatusCode, why)
		}
	}
	if got, why := b.deliver(t, path, id(mostUnfinished)); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "60" || !strings.Contains(why, "100 Batches of InferenceTrigger team/score aren't over yet") {
		t.Errorf("one more: %d, %s", got.StatusCode, why)
	}
	if got, why := b.deliver(t, path, id(3)); got.StatusCode != http.StatusAccepted {
		t.Errorf("one that came again: %d, %s", got.StatusCode, why)
	}
	if s.created != mostUnfinished {
		t.Errorf("%d Batches were created", s.created)
	}
	for _, over := range s.batches {
		over.Status.MarkCompleted(time.Unix(1, 0))
		break
	}
	if got, why := b.deliver(t, path, id(mostUnfinished)); got.StatusCode != http.StatusAccepted {
		t.Errorf("once another is over: %d, %s", got.StatusCode, why)
	}
	b.Started = func(string, string, string) ([]*v1alpha1.Batch, error) { return nil, errors.New("the cache is empty") }
	if got, why := b.deliver(t, path, id(500)); !retried(got.StatusCode) || !strings.Contains(why, "the cache is empty") {
		t.Errorf("not known how many there are: %d, %s", got.StatusCode, why)
	}
}

func TestKnativeTrigger(t *testing.T) {
	t.Parallel()
	got, err := KnativeTrigger(httptest.NewRequest(http.MethodPost, path, http.NoBody))
	if want := (types.NamespacedName{Namespace: "team", Name: "score"}); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := KnativeTrigger(httptest.NewRequest(http.MethodPost, "/team", http.NoBody)); err == nil {
		t.Errorf("%v", got)
	}
}
