package eventing

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"pgregory.net/rapid"
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

// Every event that can be built is what its schema says, keeps its subject's order, and
// is read as what it was built from.
func TestEventsKeepTheirSchemas(t *testing.T) {
	name := rapid.StringMatching(`[a-z0-9]([-a-z0-9.]{0,30}[a-z0-9])?`)
	count, decimal := rapid.Int32Min(0), rapid.StringMatching(`[0-9]{1,7}(\.[0-9]{1,3})?`)
	ref := rapid.Custom(func(t *rapid.T) Ref {
		return Ref{Namespace: name.Draw(t, "namespace"), Name: name.Draw(t, "name")}
	})
	t.Run(RevisionScaledType, rapid.MakeCheck(func(t *rapid.T) {
		keepsSchema(t, NewRevisionScaled, ParseRevisionScaled, RevisionScaled{
			Model: ref.Draw(t, "model"), Revision: name.Draw(t, "revision"),
			Scale:           Scale{Desired: count.Draw(t, "desired"), Ready: count.Draw(t, "ready")},
			Previous:        rapid.SampledFrom([]*Scale{nil, {Desired: count.Draw(t, "previously")}}).Draw(t, "previous"),
			ResourceVersion: rapid.String().Draw(t, "version"),
		})
	}))
	t.Run(LimitAppliedType, rapid.MakeCheck(func(t *rapid.T) {
		keepsSchema(t, NewLimitApplied, read[LimitApplied](LimitAppliedType), LimitApplied{
			Model: ref.Draw(t, "model"), Gateway: name.Draw(t, "gateway"),
			Old: rapid.OneOf(rapid.Just(""), decimal).Draw(t, "old"), New: decimal.Draw(t, "new"),
			Ready: count.Draw(t, "ready"), GatewayPods: count.Draw(t, "pods"),
			Seconds: rapid.Float64Range(0, 1e9).Draw(t, "seconds"), ResourceVersion: rapid.String().Draw(t, "version"),
			Since: time.Unix(rapid.Int64Range(0, 1e10).Draw(t, "since"), 0).UTC(),
		})
	}))
	t.Run(GatewayMigratedType, rapid.MakeCheck(func(t *rapid.T) {
		keepsSchema(t, NewGatewayMigrated, read[GatewayMigrated](GatewayMigratedType), GatewayMigrated{
			Tenant: name.Draw(t, "tenant"), From: name.Draw(t, "from"), To: name.Draw(t, "to"),
			Since: time.Unix(rapid.Int64Range(0, 1e10).Draw(t, "since"), 0).UTC(),
		})
	}))
	t.Run(ModelWarmedType, rapid.MakeCheck(func(t *rapid.T) {
		duration := rapid.Float64Range(0, 1e9)
		keepsSchema(t, NewModelWarmed, read[ModelWarmed](ModelWarmedType), ModelWarmed{
			Model: ref.Draw(t, "model"), Revision: name.Draw(t, "revision"), Pod: name.Draw(t, "pod"),
			Verdict:  rapid.SampledFrom([]string{"Warm", "Failed", "ServingCold"}).Draw(t, "verdict"),
			Starts:   rapid.Int32Min(1).Draw(t, "starts"),
			Requests: rapid.Int64Range(0, 1<<53).Draw(t, "requests"), FirstMilliseconds: duration.Draw(t, "first"),
			LastMilliseconds: duration.Draw(t, "last"), Seconds: duration.Draw(t, "seconds"),
			Reason: rapid.String().Draw(t, "reason"), UID: name.Draw(t, "uid"),
		})
	}))
	t.Run(ModelTunedType, rapid.MakeCheck(func(t *rapid.T) {
		text := rapid.StringN(0, 256, -1)
		keepsSchema(t, NewModelTuned, read[ModelTuned](ModelTunedType), ModelTuned{
			Model: ref.Draw(t, "model"), Who: text.Draw(t, "who"), Why: text.Draw(t, "why"),
			Changes: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ChangedSetting {
				return ChangedSetting{Setting: "spec." + name.Draw(t, "setting"), Old: text.Draw(t, "old"), New: text.Draw(t, "new")}
			}), 1, 64).Draw(t, "changes"),
			Revision: rapid.Int64Range(1, 1<<53).Draw(t, "revision"), ControllerRevision: name.Draw(t, "name"),
			Since: time.Unix(rapid.Int64Range(0, 1e10).Draw(t, "since"), 0).UTC(), UID: name.Draw(t, "uid"),
		})
	}))
}

