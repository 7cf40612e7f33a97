package main

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
)

// Each second has its lines, and each revision of each Model as many of them.
func TestWrite(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := (plan{lines: 60, seconds: 1, models: 3, revisions: 2}).write(context.Background(), &out); err != nil {
		t.Fatal(err)
	}
	of, refused := map[string]int{}, 0
	for text := range bytes.Lines(out.Bytes()) {
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatal(err)
		}
		of[l.Cluster]++
		if l.Limit == "refused" {
			refused++
		}
	}
	if len(of) != 6 || of["outbound|80||model-2-00002.many-2.svc.cluster.local"] != 10 || refused != 6 {
		t.Errorf("%v, %d refused", of, refused)
	}
}

// What can't be read is told by its name.
func TestRead(t *testing.T) {
	t.Parallel()
	values := map[string]string{"LINES": "10", "SECONDS": "1", "MODELS": "2", "REVISIONS": "3"}
	if p, err := read(func(name string) string { return values[name] }); err != nil || p != (plan{lines: 10, seconds: 1, models: 2, revisions: 3}) {
		t.Errorf("%+v, %v", p, err)
	}
	values["MODELS"] = "0"
	if _, err := read(func(name string) string { return values[name] }); err == nil {
		t.Error("0 Models were taken")
	}
}
