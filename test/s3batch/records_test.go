package s3batch

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

func expected(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile("../images/ranker/testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// An object has as many lines as it says; all but the broken ones are requests.
func TestNewInput(t *testing.T) {
	for _, tt := range []struct{ rows, broken int }{{1, 0}, {60, 2}, {61, 3}, {300, 7}, {3000, 3}, {2, 1}} {
		in, err := NewInput(expected(t), tt.rows, tt.broken)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(in.Content, "\n"), "\n")
		if len(lines) != tt.rows || in.Rows() != int64(tt.rows) || len(in.Broken) != tt.broken {
			t.Fatalf("%+v: %d lines, %d rows, broken %v", tt, len(lines), in.Rows(), in.Broken)
		}
		broken := map[int64]bool{}
		for _, b := range in.Broken {
			broken[b.Item] = true
		}
		if len(broken) != tt.broken {
			t.Errorf("%+v: broken are %v", tt, in.Broken)
		}
		for i, line := range lines {
			var request struct {
				ID     string
				Inputs []struct {
					Shape []int
					Data  []float64
				}
			}
			err := json.Unmarshal([]byte(line), &request)
			right := err == nil && len(request.Inputs) == 1 && request.Inputs[0].Shape[1] == len(request.Inputs[0].Data)
			if right == broken[int64(i)] || right && (request.ID != rowID(int64(i)) || len(request.Inputs[0].Data) != 30) {
				t.Errorf("%+v: line %d, broken %t, is %.80s", tt, i+1, broken[int64(i)], line)
			}
		}
	}
}

func TestNoInput(t *testing.T) {
	for _, tt := range []struct {
		expected     string
		rows, broken int
	}{{`{`, 1, 0}, {`{}`, 1, 0}, {`{"candidates": [[1]], "scores": []}`, 1, 0}, {string(expected(t)), 3, 2}, {string(expected(t)), 3, -1}} {
		if in, err := NewInput([]byte(tt.expected), tt.rows, tt.broken); err == nil {
			t.Errorf("%.40s, %d rows, %d broken: %v", tt.expected, tt.rows, tt.broken, in)
		}
	}
}

// An output is right only if each item has its one record, and what is broken its error.
func TestRead(t *testing.T) {
	in, err := NewInput(expected(t), 6, 2)
	if err != nil {
		t.Fatal(err)
	}
	record := func(item int, id string, score float64) string {
		return fmt.Sprintf(`{"item":%d,"status":200,"response":{"id":%q,"outputs":[{"name":"score","data":[%v]}]}}`+"\n", item, id, score)
	}
	failed := func(b Broken) string {
		return fmt.Sprintf(`{"item":%d,"line":%d,"status":400,"reason":%q}`+"\n", b.Item, b.Item+1, "it says "+b.Says)
	}
	broken := map[int64]Broken{in.Broken[0].Item: in.Broken[0], in.Broken[1].Item: in.Broken[1]}
	var right strings.Builder
	for i, score := range in.Scores {
		if b, ok := broken[int64(i)]; ok {
			right.WriteString(failed(b))
			continue
		}
		right.WriteString(record(i, rowID(int64(i)), score))
	}
	results, dead := right.String(), failed(in.Broken[0])+failed(in.Broken[1])
	for _, tt := range []struct{ name, results, errors, says string }{
		{"right", results, dead, ""},
		{"a score that differs by little", strings.Replace(results, record(0, "row-0", in.Scores[0]), record(0, "row-0", in.Scores[0]+2e-6), 1), dead, ""},
		{"another score", strings.Replace(results, record(0, "row-0", in.Scores[0]), record(0, "row-0", in.Scores[0]+2e-5), 1), dead, "item 0 has score"},
		{"another's answer", strings.Replace(results, `"row-0"`, `"row-5"`, 1), dead, "item 0: status 200"},
		{"a record twice", results + record(0, "row-0", in.Scores[0]), dead, "item 0 has 2 records"},
		{"a record too few", strings.Replace(results, record(0, "row-0", in.Scores[0]), "", 1), dead, "item 0 has 0 records"},
		{"a record too many", results + record(6, "row-6", 0), dead, "item 6, which is none"},
		{"no JSON", results + "{\n", dead, "runs/1/results/0.jsonl"},
		{"an error too few", results, failed(in.Broken[0]), fmt.Sprintf("item %d is broken, and not among the errors", in.Broken[1].Item)},
		{"an error twice", results, dead + failed(in.Broken[0]), "among the errors is item"},
		{"an error of a good row", results, dead + failed(Broken{Item: 0}), "among the errors is item 0"},
		{"an error without a reason", results, strings.Replace(dead, in.Broken[0].Says, "", 1), "among the errors is item"},
		{"nothing", "", "", "and 5 more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := in.Read(map[string][]byte{
				"runs/1/results/0.jsonl": []byte(tt.results), "runs/1/errors/0.jsonl": []byte(tt.errors), "runs/1/_sluice/owner.json": []byte("{}"),
			})
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("got %v, want %q", err, tt.says)
			}
			if tt.says == "" && (len(o.Records) != 6 || len(o.Errors) != 2 || len(o.First(3)) != 3 || len(o.First(100)) != 4) {
				t.Errorf("%d records, %d errors, %d scored", len(o.Records), len(o.Errors), len(o.First(100)))
			}
		})
	}
}
