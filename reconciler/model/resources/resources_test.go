package resources

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"minimal", "full", "warmed", "corpus", "pod"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join("testdata", name)
			m := model(t, name)
			routed := &servingv1.Service{}
			read(t, filepath.Join(dir, "service.in.yaml"), routed)
			holder := tenant(t, name)
			golden(t, filepath.Join(dir, "service.out.yaml"), RebuildService(m, holder, pinnedService(t, m)))
			golden(t, filepath.Join(dir, "ratelimit.out.yaml"), RateLimit(m, holder, routed))
		})
	}
}

// The hashes are not refreshed by -update. Were one of these to change, an upgrade
// of Sluice would make a new revision of every Model: that takes a new form.
func TestTemplateHashIsPinned(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"minimal": "v1-a06a3fa2dc29c16f79766c55d42bd613",
		"full":    "v1-5e35bb0061deada204f7e72745d46211",
		"warmed":  "v1-9ed5851c215aceb4d11a41bdc70c5b88",
		"corpus":  "v1-c6a72a61059ce14880eb85c4e9a4231d",
	} {
		if got := TemplateHash(model(t, name)); got != want {
			t.Errorf("hash of %s = %q, want %q", name, got, want)
		}
	}
	if got, want := metadataHash(model(t, "full")), "v1-c2cc81d27be58fd80a0bc595dc38a87b"; got != want {
		t.Errorf("hash of the metadata of full = %q, want %q", got, want)
	}
}

// The form itself, so that a changed hash can be explained.
func TestCanonicalForm(t *testing.T) {
	t.Parallel()
	golden(t, "testdata/full/form-v1.out.yaml", canonicalForm1(model(t, "full")))
}

// No tuning, no limit and no objective makes a revision: neither by the hash nor by the
// template.
func TestTuningKeepsTemplate(t *testing.T) {
	t.Parallel()
	before := model(t, "full")
	rapid.Check(t, func(t *rapid.T) {
		after := before.DeepCopy()
		count := func(name string) *int32 { return rapid.Ptr(rapid.Int32(), true).Draw(t, name) }
		after.Spec.Autoscaling = v1alpha1.AutoscalingSpec{
			MinReplicas: count("min"), MaxReplicas: count("max"), InitialReplicas: count("initial"),
			Metric: v1alpha1.AutoscalingMetric(rapid.String().Draw(t, "metric")),
			Target: count("target"), TargetUtilization: count("utilization"), TargetBurstCapacity: count("burst capacity"),
		}
		after.Spec.Limit = v1alpha1.LimitSpec{
			Policy:          v1alpha1.LimitPolicy(rapid.String().Draw(t, "policy")),
			HeadroomPercent: count("headroom"),
		}
		after.Spec.Objective = rapid.SampledFrom([]*v1alpha1.ObjectiveSpec{nil, {}, {Availability: new(resource.MustParse("99.9"))}}).Draw(t, "objective")
		after.Annotations = rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "annotations")
		after.Labels = rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "labels")

		if got, want := TemplateHash(after), TemplateHash(before); got != want {
			t.Fatalf("hash = %s, want %s", got, want)
		}
		got, want := Service(after, nil).Spec.Template, Service(before, nil).Spec.Template
		if diff := cmp.Diff(want.Spec, got.Spec); diff != "" {
			t.Fatalf("template (-want, +got): %s", diff)
		}
	})
}

