package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"knative.dev/pkg/webhook"
	"sigs.k8s.io/yaml"
)

// A mistake is what somebody may write, and what he reads when he applies it.
type mistake struct {
	// what is wrong, in words.
	what string
	// written is put over a Model, a Tenant, a Batch or an InferenceTrigger that is right.
	written string
	// field is where the message says that it is wrong.
	field string
	// remedy is the part of the message that says what is right.
	remedy string
	// by is who says it; the webhook where unset.
	by speaker
}

type speaker string

const (
	// byWarning is said by the webhook as a warning: it may be meant.
	byWarning speaker = "warning"
	// bySchema is said by the API server, which goes by the CRD.
	bySchema speaker = "schema"
	// byStatus is said by the object's status: only the cluster can know, and field is the
	// condition.
	byStatus speaker = "status"
)

const rightModel = `
apiVersion: sluice.dev/v1alpha1
kind: Model
metadata: {name: ranker, namespace: search}
spec:
  container: {image: registry.example.com/ranker:1}
  limit: {requestsPerSecondPerReplica: 40}
`

const rightTenant = `
apiVersion: sluice.dev/v1alpha1
kind: Tenant
metadata: {name: acme}
spec:
  namespaces: {names: [acme-search]}
  domain: acme.example.com
`

const rightBatch = `
apiVersion: sluice.dev/v1alpha1
kind: Batch
metadata: {name: nightly, namespace: search}
spec:
  model: ranker
  input: {s3: {endpoint: "https://s3.example.com", bucket: search, key: items.jsonl, secretName: store}}
  request: {path: /v2/models/ranker/infer}
  output: {s3: {endpoint: "https://s3.example.com", bucket: search, prefix: runs/1, secretName: store}}
`

// Each mistake is answered, at once and at the field, with what is to be done. From the
// text that was written to what its author reads it goes the way that it goes in a
// cluster: the CRD's schema, the defaults, the schema again, the rules.
func TestMistakes(t *testing.T) {
	models, tenants, batches := newGate(t, rightModel, "models"), newGate(t, rightTenant, "tenants"), newGate(t, rightBatch, "batches")
	triggers, starters := newGate(t, rightTrigger, "inferencetriggers"), newGate(t, rightStarter, "inferencetriggers")
	topics, byEvents := newGate(t, rightTopics, "batches"), newGate(t, rightStarterOfTopics, "inferencetriggers")
	names := map[string]bool{}
	for _, of := range []struct {
		gate *gate
		all  []mistake
	}{{models, mistakesInModels}, {tenants, mistakesInTenants}, {batches, mistakesInBatches}, {triggers, mistakesInTriggers}, {starters, mistakesInStarters}, {topics, mistakesInTopics}, {byEvents, mistakesInTopicsByEvents}} {
		for _, m := range of.all {
			if names[m.what] {
				t.Errorf("two rows are named %q", m.what)
			}
			names[m.what] = true
			t.Run(m.what, func(t *testing.T) {
				if problem := judge(m, of.gate.apply(t, m.written)); problem != "" {
					t.Error(problem)
				}
			})
		}
	}
	if least := 330; len(names) < least {
		t.Errorf("the table has %d rows, want at least %d", len(names), least)
	}
}

func judge(m mistake, got answer) string {
	said, where := got.refusal, got.by
	switch {
	case m.by == byWarning && got.refusal == "":
		said, where = strings.Join(got.warnings, "\n"), byWarning
	case m.by == byStatus:
		if got.refusal != "" {
			return fmt.Sprintf("is refused, which only the cluster can do: %s", got.refusal)
		}
		return ""
	}
	switch {
	case where != m.by:
		return fmt.Sprintf("is answered by %q, want %q: %s %q", where, m.by, said, got.warnings)
	case !strings.Contains(said, m.field):
		return fmt.Sprintf("the answer doesn't name %s: %s", m.field, said)
	case !strings.Contains(said, m.remedy):
		return fmt.Sprintf("the answer doesn't say %q: %s", m.remedy, said)
	case strings.Contains(strings.ReplaceAll(said, "...", ""), ".."):
		return fmt.Sprintf("the answer has doubled dots: %s", said)
	}
	return ""
}

