package s3batch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// maxDifference is how far a score may be from the training library's own.
const maxDifference = 1e-5

// Record is what an output has of one item.
type Record struct {
	Item     int64
	Line     int64
	Status   int
	Reason   string
	Response struct {
		ID      string
		Outputs []struct {
			Name string
			Data []float64
		}
	}
}

// Score is the Model's; false where the record has none.
func (r Record) Score() (float64, bool) {
	for _, output := range r.Response.Outputs {
		if output.Name == "score" && len(output.Data) == 1 {
			return output.Data[0], true
		}
	}
	return 0, false
}

// Output is what came of an input.
type Output struct {
	// Records are by item, as the results have them.
	Records []Record
	// Errors are the dead letters: those that have failed, as they are set apart.
	Errors []Record
	// Difference is the largest between a score and the training library's.
	Difference float64
}

// First are the first records with a score.
func (o *Output) First(n int) []Record {
	scored := slices.DeleteFunc(slices.Clone(o.Records), func(r Record) bool {
		_, ok := r.Score()
		return !ok
	})
	return scored[:min(n, len(scored))]
}

// Read reads the objects of an output, by their keys, and holds them against its input: each
// item has one record, with the right score, and the broken ones, and no others, are among
// the errors. The error has all that isn't so, and the output is what there is all the same.
func (in *Input) Read(objects map[string][]byte) (*Output, error) {
	var o Output
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		var into *[]Record
		switch {
		case strings.Contains(key, "/results/"):
			into = &o.Records
		case strings.Contains(key, "/errors/"):
			into = &o.Errors
		default:
			continue // whose output it is
		}
		for line := range bytes.Lines(objects[key]) {
			var r Record
			if err := json.Unmarshal(line, &r); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %w", key, err))
				continue
			}
			*into = append(*into, r)
		}
	}
	return &o, errors.Join(append(wrong, in.hold(&o)...)...)
}

// hold returns what of an output isn't as its input wants it; of what is wrong with many
// items the first three.
func (in *Input) hold(o *Output) []error {
	var wrong []error
	failed := map[int64]Broken{}
	for _, b := range in.Broken {
		failed[b.Item] = b
	}
	seen := make([]int, in.Rows())
	for _, r := range o.Records {
		if r.Item < 0 || r.Item >= in.Rows() {
			wrong = append(wrong, fmt.Errorf("there is a record of item %d, which is none", r.Item))
			continue
		}
		seen[r.Item]++
		if _, broken := failed[r.Item]; broken {
			continue
		}
		score, ok := r.Score()
		if !ok || r.Response.ID != rowID(r.Item) {
			wrong = append(wrong, fmt.Errorf("item %d: status %d, %q, scored as %q", r.Item, r.Status, r.Reason, r.Response.ID))
			continue
		}
		off := math.Abs(score - in.Scores[r.Item])
		if o.Difference = max(o.Difference, off); off > maxDifference {
			wrong = append(wrong, fmt.Errorf("item %d has score %g, and not %g", r.Item, score, in.Scores[r.Item]))
		}
	}
	for item, n := range seen {
		if n != 1 {
			wrong = append(wrong, fmt.Errorf("item %d has %d records", item, n))
		}
	}
	for _, r := range o.Errors {
		b, broken := failed[r.Item]
		if delete(failed, r.Item); !broken || r.Line != b.Item+1 || !strings.Contains(r.Reason, b.Says) {
			wrong = append(wrong, fmt.Errorf("among the errors is item %d, line %d: status %d, %q", r.Item, r.Line, r.Status, r.Reason))
		}
	}
	for _, item := range slices.Sorted(maps.Keys(failed)) {
		wrong = append(wrong, fmt.Errorf("item %d is broken, and not among the errors", item))
	}
	if n := len(wrong); n > 3 {
		wrong = append(wrong[:3], fmt.Errorf("and %d more", n-3))
	}
	return wrong
}
