package main

import (
	"fmt"
	"testing"
)

// Each item has just one kind of record that is right.
func TestNumbered(t *testing.T) {
	for i := range 2 * spoiltEvery {
		id := struct{ ID string }{itemID(i)}
		right := map[string]bool{
			"answered":           numbered(record{Item: i, Status: 200, Response: id}),
			"answered otherwise": numbered(record{Item: i, Status: 200, Response: struct{ ID string }{itemID(i + 1)}}),
			"refused":            numbered(record{Item: i, Status: 400, Reason: "400"}),
			"unreadable":         numbered(record{Item: i, Reason: "no JSON"}),
			"failed":             numbered(record{Item: i, Status: 502, Reason: "502"}),
		}
		want := map[string]bool{
			"answered": !spoilt(i), "answered otherwise": false, "failed": false,
			"refused": i%spoiltEvery == refusedItem, "unreadable": i%spoiltEvery == unreadable,
		}
		if fmt.Sprint(right) != fmt.Sprint(want) {
			t.Fatalf("item %d: %v, want %v", i, right, want)
		}
	}
	if got := spoiltOf(2 * spoiltEvery); got != 4 {
		t.Errorf("%d are spoilt", got)
	}
}

// What is missing, there twice, or another's is seen.
func TestEffectsOfNumbers(t *testing.T) {
	e := &effects{seen: make([]bool, 5)}
	for _, content := range []string{
		`{"item":0,"status":200,"response":{"id":"item-0"}}` + "\n" + `{"item":1,"status":200,"response":{"id":"item-7"}}` + "\n",
		`{"item":0,"status":200,"response":{"id":"item-0"}}` + "\n" + `{"item":4,"status":502,"reason":"502"}` + "\n",
	} {
		if err := e.add([]byte(content), numbered); err != nil {
			t.Fatal(err)
		}
	}
	if e.records != 4 || e.doubled != 1 || e.odd != 2 || e.missing() != 2 {
		t.Errorf("%+v, %d missing", e, e.missing())
	}
	if err := e.add([]byte(`{"item":5}`), numbered); err == nil {
		t.Error("a record of an item that there isn't")
	}
}
