package broker

import (
	"context"
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/reference"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingfake "knative.dev/eventing/pkg/client/clientset/versioned/fake"
	fakeeventingclient "knative.dev/eventing/pkg/client/injection/client/fake"
	_ "knative.dev/eventing/pkg/client/injection/informers/eventing/v1/broker/filtered/fake"
	_ "knative.dev/eventing/pkg/client/injection/informers/factory/filtered/fake"
	eventinglisters "knative.dev/eventing/pkg/client/listers/eventing/v1"
	_ "knative.dev/pkg/client/injection/kube/client/fake"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	"knative.dev/pkg/reconciler"
	rtesting "knative.dev/pkg/reconciler/testing"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/broker/resources"
)

const (
	namespace = "search"
	name      = "default"
	key       = namespace + "/" + name
	function  = "http://triggers.sluice-system.svc.cluster.local"
)

func TestReconcile(t *testing.T) {
	const taken = "Who may send to this Broker may start Batches in its namespace, by events of type dev.sluice.batch.requested.v1"
	const wrong = `The label sluice.dev/batch-requests is "yes", so no requests for Batches are taken: set it to "true", or take it away`
	says := func(value string) func(*eventingv1.Broker) {
		return func(b *eventingv1.Broker) { b.Labels[sluice.BatchRequestsLabelKey] = value }
	}
	foreign := trigger(func(t *eventingv1.Trigger) { t.OwnerReferences = nil })
	earlier := trigger(func(t *eventingv1.Trigger) { t.OwnerReferences[0].UID = "b-0" })
	const notOwned = "Trigger search/default-batch-requests exists and is not owned by default: delete or rename it"
	rtesting.TableTest{{
		Name:    "bad key",
		Key:     "too/many/parts",
		WantErr: true,
	}, {
		Name:        "a Trigger is made, and then told of",
		Key:         key,
		Objects:     []runtime.Object{broker()},
		WantCreates: []runtime.Object{trigger()},
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeNormal, "BatchRequestsTaken", taken)},
	}, {
		Name:    "nothing to do",
		Key:     key,
		Objects: []runtime.Object{broker(), trigger()},
	}, {
		Name:        "what others changed is put right",
		Key:         key,
		Objects:     []runtime.Object{broker(), trigger(func(t *eventingv1.Trigger) { t.Spec.Filters = nil })},
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: trigger()}},
	}, {
		Name:    "what others added stays",
		Key:     key,
		Objects: []runtime.Object{broker(), trigger(func(t *eventingv1.Trigger) { t.Labels["team"] = "search" })},
	}, {
		Name:         "a Trigger that couldn't be made isn't told of",
		Key:          key,
		Objects:      []runtime.Object{broker()},
		WithReactors: []clientgotesting.ReactionFunc{failing(errors.New("away"))},
		WantCreates:  []runtime.Object{trigger()},
		WantErr:      true,
	}, {
		Name:         "a Trigger that Knative refuses",
		Key:          key,
		Objects:      []runtime.Object{broker()},
		WithReactors: []clientgotesting.ReactionFunc{failing(apierrs.NewBadRequest("no such thing"))},
		WantCreates:  []runtime.Object{trigger()},
		WantErr:      true,
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "BatchRequestsNotTaken",
			`No requests for Batches are taken, Knative refuses Trigger "default-batch-requests": creating Trigger default-batch-requests: no such thing`)},
	}, {
		Name:       "somebody else's Trigger is left alone",
		Key:        key,
		Objects:    []runtime.Object{broker(), foreign},
		WantErr:    true,
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "BatchRequestsNotTaken", "No requests for Batches are taken: "+notOwned)},
	}, {
		Name:       "so is that of an earlier Broker of the name, until it has gone",
		Key:        key,
		Objects:    []runtime.Object{broker(), earlier},
		WantErr:    true,
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "BatchRequestsNotTaken", "No requests for Batches are taken: "+notOwned)},
	}, {
		Name:        "a Broker that is gone, or has lost the label",
		Key:         key,
		Objects:     []runtime.Object{trigger()},
		WantDeletes: deletion(),
	}, {
		Name:    "of which nothing is left",
		Key:     key,
		Objects: []runtime.Object{},
	}, {
		Name:    "of which only somebody else's is left",
		Key:     key,
		Objects: []runtime.Object{foreign},
	}, {
		Name:    "a Broker that is being deleted takes its Trigger along",
		Key:     key,
		Objects: []runtime.Object{broker(func(b *eventingv1.Broker) { b.DeletionTimestamp = &metav1.Time{} }), trigger()},
	}, {
		Name:        "a Broker that says that none are taken",
		Key:         key,
		Objects:     []runtime.Object{broker(says("false")), trigger()},
		WantDeletes: deletion(),
	}, {
		Name:        "a Broker that says something else",
		Key:         key,
		Objects:     []runtime.Object{broker(says("yes")), trigger()},
		WantDeletes: deletion(),
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeWarning, "BatchRequestsInvalid", wrong)},
	}}.Test(t, factory)
}

