package oip

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/test/images/ranker/internal/score"
)

const inferPath = "/v2/models/ranker/infer"

func newServer(t *testing.T) *Server {
	t.Helper()
	model, err := score.Load(read(t, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	return NewServer(model, Config{
		Version:     "test",
		Concurrency: 2,
		MaxWait:     time.Millisecond,
		Now:         time.Now,
		Log:         slog.New(slog.DiscardHandler),
	})
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../../testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func send(s *Server, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

// answer is an infer response as a client reads it.
type answer struct {
	ModelName string `json:"model_name"`
	ID        string `json:"id"`
	Outputs   []struct {
		Name     string    `json:"name"`
		Datatype string    `json:"datatype"`
		Shape    []int     `json:"shape"`
		Data     []float64 `json:"data"`
	} `json:"outputs"`
}

func parseAnswer(t *testing.T, body []byte) answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return a
}

// sameAnswer compares everything exactly but the numbers, which may differ by 1e-5.
func sameAnswer(t *testing.T, got, want answer) {
	t.Helper()
	for i := range min(len(got.Outputs), len(want.Outputs)) {
		g, w := got.Outputs[i].Data, want.Outputs[i].Data
		if !slices.EqualFunc(g, w, func(a, b float64) bool { return math.Abs(a-b) <= 1e-5 }) {
			t.Errorf("output %q = %v, want %v", got.Outputs[i].Name, g, w)
		}
		got.Outputs[i].Data, want.Outputs[i].Data = nil, nil
	}
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if !bytes.Equal(g, w) {
		t.Errorf("answer = %s, want %s", g, w)
	}
}

func TestReadOnlyPaths(t *testing.T) {
	s := newServer(t)
	for path, want := range map[string]string{
		"/v2":                     `{"name":"ranker","version":"test","extensions":[]}`,
		"/v2/health/live":         `{"live":true}`,
		"/v2/health/ready":        `{"ready":true}`,
		"/v2/models/ranker/ready": `{"name":"ranker","ready":true}`,
		"/v2/models/ranker": `{"name":"ranker","platform":"onnx_gomlx",` +
			`"inputs":[{"name":"candidates","datatype":"FP32","shape":[-1,30]}],` +
			`"outputs":[{"name":"score","datatype":"FP32","shape":[-1]},{"name":"order","datatype":"INT64","shape":[-1]}]}`,
	} {
		w := send(s, http.MethodGet, path, "")
		if got := strings.TrimSpace(w.Body.String()); w.Code != http.StatusOK || got != want {
			t.Errorf("GET %s = %d %s, want 200 %s", path, w.Code, got, want)
		}
	}
}

func TestInferGivesTheExpectedResponse(t *testing.T) {
	s := newServer(t)
	w := send(s, http.MethodPost, inferPath, string(read(t, "request.json")))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	sameAnswer(t, parseAnswer(t, w.Body.Bytes()), parseAnswer(t, read(t, "response.json")))
	timing := regexp.MustCompile(`^queue;dur=[\d.]+, compile;dur=[\d.]+, infer;dur=[\d.]+$`)
	if got := w.Header().Get("Server-Timing"); !timing.MatchString(got) {
		t.Errorf("Server-Timing = %q", got)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type = %q", got)
	}
}

func TestInferAcceptsFlatDataAndChosenOutputs(t *testing.T) {
	s := newServer(t)
	var request map[string]any
	if err := json.Unmarshal(read(t, "request.json"), &request); err != nil {
		t.Fatal(err)
	}
	input := request["inputs"].([]any)[0].(map[string]any)
	var flat []any
	for _, row := range input["data"].([]any) {
		flat = append(flat, row.([]any)...)
	}
	input["data"] = flat
	request["outputs"] = []map[string]string{{"name": orderOutput}}
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	w := send(s, http.MethodPost, inferPath, string(body))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	want := parseAnswer(t, read(t, "response.json"))
	want.Outputs = want.Outputs[1:]
	sameAnswer(t, parseAnswer(t, w.Body.Bytes()), want)
}

func TestErrors(t *testing.T) {
	s := newServer(t)
	row := "[" + strings.Repeat("1,", 29) + "1]"
	request := func(old, replacement string) string {
		valid := `{"id":"x","inputs":[{"name":"candidates","datatype":"FP32","shape":[1,30],"data":[` + row + `]}]}`
		if !strings.Contains(valid, old) {
			t.Fatalf("%q is not in the request", old)
		}
		return strings.Replace(valid, old, replacement, 1)
	}
	if w := send(s, http.MethodPost, inferPath, request("", "")); w.Code != http.StatusOK {
		t.Fatalf("the valid request: %d %s", w.Code, w.Body)
	}
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		message                  string // what the error starts with
	}{
		{"empty", "POST", inferPath, "", 400, "body: not JSON at byte 0"},
		{"not JSON", "POST", inferPath, "hello", 400, "body: not JSON at byte 1"},
		{"two documents", "POST", inferPath, "{}{}", 400, "body: not JSON at byte 3"},
		{"not an object", "POST", inferPath, "[]", 400, "a JSON array is not allowed"},
		{"too large", "POST", inferPath, strings.Repeat(" ", maxBody+1), 413, "body: larger than 524288 bytes"},
		{"no inputs", "POST", inferPath, "{}", 400, "inputs: got 0, want exactly one"},
		{"id type", "POST", inferPath, request(`"x"`, "7"), 400, "id: a JSON number is not allowed"},
		{"input name", "POST", inferPath, request(`"candidates"`, `"x"`), 400, `inputs[0].name: got "x", want "candidates"`},
		{"datatype", "POST", inferPath, request("FP32", "FP64"), 400, `inputs[0].datatype: got "FP64", want "FP32"`},
		{"datatype type", "POST", inferPath, request(`"FP32"`, "32"), 400, "inputs.datatype: a JSON number is not allowed"},
		{"no shape", "POST", inferPath, request(`"shape":[1,30],`, ""), 400, "inputs[0].shape: got [], want [n, 30]"},
		{"shape rank", "POST", inferPath, request("[1,30]", "[30]"), 400, "inputs[0].shape: got [30]"},
		{"shape width", "POST", inferPath, request("[1,30]", "[1,29]"), 400, "inputs[0].shape: got [1 29]"},
		{"shape zero", "POST", inferPath, request("[1,30]", "[0,30]"), 400, "inputs[0].shape: got [0 30]"},
		{"shape too many", "POST", inferPath, request("[1,30]", "[257,30]"), 400, "inputs[0].shape: got [257 30], want [n, 30] with n from 1 to 256"},
		{"shape fraction", "POST", inferPath, request("[1,30]", "[1.5,30]"), 400, "inputs.shape: a JSON number 1.5 is not allowed"},
		{"no data", "POST", inferPath, request(`,"data":[`+row+"]", ""), 400, "inputs[0].data: missing"},
		{"null value", "POST", inferPath, request("[1,1", "[null,1"), 400, "inputs[0].data: null is not a number"},
		{"text value", "POST", inferPath, request("[1,1", `["a",1`), 400, "inputs[0].data: want 1 rows of 30 numbers: a JSON string is not allowed"},
		{"overflow", "POST", inferPath, request("[1,1", `[1e39,1`), 400, "inputs[0].data: want 1 rows of 30 numbers: a JSON number 1e39 is not allowed"},
		{"data no array", "POST", inferPath, request("["+row+"]", `"AAAA"`), 400, "inputs[0].data: want 30 numbers: a JSON string is not allowed"},
		{"short row", "POST", inferPath, request("[1,1", "[1"), 400, "inputs[0].data[0]: got 29 values, shape [1 30] has 30"},
		{"rows missing", "POST", inferPath, request("[1,30]", "[2,30]"), 400, "inputs[0].data: got 1 rows, shape [2 30] has 2"},
		{"flat too short", "POST", inferPath, request("["+row+"]", "[1,2]"), 400, "inputs[0].data: got 2 values, shape [1 30] has 30"},
		{"not finite", "POST", inferPath, request(row, strings.ReplaceAll(row, "1", "3e38")), 400, "inputs[0].data: candidate 0: score is not finite"},
		{"output name", "POST", inferPath, request(`"id":"x"`, `"outputs":[{"name":"p"}]`), 400, `outputs[0].name: got "p"`},
		{"output twice", "POST", inferPath, request(`"id":"x"`, `"outputs":[{"name":"score"},{"name":"score"}]`), 400, `outputs[1].name: "score" is asked for twice`},
		{"other model", "POST", "/v2/models/other/infer", "{}", 404, `model "other" is not served here, "ranker" is`},
		{"other model ready", "GET", "/v2/models/other/ready", "", 404, `model "other" is not served here`},
		{"other path", "GET", "/v1/models", "", 404, "no such path: /v1/models"},
		{"infer by GET", "GET", inferPath, "", 405, "method GET is not allowed here, POST is"},
		{"ready by POST", "POST", "/v2/health/ready", "", 405, "method POST is not allowed here, GET is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := send(s, c.method, c.path, c.body)
			var body map[string]string
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatalf("%v in %s", err, w.Body)
			}
			if w.Code != c.status || !strings.HasPrefix(body["error"], c.message) {
				t.Errorf("got %d %q, want %d %q…", w.Code, body["error"], c.status, c.message)
			}
		})
	}
}

