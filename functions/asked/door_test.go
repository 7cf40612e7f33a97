package asked

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"sluice.dev/sluice/functions/access"
	"sluice.dev/sluice/functions/limit/demand/recorded"
	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// demand are two minutes that begin at a time.
func demand() trace.Trace {
	of := trace.Trace{Start: time.Unix(1_700_000_000, 0).UTC()}
	for i := range 120 {
		of.Seconds = append(of.Seconds, float32(20+i%40*4))
	}
	return of
}

// sources are a Model with its demand, which ann may read. Others are team/ of other names,
// of which nothing is recorded, or that aren't there.
func sources() Sources {
	return Sources{
		May: func(r *http.Request, _ types.NamespacedName) error {
			switch r.Header.Get("From") {
			case "ann":
				return nil
			case "later":
				return errors.New("the API server is away")
			case "":
				return fmt.Errorf("%w: the request has no token", access.ErrUnknown)
			}
			return fmt.Errorf("%w: no", access.ErrForbidden)
		},
		Model: func(name types.NamespacedName) (*v1alpha1.Model, error) {
			if name.Name == "nobody" {
				return nil, apierrs.NewNotFound(v1alpha1.Resource("models"), name.Name)
			}
			m := ranker()
			m.Namespace, m.Name = name.Namespace, name.Name
			return m, nil
		},
		Synced:     func() bool { return true },
		Neighbours: func(string) (*v1alpha1.Tenant, []*v1alpha1.Model, error) { return nil, nil, nil },
		Cluster: func() *autoscalerconfig.Config {
			read, _ := config.NewConfigFromMap(nil)
			return read
		},
		Recorded: func(_ context.Context, name types.NamespacedName) (trace.Trace, error) {
			switch name.Name {
			case "quiet":
				return trace.Trace{}, fmt.Errorf("%w: none came", recorded.ErrNone)
			case "standby":
				return trace.Trace{}, errors.New("asking for the demand: 503")
			}
			return demand(), nil
		},
	}
}

func ask(f *Function, from, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("From", from)
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	return w
}

const ofRanker = "/v1/whatif/team/ranker"

