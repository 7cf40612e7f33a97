package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"

	"sluice.dev/sluice/functions/batch/input"
	"sluice.dev/sluice/functions/batch/objects"
	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// open lets everything through.
type open struct{}

func (open) Enter(ctx context.Context) (func(Answer, time.Duration), error) {
	return func(Answer, time.Duration) {}, ctx.Err()
}

// run is a batch over an object of lines, at a model.
type run struct {
	*testing.T

	task  *task.Task
	store objects.Store
	// last is what the last worker said in the end.
	last Progress
	log  bytes.Buffer
}

func newRun(t *testing.T, lines ...string) *run {
	t.Helper()
	r := &run{T: t, store: objects.NewBucket(memblob.OpenBucket(nil)), task: &task.Task{
		Namespace: "team", Name: "nightly", UID: "u-1", Credits: "http://batch",
		Input: task.Input{Key: "in.jsonl"}, Output: task.Output{Prefix: "out"}, Request: task.Request{Path: "/infer"},
		Retry: task.Retry{Attempts: 3, MinBackoff: task.Duration(time.Millisecond), MaxBackoff: task.Duration(5 * time.Millisecond), Patience: task.Duration(5 * time.Second)},
	}}
	r.task.SetDefaults()
	r.task.Bounds.PartItems = 4
	r.put("in.jsonl", strings.Join(lines, "\n"))
	return r
}

func (r *run) put(key, content string) {
	r.Helper()
	if err := r.store.Create(r.Context(), key, strings.NewReader(content)); err != nil {
		r.Fatal(err)
	}
}

func (r *run) plan() *plan.Plan {
	r.Helper()
	p, err := Plan(r.Context(), r.task, input.New(r.store, r.task), output.New(r.store, r.task))
	if err != nil {
		r.Fatal(err)
	}
	return p
}

// work works on everything, at a model; at none, if it is nil.
func (r *run) work(ctx context.Context, p *plan.Plan, model http.HandlerFunc) (output.Tally, error) {
	r.Helper()
	server := httptest.NewServer(model)
	if r.task.Model = server.URL; model == nil {
		server.Close()
	}
	defer server.Close()
	asker, err := NewModel(r.task)
	if err != nil {
		r.Fatal(err)
	}
	w := &Worker{
		Task: r.task, Source: input.New(r.store, r.task), Output: output.New(r.store, r.task), Asker: asker, Gate: open{}, Folder: r.TempDir(),
		Log: slog.New(slog.NewTextHandler(&r.log, nil)),
	}
	all := *p
	all.Shards = []plan.Shard{{To: len(p.Parts)}}
	tally, err := w.Run(ctx, &all, 0)
	r.last = w.Progress()
	return tally, err
}

// records are those of a folder of the output, in the order of the names.
func records(ctx context.Context, store objects.Reader, folder string) (found []output.Record, err error) {
	for object, err := range store.List(ctx, "out/"+folder+"/", "") {
		if err != nil {
			return nil, err
		}
		content, err := store.Open(ctx, object.Key, 0)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(content)
		if err := errors.Join(err, content.Close()); err != nil {
			return nil, err
		}
		for line := range bytes.Lines(text) {
			var record output.Record
			if err := json.Unmarshal(line, &record); err != nil {
				return nil, fmt.Errorf("%s: %w", object.Key, err)
			}
			found = append(found, record)
		}
	}
	return found, nil
}

// results are all records, which have to be one of each item, and those of what has failed.
func (r *run) results() (all []output.Record, failed map[int64]output.Record) {
	r.Helper()
	all, err := records(r.Context(), r.store, "results")
	if err != nil {
		r.Fatal(err)
	}
	repeated, err := records(r.Context(), r.store, "errors")
	if err != nil {
		r.Fatal(err)
	}
	failed = map[int64]output.Record{}
	for _, record := range repeated {
		failed[record.Item] = record
	}
	for i, record := range all {
		if record.Item != int64(i) {
			r.Fatalf("record %d is of item %d", i, record.Item)
		}
		if _, ok := failed[record.Item]; ok != record.Failed() {
			r.Errorf("item %d has failed: %t, and is among the errors: %t", i, record.Failed(), ok)
		}
	}
	return all, failed
}