// What is right is taken, without a word: README's own example among it.
func TestWhatIsRightIsTakenInSilence(t *testing.T) {
	gate := newGate(t, rightModel, "models")
	for name, written := range map[string]string{
		"as it is":                        `{}`,
		"README's example":                readmeExample(t),
		"fractions without quotes":        `spec: {limit: {requestsPerSecondPerReplica: 33.5}, container: {resources: {limits: {cpu: 0.5, memory: 1Gi}}}}`,
		"fractions in quotes":             `spec: {limit: {requestsPerSecondPerReplica: "33.5"}}`,
		"in thousandths":                  `spec: {limit: {requestsPerSecondPerReplica: 33500m}}`,
		"one a day":                       `spec: {limit: {requestsPerSecondPerReplica: 0.000011574}, autoscaling: {maxReplicas: 1}}`,
		"one in 30 s":                     `spec: {limit: {requestsPerSecondPerReplica: "0.033333333"}, containerConcurrency: 1}`,
		"the class that runs":             `metadata: {annotations: {autoscaling.knative.dev/class: kpa.autoscaling.knative.dev}}`,
		"Knative's older spelling":        `metadata: {annotations: {autoscaling.knative.dev/minScale: "1"}}`,
		"an algorithm that is known":      `metadata: {annotations: {autoscaling.knative.dev/metric-aggregation-algorithm: weighted-exponential}}`,
		"a device":                        `spec: {container: {resources: {limits: {nvidia.com/gpu: 1}}}}`,
		"a device, requested and limited": `spec: {container: {resources: {requests: {nvidia.com/gpu: "1"}, limits: {nvidia.com/gpu: "1"}}}}`,
		"a trial":                         `spec: {trial: {for: 10m, autoscaling: {target: 5, minReplicas: 1}, limit: {headroomPercent: 50}, unless: {errorPercent: 2, latency: {percentile: 95, above: 250ms}}}}`,
		"a trial of what is there":        `spec: {autoscaling: {target: 5}, trial: {for: 10s, autoscaling: {target: 5}}}`,
		"memory in plain bytes":           `spec: {container: {resources: {limits: {memory: 1073741824}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got := gate.apply(t, written); got.refusal != "" || len(got.warnings) > 0 {
				t.Errorf("refused: %q, warned: %q", got.refusal, got.warnings)
			}
		})
	}
}

func TestABatchThatIsRightIsTakenInSilence(t *testing.T) {
	gate := newGate(t, rightBatch, "batches")
	for name, written := range map[string]string{
		"as it is":                    `{}`,
		"a prefix of objects":         `spec: {input: {s3: {key: null, prefix: items/}}, format: {type: Objects}}`,
		"rows in tens":                `spec: {format: {type: Rows, rows: 10}}`,
		"a page":                      `spec: {input: {s3: null, http: {urls: ["https://example.com/items.jsonl"]}}}`,
		"a ConfigMap":                 `spec: {input: {s3: null, configMap: {name: items, key: items.jsonl}}}`,
		"volumes":                     `spec: {input: {s3: null, volume: {claimName: data, folder: items/}}, output: {s3: null, volume: {claimName: data, folder: runs/1}}}`,
		"all that may be said":        `spec: {suspend: true, workers: 4, maxReplicas: 3, deadline: 2h, ttlAfterFinished: 24h, retry: {attempts: 3, delay: 100ms, maxDelay: 5s}, maxFailedItems: 0, serviceAccountName: runs}`,
		"a longer delay than default": `spec: {retry: {delay: 2m}}`,
		"a shorter most than default": `spec: {retry: {maxDelay: 200ms}}`,
		"resources":                   `spec: {resources: {requests: {cpu: 0.5}, limits: {memory: 1Gi}}}`,
		"beside the input":            `spec: {input: {s3: {key: null, prefix: runs/0/results/}}}`,
		"a topic":                     `spec: {input: {s3: null, kafka: {bootstrapServers: ["kafka:9092", "[fd00::1]:9092", "10.0.0.1:9092"], topic: clicks}}}`,
		"a topic of another cluster":  `spec: {input: {s3: null, kafka: {bootstrapServers: ["a:9092"], topic: clicks}}, output: {s3: null, kafka: {bootstrapServers: ["b:9092"], topic: clicks, errorTopic: errors}}}`,
		"a day of a topic":            `spec: {input: {s3: null, kafka: {bootstrapServers: ["a:9092"], topic: clicks, since: "2026-12-24T00:00:00Z", until: "2026-12-24T23:59:59.999+01:00", tls: true, secretName: kafka}}}`,
		"ranges of a topic":           `spec: {format: {type: Objects}, input: {s3: null, kafka: {bootstrapServers: ["a:9092"], topic: clicks, partitions: [{partition: 0, from: 5, to: 6}, {partition: 3, to: 10}, {partition: 1}]}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got := gate.apply(t, written); got.refusal != "" || len(got.warnings) > 0 {
				t.Errorf("refused: %q, warned: %q", got.refusal, got.warnings)
			}
		})
	}
}

