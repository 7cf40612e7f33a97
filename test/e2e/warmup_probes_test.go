//go:build e2e

package e2e

import (
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// loadedPort takes connections once the model has loaded, which takes loadsFor.
	loadedPort = 9000
	loadsFor   = 5 * time.Second
	loadRounds = 3
)

// A model that listens before it has loaded, and says so by any kind of probe that can be
// asked from beside it, gets no request of its warm-up before that. One that says so
// otherwise, or not at all, is asked again until it answers right.
func TestWarmUpWaitsUntilLoaded(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	get := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(modelPort)}}
	tcp := corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(loadedPort)}}
	health := corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: modelPort, Service: ptr.String("streams")}}
	exec := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/ko-app/streams", "ready"}}}
	startup := func(h corev1.ProbeHandler) func(*corev1.Container) {
		return func(c *corev1.Container) {
			c.StartupProbe = &corev1.Probe{ProbeHandler: h, PeriodSeconds: 1, FailureThreshold: 120}
		}
	}
	readiness := func(h corev1.ProbeHandler) func(*corev1.Container) {
		return func(c *corev1.Container) { c.ReadinessProbe = &corev1.Probe{ProbeHandler: h, PeriodSeconds: 1} }
	}
	variants := map[string]struct {
		probes func(*corev1.Container)
		// silent ones can't be asked whether the model has loaded.
		silent bool
	}{
		"startup-http": {startup(get), false},
		"startup-tcp":  {startup(tcp), false},
		"startup-grpc": {startup(health), false},
		"startup-exec": {startup(exec), true},
		"ready-http":   {readiness(get), false},
		"ready-tcp":    {readiness(tcp), false},
		"ready-grpc":   {readiness(health), false},
		"ready-exec":   {readiness(exec), true},
		"silent":       {func(*corev1.Container) {}, true},
	}
	for name, v := range variants {
		s.create(s.streams(name, loading, func(m *v1alpha1.Model) {
			m.Spec.Container.ReadinessProbe = nil
			v.probes(&m.Spec.Container)
		}))
	}
	for name, v := range variants {
		t.Run(name, func(t *testing.T) { s.in(t).warmOnceLoaded(name, v.silent) })
	}
}

// warmOnceLoaded checks that a Model is warm, and whether it was asked before it had loaded.
func (s *stage) warmOnceLoaded(name string, silent bool) {
	s.Helper()
	s.serving(name)
	m := s.condition(name, v1alpha1.ModelConditionWarm, corev1.ConditionTrue, "1 of 1 replicas are warm")
	if got := m.Status.WarmUp.Replicas[0].Requests; got < loadRounds {
		s.Errorf("%d requests, want %d", got, loadRounds)
	}
	early, err := s.Kube.CoreV1().Pods(s.namespace).ProxyGet("http", s.onlyReplica(name), strconv.Itoa(modelPort), "/early", nil).DoRaw(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	if asked := string(early) != "0"; asked != silent {
		s.Errorf("asked %s times before the model had loaded", early)
	}
}

// loading has the streams' model load for a while, and warms it up by what it then serves.
func loading(m *v1alpha1.Model) {
	m.Spec.Container.Env = append(m.Spec.Container.Env,
		corev1.EnvVar{Name: "STREAMS_LOAD", Value: loadsFor.String()},
		corev1.EnvVar{Name: "STREAMS_LOADED_PORT", Value: strconv.Itoa(loadedPort)})
	m.Spec.WarmUp = &v1alpha1.WarmUpSpec{
		Requests: []v1alpha1.WarmUpRequest{{Path: "/model"}}, Repeat: loadRounds, Timeout: &metav1.Duration{Duration: time.Minute},
	}
}
