package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// itemsOfObject is how many items an object of an input has, at most.
const itemsOfObject = 50_000

// upload puts an input of that many items below a prefix, as lines of objects.
func (b *bench) upload(ctx context.Context, prefix string, items int, line func(i int) string) error {
	for first := 0; first < items; first += itemsOfObject {
		var content strings.Builder
		for i := first; i < min(items, first+itemsOfObject); i++ {
			content.WriteString(line(i))
			content.WriteByte('\n')
		}
		if err := b.store.Put(ctx, bucket, fmt.Sprintf("%s%012d.jsonl", prefix, first), content.String()); err != nil {
			return err
		}
	}
	return nil
}

// plain is an item that its Model doesn't look at.
func plain(i int) string { return fmt.Sprintf(`{"item":%d}`, i) }

// prediction returns an item of the ranker's, of one row: a request, with an id that its answer
// repeats.
func (b *bench) prediction() (func(i int) string, error) {
	content, err := os.ReadFile(b.request)
	if err != nil {
		return nil, fmt.Errorf("reading the request (run it in the repository's root): %w", err)
	}
	var request struct {
		Inputs []struct {
			Name     string      `json:"name"`
			Datatype string      `json:"datatype"`
			Shape    []int       `json:"shape"`
			Data     [][]float64 `json:"data"`
		} `json:"inputs"`
	}
	if err := json.Unmarshal(content, &request); err != nil {
		return nil, fmt.Errorf("reading the request %s: %w", b.request, err)
	}
	if len(request.Inputs) != 1 || len(request.Inputs[0].Data) == 0 || len(request.Inputs[0].Shape) != 2 {
		return nil, fmt.Errorf("the request %s isn't one of rows of one input", b.request)
	}
	input := &request.Inputs[0]
	input.Shape[0], input.Data = 1, input.Data[:1]
	inputs, err := json.Marshal(request.Inputs)
	if err != nil {
		return nil, fmt.Errorf("writing an item: %w", err)
	}
	return func(i int) string { return fmt.Sprintf(`{"id":%q,"inputs":%s}`, itemID(i), inputs) }, nil
}

// itemID names an item, and so what the ranker answers to it.
func itemID(i int) string { return fmt.Sprintf("item-%d", i) }

// effects counts the records of a Batch's output.
type effects struct {
	// records are all, doubled those of an item that had one before, odd those that aren't what
	// should have come of their item.
	records, doubled, odd int
	seen                  []bool
}

// missing is how many items have no record.
func (e *effects) missing() int { return len(e.seen) - (e.records - e.doubled) }

// record of an item, as far as it is looked at.
type record struct {
	Item     int
	Status   int
	Reason   string
	Response struct{ ID string }
}

func (e *effects) add(content []byte, right func(record) bool) error {
	for line := range bytes.Lines(content) {
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("reading the record %.200s: %w", line, err)
		}
		switch {
		case r.Item < 0 || r.Item >= len(e.seen):
			return fmt.Errorf("a record of item %d, of %d", r.Item, len(e.seen))
		case e.seen[r.Item]:
			e.doubled++
		}
		e.seen[r.Item] = true
		e.records++
		if !right(r) {
			e.odd++
		}
	}
	return nil
}

// ranked is a record of the ranker's answer to its item.
func ranked(r record) bool { return r.Status == 200 && r.Response.ID == itemID(r.Item) }

// count counts the records of each of a Batch's items.
func (b *bench) count(ctx context.Context, name string, items int, right func(record) bool) (*effects, error) {
	e := &effects{seen: make([]bool, items)}
	err := b.store.Each(ctx, bucket, outputOf(name)+"results/", func(_ string, content []byte) error { return e.add(content, right) })
	return e, err
}
