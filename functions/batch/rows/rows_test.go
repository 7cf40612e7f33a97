package rows

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func parse(t interface{ Fatal(...any) }, body string) *Request {
	r, err := Parse([]byte(body))
	if err != nil {
		t.Fatal(err, "of", body)
	}
	return r
}

func same(t *testing.T, want string, got []byte) {
	t.Helper()
	var w, g any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%v of %s", err, got)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Error("(-want, +got):", diff)
	}
}

func TestGatherAndCut(t *testing.T) {
	requests := []*Request{
		parse(t, `{"id":"a","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1.50,2]},{"name":"s","shape":[1],"datatype":"BYTES","data":["<one>"]}]}`),
		parse(t, `{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[3,4,5,6e1]},{"name":"s","shape":[2],"datatype":"BYTES","data":["two","three"]}]}`),
	}
	if !requests[0].Gathers(requests[1]) {
		t.Fatal("they don't gather")
	}
	gathered, err := Gather(requests)
	if err != nil {
		t.Fatal(err)
	}
	same(t, `{"inputs":[{"name":"x","shape":[3,2],"datatype":"FP32","data":[1.5,2,3,4,5,60]},
		{"name":"s","shape":[3],"datatype":"BYTES","data":["<one>","two","three"]}]}`, gathered)
	if !strings.Contains(string(gathered), "1.50") || !strings.Contains(string(gathered), "<one>") {
		t.Errorf("data don't stay as they were written: %s", gathered)
	}
	cut, err := Cut([]byte(`{"id":"g","model_name":"m","outputs":[
		{"name":"y","shape":[3],"datatype":"FP32","data":[0.1,0.2,0.3]},
		{"name":"z","shape":[3,2],"datatype":"INT64","data":[[1,2],[3,4],[5,6]],"parameters":{"p":1}}]}`), requests)
	if err != nil {
		t.Fatal(err)
	}
	same(t, `{"id":"a","model_name":"m","outputs":[{"name":"y","shape":[1],"datatype":"FP32","data":[0.1]},
		{"name":"z","shape":[1,2],"datatype":"INT64","data":[[1,2]],"parameters":{"p":1}}]}`, cut[0])
	same(t, `{"model_name":"m","outputs":[{"name":"y","shape":[2],"datatype":"FP32","data":[0.2,0.3]},
		{"name":"z","shape":[2,2],"datatype":"INT64","data":[[3,4],[5,6]],"parameters":{"p":1}}]}`, cut[1])
}

func TestWhatDoesNotGather(t *testing.T) {
	const one = `{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}`
	for _, other := range []string{
		`{"inputs":[{"name":"y","shape":[1,2],"datatype":"FP32","data":[1,2]}]}`,
		`{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}`,
		`{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[1,2]}]}`,
		`{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[[1,2]]}]}`,
		`{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2],"parameters":{"a":1}}]}`,
		`{"parameters":{"k":3},"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}`,
		`{"outputs":[{"name":"y"}],"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}`,
	} {
		if parse(t, one).Gathers(parse(t, other)) {
			t.Errorf("%s gathers with %s", other, one)
		}
	}
}

func TestWhatIsNoRequest(t *testing.T) {
	for body, want := range map[string]string{
		`[1]`:                                   "isn't an object",
		`{}`:                                    "inputs is no list of tensors",
		`{"inputs":[]}`:                         "inputs is no list of tensors",
		`{"inputs":[{"shape":[1],"data":[1]}]}`: "inputs[0] has no name",
		`{"inputs":[{"name":"x","data":[1]}]}`:  "tensor x: shape is no list",
		`{"inputs":[{"name":"x","shape":[],"data":[1]}]}`:                                          "tensor x: shape is no list",
		`{"inputs":[{"name":"x","shape":[0],"data":[]}]}`:                                          "number below 1",
		`{"inputs":[{"name":"x","shape":[99999,99999,99999],"data":[1]}]}`:                         "too large",
		`{"inputs":[{"name":"x","shape":[1],"parameters":{"binary_data_size":4}}]}`:                "binary data isn't read",
		`{"inputs":[{"name":"x","shape":[2],"data":[1]}]}`:                                         "data has 1 elements, shape [2] has 2",
		`{"inputs":[{"name":"x","shape":[2,2],"data":[[1,2]]}]}`:                                   "data has 1 elements, shape [2 2] has 2",
		`{"inputs":[{"name":"x","shape":[1],"data":[1]},{"name":"y","shape":[2],"data":[1,2]}]}`:   "input y has 2 rows, input x has 1",
		`{"inputs":[{"name":"x","shape":[1],"data":{"a":1}},{"name":"y","shape":[1],"data":[1]}]}`: "data is no list",
	} {
		if _, err := Parse([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
}

func TestAnswersThatCannotBeCut(t *testing.T) {
	requests := []*Request{
		parse(t, `{"inputs":[{"name":"x","shape":[1],"data":[1]}]}`), parse(t, `{"inputs":[{"name":"x","shape":[1],"data":[2]}]}`),
	}
	for _, answer := range []string{
		``, `{}`, `"text"`, `{"outputs":[{"name":"y","shape":[1],"data":[1]}]}`, `{"outputs":[{"name":"y","shape":[2],"data":[1]}]}`,
		`{"outputs":[{"name":"y","shape":[3],"data":[1,2,3]}]}`,
	} {
		if cut, err := Cut([]byte(answer), requests); err == nil {
			t.Errorf("%s is cut into %s", answer, cut)
		}
	}
}

// A model that answers each row with itself answers gathered rows as it does single ones.
func TestEachGetsItsOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width, nested := rapid.IntRange(1, 3).Draw(t, "width"), rapid.Bool().Draw(t, "nested")
		var requests []*Request
		var bodies []string
		for i := range rapid.IntRange(1, 20).Draw(t, "requests") {
			count := rapid.IntRange(1, 4).Draw(t, "rows")
			var data []string
			for row := range count {
				var elements []string
				for column := range width {
					elements = append(elements, fmt.Sprint(i*10_000+row*100+column))
				}
				text := strings.Join(elements, ",")
				if nested {
					text = "[" + text + "]"
				}
				data = append(data, text)
			}
			bodies = append(bodies, fmt.Sprintf(`{"id":"%d","inputs":[{"data":[%s],"name":"x","shape":[%d,%d]}]}`, i, strings.Join(data, ","), count, width))
			requests = append(requests, parse(t, bodies[i]))
		}
		gathered, err := Gather(requests)
		if err != nil {
			t.Fatal(err)
		}
		cut, err := Cut([]byte(strings.Replace(string(gathered), `"inputs"`, `"outputs"`, 1)), requests)
		if err != nil {
			t.Fatal(err, "of", string(gathered))
		}
		for i, answer := range cut {
			if got := strings.Replace(string(answer), `"outputs"`, `"inputs"`, 1); got != bodies[i] {
				t.Fatalf("request %d, %s, got %s", i, bodies[i], got)
			}
		}
	})
}
