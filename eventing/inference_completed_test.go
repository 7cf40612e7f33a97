package eventing

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

var score = InferenceTrigger{Ref: Ref{Namespace: "team", Name: "score"}, UID: "u-1"}

func asked() cloudevents.Event {
	e := cloudevents.NewEvent()
	e.SetID("7")
	e.SetSource("/clicks")
	e.SetType("com.example.click")
	e.SetSubject("user-1")
	return e
}

func TestInferenceCompleted(t *testing.T) {
	answer := Answer{Type: "com.example.scored", ContentType: "application/json", Body: []byte(`{"score": 1}`)}
	reply, err := NewInferenceCompleted(score, asked(), answer)
	if err != nil {
		t.Fatal(err)
	}
	if reply.Type() != answer.Type || reply.Source() != "/apis/sluice.dev/v1alpha1/namespaces/team/inferencetriggers/score" || reply.Subject() != "user-1" ||
		reply.DataContentType() != "application/json" || string(reply.Data()) != string(answer.Body) {
		t.Errorf("%v", reply)
	}
	for name, want := range map[string]any{PartitionKey: "user-1", CausationID: "7", CausationSource: "/clicks"} {
		if got := reply.Extensions()[name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	again, err := NewInferenceCompleted(score, asked(), Answer{Type: answer.Type})
	if err != nil || again.ID() != reply.ID() {
		t.Errorf("the same event has the reply %s, and then %s, %v", reply.ID(), again.ID(), err)
	}
	if again.Data() != nil {
		t.Errorf("nothing was answered, and the reply has %q", again.Data())
	}
}

// What belongs together stays so: the order of a key, a correlation, a trace.
func TestRepliesHandOn(t *testing.T) {
	e := asked()
	e.SetExtension(PartitionKey, "p")
	e.SetExtension("correlationid", "c")
	e.SetExtension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	e.SetExtension("password", "x")
	reply, err := NewInferenceCompleted(score, e, Answer{Type: "t", Body: []byte{0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	got := reply.Extensions()
	if got[PartitionKey] != "p" || got["correlationid"] != "c" || got["traceparent"] != e.Extensions()["traceparent"] || got["password"] != nil {
		t.Errorf("%v", got)
	}
	if reply.DataContentType() != "application/octet-stream" {
		t.Errorf("bytes of which nothing is said are %s", reply.DataContentType())
	}
	if reply, err := NewInferenceCompleted(score, e, Answer{Type: "t", ContentType: "a/b c", Body: []byte("{}")}); err != nil || reply.DataContentType() != "application/octet-stream" {
		t.Errorf("a content type that is none: %v, %v", reply, err)
	}
	e.SetSubject("")
	e.SetExtension(PartitionKey, nil)
	if reply, err := NewInferenceCompleted(score, e, Answer{Type: "t"}); err != nil || reply.Extensions()[PartitionKey] != "7" || reply.Subject() != "" {
		t.Errorf("%v, %v", reply, err)
	}
}

// Whatever a Model says of its answer, who takes the reply over HTTP takes that for the event, and
// not what the answer has.
func TestAnswersDoNotReplaceReplies(t *testing.T) {
	const another = `{"specversion":"1.0","id":"1","source":"/victim","type":"another","data":1}`
	for contentType, want := range map[string]string{
		"application/cloudevents+json":                "application/octet-stream",
		"Application/CloudEvents+JSON; charset=utf-8": "application/octet-stream",
		" application/cloudevents+json ;x=y":          "application/octet-stream",
		"application/cloudevents-batch+json":          "application/octet-stream",
		"application/cloudevents+avro":                "application/octet-stream",
		"application/json":                            "application/json",
		"text/plain; charset=utf-8":                   "text/plain; charset=utf-8",
	} {
		reply, err := NewInferenceCompleted(score, asked(), Answer{Type: "scored", ContentType: contentType, Body: []byte(another)})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		if err := cehttp.WriteResponseWriter(t.Context(), binding.ToMessage(&reply), http.StatusOK, w); err != nil {
			t.Fatal(err)
		}
		got, err := cloudevents.NewEventFromHTTPResponse(w.Result())
		if err != nil {
			t.Errorf("%s: %v", contentType, err)
			continue
		}
		if got.Type() != "scored" || got.Source() != score.Source() || got.ID() != reply.ID() || string(got.Data()) != another || got.DataContentType() != want {
			t.Errorf("%s: %v", contentType, got)
		}
	}
}

// Each reply counts those before it, whatever a sender has made of the number.
func TestHops(t *testing.T) {
	for says, want := range map[any]int32{nil: 1, "3": 4, int32(7): 8, "-2147483648": 1, "many": 1, true: 1, "99999999999": 1} {
		e := asked()
		e.SetExtension(Hops, says)
		reply, err := NewInferenceCompleted(score, e, Answer{Type: "t"})
		if err != nil || reply.Extensions()[Hops] != want || HopsOf(reply) != want {
			t.Errorf("%v: %v, %v; want %d", says, reply.Extensions()[Hops], err, want)
		}
	}
}

func TestAnswerIDs(t *testing.T) {
	ids := map[string]string{}
	add := func(what string, of InferenceTrigger, source, id string) {
		e := asked()
		e.SetSource(source)
		e.SetID(id)
		got := of.AnswerID(e)
		if other, taken := ids[got]; taken {
			t.Errorf("%s and %s have one id", what, other)
		}
		ids[got] = what
	}
	add("one", score, "/a", "1")
	add("another id", score, "/a", "2")
	add("another source", score, "/b", "1")
	add("the source's end in the id", score, "/", "a\x001")
	add("an InferenceTrigger that came after", InferenceTrigger{Ref: score.Ref, UID: "u-2"}, "/a", "1")
	add("another InferenceTrigger", InferenceTrigger{Ref: Ref{Namespace: "team", Name: "other"}, UID: "u-1"}, "/a", "1")
}

func TestPathsOfInferenceTriggers(t *testing.T) {
	if got, err := ParseInferenceTrigger(score.Path()); err != nil || got != score {
		t.Errorf("%+v, %v", got, err)
	}
	for _, path := range []string{"", "/", "/team/score", "/team/score/", "/team/score/u/1", "/Team/score/u", "/team/../u", "/team/score/" + strings.Repeat("u", 64)} {
		if got, err := ParseInferenceTrigger(path); err == nil {
			t.Errorf("%q is that of %+v", path, got)
		}
	}
}
