package model

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubefake "k8s.io/client-go/kubernetes/fake"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingapi "knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/obstacle"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// showing is a replica of a revision whose container waits for a reason.
func showing(revision, reason, message string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: revision + "-a", UID: "a", CreationTimestamp: metav1.NewTime(noon),
		Labels: map[string]string{sluice.ModelLabelKey: name, servingapi.RevisionLabelKey: revision},
	}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "user-container", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
	}}
	return p
}

// failed is a revision that Knative says to have failed, by one of its conditions.
func failed(by apis.ConditionType, reason, message string) func(*servingv1.Revision) {
	return func(r *servingv1.Revision) {
		r.Status.Conditions = nil
		for _, c := range []apis.ConditionType{servingv1.RevisionConditionReady, by} {
			r.Status.Conditions = append(r.Status.Conditions, apis.Condition{Type: c, Status: corev1.ConditionFalse, Reason: reason, Message: message})
		}
	}
}

// starting is a Service whose first revision isn't ready.
func starting(s *servingv1.Service) {
	ready(s)
	s.Status.LatestReadyRevisionName = ""
	s.Status.Conditions = duckv1.Conditions{{Type: servingv1.ServiceConditionConfigurationsReady, Status: corev1.ConditionUnknown}}
}

func given(up *servingv1.Service) {
	starting(up)
	up.Status.Conditions[0].Status, up.Status.Conditions[0].Reason, up.Status.Conditions[0].Message =
		corev1.ConditionFalse, "RevisionFailed", `Revision "ranker-00001" failed with message: Initial scale was never achieved.`
}

// What keeps a revision is told as it is seen, counts as its failure once it lasts, stays
// when Knative has taken the replicas away, and goes when it is gone.
func TestObstacleOfARevision(t *testing.T) {
	t.Parallel()
	deploying := unready(corev1.ConditionUnknown, "Deploying.")
	giveUp := failed(servingv1.RevisionConditionResourcesAvailable, "ProgressDeadlineExceeded", "Initial scale was never achieved")
	missing := showing(first, "CreateContainerConfigError", `secret "token" not found`)
	type look struct {
		name     string
		after    time.Duration
		service  func(*servingv1.Service)
		revision func(*servingv1.Revision)
		pods     []*corev1.Pod
		// status, reason and start of RevisionReady, and for how long it isn't looked again.
		status corev1.ConditionStatus
		reason string
		again  time.Duration
	}
	m := model()
	c := clocktesting.NewFakePassiveClock(noon)
	for _, l := range []look{
		{"nothing yet", 0, starting, deploying, nil, corev1.ConditionUnknown, "Deploying", lookForMissing},
		{"a Secret is missing", 2 * time.Second, starting, deploying, []*corev1.Pod{missing}, corev1.ConditionUnknown, obstacle.SecretMissing, lookForMissing},
		{"for a while", 16 * time.Second, starting, deploying, []*corev1.Pod{missing}, corev1.ConditionUnknown, obstacle.SecretMissing, lookForMissing},
		{"it lasts", 17 * time.Second, starting, deploying, []*corev1.Pod{missing}, corev1.ConditionFalse, obstacle.SecretMissing, lookForMissing},
		{"Knative can't be told from before", 18 * time.Second, func(*servingv1.Service) {}, deploying, []*corev1.Pod{missing}, corev1.ConditionUnknown, "OutOfDate", 0},
		{"for long", 5 * time.Minute, starting, deploying, []*corev1.Pod{missing}, corev1.ConditionFalse, obstacle.SecretMissing, lookAgain},
		{"given up", 10 * time.Minute, given, giveUp, []*corev1.Pod{missing}, corev1.ConditionFalse, obstacle.SecretMissing, lookAgain},
		{"the replica is gone", 11 * time.Minute, given, giveUp, nil, corev1.ConditionFalse, obstacle.SecretMissing, 0},
		{"another starts", 12 * time.Minute, starting, deploying, []*corev1.Pod{showing(first, "ContainerCreating", "")}, corev1.ConditionUnknown, "Deploying", lookAgain},
		{"a registry has no such tag", 13 * time.Minute, given, failed(servingv1.RevisionConditionContainerHealthy, "ContainerMissing", `Unable to fetch image "r/m:1": MANIFEST_UNKNOWN`), nil, corev1.ConditionFalse, obstacle.ImageMissing, 0},
		{"a quota", 14 * time.Minute, given, failed(servingv1.RevisionConditionResourcesAvailable, "FailedCreate", `pods "x" is forbidden: exceeded quota: pods`), nil, corev1.ConditionFalse, obstacle.QuotaExceeded, 0},
		{"ready", 15 * time.Minute, ready, func(*servingv1.Revision) {}, nil, corev1.ConditionTrue, "", 0},
	} {
		c.SetTime(noon.Add(l.after))
		var again time.Duration
		o := obstaclesOf(t, c, &again, revision(first, l.revision, func(r *servingv1.Revision) { r.CreationTimestamp = metav1.NewTime(noon) }), l.pods...)
		s := service(withGeneration(1), l.service)
		if err := o.find(t.Context(), m, s); err != nil {
			t.Fatal(err)
		}
		m.Status.PropagateService(s)
		if got := m.Status.GetCondition(v1alpha1.ModelConditionRevisionReady); got.Status != l.status || got.Reason != l.reason || again != l.again {
			t.Errorf("%s: %+v, looks again after %s", l.name, got, again)
		}
	}
	if m.Status.Obstacle != nil {
		t.Errorf("ready, it still says %+v", m.Status.Obstacle)
	}
}

