package main

import (
	"context"
	"fmt"
	"net/http"
)

// Of so many items one can't be read, and another is refused by the Model.
const spoiltEvery, unreadable, refusedItem = 500, 77, 13

// numberPath is what a Model of the streams' image is asked that answers numbers, after so many
// seconds.
func numberPath(seconds float64) string { return fmt.Sprintf("/predict?seconds=%g", seconds) }

// number is an item of one row whose answer repeats its id; some are spoilt.
func number(i int) string {
	value := i
	switch i % spoiltEvery {
	case unreadable:
		return fmt.Sprintf("no row %d", i)
	case refusedItem:
		value = -i
	}
	return fmt.Sprintf(`{"id":%q,"inputs":[{"name":"item","datatype":"INT64","shape":[1,1],"data":[%d]}]}`, itemID(i), value)
}

// spoilt tells whether nothing but an error can come of an item.
func spoilt(i int) bool { return i%spoiltEvery == unreadable || i%spoiltEvery == refusedItem }

// spoiltOf so many items.
func spoiltOf(items int) (n int) {
	for i := range items {
		if spoilt(i) {
			n++
		}
	}
	return n
}

// numbered is a record as it should be of its item.
func numbered(r record) bool {
	switch r.Item % spoiltEvery {
	case unreadable:
		return r.Status == 0 && r.Reason != ""
	case refusedItem:
		return r.Status == http.StatusBadRequest && r.Reason != ""
	}
	return r.Status == http.StatusOK && r.Reason == "" && r.Response.ID == itemID(r.Item)
}

// countErrors counts the records among a Batch's errors: right are those of spoilt items.
func (b *bench) countErrors(ctx context.Context, name string, items int) (*effects, error) {
	e := &effects{seen: make([]bool, items)}
	err := b.store.Each(ctx, bucket, outputOf(name)+"errors/", func(_ string, content []byte) error {
		return e.add(content, func(r record) bool { return spoilt(r.Item) && numbered(r) })
	})
	return e, err
}