// scores answers a body with itself.
func scores(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"score": `)
	_, _ = io.Copy(w, r.Body)
	fmt.Fprint(w, "}\n")
}

// asksAsItShould looks at what is in each request.
func asksAsItShould(t *testing.T, q *http.Request) {
	t.Helper()
	if q.Header.Get("Sluice-Batch") != "nightly" || q.Header.Get("Content-Type") != "application/json" || q.Method != http.MethodPost || q.URL.Path != "/infer" {
		t.Errorf("asked by %s %s, %v", q.Method, q.URL, q.Header)
	}
}

func TestWork(t *testing.T) {
	r := newRun(t, "10", "", "broken", "30", "\"a<b\"", "50", "60", "70", "80", "90")
	p := r.plan()
	if p.Items != 9 || len(p.Parts) != 3 {
		t.Fatalf("the plan is %+v", p)
	}
	var keys sync.Map
	tally, err := r.work(t.Context(), p, func(w http.ResponseWriter, q *http.Request) {
		if _, twice := keys.LoadOrStore(q.Header.Get("Idempotency-Key"), true); twice {
			t.Errorf("asked twice with %s", q.Header.Get("Idempotency-Key"))
		}
		asksAsItShould(t, q)
		scores(w, q)
	})
	if err != nil || tally != (output.Tally{Succeeded: 8, Failed: 1}) {
		t.Errorf("%+v, %v", tally, err)
	}
	all, failed := r.results()
	if len(all) != 9 || string(all[3].Response) != `{"score":"a<b"}` || all[3].Status != 200 || all[3].Line != 0 {
		t.Errorf("results are %+v", all)
	}
	if got := failed[1]; len(failed) != 1 || got.Line != 3 || got.Object != "in.jsonl" || got.Status != 0 || !strings.Contains(got.Reason, "isn't JSON") {
		t.Errorf("errors are %+v", failed)
	}
	if _, ok := keys.Load("u-1-8"); !ok {
		t.Error("no request has the key u-1-8")
	}
	againDoesNothing(t, r, p, tally)
}

// againDoesNothing has a worker come to what is done.
func againDoesNothing(t *testing.T, r *run, p *plan.Plan, done output.Tally) {
	t.Helper()
	tally, err := r.work(t.Context(), p, func(http.ResponseWriter, *http.Request) { t.Error("asked again") })
	if err != nil || tally != done {
		t.Errorf("again: %+v, %v", tally, err)
	}
	if again := r.plan(); again.Items != p.Items {
		t.Errorf("planned again: %+v", again)
	}
}

// What becomes of an item, by how the Model answers: status and reason, and how often it was
// asked.
func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, tc := range []struct {
		name   string
		answer func(w http.ResponseWriter, n int64)
		status int
		reason string
		want   string
		asked  int64
	}{
		{"JSON", func(w http.ResponseWriter, _ int64) { fmt.Fprint(w, " { \"a\": 1.0 }\n") }, 200, "", `{"a":1.0}`, 1},
		{"text", func(w http.ResponseWriter, _ int64) { fmt.Fprint(w, "yes, \"1\"") }, 200, "", `"yes, \"1\""`, 1},
		{"neither", func(w http.ResponseWriter, _ int64) { fmt.Fprint(w, "\xff\xfe") }, 200, "", "", 1},
		{"nothing", func(w http.ResponseWriter, _ int64) { w.WriteHeader(http.StatusNoContent) }, 204, "", "", 1},
		{"400", func(w http.ResponseWriter, _ int64) { http.Error(w, "no\nshape", http.StatusBadRequest) }, 400, "400 Bad Request: no shape", "", 1},
		{"redirect", func(w http.ResponseWriter, _ int64) {
			w.Header().Set("Location", "http://elsewhere.invalid")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, 307, "307 Temporary Redirect", "", 1},
		{"500, then 200", func(w http.ResponseWriter, n int64) {
			if n < 3 {
				w.WriteHeader(http.StatusInternalServerError)
			}
			fmt.Fprint(w, n)
		}, 200, "", "3", 3},
		{"500", func(w http.ResponseWriter, _ int64) { http.Error(w, "broken", http.StatusInternalServerError) }, 500, "500 Internal Server Error: broken", "", 3},
		{"408", func(w http.ResponseWriter, _ int64) { w.WriteHeader(http.StatusRequestTimeout) }, 408, "408 Request Timeout", "", 3},
		{"429 many times, then 200", func(w http.ResponseWriter, n int64) {
			if n < 10 {
				w.WriteHeader(http.StatusTooManyRequests)
			}
			fmt.Fprint(w, n)
		}, 200, "", "10", 10},
		{"503 with Retry-After, then 200", func(w http.ResponseWriter, n int64) {
			if n < 2 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			fmt.Fprint(w, n)
		}, 200, "", "2", 2},
		{"too long", func(w http.ResponseWriter, _ int64) { fmt.Fprint(w, long, long) }, 200, "the answer is longer than 150 bytes", "", 1},
		{"nothing with 200", func(http.ResponseWriter, int64) {}, 200, "", "", 1},
		{"an answer that breaks off", func(w http.ResponseWriter, _ int64) { cutOff(w) }, 0, "no answer: unexpected EOF", "", 3},
		{"answers that break off, then a whole one", func(w http.ResponseWriter, n int64) {
			if n < 3 {
				cutOff(w)
			}
			fmt.Fprint(w, n)
		}, 200, "", "3", 3},
		{"404 of the Model's", func(w http.ResponseWriter, _ int64) {
			w.Header().Set("X-Envoy-Upstream-Service-Time", "3")
			fromGateway(w)
		}, 404, "404 Not Found", "", 1},
		{"404 with a body", func(w http.ResponseWriter, _ int64) {
			w.Header().Set("Server", "istio-envoy")
			http.Error(w, "no such model", http.StatusNotFound)
		}, 404, "404 Not Found: no such model", "", 1},
		{"no route, then 200", func(w http.ResponseWriter, n int64) {
			if n < 10 {
				fromGateway(w)
			}
			fmt.Fprint(w, n)
		}, 200, "", "10", 10},
		{"connections that break", func(w http.ResponseWriter, _ int64) { panic(http.ErrAbortHandler) }, 0, "no answer: ", "", 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRun(t, "1")
			r.task.Bounds.AnswerBytes = 150
			var asked atomic.Int64
			begin := time.Now()
			_, err := r.work(t.Context(), r.plan(), func(w http.ResponseWriter, _ *http.Request) { tc.answer(w, asked.Add(1)) })
			if err != nil {
				t.Fatal(err)
			}
			all, _ := r.results()
			if len(all) != 1 || all[0].Status != tc.status || string(all[0].Response) != tc.want || !strings.HasPrefix(all[0].Reason, tc.reason) || (tc.reason == "") == all[0].Failed() {
				t.Errorf("the record is %+v", all)
			}
			// A broken connection may be tried again beneath.
			if n := asked.Load(); n != tc.asked && tc.status != 0 {
				t.Errorf("asked %d times, want %d", n, tc.asked)
			}
			if strings.Contains(tc.name, "Retry-After") && time.Since(begin) < time.Second {
				t.Error("asked again before it was to")
			}
		})
	}
}

// cutOff is an answer that ends in its middle.
func cutOff(w http.ResponseWriter) {
	w.Header().Set("Content-Length", "100")
	fmt.Fprint(w, `{"score": `)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// fromGateway is what the gateway answers while a Model has no route.
func fromGateway(w http.ResponseWriter) {
	w.Header().Set("Server", "istio-envoy")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusNotFound)
}

// A gateway pod that has no more of the limit isn't asked again over the same connection.
func TestLimitedElsewhere(t *testing.T) {
	var first atomic.Pointer[string]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first.CompareAndSwap(nil, &r.RemoteAddr)
		if r.RemoteAddr == *first.Load() {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer server.Close()
	run := newRun(t)
	run.task.Model = server.URL
	model, err := NewModel(run.task)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{http.StatusTooManyRequests, http.StatusOK, http.StatusOK} {
		if answer := model.Ask(t.Context(), Question{}); answer.Status != want {
			t.Errorf("request %d: %d %s, want %d", i, answer.Status, answer.Problem, want)
		}
	}
}

// 50 MB aren't kept, nor held.
func TestHugeAnswer(t *testing.T) {
	r := newRun(t, "1", "2")
	_, err := r.work(t.Context(), r.plan(), func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		if string(body) == "1" {
			piece := make([]byte, 1<<20)
			for range 50 {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		}
		fmt.Fprint(w, string(body))
	})
	if err != nil {
		t.Fatal(err)
	}
	if all, failed := r.results(); len(all) != 2 || failed[0].Reason != "the answer is longer than 8388608 bytes" || string(all[1].Response) != "2" {
		t.Errorf("results are %+v", all)
	}
}

// Few large answers are held at a time, however many come.
func TestLargeAnswersWait(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) }))
	defer server.Close()
	r := newRun(t)
	r.task.Model = server.URL
	model, err := NewModel(r.task)
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan Answer)
	atOnce := largeAtOnce(&r.task.Bounds)
	for range 3 * atOnce {
		go func() { answers <- model.Ask(t.Context(), Question{}) }()
	}
	for range 3 {
		var held []Answer
		for range atOnce {
			answer := <-answers
			if len(answer.Body) != 1<<20 {
				t.Fatalf("%d bytes: %s", len(answer.Body), answer.Problem)
			}
			held = append(held, answer)
		}
		select {
		case <-answers:
			t.Fatal("one more is held")
		case <-time.After(50 * time.Millisecond):
		}
		for _, answer := range held {
			answer.Free()
			answer.Free()
		}
	}
}

func TestNoAnswer(t *testing.T) {
	r := newRun(t, "1")
	r.task.Request.Timeout = task.Duration(50 * time.Millisecond)
	_, err := r.work(t.Context(), r.plan(), func(_ http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		<-q.Context().Done()
	})
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := r.results(); len(all) != 1 || all[0].Reason != "no answer within 50ms (spec.request.timeout)" {
		t.Errorf("results are %+v", all)
	}
}

func reasonOf(err error) (string, bool) {
	failure := &task.ReasonedError{}
	if !errors.As(err, &failure) {
		return fmt.Sprint(err), false
	}
	return failure.Reason, failure.Final
}

// A Model that isn't there costs no item; the worker ends, and may be started again.
func TestModelAway(t *testing.T) {
	for name, model := range map[string]http.HandlerFunc{
		"503":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"429":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"deleted": func(w http.ResponseWriter, _ *http.Request) { fromGateway(w) },
		// Nobody listens.
		"unreachable": nil,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t, "1", "2", "3")
			r.task.Retry.Patience = task.Duration(50 * time.Millisecond)
			_, err := r.work(t.Context(), r.plan(), model)
			if reason, final := reasonOf(err); reason != task.ModelAway || final {
				t.Error(err)
			}
			if all, _ := r.results(); len(all) > 0 {
				t.Errorf("there are results: %+v", all)
			}
		})
	}
}

func onePart() *plan.Plan {
	return &plan.Plan{Parts: make([]plan.Part, 1), Shards: []plan.Shard{{To: 1}}}
}

// blind is an output that can't be read.
type blind struct{ Output }

func (blind) Settled(context.Context, int, []plan.Part) (map[int64]output.Tally, error) {
	return nil, errors.New("away")
}

// A worker that hasn't looked into the output doesn't know how far its shard is, and says so.
func TestWhatAWorkerKnows(t *testing.T) {
	described := &task.Task{}
	w := &Worker{Source: input.New(nil, described), Output: blind{}}
	if _, err := w.Run(t.Context(), onePart(), 0); err == nil || w.Progress().Knows {
		t.Errorf("of an output that can't be read, it says %+v, %v", w.Progress(), err)
	}
	seen := &Worker{Source: input.New(nil, described), Output: settled{}}
	if _, err := seen.Run(t.Context(), onePart(), 0); err != nil || !seen.Progress().Knows || seen.Progress().Succeeded != 7 {
		t.Errorf("of one that is there, it says %+v, %v", seen.Progress(), err)
	}
}

// settled is an output that has all of a part.
type settled struct{ Output }

func (settled) Settled(context.Context, int, []plan.Part) (map[int64]output.Tally, error) {
	return map[int64]output.Tally{0: {Succeeded: 7}}, nil
}

func TestMaxFailedItems(t *testing.T) {
	r := newRun(t, "1", "2", "x", "4", "x", "x")
	r.task.Bounds.PartItems, r.task.Bounds.Concurrency = 2, 1
	p := r.plan()
	for most, want := range map[int64]string{0: task.TooManyFailedItems, 2: task.TooManyFailedItems, 3: ""} {
		r.task.MaxFailedItems = &most
		r.store = objects.NewBucket(memblob.OpenBucket(nil))
		r.put("in.jsonl", "1\n2\nx\n4\nx\nx")
		_, err := r.work(t.Context(), p, scores)
		reason, final := reasonOf(err)
		if want == "" && err != nil || want != "" && (reason != want || !final) {
			t.Errorf("of at most %d: %v", most, err)
		}
	}
}

// What a worker says of itself alone doesn't count what was in the output before it, nor is a
// request less for being asked in vain.
func TestProgressIsTheWorkersOwn(t *testing.T) {
	r := newRun(t, "1", "2", "3", "4", "5", "6", "7", "8")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := r.work(ctx, r.plan(), func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		if string(body) == "6" {
			cancel()
			<-q.Context().Done()
		}
		scores(w, q)
	}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	var failed atomic.Bool
	if _, err := r.work(t.Context(), r.plan(), func(w http.ResponseWriter, q *http.Request) {
		if body, _ := io.ReadAll(q.Body); string(body) == "8" && failed.CompareAndSwap(false, true) {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		scores(w, q)
	}); err != nil {
		t.Fatal(err)
	}
	if got := r.last; got.Items != 4 || got.Requests != 5 || got.Succeeded != 8 || got.InFlight != 0 {
		t.Errorf("a worker that found four of eight items in the output, and asked one twice, says %+v", got)
	}
}

// Told to end, a worker does so at once; the part that it is in the middle of isn't there.
func TestInterrupted(t *testing.T) {
	r := newRun(t, "1", "2", "3", "4", "5", "6", "7", "8")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var told atomic.Int64
	tally, err := r.work(ctx, r.plan(), func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		if string(body) == "6" {
			told.Store(time.Now().UnixNano())
			cancel()
			<-q.Context().Done()
		}
		scores(w, q)
	})
	if !errors.Is(err, context.Canceled) || tally.Succeeded != 4 || time.Since(time.Unix(0, told.Load())) > grace {
		t.Errorf("%+v, %v after %s", tally, err, time.Since(time.Unix(0, told.Load())))
	}
	if all, _ := r.results(); len(all) != 4 {
		t.Errorf("results are %+v", all)
	}
}

func TestInputChanged(t *testing.T) {
	for name, content := range map[string]string{"shorter": "1\n2\n3\n4\n5\n", "a line longer": "1\n2\n3\n40\n5\n6\n", "gone": ""} {
		r := newRun(t, "1", "2", "3", "4", "5", "6", "")
		p := r.plan()
		r.store = objects.NewBucket(memblob.OpenBucket(nil))
		if content != "" {
			r.put("in.jsonl", content)
		}
		_, err := r.work(t.Context(), p, scores)
		if reason, final := reasonOf(err); reason != task.InputChanged && reason != task.InputMissing || !final {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// row is a request of one.
func row(n int) string {
	return fmt.Sprintf(`{"id":"r%d","inputs":[{"name":"x","shape":[1,1],"datatype":"INT64","data":[%d]}]}`, n, n)
}

// doubles answers rows with their doubles, and says 400 to requests that have a 13.
func doubles(asked *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		asked.Add(1)
		var request struct {
			ID     string `json:"id,omitempty"`
			Inputs []struct {
				Shape []int `json:"shape"`
				Data  []int `json:"data"`
			} `json:"inputs"`
		}
		if err := json.NewDecoder(q.Body).Decode(&request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for i, value := range request.Inputs[0].Data {
			if value == 13 {
				http.Error(w, "unlucky", http.StatusBadRequest)
				return
			}
			request.Inputs[0].Data[i] = 2 * value
		}
		data, _ := json.Marshal(request.Inputs[0].Data)
		shape, _ := json.Marshal(request.Inputs[0].Shape)
		fmt.Fprintf(w, `{"id":%q,"outputs":[{"name":"y","shape":%s,"datatype":"INT64","data":%s}]}`, request.ID, shape, data)
	}
}

func TestRows(t *testing.T) {
	var lines []string
	for i := range 40 {
		lines = append(lines, row(i))
	}
	lines[20] = `{"inputs":[]}`
	r := newRun(t, lines...)
	r.task.Format, r.task.Request.Rows, r.task.Bounds.PartItems = task.Rows, 16, 32
	var asked atomic.Int64
	tally, err := r.work(t.Context(), r.plan(), doubles(&asked))
	if err != nil || tally != (output.Tally{Succeeded: 38, Failed: 2}) {
		t.Errorf("%+v, %v", tally, err)
	}
	all, failed := r.results()
	if len(all) != 40 || len(failed) != 2 || failed[13].Reason != "400 Bad Request: unlucky" || failed[13].Line != 14 || !strings.Contains(failed[20].Reason, "Open Inference Protocol") {
		t.Errorf("errors are %+v, of %d results", failed, len(all))
	}
	for i, record := range all {
		if want := fmt.Sprintf(`"data":[%d]`, 2*i); !record.Failed() && (!bytes.Contains(record.Response, []byte(want)) || !bytes.Contains(record.Response, fmt.Appendf(nil, `"id":"r%d"`, i))) {
			t.Errorf("item %d: %s", i, record.Response)
		}
	}
	// Two shards of 20: four requests, of 16, 4, 15 and 4, and eight more to find the one item of the first.
	if n := asked.Load(); n != 4+8 {
		t.Errorf("asked %d times", n)
	}
}

// A Model whose outputs have no rows, or that takes one row at a time, isn't asked twice about
// each: that is learned, and told once.
func TestRowsThatCannotBeGathered(t *testing.T) {
	const items = 320
	for name, several := range map[string]func(w http.ResponseWriter){
		"an output without rows": func(w http.ResponseWriter) {
			fmt.Fprint(w, `{"outputs":[{"name":"y","shape":[1],"datatype":"INT64","data":[1]}]}`)
		},
		"one at a time": func(w http.ResponseWriter) { http.Error(w, "batch size must be 1", http.StatusBadRequest) },
	} {
		t.Run(name, func(t *testing.T) {
			var lines []string
			for i := range items {
				lines = append(lines, row(i+100))
			}
			r := newRun(t, lines...)
			r.task.Format, r.task.Request.Rows, r.task.Bounds.PartItems, r.task.Bounds.Concurrency = task.Rows, 64, items, 4
			var asked, ofOne atomic.Int64
			one := doubles(&ofOne)
			tally, err := r.work(t.Context(), r.plan(), func(w http.ResponseWriter, q *http.Request) {
				asked.Add(1)
				body, err := io.ReadAll(q.Body)
				if err != nil {
					t.Error(err)
				}
				if bytes.Contains(body, []byte(`"shape":[1,1]`)) {
					q.Body = io.NopCloser(bytes.NewReader(body))
					one(w, q)
					return
				}
				several(w)
			})
			if err != nil || tally != (output.Tally{Succeeded: items}) {
				t.Errorf("%+v, %v", tally, err)
			}
			// Those that were under way when it was learned come on top.
			if more := asked.Load() - items; more < mostInVain || more > mostInVain+4 {
				t.Errorf("asked %d times about %d items", asked.Load(), items)
			}
			if told := strings.Count(r.log.String(), "spec.format.type"); told != 1 {
				t.Errorf("told %d times: %s", told, &r.log)
			}
		})
	}
}

// However many rows are gathered, and wherever the one is that is at fault, they go on being gathered.
func TestOneRowDoesNotEndGathering(t *testing.T) {
	const most = 10_000
	for at := range most {
		w := &Worker{}
		for from, to := 0, most; to-from > 1; {
			if half := from + (to-from+1)/2; at < half {
				to = half
			} else {
				from = half
			}
			if w.gathering.failed() {
				t.Fatalf("it ends for the sake of row %d", at)
			}
		}
		w.gathering.excused()
		if w.gathering.inVain > 0 {
			t.Fatal("what was in vain for its sake still counts")
		}
	}
}
