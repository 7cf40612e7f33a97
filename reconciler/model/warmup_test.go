package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corev1listers "k8s.io/client-go/listers/core/v1"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"knative.dev/pkg/apis"
	rtesting "knative.dev/pkg/reconciler/testing"
	servingapi "knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
	"sluice.dev/sluice/reconciler/model/resources"
)

const warmUpImage = "registry.example/sluice/warmup@sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

// sender takes what is told.
type sender struct {
	sent []string
	// err is what it answers with to all.
	err error
}

func (s *sender) Send(_ context.Context, e cloudevents.Event) error {
	if s.err != nil {
		return s.err
	}
	if e.Type() == eventing.ModelTunedType {
		var d eventing.ModelTuned
		if err := e.DataAs(&d); err != nil {
			return err
		}
		s.sent = append(s.sent, fmt.Sprintf("%d by %q as %q: %v", d.Revision, d.Who, d.Why, d.Changes))
		return nil
	}
	var d eventing.ModelWarmed
	if err := e.DataAs(&d); err != nil {
		return err
	}
	s.sent = append(s.sent, d.Pod+" "+d.Verdict)
	return nil
}

// warmed is a Model that is warmed up by one request.
func warmedModel(m *v1alpha1.Model) {
	m.Spec.WarmUp = &v1alpha1.WarmUpSpec{Requests: []v1alpha1.WarmUpRequest{{Path: "/"}}, Repeat: 10}
	m.SetDefaults(context.Background())
}

// fromRecorded takes its body from a ConfigMap.
func fromRecorded(m *v1alpha1.Model) {
	warmedModel(m)
	m.Spec.WarmUp.Requests[0].BodyFrom = &v1alpha1.WarmUpBodySource{ConfigMapKeyRef: &v1alpha1.WarmUpConfigMapKey{Name: "recorded", Key: "body"}}
}

func recorded(body string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "recorded"}, Data: map[string]string{"body": body}}
}

func bodies(m *v1alpha1.Model, body string) *corev1.ConfigMap {
	c, err := resources.WarmUpBodies(m, map[string]*corev1.ConfigMap{"recorded": recorded(body)})
	if err != nil {
		panic(err)
	}
	return c
}

// builtFrom is the Service of a Model as this release builds it.
func builtFrom(m *v1alpha1.Model, image, body string, changes ...func(*servingv1.Service)) *servingv1.Service {
	pins := resources.WarmUpPins{Image: image}
	if resources.WarmUpSources(m.Spec.WarmUp) != nil {
		pins.Bodies = bodies(m, body).Name
	}
	s := resources.RebuildService(m, nil, resources.PinWarmUp(m, resources.EmptyService(m), pins))
	for _, change := range changes {
		change(s)
	}
	return s
}

// builtWithin is the Service of a Model in a cluster with that progress deadline.
func builtWithin(m *v1alpha1.Model, cluster time.Duration) *servingv1.Service {
	return resources.RebuildService(m, nil, resources.PinWarmUp(m, resources.EmptyService(m), resources.WarmUpPins{Image: warmUpImage, StartWithin: cluster}))
}

// roomy are resources of another cluster's ConfigMap.
var roomy = corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}

// builtRoomy is the Service of a Model in that cluster.
func builtRoomy(m *v1alpha1.Model) *servingv1.Service {
	return resources.RebuildService(m, nil, resources.PinWarmUp(m, resources.EmptyService(m),
		resources.WarmUpPins{Image: warmUpImage, Resources: resources.WarmUpResources(m, roomy)}))
}

func replica(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID(name),
			Labels: map[string]string{sluice.ModelLabelKey: "ranker", servingapi.RevisionLabelKey: first},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "user-container"}, {Name: warmup.ContainerName}, {Name: "queue-proxy"}}},
	}
}

// said is what replicas have said already.
func said(statuses map[string]warmup.Status) map[types.UID]*seen {
	known := map[types.UID]*seen{}
	for pod, status := range statuses {
		known[types.UID(pod)] = &seen{model: types.NamespacedName{Namespace: namespace, Name: name}, asked: noon, status: status}
	}
	return known
}

func isTrueFor(c apis.ConditionType, reason, message string) mark {
	return func(m apis.ConditionManager) { m.MarkTrueWithReason(c, reason, "%s", message) }
}

