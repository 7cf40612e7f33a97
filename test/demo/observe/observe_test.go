package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sluice.dev/sluice/test/demo/internal/show"
	"sluice.dev/sluice/test/load"
	teststores "sluice.dev/sluice/test/stores"
)

func TestParse(t *testing.T) {
	required := []string{"-image", "i", "-kubeconfig", "k"}
	for _, tt := range []struct {
		name      string
		arguments []string
		of        int
		err       string
	}{
		{"all that is required", required, 5, ""},
		{"some stores", append([]string{"-only", "prometheus,kafka"}, required...), 2, ""},
		{"an unknown store", append([]string{"-only", "loki"}, required...), 0, `-only names "loki", want some of prometheus,`},
		{"no image", required[2:], 0, "-image is required"},
		{"a word too many", append(required, "now"), 0, `unexpected argument "now"`},
	} {
		o, err := parse(tt.arguments)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) || err == nil && len(o.of) != tt.of {
			t.Errorf("%s: %+v, %v", tt.name, o, err)
		}
	}
}

func TestManifest(t *testing.T) {
	object, err := manifest("ranker-1", "image@sha256:1")
	if err != nil {
		t.Fatal(err)
	}
	var m unstructured.Unstructured
	if err := m.UnmarshalJSON(object); err != nil {
		t.Fatal(err)
	}
	image, _, _ := unstructured.NestedString(m.Object, "spec", "container", "image")
	rate, _, _ := unstructured.NestedInt64(m.Object, "spec", "limit", "requestsPerSecondPerReplica")
	if m.GetName() != "ranker-1" || image != "image@sha256:1" || rate != limit {
		t.Errorf("it is %s", object)
	}
}

// About 30 s of load, of which the middle is above the limit and the rest is not.
func TestLoad(t *testing.T) {
	for _, s := range []load.Schedule{rising, aside, once} {
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
	}
	if once.Requests() != 1 {
		t.Errorf("once is %d requests", once.Requests())
	}
	if n := once.Requests() + aside.Requests() + rising.Requests(); n != 697 || aside.Requests() != 24 {
		t.Errorf("the Model gets %d requests, docs/observability.md says 697", n)
	}
	total := rising.Duration() + aside.Duration()*2 + once.Duration()
	if total < 25*time.Second || total > 40*time.Second || rising.Rate(10*time.Second) < 1.5*limit || rising.Rate(time.Second) > limit || aside.Rate(0) > limit {
		t.Errorf("the load lasts %v", total)
	}
}

func TestAnswersAreCounted(t *testing.T) {
	var c counted
	c.add(&load.Report{Codes: map[int]int{200: 8, 429: 2, 404: 1}}, part{missing: &c.missing})
	c.add(&load.Report{Codes: map[int]int{404: 3}}, part{missing: &c.unrouted})
	if c.admitted != 8 || c.refused != 2 || c.missing != 1 || c.unrouted != 3 || c.passed() != 9 || c.offered() != 11 || len(c.amiss) > 0 {
		t.Errorf("counted are %+v", c)
	}
	c.add(&load.Report{Codes: map[int]int{503: 1}, Total: load.Second{Repeated: 1}}, part{name: "x", missing: &c.missing})
	if len(c.amiss) != 2 {
		t.Errorf("amiss are %q", c.amiss)
	}
}

var about = asked{namespace: "observe", model: "ranker-1", run: "1", trace: "abc", counted: counted{admitted: 8, refused: 2, missing: 1, unrouted: 3}}

// Each store is asked something, and each kind of answer is asked for.
func TestQuestions(t *testing.T) {
	questions := about.questions()
	for _, store := range stores {
		if !slices.ContainsFunc(questions, func(q question) bool { return q.store == store && q.want > 0 }) {
			t.Errorf("%s is asked nothing", store)
		}
	}
	for query, want := range map[string]float64{
		`sum(sluice_model_requests_total{namespace="observe",model="ranker-1",limit="refused"})`:     2,
		`sum(envoy_istio_sluice_offered{namespace="observe",model="ranker-1"})`:                      11,
		`_time:15m route:="-/observe/ranker-1" code:=200 | stats count() n`:                          8,
		`_time:15m path:="/nowhere-1" limit:=none code:=404 | stats count() n`:                       3,
		`sum(sluice_revision_requests_total{namespace="observe",model="ranker-1",limit="admitted"})`: 9,
	} {
		at := slices.IndexFunc(questions, func(q question) bool { return q.query == query })
		if at < 0 || questions[at].want != want || questions[at].least {
			t.Errorf("%s isn't asked for %g", query, want)
		}
	}
}