func TestHandler(t *testing.T) {
	capped := sources()
	capped.Neighbours = func(string) (*v1alpha1.Tenant, []*v1alpha1.Model, error) {
		nine := int32(9)
		return &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}, Spec: v1alpha1.TenantSpec{Limits: v1alpha1.TenantLimits{MaxReplicas: &nine}}}, nil, nil
	}
	empty := sources()
	empty.Synced = func() bool { return false }
	for name, tt := range map[string]struct {
		of               Sources
		from, path, body string
		code             int
		says             string
	}{
		"what if":               {sources(), "ann", ofRanker, `{"changed": {"spec": {"autoscaling": {"target": 2}}}, "runs": 3}`, http.StatusOK, `"changed":{`},
		"what is":               {sources(), "ann", ofRanker, ``, http.StatusOK, `"model":{`},
		"of a part":             {sources(), "ann", ofRanker, `{"from": "2023-11-14T22:13:30Z", "to": "2023-11-14T22:13:50Z"}`, http.StatusOK, `"seconds":20,`},
		"of demand given":       {sources(), "ann", "/v1/whatif/team/quiet", `{"demand": "0,10\n1,20\n"}`, http.StatusOK, `"seconds":2,`},
		"nobody":                {sources(), "", ofRanker, `{}`, http.StatusUnauthorized, "unknown caller: the request has no token"},
		"a stranger":            {sources(), "eve", ofRanker, `{}`, http.StatusForbidden, "forbidden"},
		"nobody can tell":       {sources(), "later", ofRanker, `{}`, http.StatusServiceUnavailable, "away"},
		"before caches":         {empty, "ann", ofRanker, `{}`, http.StatusServiceUnavailable, "caches"},
		"no Model":              {sources(), "ann", "/v1/whatif/team/nobody", `{}`, http.StatusNotFound, "there is no Model nobody in namespace team"},
		"a stranger, no Model":  {sources(), "eve", "/v1/whatif/team/nobody", `{}`, http.StatusForbidden, "forbidden"},
		"nothing recorded":      {sources(), "ann", "/v1/whatif/team/quiet", `{}`, http.StatusUnprocessableEntity, "no recorded demand: none came: give it as demand"},
		"no limiter":            {sources(), "ann", "/v1/whatif/team/standby", `{}`, http.StatusServiceUnavailable, "asking for the demand: 503"},
		"no question":           {sources(), "ann", ofRanker, `{"changed": `, http.StatusBadRequest, "reading the question"},
		"too long a one":        {sources(), "ann", ofRanker, `{"demand": "` + strings.Repeat("#", maxQuestion) + `"}`, http.StatusRequestEntityTooLarge, "more than 4 MB: give a shorter demand"},
		"demand nobody reads":   {sources(), "ann", ofRanker, `{"demand": "noon,1"}`, http.StatusBadRequest, "demand: line 1: time is"},
		"another part":          {sources(), "ann", ofRanker, `{"from": "2026-01-31T15:04:05Z"}`, http.StatusUnprocessableEntity, "known from 2023-11-14T22:13:20Z to 2023-11-14T22:15:20Z"},
		"what no Model is":      {sources(), "ann", ofRanker, `{"changed": {"spec": {"autoscaling": {"target": 0}}}}`, http.StatusUnprocessableEntity, "spec.autoscaling.target"},
		"what a tenant has not": {capped, "ann", ofRanker, `{"changed": {"spec": {"autoscaling": {"maxReplicas": 10}}}}`, http.StatusUnprocessableEntity, "must be from 1 to 9"},
		"too many runs":         {sources(), "ann", ofRanker, `{"runs": 1000}`, http.StatusUnprocessableEntity, "runs is 1000: give 1 to 101"},
		"bounds of nothing":     {sources(), "ann", ofRanker, `{"bounds": {"overShare": 0.1}}`, http.StatusBadRequest, "bounds have a meaning to a proposal alone"},
		"a proposal":            {sources(), "ann", "/v1/proposal/team/ranker", `{"goal": {"percentile": 95, "within": "400ms"}, "to": "2023-11-14T22:13:50Z"}`, http.StatusOK, `"settings":{`},
		"one beyond the cap":    {capped, "ann", "/v1/proposal/team/ranker", `{"goal": {"percentile": 95, "within": "400ms"}, "demand": "0,9000\n1,9000\n"}`, http.StatusOK, `"refused":"invalid value: must be from 1 to 9`},
		"one without a goal":    {sources(), "ann", "/v1/proposal/team/ranker", `{}`, http.StatusUnprocessableEntity, "goal.within is missing"},
		"one of a change":       {sources(), "ann", "/v1/proposal/team/ranker", `{"changed": {}}`, http.StatusBadRequest, "changed has no meaning to a proposal"},
		"elsewhere":             {sources(), "ann", "/v1/whatif/team", `{}`, http.StatusNotFound, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := ask(New(tt.of), tt.from, tt.path, tt.body)
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("%d %.300s, want %d %s", w.Code, w.Body, tt.code, tt.says)
			}
			if again := w.Header().Get("Retry-After") != ""; again && w.Code != http.StatusServiceUnavailable {
				t.Errorf("%d may be asked again", w.Code)
			}
		})
	}
}

// An answer is package whatif's, of the demand and the Models, with the time that it is about.
func TestAnswers(t *testing.T) {
	f := New(sources())
	w := ask(f, "ann", ofRanker, `{"changed": {"spec": {"autoscaling": {"minReplicas": 8}}}, "goal": {"within": "300ms"}, "runs": 3}`)
	var got Answer
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	changed := ranker()
	changed.Spec.Autoscaling.MinReplicas = to(int32(8))
	want, err := whatif.Predict(t.Context(), whatif.Question{Demand: demand(), Model: ranker(), Goal: whatif.Goal{Within: 300 * time.Millisecond}, Runs: 3}, changed)
	if err != nil {
		t.Fatal(err)
	}
	if got.Answer == nil || got.Model != want.Model || *got.Changed != *want.Changed || got.Seconds != 120 {
		t.Errorf("%+v, want %+v", got.Answer, want)
	}
	if !got.From.Equal(demand().Start) || got.To.Sub(got.From) != 2*time.Minute {
		t.Errorf("from %s to %s", got.From, got.To)
	}
	// What is in force counts, and not what the Model says itself.
	tried := sources()
	tried.Model = func(types.NamespacedName) (*v1alpha1.Model, error) {
		m := ranker()
		m.Spec.Trial = &v1alpha1.TrialSpec{For: metav1.Duration{Duration: time.Hour}, Autoscaling: &v1alpha1.AutoscalingSpec{MinReplicas: to(int32(8))}}
		m.Status.Trial = v1alpha1.BeginTrial(m.Spec.Trial, time.Unix(1_700_000_000, 0))
		return m, nil
	}
	w = ask(New(tried), "ann", ofRanker, `{"goal": {"within": "300ms"}, "runs": 3}`)
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Model != *want.Changed {
		t.Errorf("while 8 replicas are tried: %+v, %v, want %+v", got.Model, err, *want.Changed)
	}
}

