package s3batch

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

var images = map[string]string{"ranker": "r/ranker:1", "versitygw": "r/versitygw:1", "s3events": "r/s3events:1"}

// Each object is of a kind that is known, and has its images.
func TestManifests(t *testing.T) {
	seen := map[string]int{}
	for _, manifest := range [][]byte{storeYAML, modelYAML, triggerYAML} {
		objects, err := read(manifest, images)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			if _, ok := kinds[object.GetKind()]; !ok || object.GetName() == "" {
				t.Errorf("%s %q can't be applied", object.GetKind(), object.GetName())
			}
			seen[object.GetKind()]++
			of := map[string]string{}
			if container, ok, _ := unstructured.NestedMap(object.Object, "spec", "container"); ok {
				of["ranker"], _ = container["image"].(string)
			}
			containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
			for _, c := range containers {
				name, _, _ := unstructured.NestedString(c.(map[string]any), "name")
				of[name], _, _ = unstructured.NestedString(c.(map[string]any), "image")
			}
			for name, image := range of {
				if image == "" || image != images[name] {
					t.Errorf("%s %s has image %q for %s", object.GetKind(), object.GetName(), image, name)
				}
			}
		}
	}
	if seen["Deployment"] != 2 || seen["Model"] != 1 || seen["InferenceTrigger"] != 1 {
		t.Errorf("there are %v", seen)
	}
	delete(images, "versitygw")
	defer func() { images["versitygw"] = "r/versitygw:1" }()
	if _, err := read(storeYAML, images); err == nil || !strings.Contains(err.Error(), `no image for container "versitygw"`) {
		t.Errorf("without an image: %v", err)
	}
}

// The webhook takes what is ours.
func TestOursAreValid(t *testing.T) {
	var m v1alpha1.Model
	var trigger v1alpha1.InferenceTrigger
	for manifest, into := range map[*[]byte]any{&modelYAML: &m, &triggerYAML: &trigger} {
		objects, err := read(*manifest, images)
		if err != nil {
			t.Fatal(err)
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(objects[0].Object, into, true); err != nil {
			t.Fatal(err)
		}
	}
	m.SetDefaults(t.Context())
	if err := m.Validate(t.Context()); err != nil || m.Name != Model {
		t.Errorf("Model %s: %v", m.Name, err)
	}
	trigger.SetDefaults(t.Context())
	if err := trigger.Validate(t.Context()); err != nil || trigger.Name != Trigger || trigger.Spec.Broker != Broker {
		t.Errorf("InferenceTrigger %s: %v", trigger.Name, err)
	}
	spec := trigger.Spec.Batch.Template.Spec
	if from := spec.Input.S3.BatchS3Bucket; from.Bucket != Rows || from.Endpoint != Endpoint || from.SecretName != Secret || spec.Output.S3.Bucket != Scores || spec.Model != Model {
		t.Errorf("it goes by other names: %+v", spec)
	}
	if source := trigger.Spec.Filters[1].Exact["source"]; source != Source(Rows) {
		t.Errorf("it is about source %s", source)
	}
}

// Objects aren't ready before their controllers have seen them and said so.
func TestMissing(t *testing.T) {
	object := func(kind string, generation, observed int64, conditions ...string) *unstructured.Unstructured {
		all := []any{}
		for _, c := range conditions {
			name, status, _ := strings.Cut(c, "=")
			all = append(all, map[string]any{"type": name, "status": status, "reason": "Because", "message": "of this"})
		}
		return &unstructured.Unstructured{Object: map[string]any{
			"kind": kind, "metadata": map[string]any{"name": "x", "generation": generation},
			"spec":   map[string]any{"replicas": int64(1)},
			"status": map[string]any{"observedGeneration": observed, "conditions": all, "replicas": int64(1), "updatedReplicas": int64(1)},
		}}
	}
	old := object("Deployment", 2, 2, "Available=True")
	if err := unstructured.SetNestedField(old.Object, int64(0), "status", "updatedReplicas"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		object  *unstructured.Unstructured
		missing string
	}{
		{"ready", object("Broker", 1, 1, "Ready=True"), ""},
		{"of no status", object("Secret", 0, 0), ""},
		{"not seen yet", object("Broker", 2, 1, "Ready=True"), "hasn't seen it yet"},
		{"said nothing", object("Broker", 1, 1), "Ready isn't there"},
		{"false", object("Broker", 1, 1, "Ready=False"), "Ready is False: Because of this"},
		{"a binding whose subject comes later", object("SinkBinding", 1, 1, "Ready=False", "SinkProvided=True", "OIDCTokenSecretCreated=True"), ""},
		{"a binding without a token", object("SinkBinding", 1, 1, "SinkProvided=True", "OIDCTokenSecretCreated=Unknown"), "OIDCTokenSecretCreated is Unknown"},
		{"pods that are there", object("Deployment", 1, 1, "Available=True"), ""},
		{"pods of an older template", old, "0 of 1 pods are new"},
	} {
		if got, err := missing(tt.object, kinds[tt.object.GetKind()].when); err != nil || (got == "") != (tt.missing == "") || !strings.Contains(got, tt.missing) {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.missing)
		}
	}
}

// A log has events of other objects, and lines of others.
func TestSentOf(t *testing.T) {
	const log = `{"msg":"serving","address":"[::]:8080"}
no JSON
{"msg":"sent","id":"1","type":"t","source":"aws:s3.us-east-1.rows","subject":"a.jsonl","record":{"s3":{}}}
{"msg":"sent","id":"2","type":"t","source":"aws:s3.us-east-1.scores","subject":"a.jsonl","record":{"s3":{}}}
{"msg":"given up","id":"3","type":"t","source":"aws:s3.us-east-1.rows","subject":"a.jsonl","record":{"s3":{}}}
{"msg":"sent","id":"4","type":"t","source":"aws:s3.us-east-1.rows","subject":"b.jsonl","record":{"s3":{}}}
{"msg":"sent","id":"1","type":"t","source":"aws:s3.us-east-1.rows","subject":"a.jsonl","record":{"s3":{}}}
`
	got := sentOf(strings.NewReader(log), "a.jsonl")
	if len(got) != 2 || got[0].ID != "1" || got[1].ID != "1" || string(got[0].Record) != `{"s3":{}}` {
		t.Errorf("sent are %+v", got)
	}
}