func ms(n int64) *metav1.Duration {
	return &metav1.Duration{Duration: time.Duration(n) * time.Millisecond}
}

// warmUpRows warm replicas up before they serve.
func warmUpRows() rtesting.TableTest {
	const (
		limitPending = "The limiter has not said yet whether the limit is enforced."
		failed       = "Replica ranker-a of revision ranker-00001 could not be warmed up and doesn't serve: GET /: 404 instead of 2xx. " +
			"Mend the model or spec.warmUp; it is tried again after ten minutes, or at once when it is deleted."
		missing = `spec.warmUp: request 0: there is no ConfigMap "recorded". Create it, or name another one.`
		nothing = "There is no Knative Service of this Model."
	)
	warm := warmup.Status{State: warmup.Warm, Starts: 1, Rounds: 10, Requests: 10, FirstMilliseconds: 800, LastMilliseconds: 4, Seconds: 1}
	bad := warmup.Status{State: warmup.Failed, Starts: 1, Reason: "GET /: 404 instead of 2xx"}
	cold := warmup.Status{State: warmup.ServingCold, Starts: 1, Reason: "not warm within 2m0s"}
	row := func(pod string, s warmup.Status) v1alpha1.ReplicaWarmUp {
		r := v1alpha1.ReplicaWarmUp{Pod: pod, Revision: first, State: string(s.State), Requests: s.Requests, Reason: s.Reason}
		if s.Requests > 0 {
			r.FirstLatency, r.LastLatency = ms(int64(s.FirstMilliseconds)), ms(int64(s.LastMilliseconds))
		}
		return r
	}
	with := func(s v1alpha1.WarmUpStatus) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) {
			s.Revision = first
			m.Status.WarmUp = &s
		}
	}
	atRest := func(m *v1alpha1.Model) []runtime.Object {
		return []runtime.Object{m, builtFrom(m, "registry.example/sluice/warmup:older", "body", withGeneration(1), ready), revision(first), rateLimit(service(ready), limited)}
	}
	resting := func(changes ...func(*v1alpha1.Model)) *v1alpha1.Model {
		return restingModel(append([]func(*v1alpha1.Model){warmedModel}, changes...)...)
	}
	restingRecorded := func(changes ...func(*v1alpha1.Model)) *v1alpha1.Model {
		return restingModel(append([]func(*v1alpha1.Model){
			fromRecorded, with(v1alpha1.WarmUpStatus{}), withConditions(isTrueFor(v1alpha1.ModelConditionWarm, "NoReplicas", "There are no replicas; each is warmed up before it serves.")),
		}, changes...)...)
	}
	noReplicas := withConditions(isTrueFor(v1alpha1.ModelConditionWarm, "NoReplicas", "There are no replicas; each is warmed up before it serves."))
	old := func(c *corev1.ConfigMap) *corev1.ConfigMap {
		c.CreationTimestamp = metav1.NewTime(noon.Add(-time.Hour))
		return c
	}
	young := func(c *corev1.ConfigMap) *corev1.ConfigMap {
		c.CreationTimestamp = metav1.NewTime(noon.Add(-time.Minute))
		return c
	}
	soon, missed, later := time.Second, 5*time.Second, 30*time.Second
	return rtesting.TableTest{{
		Name:        "new, with this release's image",
		Key:         key,
		Objects:     []runtime.Object{model(warmedModel)},
		WantCreates: []runtime.Object{builtFrom(model(warmedModel), warmUpImage, ""), resources.RateLimit(model(), nil, service())},
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeNormal, "Created", "Created Knative Service %q", name)},
		WantStatusUpdates: status(model(warmedModel, observed, written, outOfDate, with(v1alpha1.WarmUpStatus{}), func(m *v1alpha1.Model) { m.Status.WarmUp.Revision = "" }, withConditions(
			unknown(v1alpha1.ModelConditionWarm, "WarmingUp", "There is no revision yet."),
			unknown(v1alpha1.ModelConditionLimited, "Pending", limitPending),
		))),
	}, {
		Name:          "new, where the cluster lets revisions take their time",
		Key:           key,
		Objects:       []runtime.Object{model(warmedModel)},
		OtherTestData: map[string]any{"starts within": time.Hour},
		WantCreates: []runtime.Object{
			builtWithin(model(warmedModel), time.Hour), resources.RateLimit(model(), nil, service()),
		},
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeNormal, "Created", "Created Knative Service %q", name)},
		WantStatusUpdates: status(model(warmedModel, observed, written, outOfDate, with(v1alpha1.WarmUpStatus{}), func(m *v1alpha1.Model) { m.Status.WarmUp.Revision = "" }, withConditions(
			unknown(v1alpha1.ModelConditionWarm, "WarmingUp", "There is no revision yet."),
			unknown(v1alpha1.ModelConditionLimited, "Pending", limitPending),
		))),
	}, {
		Name:          "new, where the cluster says what the container has",
		Key:           key,
		Objects:       []runtime.Object{model(warmedModel)},
		OtherTestData: map[string]any{"resources": roomy},
		WantCreates:   []runtime.Object{builtRoomy(model(warmedModel)), resources.RateLimit(model(), nil, service())},
		WantEvents:    []string{rtesting.Eventf(corev1.EventTypeNormal, "Created", "Created Knative Service %q", name)},
		WantStatusUpdates: status(model(warmedModel, observed, written, outOfDate, with(v1alpha1.WarmUpStatus{}), func(m *v1alpha1.Model) { m.Status.WarmUp.Revision = "" }, withConditions(
			unknown(v1alpha1.ModelConditionWarm, "WarmingUp", "There is no revision yet."),
			unknown(v1alpha1.ModelConditionLimited, "Pending", limitPending),
		))),
	}, {
		Name:    "an upgrade of Sluice changes nothing of a Model that runs",
		Key:     key,
		Objects: atRest(resting(with(v1alpha1.WarmUpStatus{}), noReplicas)),
	}, {
		Name:          "nor does what the cluster says the container is to have",
		Key:           key,
		Objects:       atRest(resting(with(v1alpha1.WarmUpStatus{}), noReplicas)),
		OtherTestData: map[string]any{"resources": roomy},
	}, {
		Name: "what is changed by hand is restored with the image it had",
		Key:  key,
		Objects: []runtime.Object{
			resting(with(v1alpha1.WarmUpStatus{}), noReplicas), revision(first), rateLimit(service(ready), limited),
			builtFrom(resting(), "registry.example/sluice/warmup:older", "", withGeneration(2), ready, func(s *servingv1.Service) {
				s.Status.ObservedGeneration = 2
				s.Spec.Template.Spec.Containers[1].Image = "registry.example/another"
			}),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: builtFrom(resting(), "registry.example/sluice/warmup:older", "", withGeneration(2), ready, pinnedToFirst, func(s *servingv1.Service) { s.Status.ObservedGeneration = 2 }),
		}},
		WantStatusUpdates: status(resting(with(v1alpha1.WarmUpStatus{}), noReplicas, outOfDate, func(m *v1alpha1.Model) { m.Status.ServiceGeneration = 3 })),
	}, {
		Name:    "replicas come and are warmed up",
		Key:     key,
		Objects: append(atRest(resting()), replica("ranker-a"), replica("ranker-b")),
		OtherTestData: map[string]any{
			"seen": said(map[string]warmup.Status{"ranker-a": warm}), "again": soon, "told": []string{"ranker-a Warm"},
		},
		WantStatusUpdates: status(resting(with(v1alpha1.WarmUpStatus{
			Warm: 1, Total: 2, Replicas: []v1alpha1.ReplicaWarmUp{row("ranker-b", warmup.Status{State: warmup.Waiting}), row("ranker-a", warm)},
		}), withConditions(isTrueFor(v1alpha1.ModelConditionWarm, "Warm", "1 of 2 replicas are warm.")))),
	}, {
		Name: "of one that has just come nothing is told yet",
		Key:  key,
		Objects: append(atRest(resting(with(v1alpha1.WarmUpStatus{}), noReplicas)), func() *corev1.Pod {
			pod := replica("ranker-a")
			pod.CreationTimestamp = metav1.NewTime(noon.Add(-time.Second))
			return pod
		}()),
		OtherTestData: map[string]any{"again": 2 * soon},
	}, {
		Name:          "a replica that can't be warmed up doesn't serve",
		Key:           key,
		Objects:       append(atRest(resting()), replica("ranker-a")),
		OtherTestData: map[string]any{"seen": said(map[string]warmup.Status{"ranker-a": bad}), "told": []string{"ranker-a Failed"}},
		WantStatusUpdates: status(resting(with(v1alpha1.WarmUpStatus{
			Total: 1, Failure: ptr(row("ranker-a", bad)), Replicas: []v1alpha1.ReplicaWarmUp{row("ranker-a", bad)},
		}), withConditions(isFalse(v1alpha1.ModelConditionWarm, "WarmUpFailed", failed)))),
	}, {
		Name:          "a replica that can't be warmed up leaves the Model ready while another one serves",
		Key:           key,
		Objects:       append(atRest(resting()), replica("ranker-a"), replica("ranker-b")),
		OtherTestData: map[string]any{"seen": said(map[string]warmup.Status{"ranker-a": bad, "ranker-b": warm}), "told": []string{"ranker-a Failed", "ranker-b Warm"}},
		WantStatusUpdates: status(resting(with(v1alpha1.WarmUpStatus{
			Warm: 1, Total: 2, Failure: ptr(row("ranker-a", bad)), Replicas: []v1alpha1.ReplicaWarmUp{row("ranker-a", bad), row("ranker-b", warm)},
		}), withConditions(isTrueFor(v1alpha1.ModelConditionWarm, "ReplicaFailed", "1 of 2 replicas are warm. "+failed)))),
	}, {
		Name: "why it failed is known when Knative has taken its replicas away",
		Key:  key,
		Objects: atRest(resting(with(v1alpha1.WarmUpStatus{Failure: ptr(row("ranker-a", bad))}),
			withConditions(isFalse(v1alpha1.ModelConditionWarm, "WarmUpFailed", failed)))),
	}, {
		Name:          "a replica that may serve cold",
		Key:           key,
		Objects:       append(atRest(resting()), replica("ranker-a")),
		OtherTestData: map[string]any{"seen": said(map[string]warmup.Status{"ranker-a": cold}), "told": []string{"ranker-a ServingCold"}},
		WantStatusUpdates: status(resting(with(v1alpha1.WarmUpStatus{Warm: 1, Total: 1, Replicas: []v1alpha1.ReplicaWarmUp{row("ranker-a", cold)}}),
			withConditions(isTrueFor(v1alpha1.ModelConditionWarm, "ServingCold", "1 of 1 replicas serve without having been warmed up: ranker-a: not warm within 2m0s.")))),
	}, {
		Name:          "Knative has stopped to ask",
		Key:           key,
		Objects:       atRest(resting()),
		OtherTestData: map[string]any{"not probing": true},
		WantStatusUpdates: status(resting(with(v1alpha1.WarmUpStatus{}), withConditions(isFalse(v1alpha1.ModelConditionWarm, "ProbingDisabled",
			"Knative doesn't probe more than one container of a pod, so replicas serve before they are warm. "+probingRemedy)))),
	}, {
		Name:          "a ConfigMap is missing, and there is nothing yet",
		Key:           key,
		Objects:       []runtime.Object{model(fromRecorded)},
		OtherTestData: map[string]any{"again": missed},
		WantStatusUpdates: status(model(fromRecorded, observed, withConditions(
			unknown(v1alpha1.ModelConditionWarm, "BodyMissing", nothing), unknown(v1alpha1.ModelConditionRolledOut, "BodyMissing", nothing),
			unknown(v1alpha1.ModelConditionRouted, "BodyMissing", nothing), unknown(v1alpha1.ModelConditionLimited, "BodyMissing", nothing),
			isFalse(v1alpha1.ModelConditionRevisionReady, "BodyMissing", "No revision of what the Model asks for can be made."),
			isFalse(v1alpha1.ModelConditionWarm, "BodyMissing", missing),
		))),
	}, {
		Name: "a ConfigMap is missing: what was there before goes on",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(fromRecorded), service(withGeneration(1), ready, defaulted), revision(first), rateLimit(service(ready), limited),
		},
		OtherTestData: map[string]any{"again": missed},
		WantStatusUpdates: status(restingModel(fromRecorded, with(v1alpha1.WarmUpStatus{}), withConditions(
			isFalse(v1alpha1.ModelConditionRevisionReady, "BodyMissing", "No revision of what the Model asks for can be made."),
			isFalse(v1alpha1.ModelConditionWarm, "BodyMissing", missing),
		))),
	}, {
		Name: "bodies are copied for the revision, and copies that none needs go",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(fromRecorded), service(withGeneration(1), ready, defaulted), rateLimit(service(ready), limited), recorded("body"),
			revision(first, func(r *servingv1.Revision) { r.Spec = builtFrom(model(fromRecorded), "", "running").Spec.Template.Spec }),
			old(bodies(model(fromRecorded), "running")), old(bodies(model(fromRecorded), "unused")), young(bodies(model(fromRecorded), "young")),
		},
		OtherTestData: map[string]any{"again": later},
		WantCreates:   []runtime.Object{bodies(model(fromRecorded), "body")},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: resources.RebuildService(model(fromRecorded), nil, resources.PinWarmUp(model(fromRecorded), service(withGeneration(1), ready, defaulted),
				resources.WarmUpPins{Image: warmUpImage, Bodies: bodies(model(fromRecorded), "body").Name})),
		}},
		WantDeletes: []clientgotesting.DeleteActionImpl{deletion(bodies(model(fromRecorded), "unused").Name)},
		WantStatusUpdates: status(restingModel(fromRecorded, with(v1alpha1.WarmUpStatus{}), noReplicas, outOfDate,
			func(m *v1alpha1.Model) { m.Status.ServiceGeneration = 2 })),
	}, {
		Name:              "a ConfigMap that has changed is told of, and changes nothing",
		Key:               key,
		Objects:           append(atRest(restingRecorded()), recorded("another"), bodies(model(fromRecorded), "body")),
		OtherTestData:     map[string]any{"again": later},
		WantStatusUpdates: status(restingRecorded(func(m *v1alpha1.Model) { m.Status.WarmUp.ChangedBodies = []string{"recorded"} })),
	}, {
		Name:          "a copy that was deleted is made again",
		Key:           key,
		Objects:       append(atRest(restingRecorded()), recorded("body")),
		OtherTestData: map[string]any{"again": later},
		WantCreates:   []runtime.Object{bodies(model(fromRecorded), "body")},
	}, {
		Name:          "a copy that was deleted can't be made again",
		Key:           key,
		Objects:       append(atRest(restingRecorded()), recorded("another")),
		OtherTestData: map[string]any{"again": later},
		WantStatusUpdates: status(restingRecorded(func(m *v1alpha1.Model) {
			m.Status.MarkWarmUpLacking("BodiesLost", `ConfigMap "`+bodies(model(fromRecorded), "body").Name+`", the copy of bodies that replicas are warmed up with, was deleted, `+
				"and what it was made from has changed. Change spec.warmUp, for a new revision.")
		})),
	}, {
		Name: "the API server can't say what is in a ConfigMap",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(fromRecorded), service(withGeneration(1), ready, defaulted), revision(first), rateLimit(service(ready), limited),
		},
		WithReactors: []clientgotesting.ReactionFunc{failing("get", "configmaps", apierrs.NewInternalError(errors.New("no luck")))},
		WantErr:      true,
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "InternalError",
			`reconciling the Knative Service: settling the warm-up: getting ConfigMap "recorded": Internal error occurred: no luck`)},
	}}
}