func TestTemplateHashNoticesChanges(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, change := range map[string]func(*v1alpha1.ModelSpec){
		"nothing":                func(*v1alpha1.ModelSpec) {},
		"image":                  func(s *v1alpha1.ModelSpec) { s.Container.Image += "1" },
		"variable":               func(s *v1alpha1.ModelSpec) { s.Container.Env[0].Value = "half" },
		"order of variables":     func(s *v1alpha1.ModelSpec) { e := s.Container.Env; e[0], e[1] = e[1], e[0] },
		"false is not unset":     func(s *v1alpha1.ModelSpec) { s.Container.SecurityContext = nil },
		"none is not unset":      func(s *v1alpha1.ModelSpec) { s.IdleTimeoutSeconds = nil },
		"another kind of volume": func(s *v1alpha1.ModelSpec) { s.Volumes[0].EmptyDir = nil },
		"a limit of zero":        func(s *v1alpha1.ModelSpec) { delete(s.Container.Resources.Limits, "cpu") },
		"node":                   func(s *v1alpha1.ModelSpec) { s.NodeSelector = nil },
		"concurrency":            func(s *v1alpha1.ModelSpec) { s.ContainerConcurrency = nil },
	} {
		m := model(t, "full")
		change(&m.Spec)
		hash := TemplateHash(m)
		if other, ok := seen[hash]; ok {
			t.Errorf("%q and %q have one hash", name, other)
		}
		seen[hash] = name
	}
}

// All that a Model says of its pods makes a revision, each in its own way.
func TestTemplateHashNoticesPodSettings(t *testing.T) {
	t.Parallel()
	seen := map[string]string{TemplateHash(model(t, "minimal")): "nothing"}
	for i := range reflect.TypeFor[v1alpha1.PodSettings]().NumField() {
		m := model(t, "minimal")
		name, field := reflect.TypeFor[v1alpha1.PodSettings]().Field(i).Name, reflect.ValueOf(&m.Spec.PodSettings).Elem().Field(i)
		switch field.Kind() {
		case reflect.Pointer:
			field.Set(reflect.New(field.Type().Elem()))
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		case reflect.String:
			field.SetString("x")
		case reflect.Bool:
			field.SetBool(true)
		}
		hash := TemplateHash(m)
		if other, ok := seen[hash]; ok {
			t.Errorf("%q and %q have one hash", name, other)
		}
		seen[hash] = name
	}
}

