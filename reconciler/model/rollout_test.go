package model

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgotesting "k8s.io/client-go/testing"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	rtesting "knative.dev/pkg/reconciler/testing"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	servingapi "knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
	"sluice.dev/sluice/reconciler/model/resources"
)

func TestRollout(t *testing.T) {
	rolloutRows().Test(t, factory)
}

// rolloutRows go from the first revision to the second, with four replicas.
func rolloutRows() rtesting.TableTest {
	at := func(percents ...int32) func(*servingv1.Service) {
		return routed(resources.Named(first, percents[0], ""), resources.Named(second, percents[1], ""))
	}
	waiting := routed(resources.Named(first, 100, ""), resources.Newest())
	onlySecond := routed(resources.Named(second, 100, ""))
	starting := func(m *v1alpha1.Model) {
		rolling(v1alpha1.RolloutProgressing, 0, noon)(m)
		m.Status.LatestReadyRevision = first
		replicas(4, 4, 4, 1, 0)(m)
		held(4, 1)(m)
		because("RevisionNotReady", `Revision "ranker-00002" is not ready yet. Deploying.`)(m)
	}
	deploying := unready(corev1.ConditionUnknown, "Deploying.")
	failing := unready(corev1.ConditionFalse, "Container failed with: no such weights")
	half := func(m *v1alpha1.Model) {
		rolling(v1alpha1.RolloutProgressing, 50, noon)(m)
		replicas(4, 4, 4, 2, 2)(m)
		held(4, 3)(m)
		because("WaitingForWarmReplicas", `Revision "ranker-00002" has 2 warm replicas of the 3 for its next step.`)(m)
	}
	keeping := func(since time.Time) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) {
			rolling(v1alpha1.RolloutKeepingWarm, 100, since)(m)
			replicas(4, 4, 4, 4, 4)(m)
			held(4, 4)(m)
			m.Status.PropagateRollout(m.Status.Rollout)
		}
	}
	undo := func(m *v1alpha1.Model) { m.Spec.Rollout.Undo = true }
	const (
		cold = "Replica a could not be warmed up: GET /: 500 instead of 2xx."
		why  = "Replica a of revision ranker-00002 could not be warmed up and doesn't serve: GET /: 500 instead of 2xx. " +
			"Mend the model or spec.warmUp; it is tried again after ten minutes, or at once when it is deleted."
	)
	bad, warm := warmup.Status{State: warmup.Failed, Starts: 1, Reason: "GET /: 500 instead of 2xx"}, warmup.Status{State: warmup.Warm, Starts: 1}
	rowOf := func(pod string, s warmup.Status) v1alpha1.ReplicaWarmUp {
		return v1alpha1.ReplicaWarmUp{Pod: pod, Revision: second, State: string(s.State), Reason: s.Reason}
	}
	ofSecond := func(pod string) runtime.Object {
		r := replica(pod)
		r.Labels[servingapi.RevisionLabelKey] = second
		return r
	}
	ends := func(pod string, times int32) runtime.Object {
		r := replica(pod)
		r.Labels[servingapi.RevisionLabelKey] = second
		r.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "user-container", RestartCount: times,
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}}}}
		return r
	}
	const (
		exits   = "Container user-container of replica b ended with exit code 3."
		mending = "Mend what its last lines tell of. Its whole log: kubectl logs -n search b -c user-container --previous."
		loops   = `Revision "ranker-00002" is not ready: ` + exits + " " + mending +
			` Revision "ranker-00001" serves meanwhile; set spec.rollout.undo to stay with it.`
	)
	looping := func(m *v1alpha1.Model) {
		m.Status.Obstacle = &v1alpha1.RevisionObstacle{
			RevisionName: second, Reason: "ContainerExited", Message: exits, Remedy: mending,
			PodName: "b", ContainerName: "user-container", ExitCode: ptr(int32(3)), Since: metav1.NewTime(noon), Lasts: true,
		}
	}
	noneWarm := func(m *v1alpha1.Model) {
		warmedModel(m)
		m.Status.WarmUp = &v1alpha1.WarmUpStatus{Revision: second, Failure: ptr(rowOf("a", bad))}
		withConditions(isFalse(v1alpha1.ModelConditionWarm, "WarmUpFailed", why))(m)
	}
	twoWarm := func(m *v1alpha1.Model) {
		warmedModel(m)
		m.Status.WarmUp = &v1alpha1.WarmUpStatus{Revision: second, Warm: 2, Total: 3, Failure: ptr(rowOf("a", bad)),
			Replicas: []v1alpha1.ReplicaWarmUp{rowOf("a", bad), rowOf("b", warm), rowOf("c", warm)}}
		withConditions(isTrueFor(v1alpha1.ModelConditionWarm, "ReplicaFailed", "2 of 3 replicas are warm. "+why))(m)
	}
	return rtesting.TableTest{{
		Name: "a new revision that isn't ready is waited for, and both are kept",
		Key:  key,
		Objects: objects(scaled(first, 4, 4), scaled(second, 1, 0),
			restingModel(lagging), service(withGeneration(1), ready, waiting), revision(first), revision(second, deploying), limitOf(waiting)),
		OtherTestData:     map[string]any{"again": lookAgain},
		WantPatches:       []clientgotesting.PatchActionImpl{floorOf(first, 4), floorOf(second, 1)},
		WantStatusUpdates: status(restingModel(starting)),
		WantEvents:        []string{rtesting.Eventf(corev1.EventTypeNormal, "RolloutProgressing", "Moving requests from revision %q to %q", first, second)},
	}, {
		Name: "with two of four warm it gets half",
		Key:  key,
		Objects: objects(scaled(first, 4, 4), scaled(second, 2, 2),
			restingModel(starting, held(4, 2)), service(withGeneration(1), ready, at(75, 25)), revision(first, kept(4)), revision(second, kept(2)), limitOf(at(75, 25))),
		WantUpdates:       []clientgotesting.UpdateActionImpl{{Object: service(withGeneration(1), ready, served(at(75, 25)), at(50, 50), served(at(75, 25)))}},
		WantPatches:       []clientgotesting.PatchActionImpl{floorOf(second, 3)},
		WantStatusUpdates: status(restingModel(rewritten, half)),
	}, {
		Name: "a controller that knows nothing of before goes on, with more caution",
		Key:  key,
		Objects: objects(scaled(first, 4, 4), scaled(second, 2, 2),
			restingModel(forgotten), service(withGeneration(1), ready, at(75, 25)), revision(first, kept(4)), revision(second, kept(2)), limitOf(at(75, 25))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: service(withGeneration(1), ready, served(at(75, 25)), at(67, 33), served(at(75, 25)))}},
		WantPatches: []clientgotesting.PatchActionImpl{floorOf(first, 6), floorOf(second, 4)},
		WantStatusUpdates: status(restingModel(rewritten, rolling(v1alpha1.RolloutProgressing, 33, noon), replicas(6, 4, 4, 2, 2), held(6, 4),
			because("WaitingForWarmReplicas", `Revision "ranker-00002" has 2 warm replicas of the 4 for its next step.`))),
		WantEvents: []string{
			rtesting.Eventf(corev1.EventTypeNormal, "RolloutProgressing", "Moving requests from revision %q to %q", first, second),
			rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", first),
			rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", second),
		},
	}, {
		Name: "no step before the last one is served",
		Key:  key,
		Objects: objects(scaled(first, 4, 4), scaled(second, 3, 3),
			restingModel(half), service(withGeneration(1), ready, at(50, 50), served(at(75, 25))), revision(first, kept(4)), revision(second, kept(3)), limitOf(at(75, 25))),
		WantStatusUpdates: status(restingModel(half, replicas(4, 4, 4, 3, 3),
			because("WaitingForRoutes", "The gateways don't serve the last split yet."))),
	}, {
		Name: "it turns unready: dropped in one write",
		Key:  key,
		Objects: objects(scaled(first, 4, 4), scaled(second, 3, 0),
			restingModel(half), service(withGeneration(1), ready, at(50, 50)), revision(first, kept(4)), revision(second, kept(3), failing), limitOf(at(50, 50))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: service(withGeneration(1), ready, at(50, 50),
			func(s *servingv1.Service) {
				s.Spec.Traffic = []servingv1.TrafficTarget{resources.Named(first, 100, "")}
			})}},
		WantPatches:   []clientgotesting.PatchActionImpl{floorOf(second, 1)},
		OtherTestData: map[string]any{"again": 5 * time.Minute},
		WantStatusUpdates: status(restingModel(rewritten, rolling(v1alpha1.RolloutFailed, 0, noon), replicas(4, 4, 4, 3, 0), held(4, 1), because("RevisionFailed",
			`Revision "ranker-00002" is not ready: Container failed with: no such weights. Revision "ranker-00001" serves; change the Model to mend it, or set spec.rollout.undo.`))),
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "RolloutFailed",
			`Revision "ranker-00002" is not ready: Container failed with: no such weights. Revision "ranker-00001" serves; change the Model to mend it, or set spec.rollout.undo.`)},
	}, {
		Name: "its container ends again and again: given up before Knative does",
		Key:  key,
		Objects: objects(scaled(first, 4, 4), scaled(second, 1, 0), ends("b", 2), ends("a", 1),
			restingModel(starting), service(withGeneration(1), ready, waiting), revision(first, kept(4)), revision(second, deploying, kept(1)), limitOf(waiting)),
		OtherTestData: map[string]any{"again": []time.Duration{5 * time.Minute, lookAgain}},
		WantStatusUpdates: status(restingModel(starting, looping, rolling(v1alpha1.RolloutFailed, 0, noon), replicas(4, 4, 4, 1, 0),
			because("RevisionFailed", loops), func(m *v1alpha1.Model) { m.Status.LatestReadyRevision = first })),
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "RolloutFailed", loops)},
	}, {
		Name: "none of its replicas can be warmed up: given up at once, and says which request failed",
		Key:  key,
		Objects: objects(scaled(first, 4, 4), scaled(second, 1, 0),
			restingModel(starting, noneWarm), builtFrom(model(warmedModel), warmUpImage, "", withGeneration(1), ready, waiting), revision(first, kept(4)), revision(second, kept(1), deploying), limitOf(waiting)),
		OtherTestData: map[string]any{"again": []time.Duration{5 * time.Minute, lookAgain}},
		WantStatusUpdates: status(restingModel(rolling(v1alpha1.RolloutFailed, 0, noon), lagging, noneWarm, replicas(4, 4, 4, 1, 0), held(4, 1), because("RevisionFailed",
			`Revision "ranker-00002" is not ready: `+cold+` Revision "ranker-00001" serves; change the Model to mend it, or set spec.rollout.undo.`))),
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "RolloutFailed",
			`Revision "ranker-00002" is not ready: `+cold+` Revision "ranker-00001" serves; change the Model to mend it, or set spec.rollout.undo.`)},
	}, {
		Name: "one of its replicas can't be warmed up: the share stays with the others, and says which request failed",
		Key:  key,
		Objects: objects(scaled(first, 4, 4), scaled(second, 3, 2),
			restingModel(half, twoWarm), builtFrom(model(warmedModel), warmUpImage, "", withGeneration(1), ready, at(50, 50)),
			revision(first, kept(4)), revision(second, kept(3)), limitOf(at(50, 50)), ofSecond("a"), ofSecond("b"), ofSecond("c")),
		OtherTestData: map[string]any{
			"seen": said(map[string]warmup.Status{"a": bad, "b": warm, "c": warm}), "told": []string{"a Failed", "b Warm", "c Warm"},
		},
		WantStatusUpdates: status(restingModel(half, twoWarm, replicas(4, 4, 4, 3, 2),
			because("WaitingForWarmReplicas", `Revision "ranker-00002" has 2 warm replicas of the 3 for its next step. `+cold))),
	}, {
		Name: "it has all requests: both are kept warm for a while",
		Key:  key,
		Objects: objects(scaled(first, 4, 4), scaled(second, 4, 4),
			restingModel(half, held(4, 4)), service(withGeneration(1), ready, at(0, 100)), revision(first, kept(4)), revision(second, kept(4)), limitOf(at(0, 100))),
		OtherTestData:     map[string]any{"again": 5 * time.Minute},
		WantStatusUpdates: status(restingModel(keeping(noon))),
		WantEvents:        []string{rtesting.Eventf(corev1.EventTypeNormal, "RolledOut", "Revision %q has taken over from %q", second, first)},
	}, {
		Name: "undone within that while: back at once",
		Key:  key,
		Objects: objects(scaled(first, 4, 4), scaled(second, 4, 4),
			restingModel(keeping(noon), undo), service(withGeneration(1), ready, at(0, 100)), revision(first, kept(4)), revision(second, kept(4)), limitOf(at(0, 100))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: service(withGeneration(1), ready, at(100, 0), served(at(0, 100)))}},
		WantPatches: []clientgotesting.PatchActionImpl{floorOf(second, 0)},
		WantStatusUpdates: status(restingModel(rewritten, undo, rolling(v1alpha1.RolloutUndoing, 0, noon), replicas(4, 4, 4, 4, 4), held(4, 0),
			because("MovingRequests", `Requests are on their way to revision "ranker-00001".`))),
	}, {
		Name: "the while is over: the first revision leaves the route, and nothing is kept",
		Key:  key,
		Objects: objects(scaled(first, 4, 4), scaled(second, 4, 4),
			restingModel(keeping(noon.Add(-5*time.Minute))), service(withGeneration(1), ready, at(0, 100)),
			revision(first, kept(4)), revision(second, kept(4)), limitOf(at(0, 100))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: service(withGeneration(1), ready, onlySecond, served(at(0, 100)))}},
		WantPatches: []clientgotesting.PatchActionImpl{floorOf(first, 0), floorOf(second, 0)},
		WantStatusUpdates: status(restingModel(rewritten, rolling(v1alpha1.RolloutComplete, 100, noon), replicas(0, 4, 4, 4, 4),
			func(m *v1alpha1.Model) { m.Status.PropagateRollout(m.Status.Rollout) })),
	}, {
		Name: "undone later: warmed first",
		Key:  key,
		Objects: objects(scaled(first, 0, 0), scaled(second, 4, 4),
			restingModel(undo, rolling(v1alpha1.RolloutComplete, 100, noon)), service(withGeneration(1), ready, onlySecond),
			revision(first), revision(second), limitOf(onlySecond)),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: service(withGeneration(1), ready, at(0, 100), served(onlySecond))}},
		WantPatches: []clientgotesting.PatchActionImpl{floorOf(first, 4), floorOf(second, 4)},
		WantStatusUpdates: status(restingModel(rewritten, undo, rolling(v1alpha1.RolloutUndoing, 100, noon), replicas(4, 0, 0, 4, 4), held(4, 4),
			because("WaitingForWarmReplicas", `Revision "ranker-00001" has 0 warm replicas of the 4 for its next step.`))),
	}, {
		Name: "what the demand called for isn't the rollout's to keep",
		Key:  key,
		Objects: objects(scaled(first, 4, 4), scaled(second, 8, 2),
			restingModel(half, called(0, 8)), service(withGeneration(1), ready, at(50, 50)), revision(first, kept(4)), revision(second, kept(8)), limitOf(at(50, 50))),
		WantPatches:       []clientgotesting.PatchActionImpl{floorOf(second, 3)},
		WantStatusUpdates: status(restingModel(half, replicas(4, 4, 4, 8, 2))),
	}, {
		Name: "a template that changes starts the first step, and pins what serves",
		Key:  key,
		Objects: objects(scaled(first, 8, 8),
			restingModel(image), service(withGeneration(1), ready, defaulted), revision(first), rateLimit(service(ready), limited)),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: func() runtime.Object {
			s := resources.RebuildService(model(image), nil, service(withGeneration(1), ready, defaulted))
			s.Spec.Template.Annotations["autoscaling.knative.dev/initial-scale"] = "2"
			return s
		}()}},
		WantStatusUpdates: status(restingModel(image, outOfDate, rewritten)),
	}}
}

