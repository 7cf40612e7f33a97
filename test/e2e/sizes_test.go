//go:build e2e

package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// amounts are of CPU and memory.
func amounts(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

// In a namespace where each container has to ask for something and may have little, all
// together have a quota, and nothing is privileged, a Model that is warmed up serves: what
// runs beside it is sized by its annotations.
func TestStrictNamespace(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.restrict()
	hidden := corev1.ResourceRequirements{Requests: amounts("25m", "32Mi"), Limits: amounts("500m", "128Mi")}
	s.create(s.ranker("ranker", fixed("20"), warmed, func(m *v1alpha1.Model) {
		m.Annotations = map[string]string{
			serving.QueueSidecarCPUResourceRequestAnnotationKey: "25m", serving.QueueSidecarMemoryResourceRequestAnnotationKey: "32Mi",
			serving.QueueSidecarCPUResourceLimitAnnotationKey: "500m", serving.QueueSidecarMemoryResourceLimitAnnotationKey: "128Mi",
		}
		m.Spec.Container.Resources = corev1.ResourceRequirements{Requests: amounts("25m", "32Mi"), Limits: amounts("1", "128Mi")}
	}))
	s.predict(s.serving("ranker"))
	s.condition("ranker", v1alpha1.ModelConditionWarm, corev1.ConditionTrue, "1 of 1")
	beside := 0
	for _, c := range s.pod(s.onlyReplica("ranker")).Spec.Containers {
		if c.Name == modelContainer {
			continue
		}
		beside++
		if !equality.Semantic.DeepEqual(c.Resources, hidden) {
			t.Errorf("container %s has %+v, want %+v", c.Name, c.Resources, hidden)
		}
	}
	if beside != 2 {
		t.Errorf("%d containers beside the model, want queue-proxy and the warm-up", beside)
	}
}

// restrict makes the namespace one of a careful cluster: what Sluice's containers have by
// themselves is below the least and above the most there.
func (s *stage) restrict() {
	s.Helper()
	const enforce = `{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}`
	s.made(s.Kube.CoreV1().Namespaces().Patch(s.Context(), s.namespace, types.MergePatchType, []byte(enforce), metav1.PatchOptions{}))
	s.made(s.Kube.CoreV1().LimitRanges(s.namespace).Create(s.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "containers"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, Min: amounts("20m", "24Mi"), Max: amounts("1", "128Mi"),
		}}},
	}, metav1.CreateOptions{}))
	quotas := s.Kube.CoreV1().ResourceQuotas(s.namespace)
	s.made(quotas.Create(s.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "all"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			corev1.ResourceRequestsCPU: resource.MustParse("200m"), corev1.ResourceRequestsMemory: resource.MustParse("256Mi"),
			corev1.ResourceLimitsCPU: resource.MustParse("4"), corev1.ResourceLimitsMemory: resource.MustParse("768Mi"),
		}},
	}, metav1.CreateOptions{}))
	s.until(saidWithin, "the quota to be in force", func(ctx context.Context) (string, error) {
		got, err := quotas.Get(ctx, "all", metav1.GetOptions{})
		if err != nil || len(got.Status.Used) == len(got.Spec.Hard) {
			return "", err
		}
		return "it isn't counted yet", nil
	})
}