// What is written in another way, or empty, is the same.
func TestTemplateHashIsCanonical(t *testing.T) {
	t.Parallel()
	m := model(t, "full")
	want := TemplateHash(m)
	same := []string{"memory: 0.5Gi", "memory: 512Mi", "cpu: 250m", "cpu: 0.25", "limits: {cpu: \"0\"", "limits: {cpu: 0m",
		"args: [", "command: []\n    args: [", "- {name: scratch, mountPath: /tmp}", "- {name: scratch, mountPath: /tmp, subPath: \"\", readOnly: false}"}
	text, err := os.ReadFile("testdata/full/model.in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	again := &v1alpha1.Model{}
	if err := yaml.UnmarshalStrict([]byte(strings.NewReplacer(same...).Replace(string(text))), again); err != nil {
		t.Fatal(err)
	}
	if got := TemplateHash(again); got != want {
		t.Errorf("hash = %s, want %s", got, want)
	}
}

func TestRestoreService(t *testing.T) {
	t.Parallel()
	m := model(t, "full")
	built := Service(m, nil)
	edited := built.DeepCopy()
	edited.Annotations["serving.knative.dev/creator"] = "sluice"
	edited.Spec.Template.Labels["by"] = "hand"
	edited.Spec.Template.Annotations["client.knative.dev/updateTimestamp"] = "now"
	edited.Spec.Template.Spec.Containers[0].Image = "registry.example/other:1"
	m.Annotations[v1alpha1.AutoscalingPrefix+"min-scale"] = "7" // tuned since

	restored := RestoreService(m, nil, edited)
	if diff := cmp.Diff(built.Spec, restored.Spec); diff != "" {
		t.Error("spec (-want, +got):", diff)
	}
	if restored.Annotations["serving.knative.dev/creator"] != "sluice" {
		t.Error("Knative's annotations are lost; it would refuse the update")
	}
	if !BuiltFrom(m, restored) {
		t.Error("the restored Service isn't built from the Model")
	}
}

// A tenant that comes, changes or goes makes no revision.
func TestTenantKeepsRevision(t *testing.T) {
	t.Parallel()
	m, acme, rival := model(t, "full"), tenant(t, "full"), &v1alpha1.Tenant{}
	rival.Name, m.Labels = "rival", nil
	service := Service(m, nil)
	service.Labels["team"] = "search"
	spec := service.Spec.DeepCopy()
	for _, holder := range []*v1alpha1.Tenant{acme, rival, nil} {
		service = LabelService(m, holder, service)
		want := map[string]string{"team": "search", sluice.ModelLabelKey: m.Name, sluice.ManagedByLabelKey: sluice.ManagedBy}
		if holder != nil {
			want[sluice.TenantLabelKey] = holder.Name
		}
		if diff := cmp.Diff(want, service.Labels); diff != "" {
			t.Error("labels of the Service (-want, +got):", diff)
		}
		delete(want, "team")
		if diff := cmp.Diff(want, RateLimit(m, holder, &servingv1.Service{}).Labels); diff != "" {
			t.Error("labels of the RateLimit (-want, +got):", diff)
		}
		if diff := cmp.Diff(spec, &service.Spec); diff != "" {
			t.Error("spec of the Service (-want, +got):", diff)
		}
	}
}

func TestBuiltFromAnUnknownForm(t *testing.T) {
	t.Parallel()
	m := model(t, "minimal")
	service := Service(m, nil)
	service.Annotations[sluice.TemplateHashAnnotationKey] = "v2-" + strings.TrimPrefix(TemplateHash(m), "v1-")
	if BuiltFrom(m, service) {
		t.Error("a hash of an unknown form was believed")
	}
}

func TestAutoscalingPatch(t *testing.T) {
	t.Parallel()
	const prefix = v1alpha1.AutoscalingPrefix
	wanted := map[string]string{prefix + "metric": "concurrency", prefix + "max-scale": "5", prefix + "initial-scale": "3"}
	cases := []struct {
		name     string
		revision map[string]string
		model    map[string]string
		unnamed  string
		floor    int32
		want     map[string]*string
	}{
		{name: "settled", revision: map[string]string{prefix + "metric": "concurrency", prefix + "max-scale": "5", "serving.knative.dev/creator": "x"}},
		{
			name:     "changed, removed in any spelling, initial scale kept",
			revision: map[string]string{prefix + "metric": "rps", prefix + "minScale": "2", prefix + "initial-scale": "1", "serving.knative.dev/routes": "x"},
			want:     map[string]*string{prefix + "metric": ptr("concurrency"), prefix + "max-scale": ptr("5"), prefix + "minScale": nil},
		},
		{
			name:     "what a revision that is there doesn't take up, in any spelling",
			model:    map[string]string{prefix + "scale-down-delay": "30s", prefix + "metricAggregationAlgorithm": "weightedExponential"},
			revision: map[string]string{prefix + "metric": "concurrency", prefix + "max-scale": "5", prefix + "scaleDownDelay": "5s"},
			want:     map[string]*string{},
		},
		{name: "another class", revision: map[string]string{prefix + "class": "hpa.autoscaling.knative.dev", prefix + "metric": "cpu"}},
		{
			name:     "a floor, within the maximum",
			revision: map[string]string{prefix + "metric": "concurrency", prefix + "max-scale": "5"},
			floor:    7,
			want:     map[string]*string{prefix + "min-scale": ptr("5")},
		},
		{
			name:     "a floor below the Model's own minimum",
			model:    map[string]string{prefix + "min-scale": "3"},
			revision: map[string]string{prefix + "metric": "concurrency", prefix + "max-scale": "5", prefix + "min-scale": "4"},
			floor:    2,
			want:     map[string]*string{prefix + "min-scale": ptr("3")},
		},
		{
			name:     "a floor that has gone",
			revision: map[string]string{prefix + "metric": "concurrency", prefix + "max-scale": "5", prefix + "min-scale": "4"},
			want:     map[string]*string{prefix + "min-scale": nil},
		},
		{
			name:     "the same class",
			model:    map[string]string{prefix + "class": "hpa.autoscaling.knative.dev", prefix + "metric": "memory"},
			revision: map[string]string{prefix + "class": "hpa.autoscaling.knative.dev", prefix + "metric": "cpu", prefix + "max-scale": "5"},
			floor:    4,
			want:     map[string]*string{prefix + "metric": ptr("memory"), prefix + "min-scale": ptr("4")},
		},
		{
			name:     "the cluster's class, named by the Model alone",
			model:    map[string]string{prefix + "class": "hpa.autoscaling.knative.dev", prefix + "metric": "memory"},
			unnamed:  "hpa.autoscaling.knative.dev",
			revision: map[string]string{prefix + "metric": "cpu", prefix + "max-scale": "5"},
			want:     map[string]*string{prefix + "metric": ptr("memory")},
		},
		{
			name:     "the cluster's class, named by the revision alone, to which our metric means nothing",
			unnamed:  "hpa.autoscaling.knative.dev",
			model:    map[string]string{},
			revision: map[string]string{prefix + "class": "hpa.autoscaling.knative.dev", prefix + "max-scale": "4"},
			want:     map[string]*string{prefix + "max-scale": ptr("5")},
		},
		{
			name:     "Knative's class, where the cluster's is another",
			model:    map[string]string{prefix + "class": "kpa.autoscaling.knative.dev"},
			unnamed:  "hpa.autoscaling.knative.dev",
			revision: map[string]string{prefix + "max-scale": "4", prefix + "min-scale": "3"},
			floor:    4,
			want:     map[string]*string{prefix + "min-scale": ptr("4")},
		},
		{
			name:     "a class of the cluster's that knows no least scale",
			unnamed:  "keda.example.com",
			model:    map[string]string{},
			revision: map[string]string{prefix + "max-scale": "5"},
			floor:    4,
		},
		{
			name:     "a floor above the activation scale, which Knative would refuse",
			model:    map[string]string{prefix + "activation-scale": "2"},
			revision: map[string]string{prefix + "metric": "concurrency", prefix + "max-scale": "5", prefix + "activation-scale": "2"},
			floor:    3,
			want:     map[string]*string{prefix + "min-scale": ptr("3"), prefix + "activation-scale": nil},
		},
		{
			name:     "that has gone",
			model:    map[string]string{prefix + "activation-scale": "2"},
			revision: map[string]string{prefix + "metric": "concurrency", prefix + "max-scale": "5", prefix + "min-scale": "3"},
			want:     map[string]*string{prefix + "min-scale": nil, prefix + "activation-scale": ptr("2")},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := &v1alpha1.Model{}
			m.Annotations = c.model
			m.Spec.Autoscaling = v1alpha1.AutoscalingSpec{
				Metric: v1alpha1.MetricConcurrency, MaxReplicas: ptr(int32(5)), InitialReplicas: ptr(int32(3)),
			}
			if c.model == nil {
				if diff := cmp.Diff(wanted, m.AutoscalingAnnotations()); diff != "" {
					t.Error("annotations (-want, +got):", diff)
				}
			}
			revision := &servingv1.Revision{}
			revision.Annotations = c.revision
			if c.want == nil {
				c.want = map[string]*string{}
			}
			if diff := cmp.Diff(c.want, AutoscalingPatch(m, Scaled{revision, c.unnamed}, c.floor)); diff != "" {
				t.Error("patch (-want, +got):", diff)
			}
		})
	}
}