func TestRequestsWaitForASlotAndThenFail(t *testing.T) {
	s := newServer(t)
	for range cap(s.slots) {
		s.slots <- struct{}{}
	}
	w := send(s, http.MethodPost, inferPath, string(read(t, "request.json")))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("all slots taken: %d %s, want 503 with Retry-After", w.Code, w.Body)
	}
	<-s.slots
	for range 3 { // each gives its slot back
		if w := send(s, http.MethodPost, inferPath, string(read(t, "request.json"))); w.Code != http.StatusOK {
			t.Errorf("one slot free: %d %s", w.Code, w.Body)
		}
	}
}

func TestDrainingServerIsNotReadyButInfers(t *testing.T) {
	s := newServer(t)
	s.Drain()
	for path, want := range map[string]int{
		"/v2/health/live":         http.StatusOK,
		"/v2/health/ready":        http.StatusServiceUnavailable,
		"/v2/models/ranker/ready": http.StatusServiceUnavailable,
	} {
		if w := send(s, http.MethodGet, path, ""); w.Code != want {
			t.Errorf("GET %s = %d, want %d", path, w.Code, want)
		}
	}
	if w := send(s, http.MethodPost, inferPath, string(read(t, "request.json"))); w.Code != http.StatusOK {
		t.Errorf("infer = %d %s", w.Code, w.Body)
	}
}

