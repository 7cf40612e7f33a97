package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const right = `{
	"namespace": "team", "name": "nightly", "uid": "u-1", "model": "http://ranker.team.svc.cluster.local", "credits": "http://batch.sluice-system",
	"input": {"s3": {"endpoint": "http://store:7070", "bucket": "in", "credentials": "/var/run/in"}, "prefix": "rows/"},
	"request": {"path": "/v2/models/ranker/infer?x=1", "headers": {"X-Who": "batch"}, "timeout": "30s"},
	"output": {"volume": "/data", "prefix": "out"},
	"maxFailedItems": 0
}`

func TestParseSetsDefaults(t *testing.T) {
	read, err := Parse([]byte(right))
	if err != nil {
		t.Fatal(err)
	}
	if read.Format != Lines || read.Retry.Attempts != 5 || read.Bounds.PartItems != 1000 || *read.MaxFailedItems != 0 {
		t.Errorf("read %+v", read)
	}
	if got := time.Duration(read.Request.Timeout); got != 30*time.Second {
		t.Errorf("timeout %s, want 30s", got)
	}
	// What the reconciler writes is what a worker reads.
	written, err := json.Marshal(read)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(written)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(read, again); diff != "" {
		t.Error("written and read (-want, +got):", diff)
	}
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct{ name, old, new, want string }{
		{"unknown field", `"uid"`, `"uuid"`, `unknown field "uuid"`},
		{"more than a task", right, right + "{}", "more follows it"},
		{"duration", `"30s"`, `"soon"`, `"soon" is no duration such as 30s`},
		{"no uid", `"u-1"`, `""`, "uid: is missing"},
		{"model with a path", "cluster.local", "cluster.local/v2", "model: "},
		{"no credits", "http://batch.sluice-system", "", `credits: "" is no URL`},
		{"endpoint", "http://store:7070", "store:7070", "input.s3.endpoint: "},
		{"no bucket", `"bucket": "in"`, `"bucket": ""`, "input.s3.bucket: is missing"},
		{"two stores", `"prefix": "out"`, `"prefix": "out", "s3": {"bucket": "b"}`, "output: needs one of s3, volume, kafka"},
		{"no store", `"volume": "/data", `, "", "output: needs one of s3, volume, kafka"},
		{"relative folder", `"/data"`, `"data"`, "output.volume: "},
		{"a way out", `"out"`, `"../out"`, "output.prefix: "},
		{"key and prefix", `"prefix": "rows/"`, `"prefix": "rows/", "key": "a"`, "input: has key and prefix"},
		{"urls and a store", `"prefix": "rows/"`, `"urls": ["http://a/b"]`, "input: has urls and a store"},
		{"output in the input", `"volume": "/data", "prefix": "out"`, `"s3": {"endpoint": "http://store:7070", "bucket": "in"}, "prefix": "rows/out"`, "output.prefix: "},
		{"format", `"maxFailedItems": 0`, `"format": "CSV"`, `format: "CSV" is none of`},
		{"rows of lines", `"30s"`, `"30s", "rows": 5`, "request.rows: is for format Rows alone"},
		{"path", `"/v2/models/ranker/infer?x=1"`, `"v2"`, "request.path: "},
		{"our header", "X-Who", "idempotency-key", "request.headers[idempotency-key]: is set by the worker"},
		{"no header", "X-Who", "X Who", "request.headers[X Who]: is no header"},
		{"negative", `"maxFailedItems": 0`, `"maxFailedItems": -1`, "maxFailedItems: -1 is below 0"},
		{"shards", `"maxFailedItems": 0`, `"bounds": {"shards": 1001}`, "bounds.shards: 1001 isn't within 1 and 1000"},
		{"backoff", `"maxFailedItems": 0`, `"retry": {"minBackoff": "1m"}`, "retry.maxBackoff: "},
		{"timeout", `"30s"`, `"2h"`, "request.timeout: 2h0m0s isn't above 0 and at most 1h0m0s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			content := strings.Replace(right, tc.old, tc.new, 1)
			if content == right {
				t.Fatal("nothing is replaced")
			}
			if _, err := Parse([]byte(content)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestURLs(t *testing.T) {
	in := `"urls": ["http://a/b", "http://a/b", "ftp://c"]`
	content := strings.Replace(right, `"s3": {"endpoint": "http://store:7070", "bucket": "in", "credentials": "/var/run/in"}, "prefix": "rows/"`, in, 1)
	_, err := Parse([]byte(content))
	for _, want := range []string{`input.urls[1]: "http://a/b" is there twice`, `input.urls[2]: "ftp://c" is no URL`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestBlame(t *testing.T) {
	for _, tc := range []struct {
		err    error
		reason string
		code   int
	}{
		{nil, "", 0},
		{errors.New("x"), Failed, 1},
		{fmt.Errorf("y: %w", Passing(StoreAway, errors.New("x"))), StoreAway, 1},
		{fmt.Errorf("y: %w", Final(OutputInUse, errors.New("x"))), OutputInUse, ExitFinal},
	} {
		if report, code := (Report{Items: 1}).Blame(tc.err); report.Reason != tc.reason || code != tc.code || report.Items != 1 {
			t.Errorf("of %v: %+v, code %d; want %s, %d", tc.err, report, code, tc.reason, tc.code)
		}
	}
}

// Kubernetes takes no more than so many bytes of a report.
func TestReportsAreShort(t *testing.T) {
	// Bytes that take six each in JSON.
	encoded := Report{Reason: Failed, Message: strings.Repeat("\x01", 5000)}.Encode()
	if len(encoded) > 4096 {
		t.Errorf("the report takes %d bytes", len(encoded))
	}
	var read Report
	if err := json.Unmarshal(encoded, &read); err != nil || read.Reason != Failed || !strings.HasSuffix(read.Message, "…") {
		t.Errorf("read %+v, %v", read, err)
	}
}

const topics = `{
	"namespace": "team", "name": "nightly", "uid": "u-1", "model": "http://ranker.team.svc.cluster.local", "credits": "http://batch.sluice-system",
	"input": {"kafka": {"brokers": ["kafka:9092"], "topic": "rows", "since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}},
	"request": {"path": "/v2/models/ranker/infer"},
	"output": {"kafka": {"brokers": ["kafka:9092", "kafka-1:9092"], "topic": "scores", "tls": true, "credentials": "/var/run/out", "errorTopic": "errors"}}
}`

func TestTopics(t *testing.T) {
	read, err := Parse([]byte(topics))
	if err != nil {
		t.Fatal(err)
	}
	if got := read.Output.Kafka.Markers(); got != "scores.batches" || !read.Output.Kafka.TLS || read.Input.Kafka.Until.Sub(*read.Input.Kafka.Since) != 24*time.Hour {
		t.Errorf("read %+v, %+v, with markers %s", read.Input.Kafka, read.Output.Kafka, got)
	}
	const since, until = `"since": "2026-01-01T00:00:00Z"`, `"until": "2026-01-02T00:00:00Z"`
	partitions := func(ranges string) string { return `"partitions": [` + ranges + `]` }
	for _, tc := range []struct{ name, old, new, want string }{
		{"a range without an end", since + ", " + until, partitions(`{"partition": 0}, {"partition": 1, "from": 5}, {"partition": 2, "from": 5, "to": 6}`), ""},
		{"a day of all partitions", until, partitions(""), ""},
		{"no brokers", `"kafka:9092"], "topic": "rows"`, `], "topic": "rows"`, "input.kafka.brokers: has 0 addresses"},
		{"no port", `"kafka:9092"], "topic": "rows"`, `"kafka"], "topic": "rows"`, `input.kafka.brokers[0]: "kafka" is no address`},
		{"no host", `"kafka-1:9092"`, `":9092"`, `output.kafka.brokers[1]: ":9092" is no address`},
		{"port 0", `"kafka-1:9092"`, `"kafka:0"`, `output.kafka.brokers[1]: "kafka:0" is no address`},
		{"twice", `"kafka-1:9092"`, `"kafka:9092"`, `output.kafka.brokers[1]: "kafka:9092" is there twice`},
		{"no topic", `"rows"`, `""`, "input.kafka.topic: is missing"},
		{"no name", `"rows"`, `"a/b"`, `input.kafka.topic: "a/b" is no name`},
		{"two dots", `"rows"`, `".."`, `input.kafka.topic: ".." is no name`},
		{"the longest name", `"rows"`, `"` + strings.Repeat("r", 249) + `"`, ""},
		{"no room for the suffix", `"scores"`, `"` + strings.Repeat("s", 242) + `"`, "output.kafka.topic: has 242 characters, at most 241"},
		{"relative folder", `"/var/run/out"`, `"out"`, "output.kafka.credentials: "},
		{"nothing between", until, `"until": "2026-01-01T00:00:00Z"`, "input.kafka.until: isn't after since"},
		{"time and offsets", until, partitions(`{"partition": 0}`), "input.kafka.partitions: are there beside since"},
		{"partition twice", since + ", " + until, partitions(`{"partition": 1}, {"partition": 1}`), "input.kafka.partitions[1].partition: 1 is there twice"},
		{"partition below 0", since + ", " + until, partitions(`{"partition": -1}`), "input.kafka.partitions[0].partition: -1 is below 0"},
		{"from below 0", since + ", " + until, partitions(`{"partition": 0, "from": -2}`), "input.kafka.partitions[0].from: -2 is below 0"},
		{"an empty range", since + ", " + until, partitions(`{"partition": 0, "from": 3, "to": 3}`), "input.kafka.partitions[0].to: 3 isn't above from, 3"},
		{"nothing up to", since + ", " + until, partitions(`{"partition": 0, "to": 0}`), "input.kafka.partitions[0].to: 0 isn't above from, 0"},
		{"errors among results", `"errors"`, `"scores"`, `output.kafka.errorTopic: "scores" is a topic of the output already`},
		{"errors among markers", `"errors"`, `"scores.batches"`, `output.kafka.errorTopic: "scores.batches" is a topic of the output already`},
		{"no name of errors", `"errors"`, `"er rors"`, `output.kafka.errorTopic: "er rors" is no name`},
		{"results become items", `"scores"`, `"rows"`, `output.kafka.topic: "rows" is what is read, too`},
		{"errors become items", `"errors"`, `"rows"`, `output.kafka.errorTopic: "rows" is what is read, too`},
		{"markers as items", `"rows"`, `"scores.batches"`, `input.kafka.topic: "scores.batches" is the one that says`},
		{"another cluster", `"kafka:9092"], "topic": "rows"`, `"other:9092"], "topic": "scores"`, ""},
		{"input and a store", `"input": {`, `"input": {"volume": "/data", `, "input: has kafka and urls or a store"},
		{"input and urls", `"input": {`, `"input": {"urls": ["http://a/b"], `, "input: has kafka and urls or a store"},
		{"output and a store", `"output": {`, `"output": {"volume": "/data", `, "output: has kafka and a store"},
		{"output and a prefix", `"output": {`, `"output": {"prefix": "out", `, "output: has kafka and a store"},
		{"bodies of any kind", `"request":`, `"format": "Objects", "request":`, ""},
		{"rows", `"request":`, `"format": "Rows", "request":`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			content := strings.Replace(topics, tc.old, tc.new, 1)
			if content == topics {
				t.Fatal("nothing is replaced")
			}
			if _, err := Parse([]byte(content)); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
