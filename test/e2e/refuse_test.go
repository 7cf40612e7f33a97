//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// The webhook's rules have unit tests; here, that the API server asks it, and that
// what comes back to a user names the field.
func TestBadModelIsRefused(t *testing.T) {
	s := newStage(t)
	for field, spoil := range map[string]func(*v1alpha1.Model){
		"metadata.name":                          func(m *v1alpha1.Model) { m.Name = "1st.ranker" },
		"spec.container.image":                   func(m *v1alpha1.Model) { m.Spec.Container.Image = "" },
		"spec.container.env[0].name":             func(m *v1alpha1.Model) { m.Spec.Container.Env = []corev1.EnvVar{{Name: "PORT", Value: "1"}} },
		"spec.containerConcurrency":              func(m *v1alpha1.Model) { m.Spec.ContainerConcurrency = ptr.Int64(-1) },
		"spec.autoscaling.minReplicas":           func(m *v1alpha1.Model) { m.Spec.Autoscaling.MinReplicas = ptr.Int32(9) },
		"spec.autoscaling.window":                func(m *v1alpha1.Model) { m.Spec.Autoscaling.Window = &metav1.Duration{Duration: time.Second} },
		"spec.autoscaling.metric":                func(m *v1alpha1.Model) { m.Spec.Autoscaling.Metric = "cpu" },
		"spec.limit.requestsPerSecondPerReplica": func(m *v1alpha1.Model) { m.Spec.Limit.RequestsPerSecondPerReplica = quantity("0") },
		"spec.limit.burst":                       func(m *v1alpha1.Model) { m.Spec.Limit.Burst = &metav1.Duration{Duration: -time.Second} },
		"spec.limit.headroomPercent":             func(m *v1alpha1.Model) { m.Spec.Limit.HeadroomPercent = ptr.Int32(-1) },
		"spec.limit.policy":                      func(m *v1alpha1.Model) { m.Spec.Limit.Policy = "Sometimes" },
	} {
		m := s.ranker("ranker", spoil)
		_, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Create(t.Context(), m, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case err == nil:
			t.Errorf("%s: accepted", field)
		case !strings.Contains(err.Error(), field):
			t.Errorf("%s is not named by: %v", field, err)
		}
	}
	good := s.ranker("ranker")
	if _, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Create(t.Context(), good, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Errorf("the Model that the others were made from: %v", err)
	}
}

func quantity(text string) *resource.Quantity {
	q := resource.MustParse(text)
	return &q
}