// Each inference takes a little less time than the one before, until none takes more
// than it needs.
func TestSettling(t *testing.T) {
	const first = 100 * time.Millisecond
	for others := range int64(150) {
		this, next := unsettled(first, others), unsettled(first, others+1)
		if ratio := float64(next) / float64(this); math.Abs(ratio-0.97) > 1e-6 {
			t.Fatalf("after %d others %v, then %v", others, this, next)
		}
	}
	if unsettled(first, 0) != first || unsettled(first, 152) != 0 || unsettled(0, 0) != 0 {
		t.Error("begins or ends otherwise")
	}
	s := newServer(t)
	s.config.Settle = first
	began := time.Now()
	if err := s.settle(); err != nil || time.Since(began) < first {
		t.Errorf("took %v, error %v", time.Since(began), err)
	}
}

func TestBestFirst(t *testing.T) {
	if got, want := bestFirst([]float32{0.2, 0.9, 0.2, 0.5}), []int{1, 3, 0, 2}; !slices.Equal(got, want) {
		t.Errorf("bestFirst = %v, want %v", got, want)
	}
}

// The caller is told which trace context came with the request.
func TestTellsTheTrace(t *testing.T) {
	const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, want := range []string{traceparent, ""} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v2", http.NoBody)
		if want != "" {
			r.Header.Set("Traceparent", want)
		}
		traced(http.NotFoundHandler()).ServeHTTP(w, r)
		if got := w.Header().Get(TraceHeader); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
}