func read[T data](eventType string) func(cloudevents.Event) (T, error) {
	return func(e cloudevents.Event) (T, error) { return parse[T](e, eventType) }
}

func keepsSchema[T data](t *rapid.T, constructor func(T) (cloudevents.Event, error), parser func(cloudevents.Event) (T, error), d T) {
	event, err := constructor(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := conforms(event.Type(), event.Data()); err != nil {
		t.Error(err)
	}
	if event.Subject() != d.subject() || event.Extensions()[PartitionKey] != d.subject() {
		t.Errorf("subject %q, extensions %v", event.Subject(), event.Extensions())
	}
	if got, err := parser(event); err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("read as %+v, %v; built from %+v", got, err, d)
	}
}

// A schema has the fields of its Go type, and asks for those that are always there.
func TestSchemasHaveTheFieldsOfTheirTypes(t *testing.T) {
	types := map[string]reflect.Type{
		RevisionScaledType:  reflect.TypeFor[RevisionScaled](),
		LimitAppliedType:    reflect.TypeFor[LimitApplied](),
		GatewayMigratedType: reflect.TypeFor[GatewayMigrated](),
		ModelWarmedType:     reflect.TypeFor[ModelWarmed](),
		ModelTunedType:      reflect.TypeFor[ModelTuned](),
		BatchRequestedType:  reflect.TypeFor[BatchRequested](),
		BatchStartedType:    reflect.TypeFor[BatchStarted](),
		BatchProgressedType: reflect.TypeFor[BatchProgressed](),
		BatchCompletedType:  reflect.TypeFor[BatchCompleted](),
		BatchFailedType:     reflect.TypeFor[BatchFailed](),
		UsageType:           reflect.TypeFor[Usage](),
	}
	for _, eventType := range Types() {
		t.Run(eventType, func(t *testing.T) {
			content, err := Schema(eventType)
			if err != nil {
				t.Fatal(err)
			}
			var schema objectSchema
			if err := json.Unmarshal(content, &schema); err != nil {
				t.Fatal(err)
			}
			sameFields(t, "data", schema, types[eventType])
		})
	}
}

type objectSchema struct {
	Required   []string                `json:"required"`
	Properties map[string]objectSchema `json:"properties"`
}

func sameFields(t *testing.T, at string, schema objectSchema, of reflect.Type) {
	t.Helper()
	var required []string
	fields := 0
	for _, f := range reflect.VisibleFields(of) {
		if f.Anonymous {
			continue
		}
		fields++
		name, optional := strings.CutSuffix(f.Tag.Get("json"), ",omitempty")
		if !optional {
			required = append(required, name)
		}
		property, ok := schema.Properties[name]
		if !ok {
			t.Errorf("%s.%s is not in the schema", at, name)
		}
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			sameFields(t, at+"."+name, property, inner)
		}
	}
	if len(schema.Properties) != fields {
		t.Errorf("%s has %d properties and %d fields", at, len(schema.Properties), fields)
	}
	slices.Sort(required)
	if slices.Sort(schema.Required); !slices.Equal(required, schema.Required) {
		t.Errorf("%s: %q are required, %q always there", at, schema.Required, required)
	}
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