func TestFloor(t *testing.T) {
	t.Parallel()
	m := &v1alpha1.Model{}
	if got := Floor(m, "m-1", "", 4, 3); got.Demand != 4 || got.Rollout != 3 || got.Replicas() != 4 {
		t.Errorf("floor = %+v, want what the demand calls for beside what the rollout keeps", got)
	}
	const hpa = "hpa.autoscaling.knative.dev"
	if got := Floor(m, "m-1", hpa, 4, 3); got.Replicas() != 3 {
		t.Errorf("floor of the cluster's class = %+v, want the rollout's", got)
	}
	m.Annotations = map[string]string{v1alpha1.AutoscalingPrefix + "class": hpa}
	if got := Floor(m, "m-1", "", 4, 3); got.Replicas() != 3 {
		t.Errorf("floor = %+v, want the rollout's: the limiter knows Knative's own autoscaler only", got)
	}
}

func TestFloorPatches(t *testing.T) {
	t.Parallel()
	const prefix = v1alpha1.AutoscalingPrefix
	m := &v1alpha1.Model{}
	m.Spec.Autoscaling = v1alpha1.AutoscalingSpec{MinReplicas: ptr(int32(2)), MaxReplicas: ptr(int32(9)), Target: ptr(int32(7))}
	none := map[string]*string{}
	least := func(value string) map[string]*string { return map[string]*string{prefix + "min-scale": &value} }
	cases := []struct {
		name             string
		revision         map[string]string
		floor            int32
		floored, release map[string]*string
	}{
		{"as the Model has it", map[string]string{prefix + "min-scale": "2", prefix + "max-scale": "5"}, 0, none, none},
		{"raised, within its own maximum", map[string]string{prefix + "min-scale": "2", prefix + "max-scale": "5"}, 7, least("5"), none},
		{"raised, without a maximum", map[string]string{prefix + "min-scale": "2"}, 7, least("7"), none},
		{"held higher once", map[string]string{prefix + "min-scale": "4", prefix + "max-scale": "5"}, 0, least("2"), least("2")},
		{"held higher, still called for", map[string]string{prefix + "min-scale": "4", prefix + "max-scale": "5"}, 4, none, least("2")},
		{"made with less", map[string]string{prefix + "max-scale": "5"}, 0, least("2"), none},
		{"of Knative's other class", map[string]string{prefix + "class": "hpa.autoscaling.knative.dev", prefix + "min-scale": "4"}, 0, least("2"), least("2")},
		{"of a class nobody knows", map[string]string{prefix + "class": "x", prefix + "min-scale": "4"}, 7, none, none},
		{"raised above its activation scale", map[string]string{prefix + "min-scale": "2", prefix + "activation-scale": "3"}, 4,
			map[string]*string{prefix + "min-scale": ptr("4"), prefix + "activation-scale": nil}, none},
	}
	for _, c := range cases {
		revision := &servingv1.Revision{}
		revision.Annotations = c.revision
		if diff := cmp.Diff(c.floored, FloorPatch(m, Scaled{Revision: revision}, c.floor)); diff != "" {
			t.Errorf("%s: floor (-want, +got): %s", c.name, diff)
		}
		if got := ReleasePatch(m, Scaled{Revision: revision}); len(got)+len(c.release) > 0 && !cmp.Equal(c.release, got) {
			t.Errorf("%s: release (-want, +got): %s", c.name, cmp.Diff(c.release, got))
		}
	}
}

