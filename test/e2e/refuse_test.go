//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
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
		s.refused(field, spoil)
	}
	s.accepted()
}

// A model and what warms it up share a pod, and so its ports: the webhook names the
// field that asks for the other's, and says what to do.
func TestClashingPortsAreRefused(t *testing.T) {
	s := newStage(t)
	const theirs = "8098 is the port of the container that warms the model up; "
	s.refused(theirs+"use another one: spec.container.ports", warmed, func(m *v1alpha1.Model) {
		m.Spec.Container.Ports = []corev1.ContainerPort{{ContainerPort: warmup.Port}}
	})
	s.refused(theirs+"probe the model's own: spec.container.livenessProbe", warmed, func(m *v1alpha1.Model) {
		m.Spec.Container.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
			TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(warmup.Port)},
		}}
	})
	s.accepted(func(m *v1alpha1.Model) { m.Spec.Container.Ports = []corev1.ContainerPort{{ContainerPort: warmup.Port}} })
}

// refused checks that a Model is refused by an error that says something.
func (s *stage) refused(says string, spoil ...func(*v1alpha1.Model)) {
	s.Helper()
	switch err := s.dryRun(spoil...); {
	case err == nil:
		s.Errorf("%s: accepted", says)
	case !strings.Contains(err.Error(), says):
		s.Errorf("%s is not named by: %v", says, err)
	}
}

func (s *stage) accepted(changes ...func(*v1alpha1.Model)) {
	s.Helper()
	if err := s.dryRun(changes...); err != nil {
		s.Error("refused:", err)
	}
}

func (s *stage) dryRun(changes ...func(*v1alpha1.Model)) error {
	_, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Create(s.Context(), s.ranker("ranker", changes...),
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

func quantity(text string) *resource.Quantity {
	q := resource.MustParse(text)
	return &q
}
