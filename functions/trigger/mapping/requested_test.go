package mapping

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"pgregory.net/rapid"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

var broker = eventing.RequestedBroker{Ref: eventing.Ref{Namespace: "team", Name: "default"}, UID: "b-1"}

const spec = `{"model":"ranker","input":{"configMap":{"name":"items","key":"items.jsonl"}},"request":{"path":"/score"},` +
	`"output":{"volume":{"claimName":"results","folder":"runs/7"}},"ttlAfterFinished":"1h"}`

func asking(id, data string) cloudevents.Event {
	event := cloudevents.NewEvent()
	event.SetID(id)
	event.SetSource("/clinic")
	event.SetType(eventing.BatchRequestedType)
	event.DataEncoded = []byte(data)
	return event
}

// What is asked for is a Batch of the Broker's namespace, with its own labels and the event's identity.
func TestRequested(t *testing.T) {
	t.Parallel()
	b, err := Requested(broker, asking("7", `{"name":"nightly","labels":{"team":"search"},"spec":`+spec+`}`))
	if err != nil {
		t.Fatal(err)
	}
	id := broker.RequestID(asking("7", ""))
	if b.Namespace != "team" || b.Name != "nightly-"+id[:distinct] || b.Annotations[sluice.StartedByAnnotationKey] != id {
		t.Errorf("%+v", b.ObjectMeta)
	}
	for key, want := range map[string]string{"team": "search", sluice.RequestedByLabelKey: "default", sluice.ManagedByLabelKey: sluice.ManagedBy, sluice.TriggerLabelKey: ""} {
		if got := b.Labels[key]; got != want {
			t.Errorf("label %s is %q, want %q", key, got, want)
		}
	}
	b.SetDefaults(t.Context())
	if refusal := b.Validate(t.Context()); refusal != nil || b.Spec.Model != "ranker" || b.Spec.Output.Volume.Folder != "runs/7" {
		t.Errorf("%+v, %v", b.Spec, refusal)
	}
	if unnamed, err := Requested(broker, asking("7", `{"spec":`+spec+`}`)); err != nil || unnamed.Name != "batch-"+id[:distinct] {
		t.Errorf("without a name: %+v, %v", unnamed, err)
	}
}

// Whatever the name that the schema takes, and whatever the Broker's, the Batch is one that the
// webhook takes, and another event's is another.
func TestNamesOfRequested(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		by := broker
		by.Name = rapid.StringMatching(`[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?`).Draw(t, "broker")
		name := rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,33}[a-z0-9])?`).Draw(t, "name")
		of := func(id string) string {
			b, err := Requested(by, asking(id, `{"name":"`+name+`","spec":`+spec+`}`))
			if err != nil {
				t.Fatal(err)
			}
			b.SetDefaults(t.Context())
			if err := b.Validate(t.Context()); err != nil {
				t.Errorf("%s: %v", b.Name, err)
			}
			if value := b.Labels[sluice.RequestedByLabelKey]; len(value) == 0 || len(value) > 63 {
				t.Errorf("Broker %s: label %q", by.Name, value)
			}
			return b.Name
		}
		first, again, other := of("7"), of("7"), of("8")
		if first != again || first == other {
			t.Errorf("%s, again %s; another's is %s", first, again, other)
		}
	})
}

// What the documentation shows is taken.
func TestTheExampleIsTaken(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/triggers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	example, _, found := strings.Cut(rest, "```")
	event := cloudevents.NewEvent()
	if err := json.Unmarshal([]byte(example), &event); !found || err != nil {
		t.Fatalf("no event: %v", err)
	}
	b, err := Requested(broker, event)
	if err != nil {
		t.Fatal(err)
	}
	b.SetDefaults(t.Context())
	if err := b.Validate(t.Context()); err != nil {
		t.Error(err)
	}
}

// What can't be a Batch is told by its field, with what to do, as the webhook tells it.
func TestRequestedRefuses(t *testing.T) {
	t.Parallel()
	with := func(old, now string) string { return `{"spec":` + strings.Replace(spec, old, now, 1) + `}` }
	for name, c := range map[string]struct{ data, want string }{
		"no spec":                    {`{}`, "data: missing property 'spec'"},
		"a misspelt field":           {with(`"request"`, `"requset"`), `data: Batch has fields that it can't have: unknown field "spec.requset" (did you mean spec.request?)`},
		"a field of another kind's":  {with(`"model"`, `"parallelism":2,"model"`), `unknown field "spec.parallelism" (set spec.workers)`},
		"a field twice":              {with(`"model"`, `"model":"x","model"`), `duplicate field "spec.model"`},
		"a number for a time":        {with(`"1h"`, "3600"), `must be a time with its unit: "3600s" for seconds, "3600ms" for milliseconds, is the number 3600: data.spec.ttlAfterFinished`},
		"text for a number":          {with(`"model"`, `"workers":"two","model"`), `data.spec.workers`},
		"no end":                     {with(`,"ttlAfterFinished":"1h"`, ""), "missing field(s): data.spec.ttlAfterFinished"},
		"Sluice's own label":         {`{"labels":{"sluice.dev/inference-trigger":"nightly"},"spec":` + spec + `}`, "data.labels[sluice.dev/inference-trigger]: is Sluice's own to set; leave it out"},
		"Sluice's mark":              {`{"labels":{"app.kubernetes.io/managed-by":"me"},"spec":` + spec + `}`, "data.labels[app.kubernetes.io/managed-by]: is Sluice's own"},
		"a label that can't be":      {`{"labels":{"a b":"c"},"spec":` + spec + `}`, `data.labels: Invalid value: "a b"`},
		"a label's value that can't": {`{"labels":{"a":"b c"},"spec":` + spec + `}`, `data.labels: Invalid value: "b c"`},
	} {
		if b, err := Requested(broker, asking("7", c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v; want %q", name, b, err, c.want)
		}
	}
}
