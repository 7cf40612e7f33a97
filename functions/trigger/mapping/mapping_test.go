package mapping

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func event(t testing.TB, source, id, contentType, data string) cloudevents.Event {
	t.Helper()
	e := cloudevents.NewEvent()
	e.SetID(id)
	e.SetSource(source)
	e.SetType("store.object.created")
	e.SetSubject("in/a.jsonl")
	if data != "" {
		if err := e.SetData(contentType, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func ptr[T any](of T) *T { return &of }

func TestRequest(t *testing.T) {
	t.Parallel()
	const data = `{"user": "u 1", "inputs": [1, 2], "method": "PUT", "up": "..", "line": "a\nb", "more": "x&model=other", "url": "http://a/b"}`
	for name, c := range map[string]struct {
		of   v1alpha1.TriggerRequest
		want Request
		// problem is part of the error.
		problem string
	}{
		"the data as it is": {
			of:   v1alpha1.TriggerRequest{Path: "/score"},
			want: Request{Method: "POST", Path: "/score", Body: []byte(data), ContentType: "application/json"},
		},
		"all of it by expressions": {
			of: v1alpha1.TriggerRequest{
				Method: "${event.data.method}", Path: "/v1/${event.subject.replace('/', '-')}?u=1",
				Headers: map[string]string{"X-User": "${event.data.user}", "X-Plain": "a"}, Body: ptr("${event.data.inputs}"),
			},
			want: Request{
				Method: "PUT", Path: "/v1/in-a.jsonl?u=1", Headers: map[string]string{"X-User": "u 1", "X-Plain": "a"},
				Body: []byte("[1,2]"), ContentType: "application/json",
			},
		},
		"a GET has no body":       {of: v1alpha1.TriggerRequest{Method: "GET", Path: "/"}, want: Request{Method: "GET", Path: "/"}},
		"but one that is said":    {of: v1alpha1.TriggerRequest{Method: "DELETE", Path: "/", Body: ptr("x")}, want: Request{Method: "DELETE", Path: "/", Body: []byte("x"), ContentType: "text/plain; charset=utf-8"}},
		"no method":               {of: v1alpha1.TriggerRequest{Method: "${event.subject}", Path: "/"}, problem: "request.method"},
		"no path":                 {of: v1alpha1.TriggerRequest{Path: "${event.subject}"}, problem: "request.path"},
		"a path out of its place": {of: v1alpha1.TriggerRequest{Path: "/v1/${event.data.up}/admin"}, problem: "only dots"},
		"a part with a parameter": {of: v1alpha1.TriggerRequest{Path: "/v1/${event.data.up};a/admin"}, problem: "only dots"},
		"one that is encoded":     {of: v1alpha1.TriggerRequest{Path: "/v1/${urlEncode(event.data.up + ';a')}/admin"}, problem: "only dots"},
		"dots with a name": {
			of:   v1alpha1.TriggerRequest{Path: "/v1/${event.data.up}a;${event.data.up}"},
			want: Request{Method: "POST", Path: "/v1/..a;..", Body: []byte(data), ContentType: "application/json"},
		},
		"a URL for a path": {of: v1alpha1.TriggerRequest{Path: "${'http://a/' + event.id}"}, problem: "is a URL"},
		"a URL for a parameter": {
			of:   v1alpha1.TriggerRequest{Path: "/score?of=${event.data.url}"},
			want: Request{Method: "POST", Path: "/score?of=http://a/b", Body: []byte(data), ContentType: "application/json"},
		},
		"a parameter that is encoded": {
			of:   v1alpha1.TriggerRequest{Path: "/score?of=${urlEncode(event.data.more)}"},
			want: Request{Method: "POST", Path: "/score?of=x%26model%3Dother", Body: []byte(data), ContentType: "application/json"},
		},
		"a path with a space":   {of: v1alpha1.TriggerRequest{Path: "/v1/${event.data.user}"}, problem: "request.path"},
		"a header of two lines": {of: v1alpha1.TriggerRequest{Path: "/", Headers: map[string]string{"X-A": "${event.data.line}"}}, problem: "request.headers[X-A]"},
		"what isn't there":      {of: v1alpha1.TriggerRequest{Path: "/", Body: ptr("${event.data.absent}")}, problem: "request.body: ${event.data.absent}"},
	} {
		spec := v1alpha1.InferenceTriggerSpec{Broker: "default", Model: "ranker", Request: &c.of}
		trigger := &v1alpha1.InferenceTrigger{ObjectMeta: metav1.ObjectMeta{Name: "score"}, Spec: spec}
		trigger.SetDefaults(t.Context())
		if err := trigger.Validate(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		m, err := Compile(&trigger.Spec)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := m.Request(event(t, "/s", "1", cloudevents.ApplicationJSON, data))
		if c.problem != "" {
			if err == nil || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%s: %+v, %v; want %q", name, got, err, c.problem)
			}
			continue
		}
		if err != nil || got.Method != c.want.Method || got.Path != c.want.Path || string(got.Body) != string(c.want.Body) || got.ContentType != c.want.ContentType {
			t.Errorf("%s: %+v (%s), %v", name, got, got.Body, err)
		}
		for header, want := range c.want.Headers {
			if got.Headers[header] != want {
				t.Errorf("%s: header %s is %q, want %q", name, header, got.Headers[header], want)
			}
		}
	}
}

// What expressions may cost is the event's, in whatever field they are.
func TestAllFieldsHaveOneBudget(t *testing.T) {
	t.Parallel()
	for fields, passes := range map[int]bool{1: true, 40: false} {
		of := v1alpha1.TriggerRequest{Method: "POST", Path: "/", Headers: map[string]string{}}
		for i := range fields {
			of.Headers[fmt.Sprintf("X-%d", i)] = "${event.data.all(i, i == 0) ? 'x' : 'y'}"
		}
		m, err := Compile(&v1alpha1.InferenceTriggerSpec{Request: &of})
		if err != nil {
			t.Fatal(err)
		}
		// Time stands still, so it isn't what ends them.
		synctest.Test(t, func(t *testing.T) {
			_, err = m.Request(event(t, "/s", "1", cloudevents.ApplicationJSON, "["+strings.Repeat("0,", 5000)+"0]"))
		})
		if passes != (err == nil) || (err != nil && !strings.Contains(err.Error(), "a cost of at most")) {
			t.Errorf("%d fields: %v", fields, err)
		}
	}
}

// What is no JSON goes to the Model byte by byte.
func TestBytesStay(t *testing.T) {
	t.Parallel()
	m, err := Compile(&v1alpha1.InferenceTriggerSpec{Request: &v1alpha1.TriggerRequest{Method: "POST", Path: "/"}})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "data")
		e := cloudevents.NewEvent()
		e.SetID("1")
		e.SetSource("/s")
		e.SetType("t")
		if err := e.SetData("image/png", data); err != nil {
			t.Fatal(err)
		}
		got, err := m.Request(e)
		if err != nil || string(got.Body) != string(data) || got.ContentType != "image/png" {
			t.Fatalf("%x has become %x, %s, %v", data, got.Body, got.ContentType, err)
		}
	})
}