func TestMet(t *testing.T) {
	for _, tt := range []struct {
		want, value float64
		least, met  bool
	}{{8, 8, false, true}, {8, 7, false, false}, {8, 9, false, false}, {1, 3, true, true}, {1, 0, true, false}} {
		if got := (question{want: tt.want, least: tt.least}).met(tt.value); got != tt.met {
			t.Errorf("%+v", tt)
		}
	}
}

func TestTopicsAreCounted(t *testing.T) {
	for _, tt := range []struct {
		name, record   string
		lines, metrics float64
		err            string
	}{
		{"two lines, one of another's", `{"resourceLogs":[{"scopeLogs":[{"logRecords":[
			{"attributes":[{"key":"code","value":{"intValue":"200"}},{"key":"route","value":{"stringValue":"-/observe/ranker-1"}}]},
			{"attributes":[{"key":"route","value":{"stringValue":"-/observe/ranker-10"}}]}]}]}]}`, 1, 0, ""},
		{"a metric", `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"sluice.model.requests","sum":{"dataPoints":[
			{"attributes":[{"key":"model","value":{"stringValue":"ranker-1"}}],"asInt":"3"}]}}]}]}]}`, 0, 1, ""},
		{"another metric", `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"up","gauge":{"dataPoints":[{}]}}]}]}]}`, 0, 0, ""},
		{"no JSON", `x`, 0, 0, "no OTLP"},
	} {
		read := topics{of: about, counts: map[string]float64{}}
		err := read.add([]byte(tt.record))
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if read.counts[lineTopics] != tt.lines || read.counts[metricTopics] != tt.metrics {
			t.Errorf("%s: %v", tt.name, read.counts)
		}
	}
}

func TestDescribe(t *testing.T) {
	says := describe([]teststores.Span{
		{ID: "a", Service: "gateway", Operation: "ingress", Lasted: 3 * time.Millisecond}, {ID: "b", Parent: "a", Service: "ranker", Operation: "serve", Lasted: 2 * time.Millisecond},
	})
	if says != "gateway: ingress, 3.0 ms\n  ranker: serve, 2.0 ms" {
		t.Errorf("it is %q", says)
	}
}

// What isn't as it was counted ends with an error that says which, and what there was.
func TestProblems(t *testing.T) {
	right := func() *demo {
		d := &demo{counted: about.counted}
		for _, q := range about.questions() {
			d.answers = append(d.answers, answer{question: q, value: q.want, there: true, right: true})
		}
		return d
	}
	if problems := right().problems(); len(problems) > 0 {
		t.Errorf("of what is right: %v", problems)
	}
	for says, change := range map[string]func(*demo){
		"returned 7, want 8": func(d *demo) { d.answers[0].value, d.answers[0].right = 7, false },
		"returned nothing, want 2": func(d *demo) {
			d.answers[1].there, d.answers[1].right = false, false
		},
		"away": func(d *demo) {
			d.answers[2].err, d.answers[2].right = errors.New("it is away"), false
		},
		"0 admitted":        func(d *demo) { d.counted.admitted = 0 },
		"answered with 503": func(d *demo) { d.counted.amiss = []string{"1 requests were answered with 503"} },
	} {
		d := right()
		change(d)
		if problems := d.problems(); len(problems) != 1 || !strings.Contains(problems[0].Error(), says) {
			t.Errorf("%s: %v", says, problems)
		}
	}
}

func TestShow(t *testing.T) {
	var out strings.Builder
	d := &demo{Page: show.NewPage(&out), counted: about.counted, broker: "b:9092",
		metrics: &teststores.Metrics{URL: "http://p"}, written: &teststores.Metrics{URL: "http://v"}, logs: &teststores.Logs{URL: "http://l"}, traces: &teststores.Traces{URL: "http://j"}}
	for _, q := range about.questions() {
		d.answers = append(d.answers, answer{question: q, value: q.want, there: true, right: true, after: 2 * time.Second})
	}
	d.answers[1].value, d.answers[1].right = 1, false
	d.show()
	d.farewell()
	for _, want := range []string{
		"prometheus, http://p\n", "admitted, answered with 2xx", "returned        8   counted          8   after 2.00 s",
		"returned        1   counted          2   NOT RIGHT", "http://v/vmui", "http://l/select/vmui", "http://j/api/traces/",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q isn't in:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "as it should be") {
		t.Error("it says that all is well")
	}
}