func broker(changes ...func(*eventingv1.Broker)) *eventingv1.Broker {
	b := &eventingv1.Broker{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: "b-1", Labels: map[string]string{sluice.BatchRequestsLabelKey: sluice.BatchRequestsTaken},
	}}
	for _, change := range changes {
		change(b)
	}
	return b
}

func trigger(changes ...func(*eventingv1.Trigger)) *eventingv1.Trigger {
	t, err := resources.Trigger(broker(), function)
	if err != nil {
		panic(err)
	}
	for _, change := range changes {
		change(t)
	}
	return t
}

func deletion() []clientgotesting.DeleteActionImpl {
	return []clientgotesting.DeleteActionImpl{{
		ActionImpl: clientgotesting.ActionImpl{Namespace: namespace, Verb: "delete", Resource: eventingv1.SchemeGroupVersion.WithResource("triggers")},
		Name:       name + "-batch-requests",
	}}
}

func failing(err error) clientgotesting.ReactionFunc {
	return func(action clientgotesting.Action) (bool, runtime.Object, error) {
		return action.Matches("create", "triggers"), nil, err
	}
}

func factory(t *testing.T, row *rtesting.TableRow) (controller.Reconciler, rtesting.ActionRecorderList, rtesting.EventList) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := eventingfake.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	objects := rtesting.NewObjectSorter(scheme)
	objects.AddObjects(row.Objects...)
	recorder := record.NewFakeRecorder(10)
	ctx := logging.WithLogger(context.Background(), logtesting.TestLogger(t))
	_, eventing := fakeeventingclient.With(ctx, objects.ObjectsForSchemeFunc(eventingfake.AddToScheme)...)
	for _, reactor := range row.WithReactors {
		eventing.PrependReactor("*", "*", reactor)
	}
	brokers := eventinglisters.NewBrokerLister(objects.IndexerForObjectType(&eventingv1.Broker{}))
	triggers := eventinglisters.NewTriggerLister(objects.IndexerForObjectType(&eventingv1.Trigger{}))
	r := &Reconciler{
		LeaderAwareFuncs: promote(brokers, triggers), eventing: eventing, brokers: brokers, triggers: triggers, recorder: recorder, function: function,
	}
	if err := r.Promote(reconciler.UniversalBucket(), func(reconciler.Bucket, types.NamespacedName) {}); err != nil {
		t.Fatal(err)
	}
	return r, rtesting.ActionRecorderList{eventing}, rtesting.EventList{Recorder: recorder}
}

func TestNewController(t *testing.T) {
	ctx, _ := rtesting.SetupFakeContext(t, WithSelector)
	if NewController(function)(ctx, configmap.NewStaticWatcher()) == nil {
		t.Error("no controller")
	}
}

// What records events can say of which Broker they are.
func TestBrokersCanBeReferredTo(t *testing.T) {
	ref, err := reference.GetReference(scheme.Scheme, broker())
	if err != nil || ref.Kind != "Broker" || ref.APIVersion != "eventing.knative.dev/v1" || ref.UID != "b-1" {
		t.Errorf("%+v, %v", ref, err)
	}
}

// Who comes to lead looks at each Broker that has the label, and at each that has a Trigger: it may
// have lost the label while nobody led. Who doesn't lead does nothing.
func TestLeading(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := eventingfake.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	objects := rtesting.NewObjectSorter(scheme)
	left := trigger(func(t *eventingv1.Trigger) { t.Name, t.OwnerReferences[0].Name = "other-batch-requests", "other" })
	objects.AddObjects(broker(), left, trigger(func(t *eventingv1.Trigger) { t.Name, t.OwnerReferences = "nobodys", nil }))
	brokers := eventinglisters.NewBrokerLister(objects.IndexerForObjectType(&eventingv1.Broker{}))
	triggers := eventinglisters.NewTriggerLister(objects.IndexerForObjectType(&eventingv1.Trigger{}))
	r := &Reconciler{LeaderAwareFuncs: promote(brokers, triggers), brokers: brokers, triggers: triggers}
	if err := r.Reconcile(t.Context(), key); !controller.IsSkipKey(err) {
		t.Errorf("without leading: %v", err)
	}
	var looked []string
	if err := r.Promote(reconciler.UniversalBucket(), func(_ reconciler.Bucket, of types.NamespacedName) { looked = append(looked, of.String()) }); err != nil {
		t.Fatal(err)
	}
	if slices.Sort(looked); !slices.Equal(looked, []string{"search/default", "search/other"}) {
		t.Errorf("looks at %v", looked)
	}
}