func batches(t testing.TB) *Mapping {
	t.Helper()
	spec := v1alpha1.InferenceTriggerSpec{Batch: &v1alpha1.TriggerBatch{}}
	s := &spec.Batch.Template.Spec
	s.Model = "ranker"
	s.Input.S3 = &v1alpha1.BatchS3Input{BatchS3Bucket: v1alpha1.BatchS3Bucket{Bucket: "${event.data.bucket}", SecretName: "store"}, Key: "${event.subject}"}
	s.Request = v1alpha1.BatchRequest{Path: "/score", Headers: map[string]string{"X-From": "${event.id}", "X-Plain": "$${x}"}}
	s.Output.S3 = &v1alpha1.BatchS3Output{BatchS3Bucket: v1alpha1.BatchS3Bucket{Bucket: "results", SecretName: "store"}, Prefix: "runs/${event.id}"}
	m, err := Compile(&spec)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestBatch(t *testing.T) {
	t.Parallel()
	who := eventing.InferenceTrigger{Ref: eventing.Ref{Namespace: "team", Name: "nightly"}, UID: "u-1"}
	m := batches(t)
	e := event(t, "/s", "7", cloudevents.ApplicationJSON, `{"bucket": "items"}`)
	b, err := m.Batch(who, e)
	if err != nil {
		t.Fatal(err)
	}
	s := b.Spec
	if s.Input.S3.Bucket != "items" || s.Input.S3.Key != "in/a.jsonl" || s.Input.S3.SecretName != "store" || s.Output.S3.Prefix != "runs/7" ||
		s.Request.Headers["X-From"] != "7" || s.Request.Headers["X-Plain"] != "${x}" {
		t.Errorf("%+v", s)
	}
	if b.Namespace != "team" || b.Labels[sluice.TriggerLabelKey] != "nightly" || b.Annotations[sluice.StartedByAnnotationKey] != who.AnswerID(e) {
		t.Errorf("%+v", b.ObjectMeta)
	}
	// What was compiled is as it was.
	if other, err := m.Batch(who, event(t, "/s", "8", cloudevents.ApplicationJSON, `{"bucket": "others"}`)); err != nil || other.Spec.Input.S3.Bucket != "others" || other.Spec.Request.Headers["X-From"] != "8" {
		t.Errorf("%+v, %v", other, err)
	}
	if _, err := m.Batch(who, event(t, "/s", "9", cloudevents.ApplicationJSON, `{}`)); err == nil || !strings.Contains(err.Error(), "batch.template.spec.input.s3.bucket: ${event.data.bucket}") {
		t.Errorf("%v", err)
	}
}

// An event has one Batch however often it comes, and shares it with no other event and no other
// InferenceTrigger; whatever the lengths, the name is one that a Batch can have.
func TestBatchName(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z/0-9]{1,20}`)
		draw := func(label string) (eventing.InferenceTrigger, cloudevents.Event) {
			who := eventing.InferenceTrigger{
				Ref: eventing.Ref{Namespace: "team", Name: rapid.StringMatching(`[a-z]([a-z0-9-]{0,50}[a-z0-9])?`).Draw(t, label+" name")},
				UID: types.UID(rapid.StringMatching(`[a-f0-9]{8}`).Draw(t, label+" uid")),
			}
			e := cloudevents.NewEvent()
			e.SetID(text.Draw(t, label+" id"))
			e.SetSource(text.Draw(t, label+" source"))
			e.SetType("t")
			return who, e
		}
		who, one := draw("one")
		other, two := draw("two")
		name := BatchName(who, one)
		if again := BatchName(who, one.Clone()); again != name {
			t.Fatalf("%s, and then %s", name, again)
		}
		same := who == other && one.ID() == two.ID() && one.Source() == two.Source()
		if who.AnswerID(one) == other.AnswerID(two) != same {
			t.Fatalf("one id: %v %v, %v %v", who, one, other, two)
		}
		b := &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := b.Validate(t.Context()); err != nil && strings.Contains(err.Error(), "metadata.name") {
			t.Fatal(err)
		}
	})
}