func deletion(name string) clientgotesting.DeleteActionImpl {
	d := clientgotesting.DeleteActionImpl{Name: name}
	d.Namespace, d.Resource = namespace, corev1.SchemeGroupVersion.WithResource("configmaps")
	return d
}

// A replica without a verdict is asked once a second, one that has a verdict when
// something about its pod changes.
func TestReplicasAreAskedSparingly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		model := types.NamespacedName{Namespace: namespace, Name: name}
		answer, asked, news := warmup.Status{State: warmup.Warming, Starts: 1}, 0, 0
		var problem error
		w := newWarmth(func(types.NamespacedName) { news++ }, clock.RealClock{})
		w.ask = func(_ context.Context, ip string) (warmup.Status, error) {
			if asked++; ip != "10.0.0.1" {
				t.Errorf("asked %s", ip)
			}
			return answer, problem
		}
		pod := replica("ranker-a")
		step := func(wantAsked, wantNews int, wantState warmup.State) {
			t.Helper()
			w.of(model, pod)
			synctest.Wait()
			if got := w.of(model, pod).status.State; got != wantState || asked != wantAsked || news != wantNews {
				t.Errorf("%s, asked %d times, %d news; want %s, %d, %d", got, asked, news, wantState, wantAsked, wantNews)
			}
		}
		step(0, 0, warmup.Waiting) // no address yet
		pod.Status.PodIP = "10.0.0.1"
		step(1, 1, warmup.Warming)
		step(1, 1, warmup.Warming)
		time.Sleep(pullAgain)
		step(2, 1, warmup.Warming)
		answer.State = warmup.Warm
		time.Sleep(pullAgain)
		step(3, 2, warmup.Warm)
		time.Sleep(time.Hour)
		step(3, 2, warmup.Warm)
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 1}}
		answer.State = warmup.Waiting
		step(4, 3, warmup.Waiting)
		problem = errors.New("refused")
		time.Sleep(pullAgain)
		step(5, 3, warmup.Waiting)
		w.keep(types.NamespacedName{Namespace: namespace, Name: "other"}, nil)
		if len(w.seen) != 1 {
			t.Error("another Model's replicas are forgotten")
		}
		w.keep(model, nil)
		if len(w.seen) != 0 {
			t.Error("replicas that are gone are known still")
		}
	})
}

