package limit

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func ofRevision(name string) metav1.ObjectMeta {
	m := ofModel(name)
	m.Labels[serving.RevisionLabelKey] = "m-1"
	return m
}

// refusing is a Deployment whose pods a quota has refused for so long.
func refusing(since time.Duration) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: ofRevision("m-1-deployment"), Status: appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{{
		Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "exceeded quota: pods",
		LastTransitionTime: metav1.NewTime(time.Now().Add(-since)),
	}}}}
}

func demanding() *v1alpha1.RateLimit {
	l := rateLimit("m")
	l.Spec.Policy, l.Spec.HeadroomPercent = v1alpha1.PolicyDemand, 100
	return l
}

// Replicas on their way count until it shows that they don't come; then what serves
// does, and the status says why. When they come after all, they count at once.
func TestReplicasThatDoNotCome(t *testing.T) {
	t.Parallel()
	b := newBench(t, 2, demanding())
	b.until("the first limit", b.applied(40))
	b.scale(6, 2)
	b.until("replicas on their way counted", b.applied(120))
	deployments := b.kube.AppsV1().Deployments("team")
	if _, err := deployments.Create(t.Context(), refusing(10*time.Second), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	known := func(since time.Duration) func() bool {
		return func() bool {
			s, err := b.Caches.gather()
			refused := s.starts[revisionKey{limit: "team/m", revision: "m-1"}].Refused
			return err == nil && refused != nil && time.Since(refused.Since) >= since
		}
	}
	b.until("the refusal known", known(0))
	b.Look()
	b.until("the pass", func() bool { return len(b.look) == 0 })
	if row := b.limit("m").Status.Revisions[0]; row.Missing != 0 {
		t.Errorf("given up at once: %+v", row)
	}
	if _, err := deployments.Update(t.Context(), refusing(time.Minute), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("that it has lasted", known(time.Minute))
	b.Look()
	b.until("what serves, without headroom", b.applied(20))
	if row := b.limit("m").Status.Revisions[0]; row.Missing != 4 || row.Reason != "QuotaExceeded" ||
		!strings.HasPrefix(row.Message, "No replica can be made: exceeded quota: pods. Ask for less") || row.Ready != 2 {
		t.Errorf("the status says %+v", row)
	}
	b.scale(6, 6)
	b.until("all six", b.applied(120))
	if row := b.limit("m").Status.Revisions[0]; row.Missing != 0 || row.Reason != "" || row.Message != "" {
		t.Errorf("the status still says %+v", row)
	}
}

// Knative's autoscaler goes by the cluster's bound where a revision has none.
func TestTheClustersBoundCounts(t *testing.T) {
	t.Parallel()
	b := newBench(t, 2, demanding())
	b.until("the limit with its headroom", b.applied(40))
	_, err := b.kube.CoreV1().ConfigMaps("knative-serving").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "knative-serving", Name: config.AutoscalerName}, Data: map[string]string{"max-scale": "2"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.until("no headroom at the cluster's bound", b.applied(20))
}

// Caches keep of pods and Deployments what is decided by, and nothing that is large.
func TestSlim(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: ofRevision("p"), Spec: corev1.PodSpec{NodeName: "n"}, Status: corev1.PodStatus{
		PodIP: "10.0.0.1", Phase: corev1.PodPending,
		Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled}, {Type: corev1.PodInitialized}, {Type: corev1.PodReady}},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "model", Image: "large", RestartCount: 3,
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 7, Message: "large"}},
		}},
	}}
	pod.ManagedFields, pod.Annotations = []metav1.ManagedFieldsEntry{{}}, map[string]string{"a": "b"}
	slimmed, err := slimPod(pod)
	got, ok := slimmed.(*corev1.Pod)
	if err != nil || !ok {
		t.Fatal(err)
	}
	c := got.Status.ContainerStatuses[0]
	if len(got.Status.Conditions) != 2 || c.RestartCount != 3 || c.State.Waiting == nil || c.LastTerminationState.Terminated.ExitCode != 7 {
		t.Errorf("lost what is needed: %+v", got.Status)
	}
	if c.Image != "" || c.LastTerminationState.Terminated.Message != "" || got.Spec.NodeName != "" || got.ManagedFields != nil || got.Annotations != nil {
		t.Errorf("kept what isn't: %+v", got)
	}
	index, err := indexByRevision()[byRevision](got)
	if err != nil || !slices.Equal(index, []string{"team/m-1"}) {
		t.Errorf("indexed by %q, %v", index, err)
	}
}