// slow is a question that is written as slowly as its test likes.
type slow struct {
	begun chan<- struct{}
	may   <-chan struct{}
}

func (s slow) Read([]byte) (int, error) {
	s.begun <- struct{}{}
	<-s.may
	return 0, io.EOF
}

// Two are answered at a time, one of each namespace; who is asked to comes again.
func TestHandlerAtOnce(t *testing.T) {
	f := New(sources())
	begun, may, done := make(chan struct{}), make(chan struct{}), make(chan int)
	begin := func(namespace string) {
		go func() {
			r := httptest.NewRequest(http.MethodPost, "/v1/whatif/"+namespace+"/ranker", slow{begun, may})
			r.Header.Set("From", "ann")
			w := httptest.NewRecorder()
			f.Handler().ServeHTTP(w, r)
			done <- w.Code
		}()
		<-begun
	}
	expect := func(from, namespace string, code int) {
		t.Helper()
		w := ask(f, from, "/v1/whatif/"+namespace+"/ranker", `{"runs": 1}`)
		if w.Code != code || (w.Header().Get("Retry-After") == "5") != (code == http.StatusTooManyRequests) {
			t.Errorf("%s asks of %s: %d, Retry-After %q, want %d", from, namespace, w.Code, w.Header().Get("Retry-After"), code)
		}
	}
	begin("a")
	expect("ann", "a", http.StatusTooManyRequests)
	expect("eve", "a", http.StatusForbidden)
	expect("ann", "b", http.StatusOK)
	begin("b")
	expect("ann", "c", http.StatusTooManyRequests)
	close(may)
	for range 2 {
		if code := <-done; code != http.StatusOK {
			t.Errorf("one of the first two: %d", code)
		}
	}
	expect("ann", "c", http.StatusOK)
}

// What takes too long ends, and says what to ask instead; who leaves is computed nothing for.
func TestCompute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(sources())
		endless := kind{name: "whatif", within: time.Minute, answer: func(ctx context.Context, _ *Function, _ asking) (any, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("replaying the demand: %w", ctx.Err())
		}}
		began := time.Now()
		_, err := f.compute(t.Context(), endless, asking{demand: demand()})
		const says = "the answer about 120 seconds of demand takes longer than 1m0s, which is as long as one may: give a later from or an earlier to, or fewer runs"
		if why := failureOf(err); why.outcome != "late" || why.status != http.StatusUnprocessableEntity || why.Error() != says || time.Since(began) != time.Minute {
			t.Errorf("after %s: %+v", time.Since(began), why)
		}
		// One that waits for another begins its own time when that is over.
		first := make(chan error)
		go func() { _, err := f.compute(t.Context(), endless, asking{}); first <- err }()
		synctest.Wait()
		quick := kind{within: time.Second, answer: func(ctx context.Context, _ *Function, _ asking) (any, error) { return "it", ctx.Err() }}
		if it, err := f.compute(t.Context(), quick, asking{}); it != "it" || err != nil || failureOf(<-first).outcome != "late" {
			t.Errorf("the second: %v, %v", it, err)
		}
		for name, waits := range map[string]bool{"at once": false, "while it waits": true} {
			ctx, leave := context.WithCancel(t.Context())
			if waits {
				f.computing <- struct{}{}
			}
			go func() { time.Sleep(time.Second); leave() }()
			if _, err := f.compute(ctx, endless, asking{}); failureOf(err).outcome != "left" {
				t.Errorf("who leaves %s: %v", name, err)
			}
			if waits {
				<-f.computing
			}
		}
	})
}

// Over real HTTP, whoever leaves ends what is computed; the time to write a question doesn't.
func TestServer(t *testing.T) {
	left := make(chan error, 1)
	begun := make(chan struct{})
	of := sources()
	of.Recorded = func(ctx context.Context, _ types.NamespacedName) (trace.Trace, error) {
		close(begun)
		<-ctx.Done()
		left <- ctx.Err()
		return trace.Trace{}, ctx.Err()
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = New(of).Server("")
	server.Start()
	defer server.Close()
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+ofRanker, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("From", "ann")
	go func() {
		<-begun
		leave()
	}()
	if answer, err := server.Client().Do(request); err == nil {
		_ = answer.Body.Close()
		t.Errorf("answered %s", answer.Status)
	}
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("it goes on until %v", err)
	}
}