// What is stored is what was written, with the defaults beside it: so a further apply of
// the same finds nothing to change, and neither do the defaults.
func TestWhatWasWrittenStays(t *testing.T) {
	gate := newGate(t, rightModel, "models")
	const written = `
spec:
  limit: {requestsPerSecondPerReplica: 33.5, burst: 1000ms}
  autoscaling: {window: 60s, scaleDownDelay: 1m}
  container:
    resources: {requests: {cpu: "0.5", memory: 1024Mi}, limits: {cpu: "1000m"}}
    env: [{name: A}, {name: B, value: ""}]
  warmUp: {requests: [{path: /, body: x}, {path: /}], repeat: 1, timeout: 60s}
`
	object := gate.merged(t, written)
	stored := object
	for range 2 {
		var refusal string
		stored, refusal = gate.defaulted(t, stored)
		if refusal != "" {
			t.Fatal(refusal)
		}
		if missing := lacks(stored, object, ""); missing != "" {
			t.Errorf("what was written at %s is not what is stored: %s", missing, text(t, stored))
		}
	}
	warmUp := stored["spec"].(map[string]any)["warmUp"].(map[string]any)["requests"].([]any)
	if first := warmUp[0].(map[string]any)["method"]; first != "POST" {
		t.Errorf("a default within a list is %v, want POST", first)
	}
	again, _ := gate.defaulted(t, stored)
	if a, b := text(t, stored), text(t, again); a != b {
		t.Errorf("defaults change what has them:\n%s\n%s", a, b)
	}
}

// lacks is the first path at which whole hasn't what part has; "" for none.
func lacks(whole, part any, path string) string {
	switch part := part.(type) {
	case map[string]any:
		object, ok := whole.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(part)) {
			if !ok {
				return path
			}
			if missing := lacks(object[name], part[name], path+"."+name); missing != "" {
				return missing
			}
		}
		return ""
	case []any:
		list, ok := whole.([]any)
		if !ok || len(list) != len(part) {
			return path
		}
		for i := range part {
			if missing := lacks(list[i], part[i], fmt.Sprint(path, "[", i, "]")); missing != "" {
				return missing
			}
		}
		return ""
	}
	if whole != part {
		return path
	}
	return ""
}

// readmeExample is the first Model in README.
func readmeExample(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "```yaml\napiVersion: sluice.dev/v1alpha1\nkind: Model\n")
	example, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("README has no Model")
	}
	return example
}

// gate is what a manifest passes on its way into a cluster.
type gate struct {
	ctx                    context.Context
	right, kind            string
	schema                 *spec.Schema
	defaulting, validation webhook.AdmissionController
}

type answer struct {
	refusal  string
	by       speaker
	warnings []string
}

func newGate(t testing.TB, right, plural string) *gate {
	t.Helper()
	return newGateWith(t, right, plural, "multi-container-probing")
}