func image(m *v1alpha1.Model) { m.Spec.Container.Image = "registry.example/ranker:2" }

// lagging is a Model whose status speaks of the first revision only.
func lagging(m *v1alpha1.Model) { m.Status.LatestReadyRevision = first }

// forgotten is a Model that knows of no rollout.
func forgotten(m *v1alpha1.Model) { m.Status.Rollout = nil }

// rewritten is a Model whose Service was written, of which Knative has yet to hear.
func rewritten(m *v1alpha1.Model) {
	const message = "Knative has not taken up the Model's latest change yet."
	m.Status.ServiceGeneration = 2
	withConditions(
		unknown(v1alpha1.ModelConditionRevisionReady, "OutOfDate", message), unknown(v1alpha1.ModelConditionRouted, "OutOfDate", message),
	)(m)
}

// replicas are those of a rollout, with what its first and second revision have.
func replicas(all, fromDesired, fromWarm, toDesired, toWarm int32) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		r := m.Status.Rollout
		r.Replicas = all
		r.From.Desired, r.From.Warm, r.To.Desired, r.To.Warm = fromDesired, fromWarm, toDesired, toWarm
	}
}

// served is a Service whose gateways serve another one's targets.
func served(by func(*servingv1.Service)) func(*servingv1.Service) {
	return func(s *servingv1.Service) {
		other := service(ready, by)
		s.Status.Traffic = other.Status.Traffic
	}
}

