package eventing

import (
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

func requested(data string) cloudevents.Event {
	event := cloudevents.NewEvent()
	event.SetID("7")
	event.SetSource("/clinic")
	event.SetType(BatchRequestedType)
	event.DataEncoded = []byte(data)
	return event
}

// The schema says what a request may be; what is wrong with one is told by its field.
func TestParseBatchRequested(t *testing.T) {
	for name, c := range map[string]struct{ data, want string }{
		"the least":            {`{"spec":{}}`, ""},
		"all there is":         {`{"name":"nightly-1","labels":{"team":"search","a/b":""},"spec":{"model":"ranker","more":[1]}}`, ""},
		"no data":              {"", "data: "},
		"no JSON":              {"{", "data: "},
		"more behind":          {`{"spec":{}} {}`, "data: "},
		"no object":            {`[]`, "data: got array, want object"},
		"no spec":              {`{"name":"x"}`, "data: missing property 'spec'"},
		"no object for one":    {`{"spec":"x"}`, "data.spec: got string, want object"},
		"a whole Batch":        {`{"apiVersion":"sluice.dev/v1alpha1","spec":{}}`, "data: additional properties 'apiVersion' not allowed"},
		"a name in capitals":   {`{"name":"Nightly","spec":{}}`, "data.name: 'Nightly' does not match pattern"},
		"no name":              {`{"name":"","spec":{}}`, "data.name: '' does not match pattern"},
		"a name that goes on":  {`{"name":"a\n","spec":{}}`, "data.name: "},
		"a long name":          {`{"name":"` + strings.Repeat("n", 36) + `","spec":{}}`, "data.name: maxLength"},
		"a label that is none": {`{"labels":{"a":1},"spec":{}}`, "data.labels.a: got number, want string"},
		"too many values":      {`{"spec":{"x":[` + strings.Repeat("[],", maxRequestedValues) + `1]}}`, "data: has more than 20000 values"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseBatchRequested(requested(c.data))
			if c.want == "" && (err != nil || len(got.Spec) == 0) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%+v, %v; want %q", got, err, c.want)
			}
		})
	}
	other := requested(`{"spec":{}}`)
	other.SetType(BatchStartedType)
	if _, err := ParseBatchRequested(other); err == nil || !strings.Contains(err.Error(), BatchStartedType) {
		t.Errorf("another type: %v", err)
	}
}

// A path is that of one Broker, and of no InferenceTrigger.
func TestPathsOfBrokers(t *testing.T) {
	label, uid := rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?`), rapid.StringMatching(`[a-f0-9-]{1,36}`)
	rapid.Check(t, func(t *rapid.T) {
		b := RequestedBroker{Ref: Ref{Namespace: label.Draw(t, "namespace"), Name: label.Draw(t, "name") + "." + label.Draw(t, "rest")}, UID: types.UID(uid.Draw(t, "uid"))}
		if got, err := ParseRequestedBroker(b.Path()); err != nil || got != b || !IsOfBroker(b.Path()) {
			t.Errorf("%q is read as %+v, %v", b.Path(), got, err)
		}
		of := InferenceTrigger{Ref: Ref{Namespace: label.Draw(t, "trigger's namespace"), Name: label.Draw(t, "trigger")}, UID: b.UID}
		if IsOfBroker(of.Path()) {
			t.Errorf("%q is taken for a Broker's", of.Path())
		}
	})
	for _, path := range []string{"", "/", "/brokers/team/default", "/brokers/team/default/", "/brokers//default/u", "/brokers/team//u", "/brokers/Team/default/u", "/brokers/team/de_fault/u", "/brokers/team/default/u/x", "/brokers/team/default/" + strings.Repeat("u", 64)} {
		if got, err := ParseRequestedBroker(path); err == nil {
			t.Errorf("%q is read as %+v", path, got)
		}
	}
	if inBrokers := (InferenceTrigger{Ref: Ref{Namespace: "brokers", Name: "score"}, UID: "u"}).Path(); IsOfBroker(inBrokers) {
		t.Errorf("%q is taken for a Broker's", inBrokers)
	}
}

// The id is the event's and the Broker's: whatever else is another.
func TestIDsOfRequests(t *testing.T) {
	broker := RequestedBroker{Ref: Ref{Namespace: "team", Name: "default"}, UID: "b-1"}
	id := broker.RequestID(requested(`{}`))
	if again := broker.RequestID(requested(`{"spec":{}}`)); again != id || len(id) != 32 {
		t.Errorf("the ids are %s and %s", id, again)
	}
	another, elsewhere := requested("{}"), requested("{}")
	another.SetID("8")
	elsewhere.SetSource("/other")
	later, beside := broker, broker
	later.UID, beside.Name = "b-2", "other"
	for what, other := range map[string]string{
		"event": broker.RequestID(another), "source": broker.RequestID(elsewhere), "Broker": beside.RequestID(requested("{}")), "Broker of that name": later.RequestID(requested("{}")),
	} {
		if other == id {
			t.Errorf("another %s has the same id", what)
		}
	}
}