// newGateWith is that of a cluster whose Knative has some features switched on.
func newGateWith(t testing.TB, right, plural string, features ...string) *gate {
	t.Helper()
	enabled := map[string]string{}
	for _, feature := range features {
		enabled[feature] = "enabled"
	}
	ctx := contextWith(t,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: servingNamespace, Name: "config-features"}, Data: enabled},
		// Knative's other autoscaler, hpa, isn't there.
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: servingNamespace, Name: "autoscaler"}},
	)
	part := "core"
	if plural == "batches" || plural == "inferencetriggers" {
		part = "batch"
	}
	content, err := os.ReadFile("../../config/" + part + "/crds/sluice.dev_" + plural + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Names    struct{ Kind string }
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema spec.Schema `json:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(content, &crd); err != nil {
		t.Fatal(err)
	}
	return &gate{
		ctx: ctx, right: right, kind: crd.Spec.Names.Kind, schema: &crd.Spec.Versions[0].Schema.OpenAPIV3Schema,
		defaulting: admissionOf(ctx, t, newDefaulting), validation: admissionOf(ctx, t, newValidation(servingNamespace)),
	}
}

func (g *gate) merged(t testing.TB, written string) map[string]any {
	t.Helper()
	over, err := yaml.YAMLToJSON([]byte(written))
	if err != nil {
		t.Fatal(err)
	}
	base, err := yaml.YAMLToJSON([]byte(g.right))
	if err != nil {
		t.Fatal(err)
	}
	content, err := jsonpatch.MergePatch(base, over)
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, content)
}

// apply sends a manifest as kubectl apply does.
func (g *gate) apply(t testing.TB, written string) answer {
	t.Helper()
	object := g.merged(t, written)
	if unknown := unknownField(object, g.schema, ""); unknown != "" {
		return answer{refusal: fmt.Sprintf("strict decoding error: unknown field %q", unknown), by: bySchema}
	}
	stored, refusal := g.defaulted(t, object)
	if refusal != "" {
		return answer{refusal: refusal}
	}
	if errs := validate.NewSchemaValidator(g.schema, nil, "", strfmt.Default).Validate(stored).Errors; len(errs) > 0 {
		return answer{refusal: fmt.Sprint(errs), by: bySchema}
	}
	response := g.validation.Admit(g.ctx, g.request(t, stored))
	if !response.Allowed {
		return answer{refusal: response.Result.Message, warnings: response.Warnings}
	}
	return answer{warnings: response.Warnings}
}

// defaulted is the object with its defaults, or why it is refused.
func (g *gate) defaulted(t testing.TB, object map[string]any) (map[string]any, string) {
	t.Helper()
	response := g.defaulting.Admit(g.ctx, g.request(t, object))
	if !response.Allowed {
		return nil, response.Result.Message
	}
	if len(response.Patch) == 0 {
		return object, ""
	}
	patch, err := jsonpatch.DecodePatch(response.Patch)
	if err != nil {
		t.Fatal(err)
	}
	content, err := patch.Apply([]byte(text(t, object)))
	if err != nil {
		t.Fatalf("applying %s: %v", response.Patch, err)
	}
	return parsed(t, content), ""
}

func (g *gate) request(t testing.TB, object map[string]any) *admissionv1.AdmissionRequest {
	t.Helper()
	r := request(g.kind, "", "")
	r.Object = runtime.RawExtension{Raw: []byte(text(t, object))}
	return r
}

// unknownField is one that the API server doesn't let through: the CRD has none of its
// name, and says nothing of others.
func unknownField(value any, s *spec.Schema, path string) string {
	switch value := value.(type) {
	case map[string]any:
		others, _ := s.Extensions.GetBool("x-kubernetes-preserve-unknown-fields")
		for _, name := range slices.Sorted(maps.Keys(value)) {
			field, known := s.Properties[name]
			switch {
			case known:
			case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
				field = *s.AdditionalProperties.Schema
			case others || path == ".metadata" || len(s.Properties) == 0:
				continue
			default:
				return strings.TrimPrefix(path+"."+name, ".")
			}
			if unknown := unknownField(value[name], &field, path+"."+name); unknown != "" {
				return unknown
			}
		}
	case []any:
		if s.Items == nil || s.Items.Schema == nil {
			return ""
		}
		for i, item := range value {
			if unknown := unknownField(item, s.Items.Schema, fmt.Sprintf("%s[%d]", path, i)); unknown != "" {
				return unknown
			}
		}
	}
	return ""
}

func parsed(t testing.TB, content []byte) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(content, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func text(t testing.TB, object any) string {
	t.Helper()
	content, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
