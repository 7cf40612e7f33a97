//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/reconciler/apis/obstacle"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Where something keeps Knative from making a PodAutoscaler, or from handing on to one that
// is there how a Model is to scale, the Model says so with the reason; and says it no more
// once it is made, or handed on.
func TestRefusedTuningIsTold(t *testing.T) {
	t.Parallel()
	s, unscaled := newStage(t), newStage(t)
	unscaled.allowAutoscalers(0)
	s.create(s.ranker("ranker"))
	unscaled.create(unscaled.ranker("ranker"))
	s.serving("ranker")
	unscaled.condition("ranker", v1alpha1.ModelConditionReady, corev1.ConditionFalse, obstacle.AutoscalingRefused+": Knative can't scale ")
	unscaled.allowAutoscalers(2)
	s.forbidMaxScale("3")
	began := time.Now()
	s.patch("ranker", `{"spec": {"autoscaling": {"maxReplicas": 3}}}`)
	m := s.condition("ranker", v1alpha1.ModelConditionReady, corev1.ConditionFalse, obstacle.AutoscalingRefused)
	said := m.Status.GetCondition(v1alpha1.ModelConditionReady).Message
	t.Logf("told after %.1f s: %s", time.Since(began).Seconds(), said)
	for _, part := range []string{`revision "ranker-00001"`, "not that many", "denied request"} {
		if !strings.Contains(said, part) {
			t.Errorf("it doesn't say %q", part)
		}
	}
	s.patch("ranker", `{"spec": {"autoscaling": {"maxReplicas": 2}}}`)
	s.serving("ranker")
	unscaled.serving("ranker")
}

// forbidMaxScale has the API server refuse PodAutoscalers of the namespace with a max-scale,
// once it does.
func (s *stage) forbidMaxScale(replicas string) {
	s.Helper()
	policies := s.Kube.AdmissionregistrationV1()
	s.Cleanup(func() {
		ctx := context.Background()
		for _, err := range []error{
			policies.ValidatingAdmissionPolicyBindings().Delete(ctx, s.namespace, metav1.DeleteOptions{}),
			policies.ValidatingAdmissionPolicies().Delete(ctx, s.namespace, metav1.DeleteOptions{}),
		} {
			if _, failed := gone(err); failed != nil {
				s.Error("removing a policy:", failed)
			}
		}
	})
	_, err := policies.ValidatingAdmissionPolicies().Create(s.Context(), &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.namespace}},
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
					Rule: admissionv1.Rule{
						APIGroups: []string{"autoscaling.internal.knative.dev"}, APIVersions: []string{"v1alpha1"}, Resources: []string{"podautoscalers"},
					},
				}}},
			},
			Validations: []admissionv1.Validation{{
				Expression: fmt.Sprintf(`!("autoscaling.knative.dev/max-scale" in object.metadata.annotations) || object.metadata.annotations["autoscaling.knative.dev/max-scale"] != %q`, replicas),
				Message:    "not that many",
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal("creating a policy:", err)
	}
	_, err = policies.ValidatingAdmissionPolicyBindings().Create(s.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: s.namespace, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal("creating a policy's binding:", err)
	}
	patch := fmt.Sprintf(`{"metadata": {"annotations": {"autoscaling.knative.dev/max-scale": %q}}}`, replicas)
	s.until(toldWithin, "the policy to be in force", func(ctx context.Context) (string, error) {
		_, err := s.Serving.AutoscalingV1alpha1().PodAutoscalers(s.namespace).Patch(ctx, "ranker-00001", types.MergePatchType,
			[]byte(patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return "what it forbids is let in", nil
		}
		if !apierrs.IsInvalid(err) && !apierrs.IsForbidden(err) {
			return "", err
		}
		return "", nil
	})
}