// A tuning is told of by its revision: told again it has the same id, however it is told.
func TestIDsOfTunings(t *testing.T) {
	tuned := ModelTuned{
		Model: model, Who: "alice", Revision: 3, ControllerRevision: "ranker-1", UID: "uid", Since: time.Unix(7, 0),
		Changes: []ChangedSetting{{Setting: "spec.autoscaling.target", New: "5"}},
	}
	first := build(t, NewModelTuned, tuned)
	tuned.Why = "said later"
	if again := build(t, NewModelTuned, tuned); again.ID() != first.ID() {
		t.Error("one tuning has two ids")
	}
	for name, change := range map[string]func(*ModelTuned){
		"a state that came back": func(d *ModelTuned) { d.Revision = 5 },
		"another state":          func(d *ModelTuned) { d.ControllerRevision = "ranker-2" },
		"another Model":          func(d *ModelTuned) { d.UID = "other" },
	} {
		other := tuned
		change(&other)
		if build(t, NewModelTuned, other).ID() == first.ID() {
			t.Errorf("%s has the same id", name)
		}
	}
}

// What isn't as it should be is refused by name, by the schema where that can say it.
func TestParseRefuses(t *testing.T) {
	const good = `{"model":{"namespace":"team","name":"ranker"},"revision":"r","desired":1,"ready":0,"resourceVersion":"1"}`
	with := func(old, now string) func(*cloudevents.Event) {
		return func(e *cloudevents.Event) {
			_ = e.SetData(cloudevents.ApplicationJSON, []byte(strings.Replace(good, old, now, 1)))
		}
	}
	tests := map[string]struct {
		change func(*cloudevents.Event)
		want   string
	}{
		"good":              {with("", ""), ""},
		"another type":      {func(e *cloudevents.Event) { e.SetType("x") }, `type is "x"`},
		"no id":             {func(e *cloudevents.Event) { e.SetID("") }, "not a CloudEvent"},
		"no data":           {func(e *cloudevents.Event) { e.DataEncoded = nil }, "data: "},
		"no JSON":           {with("{", ""), "data: "},
		"no object":         {with(good, `"all"`), "data: got string, want object"},
		"not as JSON":       {func(e *cloudevents.Event) { e.SetDataContentType("text/plain") }, "decoding data"},
		"no model":          {with(`"model"`, `"mod"`), "data: missing property 'model'"},
		"a model's name":    {with(`"model":{"namespace":"team","name":"ranker"}`, `"model":"ranker"`), "data.model: got string"},
		"no namespace":      {with(`"team"`, `""`), "data.model.namespace: minLength"},
		"a long name":       {with("ranker", strings.Repeat("r", 254)), "data.model.name: maxLength"},
		"no revision":       {with(`"revision":"r",`, ""), "data: missing property 'revision'"},
		"nobody's revision": {with(`"r"`, `""`), "data.revision: minLength"},
		"negative":          {with(`"ready":0`, `"ready":-1`), "data.ready: minimum"},
		"too many":          {with(`"ready":0`, `"ready":2147483648`), "data.ready: maximum"},
		"half a replica":    {with(`"ready":0`, `"ready":0.5`), "data.ready: got number, want integer"},
		"as text":           {with(`"desired":1`, `"desired":"1"`), "data.desired: got string, want integer"},
		"null":              {with(`"desired":1`, `"desired":null`), "data.desired: got null, want integer"},
		"negative before":   {with(`"ready":0`, `"ready":0,"previous":{"desired":-1,"ready":0}`), "data.previous.desired: minimum"},
		"more":              {with(`"ready":0`, `"ready":0,"more":1`), "data: additional properties 'more' not allowed"},
		"another's":         {func(e *cloudevents.Event) { e.SetSubject("other/model") }, "subject is"},
		"out of order":      {func(e *cloudevents.Event) { e.SetExtension(PartitionKey, "other") }, "partitionkey is"},
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

// Nothing is sent that a receiver would refuse.
func TestNothingInvalidIsBuilt(t *testing.T) {
	_, err := NewRevisionScaled(scaled(func(d *RevisionScaled) { d.Ready = -1 }))
	if err == nil || !strings.Contains(err.Error(), "data.ready") {
		t.Errorf("NewRevisionScaled() = %v, want the field that is wrong", err)
	}
}
