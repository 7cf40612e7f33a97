package resources

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// quantities are "cpu", "memory" and "ephemeral-storage", "" for none.
func quantities(cpu, memory, storage string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, text := range map[corev1.ResourceName]string{
		corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory, corev1.ResourceEphemeralStorage: storage,
	} {
		if text != "" {
			out[name] = resource.MustParse(text)
		}
	}
	return out
}

func TestWarmUpResources(t *testing.T) {
	t.Parallel()
	small := corev1.ResourceRequirements{Requests: quantities("1m", "8Mi", ""), Limits: quantities("100m", "32Mi", "")}
	for name, c := range map[string]struct {
		annotations map[string]string
		cluster     corev1.ResourceRequirements
		want        corev1.ResourceRequirements
	}{
		"nothing said":   {nil, config.DefaultWarmUp().Resources, unsaid()},
		"by the cluster": {nil, small, small},
		"by the Model": {
			map[string]string{
				serving.QueueSidecarCPUResourceRequestAnnotationKey: "30m", serving.QueueSidecarCPUResourceLimitAnnotationKey: "200m",
				serving.QueueSidecarMemoryResourceRequestAnnotationKey: "32Mi", serving.QueueSidecarMemoryResourceLimitAnnotationKey: "64Mi",
				serving.QueueSidecarEphemeralStorageResourceLimitAnnotationKey: "1Gi",
			}, config.DefaultWarmUp().Resources,
			corev1.ResourceRequirements{Requests: quantities("30m", "32Mi", ""), Limits: quantities("200m", "64Mi", "1Gi")},
		},
		"a limit below the cluster's request": {
			map[string]string{serving.QueueSidecarMemoryResourceLimitAnnotationKey: "12Mi"}, config.DefaultWarmUp().Resources,
			corev1.ResourceRequirements{Requests: quantities("10m", "12Mi", ""), Limits: quantities("", "12Mi", "")},
		},
		"a request above the cluster's limit": {
			map[string]string{serving.QueueSidecarMemoryResourceRequestAnnotationKey: "1Gi"}, config.DefaultWarmUp().Resources,
			corev1.ResourceRequirements{Requests: quantities("10m", "1Gi", ""), Limits: quantities("", "1Gi", "")},
		},
		"nonsense": {map[string]string{serving.QueueSidecarCPUResourceLimitAnnotationKey: "a lot"}, small, small},
	} {
		m := &v1alpha1.Model{}
		m.Annotations = c.annotations
		if got := pinnedResources(WarmUpResources(m, c.cluster)); !equality.Semantic.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// What the cluster says later is for the next revision: the one that runs keeps its pin, or
// what it had before there was any.
func TestResourcesStay(t *testing.T) {
	t.Parallel()
	m := model(t, "warmed")
	for _, pin := range []string{"", WarmUpResources(m, corev1.ResourceRequirements{Limits: quantities("1", "1Gi", "")})} {
		pinned := pins(t, m)
		pinned.Resources = pin
		built := RebuildService(m, nil, PinWarmUp(m, EmptyService(m), pinned))
		if got := WarmUpPinsOf(built).Resources; got != pin {
			t.Errorf("pinned at %q, want %q", got, pin)
		}
		edited := built.DeepCopy()
		edited.Spec.Template.Spec.Containers = edited.Spec.Template.Spec.Containers[:1]
		if diff := cmp.Diff(built, RestoreService(m, nil, edited)); diff != "" {
			t.Errorf("pin %q: restored (-want, +got): %s", pin, diff)
		}
	}
}