// held is a Model whose rollout holds its first and second revision at some replicas.
func held(of ...int32) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		m.Status.Floors = nil
		for i, replicas := range of {
			if replicas > 0 {
				m.Status.Floors = append(m.Status.Floors, v1alpha1.RevisionFloor{RevisionName: []string{first, second}[i], Rollout: replicas})
			}
		}
	}
}

// called is a Model that the demand calls for some replicas of, too, of each revision
// that is held.
func called(of ...int32) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		for i, replicas := range of {
			m.Status.Floors[i].Demand = replicas
		}
	}
}

func limitOf(by func(*servingv1.Service)) runtime.Object {
	return rateLimit(service(ready, by), limited)
}

func unready(status corev1.ConditionStatus, message string) func(*servingv1.Revision) {
	return func(r *servingv1.Revision) {
		r.Status.Conditions = duckv1.Conditions{{Type: servingv1.RevisionConditionReady, Status: status, Message: message}}
	}
}

// kept is a revision with a least scale.
func kept(replicas int) func(*servingv1.Revision) {
	return func(r *servingv1.Revision) { r.Annotations["autoscaling.knative.dev/min-scale"] = fmt.Sprint(replicas) }
}

// floorOf is the patch of a revision's least scale; 0 removes it.
func floorOf(name string, replicas int) clientgotesting.PatchActionImpl {
	text := fmt.Sprintf(`{"metadata":{"annotations":{"autoscaling.knative.dev/min-scale":"%d"}}}`, replicas)
	if replicas == 0 {
		text = `{"metadata":{"annotations":{"autoscaling.knative.dev/min-scale":null}}}`
	}
	return patch(name, text)
}

// scaled is the autoscaler and the endpoints of a revision.
func scaled(name string, desired int32, warm int) []runtime.Object {
	autoscaler := &autoscalingv1alpha1.PodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Status:     autoscalingv1alpha1.PodAutoscalerStatus{DesiredScale: &desired},
	}
	endpoints := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name + "-private"},
	}}
	for i := range warm {
		endpoints.Endpoints = append(endpoints.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.0.0.%d", i)}})
	}
	return []runtime.Object{autoscaler, endpoints}
}

func objects(first, second any, more ...runtime.Object) []runtime.Object {
	for _, o := range []any{first, second} {
		switch o := o.(type) {
		case []runtime.Object:
			more = append(more, o...)
		case runtime.Object:
			more = append(more, o)
		}
	}
	return more
}
