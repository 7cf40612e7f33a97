package eventing

import (
	"bytes"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var model = Ref{Namespace: "team", Name: "ranker"}

func scaled(change func(*RevisionScaled)) RevisionScaled {
	d := RevisionScaled{
		Model: model, Revision: "ranker-00001", Scale: Scale{Desired: 3, Ready: 1},
		Previous: &Scale{Desired: 1, Ready: 1}, ResourceVersion: "42",
	}
	if change != nil {
		change(&d)
	}
	return d
}

func build[T any](t *testing.T, constructor func(T) (cloudevents.Event, error), data T) cloudevents.Event {
	t.Helper()
	event, err := constructor(data)
	if err != nil {
		t.Fatal(err)
	}
	return event
}

func migrated() GatewayMigrated {
	since := time.Date(2026, 3, 1, 13, 0, 0, 5, time.FixedZone("CET", 3600))
	return GatewayMigrated{Tenant: "search", From: "shared", To: "tenant-search", Since: since}
}

// Every event is valid CloudEvents 1.0, keeps its subject's order, and its data is
// what its schema says.
func TestEventsKeepTheirSchemas(t *testing.T) {
	events := []cloudevents.Event{
		build(t, NewRevisionScaled, scaled(nil)),
		build(t, NewRevisionScaled, scaled(func(d *RevisionScaled) { d.Previous = nil })),
		build(t, NewLimitApplied, LimitApplied{Model: model, Gateway: "shared", New: "12.5", GatewayPods: 1, ResourceVersion: "7"}),
		build(t, NewLimitApplied, LimitApplied{Model: model, Gateway: "shared", Old: "10", New: "20", Ready: 2, GatewayPods: 1, Seconds: 0.2, ResourceVersion: "7"}),
	}
	for _, event := range append(events, build(t, NewGatewayMigrated, migrated())) {
		t.Run(event.Type(), func(t *testing.T) {
			subject := model.String()
			if event.Type() == GatewayMigratedType {
				subject = "search"
			}
			if event.Subject() != subject || event.Extensions()[PartitionKey] != subject {
				t.Errorf("subject %q, extensions %v", event.Subject(), event.Extensions())
			}
			if err := schemaOf(t, event.Type()).Validate(decode(t, event.Data())); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSchemaRefuses(t *testing.T) {
	schema := schemaOf(t, RevisionScaledType)
	for _, data := range []string{
		`{}`,
		`{"model":{"namespace":"team","name":"ranker"},"revision":"r","desired":-1,"ready":0,"resourceVersion":"1"}`,
		`{"model":{"namespace":"team","name":"ranker"},"revision":"r","desired":1,"ready":0,"resourceVersion":"1","more":1}`,
	} {
		if err := schema.Validate(decode(t, []byte(data))); err == nil {
			t.Errorf("%s is taken", data)
		}
	}
}

func schemaOf(t *testing.T, eventType string) *jsonschema.Schema {
	t.Helper()
	content, err := Schema(eventType)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", decode(t, content)); err != nil {
		t.Fatal(err)
	}
	return compiler.MustCompile("schema.json")
}

func decode(t *testing.T, content []byte) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// The id follows from the change: a repeat has the same, another change another.
func TestIDs(t *testing.T) {
	first := build(t, NewRevisionScaled, scaled(nil))
	if again := build(t, NewRevisionScaled, scaled(nil)); again.ID() != first.ID() {
		t.Errorf("a repeat has id %s, not %s", again.ID(), first.ID())
	}
	for name, change := range map[string]func(*RevisionScaled){
		"desired":  func(d *RevisionScaled) { d.Desired++ },
		"ready":    func(d *RevisionScaled) { d.Ready++ },
		"revision": func(d *RevisionScaled) { d.Revision = "ranker-00002" },
		"later":    func(d *RevisionScaled) { d.ResourceVersion = "43" },
	} {
		if other := build(t, NewRevisionScaled, scaled(change)); other.ID() == first.ID() {
			t.Errorf("another %s has the same id", name)
		}
	}
}

func TestIDsOfMigrations(t *testing.T) {
	first := build(t, NewGatewayMigrated, migrated())
	later := migrated()
	later.Since = later.Since.Add(time.Millisecond)
	if again := build(t, NewGatewayMigrated, later); again.ID() != first.ID() {
		t.Error("one migration, told of with other fractions of a second, has two ids")
	}
	later.Since = later.Since.Add(time.Hour)
	if other := build(t, NewGatewayMigrated, later); other.ID() == first.ID() {
		t.Error("another migration has the same id")
	}
}

func TestParseRevisionScaled(t *testing.T) {
	tests := map[string]struct {
		change func(*cloudevents.Event)
		want   string
	}{
		"good":         {func(*cloudevents.Event) {}, ""},
		"another type": {func(e *cloudevents.Event) { e.SetType("x") }, `type is "x"`},
		"no id":        {func(e *cloudevents.Event) { e.SetID("") }, "not a CloudEvent"},
		"no JSON":      {func(e *cloudevents.Event) { _ = e.SetData(cloudevents.ApplicationJSON, []byte("{")) }, "decoding data"},
		"no model":     {data(scaled(func(d *RevisionScaled) { d.Model = Ref{} })), "data.model.namespace is missing"},
		"no revision":  {data(scaled(func(d *RevisionScaled) { d.Revision = "" })), "data.revision is missing"},
		"impossible":   {data(scaled(func(d *RevisionScaled) { d.Ready = -1 })), "want 0 or more"},
		"forged":       {func(e *cloudevents.Event) { e.SetSubject("other/model") }, "subject is"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			event := build(t, NewRevisionScaled, scaled(nil))
			tt.change(&event)
			_, err := ParseRevisionScaled(event)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("ParseRevisionScaled() = %v, want %q", err, tt.want)
			}
		})
	}
}

func data(d RevisionScaled) func(*cloudevents.Event) {
	return func(e *cloudevents.Event) { _ = e.SetData(cloudevents.ApplicationJSON, d) }
}