// A new template moves no request.
func TestRebuildServicePinsWhatServes(t *testing.T) {
	t.Parallel()
	m := model(t, "minimal")
	floating := Service(m, nil)
	if traffic := floating.Spec.Traffic; traffic != nil {
		t.Errorf("the first revision's traffic is %v, want Knative's default", traffic)
	}
	floating.Spec.Traffic = []servingv1.TrafficTarget{{LatestRevision: ptr(true), Percent: ptr(int64(100))}}
	if traffic := RebuildService(m, nil, floating).Spec.Traffic; traffic != nil {
		t.Errorf("where nothing serves, the traffic is %v, want Knative's default", traffic)
	}
	floating.Status.Traffic = []servingv1.TrafficTarget{{RevisionName: "ranker-00001", LatestRevision: ptr(true), Percent: ptr(int64(100))}}
	pinned := RebuildService(m, nil, floating)
	want := []servingv1.TrafficTarget{Named("ranker-00001", 100, ""), Newest()}
	if diff := cmp.Diff(want, pinned.Spec.Traffic); diff != "" {
		t.Error("traffic (-want, +got):", diff)
	}
	if diff := cmp.Diff(want, RebuildService(m, nil, pinned).Spec.Traffic); diff != "" {
		t.Error("traffic of another change (-want, +got):", diff)
	}
	pinned.SetDefaults(t.Context())
	if diff := cmp.Diff(want, pinned.Spec.Traffic); diff != "" {
		t.Error("Knative's defaults would change it (-want, +got):", diff)
	}
}