// Nothing waits for the Broker, which is told of a verdict once, and again when it could
// not be.
func TestVerdictsAreToldBeside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWarmth(func(types.NamespacedName) {}, clock.RealClock{})
		pod, now := replica("ranker-a"), verdict{1, warmup.Warm}
		w.of(types.NamespacedName{Namespace: namespace, Name: name}, pod)
		sent, problem := 0, errors.New("refused")
		slow := func() error {
			sent++
			time.Sleep(time.Minute)
			return problem
		}
		for want := 1; want <= 2; want++ {
			start := time.Now()
			for range 2 {
				if w.tell(pod.UID, now, slow) || time.Since(start) > 0 {
					t.Error("it has been told already")
				}
			}
			time.Sleep(2 * time.Minute)
			if sent != want {
				t.Errorf("sent %d times, want %d", sent, want)
			}
			problem = nil
		}
		if !w.tell(pod.UID, now, slow) || sent != 2 {
			t.Errorf("sent %d times, want it told", sent)
		}
	})
}

// Replicas are the tenants': what they say is held to its bounds.
func TestAnswersOfReplicas(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"state":"Warm","starts":1}`:                                                    "Warm",
		`{"state":"Warming","reason":"` + strings.Repeat("x", 500) + `"}`:                "Warming " + strings.Repeat("x", maxReason) + "…",
		`{"state":"Excellent"}`:                                                          "",
		`{"state":"Warm","starts":1,"requests":-1}`:                                      "",
		`{"state":"Warm"}`:                                                               "",
		`{"state":"Warming","reason":"` + strings.Repeat("x", 2*warmup.MaxStatus) + `"}`: "",
		`<html>`: "",
	} {
		status, err := warmup.Status{}, json.Unmarshal([]byte(text), &warmup.Status{})
		if err == nil && len(text) < warmup.MaxStatus {
			_ = json.Unmarshal([]byte(text), &status)
			status, err = sane(status)
		} else {
			err = errors.New("not decoded")
		}
		if got := strings.TrimSpace(string(status.State) + " " + status.Reason); (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%.60s: %.60s, %v", text, got, err)
		}
	}
}

func TestAskReplica(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.2:8098")
	if err != nil {
		t.Skip("the port is taken:", err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != warmup.StatusPath {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(warmup.Status{State: warmup.Warm, Starts: 2, Requests: 7})
	}))
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	defer server.Close()
	status, err := askReplica(t.Context(), "127.0.0.2")
	if err != nil || status.Starts != 2 || status.Requests != 7 {
		t.Errorf("%+v, %v", status, err)
	}
}

// The cluster's progress deadline is Knative's to read.
func TestStartsWithin(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		data map[string]string
		want time.Duration
	}{
		"set":   {map[string]string{"queue-sidecar-image": "queue", "progress-deadline": "45m"}, 45 * time.Minute},
		"unset": {map[string]string{"queue-sidecar-image": "queue"}, 10 * time.Minute},
		"bad":   {map[string]string{"queue-sidecar-image": "queue", "progress-deadline": "soon"}, 0},
		"none":  {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			known := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
			if tt.data != nil {
				if err := known.Add(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "serving", Name: "config-deployment"}, Data: tt.data}); err != nil {
					t.Fatal(err)
				}
			}
			if got := startsWithin(corev1listers.NewConfigMapLister(known).ConfigMaps("serving"))(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
