package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// put is what versitygw 1.8 sent of an object.
func put(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile("testdata/put.json")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(content)
}

func TestEventsOf(t *testing.T) {
	const (
		whole = `{"eventSource":"aws:s3","awsRegion":"eu-1","eventTime":"2026-01-02T03:04:05Z","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"k"}}}`
		other = `{"eventSource":"aws:s3","awsRegion":"eu-1","eventTime":"2026-01-02T03:04:06Z","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"k"}}}`
	)
	for _, tt := range []struct {
		name, body string
		events     int
		err        string
	}{
		{"what a store tries with", `{"Bucket":"Test-Bucket","Event":"s3:TestEvent","Service":"S3","Time":"2026-11-30T13:06:54Z"}`, 0, ""},
		{"what versitygw sends of an object", string(put(t)), 1, ""},
		{"as AWS names it", `{"Records":[` + whole + `]}`, 1, ""},
		{"several", `{"Records":[` + whole + `,` + other + `]}`, 2, ""},
		{"no JSON", `Records`, 0, "reading an S3 notification"},
		{"something else", `{"specversion":"1.0"}`, 0, "neither Records nor Event"},
		{"no bucket", `{"Records":[` + whole + `,` + strings.Replace(whole, `"b"`, `""`, 1) + `]}`, 0, "Records[1]: s3.bucket.name is empty"},
		{"no key", `{"Records":[` + strings.Replace(whole, `"key":"k"`, ``, 1) + `]}`, 0, "Records[0]: s3.object.key is empty"},
		{"no name", `{"Records":[` + strings.Replace(whole, `"ObjectCreated:Put"`, `""`, 1) + `]}`, 0, "Records[0]: eventName is empty"},
		{"no time", `{"Records":[` + strings.Replace(whole, `2026-01-02`, `tomorrow`, 1) + `]}`, 0, "Records[0]: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events, err := eventsOf([]byte(tt.body))
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) || len(events) != tt.events {
				t.Fatalf("got %d events, %v; want %d, %q", len(events), err, tt.events, tt.err)
			}
			ids := map[string]bool{}
			for _, e := range events {
				ids[e.ID()] = true
				if e.Type() != "com.amazonaws.s3.ObjectCreated:Put" {
					t.Errorf("the type is %q", e.Type())
				}
			}
			if len(ids) != len(events) {
				t.Errorf("%d events have the ids %v", len(events), ids)
			}
		})
	}
}

// An event has what filters and templates go by, and is the same when its record comes again.
func TestEventOfAnObject(t *testing.T) {
	events, err := eventsOf(put(t))
	if err != nil {
		t.Fatal(err)
	}
	again, err := eventsOf(put(t))
	if err != nil {
		t.Fatal(err)
	}
	e := events[0]
	if e.ID() != again[0].ID() || len(e.ID()) != 2*digest {
		t.Errorf("the ids are %q and %q", e.ID(), again[0].ID())
	}
	if e.Source() != "aws:s3.us-east-1.bkt" || e.Subject() != "in/a b+c.jsonl" || !e.Time().Equal(time.Date(2026, 11, 30, 13, 6, 56, 0, time.UTC)) {
		t.Errorf("the event is %v", e)
	}
	var sent struct{ Records []json.RawMessage }
	if err := json.Unmarshal(put(t), &sent); err != nil {
		t.Fatal(err)
	}
	if e.DataContentType() != "application/json" || !bytes.Equal(e.Data(), sent.Records[0]) {
		t.Errorf("the data are %s, as %s", e.Data(), e.DataContentType())
	}
}