func TestStartWith(t *testing.T) {
	t.Parallel()
	const initial, most = v1alpha1.AutoscalingPrefix + "initial-scale", v1alpha1.AutoscalingPrefix + "max-scale"
	for _, c := range []struct {
		annotations map[string]string
		replicas    int32
		cluster     int32
		want        string
	}{
		{annotations: map[string]string{}, replicas: 0},
		{annotations: map[string]string{}, replicas: 1, cluster: 1},
		{annotations: map[string]string{}, replicas: 3, want: "3"},
		{annotations: map[string]string{}, replicas: 1, cluster: 0, want: "1"},
		{annotations: map[string]string{}, replicas: 3, cluster: 5},
		{annotations: map[string]string{initial: "2"}, replicas: 3, cluster: 5, want: "3"},
		{annotations: map[string]string{initial: "0"}, replicas: 1, want: "1"},
		{annotations: map[string]string{initial: "4"}, replicas: 3, want: "4"},
		{annotations: map[string]string{most: "2"}, replicas: 3, want: "2"},
	} {
		service := &servingv1.Service{}
		service.Spec.Template.Annotations = c.annotations
		StartWith(service, c.replicas, c.cluster)
		if got := c.annotations[initial]; got != c.want {
			t.Errorf("with %v: starts with %q, want %q", c.annotations, got, c.want)
		}
	}
}

func TestTrafficOfAService(t *testing.T) {
	t.Parallel()
	service := &servingv1.Service{}
	service.Status.LatestReadyRevisionName, service.Status.LatestCreatedRevisionName = "a", "b"
	service.Status.Traffic = []servingv1.TrafficTarget{{RevisionName: "a", Percent: ptr(int64(100))}}
	if !Floats(service) || Newly(service) != "" || Routed(service) {
		t.Error("of a Service that Knative has said nothing of")
	}
	service.Status.Conditions = duckv1.Conditions{
		{Type: servingv1.ServiceConditionConfigurationsReady, Status: corev1.ConditionUnknown},
		{Type: servingv1.ServiceConditionRoutesReady, Status: corev1.ConditionTrue},
	}
	if Newly(service) != "b" || !Routed(service) {
		t.Error("of a Service that floats")
	}
	service.Spec.Traffic = []servingv1.TrafficTarget{Named("a", 75, ""), Named("b", 25, ""), Named("b", 0, "next"), Newest()}
	if diff := cmp.Diff(map[string]int32{"a": 75, "b": 25}, Split(service)); diff != "" {
		t.Error("split (-want, +got):", diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, Present(service)); diff != "" {
		t.Error("present (-want, +got):", diff)
	}
	if Floats(service) || Routed(service) {
		t.Error("of a Service whose split is not served yet")
	}
	service.Status.MarkConfigurationNotReconciled()
	if Newly(service) != "" {
		t.Error("the newest revision is still to be made")
	}
}

func model(t *testing.T, name string) *v1alpha1.Model {
	t.Helper()
	m := &v1alpha1.Model{}
	read(t, filepath.Join("testdata", name, "model.in.yaml"), m)
	m.SetDefaults(context.Background())
	return m
}

// tenant is the one that holds the namespace of a case; nil where there is none.
func tenant(t *testing.T, name string) *v1alpha1.Tenant {
	t.Helper()
	path := filepath.Join("testdata", name, "tenant.in.yaml")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	holder := &v1alpha1.Tenant{}
	read(t, path, holder)
	return holder
}

func read(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func golden(t *testing.T, path string, object any) {
	t.Helper()
	got, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want, +got; refresh with -update): %s", path, diff)
	}
}

func ptr[T any](v T) *T { return &v }