// What kept one revision is no word about the next.
func TestObstacleOfAnotherRevision(t *testing.T) {
	t.Parallel()
	m := model()
	m.Status.Obstacle = &v1alpha1.RevisionObstacle{RevisionName: first, Reason: obstacle.SecretMissing}
	o := obstaclesOf(t, clocktesting.NewFakePassiveClock(noon), new(time.Duration), revision(second, unready(corev1.ConditionUnknown, "")))
	if err := o.find(t.Context(), m, service(withGeneration(1), ready, routed())); err != nil || m.Status.Obstacle != nil {
		t.Errorf("got %+v, %v", m.Status.Obstacle, err)
	}
}

func obstaclesOf(t *testing.T, c *clocktesting.FakePassiveClock, again *time.Duration, r *servingv1.Revision, pods ...*corev1.Pod) *obstacles {
	t.Helper()
	byNamespace := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
	revisions, replicas := cache.NewIndexer(cache.MetaNamespaceKeyFunc, byNamespace), cache.NewIndexer(cache.MetaNamespaceKeyFunc, byNamespace)
	if err := revisions.Add(r); err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		if err := replicas.Add(pod); err != nil {
			t.Fatal(err)
		}
	}
	s := schedule{PassiveClock: c, later: func(_ any, after time.Duration) { *again = after }}
	return &obstacles{
		revisions: servinglisters.NewRevisionLister(revisions), pods: corev1listers.NewPodLister(replicas),
		autoscalers: autoscalinglisters.NewPodAutoscalerLister(cache.NewIndexer(cache.MetaNamespaceKeyFunc, byNamespace)),
		inquiries:   newInquiries(kubefake.NewSimpleClientset(), s), schedule: s,
	}
}

// The cache keeps of a replica what tells of its obstacle, and nothing that is large.
func TestSlimReplicasTell(t *testing.T) {
	t.Parallel()
	end := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Message: strings.Repeat("long ", 1000) + "the end"}}
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes are available: 1 Insufficient cpu."}
	for name, show := range map[string]func(*corev1.PodStatus){
		obstacle.InsufficientResources: func(s *corev1.PodStatus) {
			s.Conditions = []corev1.PodCondition{{Type: corev1.PodInitialized}, scheduled}
		},
		obstacle.ContainerExited: func(s *corev1.PodStatus) {
			s.InitContainerStatuses = []corev1.ContainerStatus{{Name: "fetch", RestartCount: 3, LastTerminationState: end}}
		},
		obstacle.PodTurnedAway: func(s *corev1.PodStatus) { s.Phase, s.Reason, s.Message = corev1.PodFailed, "Evicted", "no disk" },
	} {
		p := showing(first, "ContainerCreating", "")
		p.Annotations, p.ManagedFields = map[string]string{"a": "b"}, []metav1.ManagedFieldsEntry{{}}
		show(&p.Status)
		slimmed, err := slim(p)
		if err != nil {
			t.Fatal(err)
		}
		kept, ok := slimmed.(*corev1.Pod)
		if !ok || kept.Annotations != nil || kept.ManagedFields != nil || len(kept.Status.Conditions) > 1 {
			t.Errorf("%s: kept %+v", name, slimmed)
		}
		if got := obstacle.Of(obstacle.Seen{Pods: []*corev1.Pod{kept}}, noon); got == nil || got.Reason != name || len(kept.String()) > 5000 || !troubled(kept) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
