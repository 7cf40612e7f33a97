package trigger

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingfake "knative.dev/eventing/pkg/client/clientset/versioned/fake"
	fakeeventingclient "knative.dev/eventing/pkg/client/injection/client/fake"
	eventinglisters "knative.dev/eventing/pkg/client/listers/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	"knative.dev/pkg/reconciler"
	rtesting "knative.dev/pkg/reconciler/testing"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
	fakesluiceclient "sluice.dev/sluice/reconciler/client/injection/client/fake"
	triggerreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/inferencetrigger"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/trigger/resources"
)

const (
	namespace = "search"
	name      = "score"
	key       = namespace + "/" + name
	function  = "http://triggers.sluice-system.svc.cluster.local"
)

const (
	subscribed = v1alpha1.InferenceTriggerConditionSubscribed
	delivered  = v1alpha1.InferenceTriggerConditionReplyDelivered
)

func TestReconcile(t *testing.T) {
	(append(eventRows(), replyRows()...)).Test(t, factory)
}

func eventRows() rtesting.TableTest {
	const missing = `There is no Model "ranker" in namespace "search". Create it, or correct spec.model. Until then events are delivered again, as spec.delivery says.`
	const meant = `There is no Model "ranker" in namespace "search". Did you mean "rankers"? Create it, or correct spec.model. Until then events are delivered again, as spec.delivery says.`
	const unready = `Model "ranker" has no address yet: events for it are delivered again until it has. It says ImageMissing: No such image.`
	const failing = `Model "ranker" has an address and isn't Ready: events that it doesn't answer are delivered again. It says ImageMissing: No such image.`
	filtered := func(t *v1alpha1.InferenceTrigger) {
		t.Spec.Filters = []eventingv1.SubscriptionsAPIFilter{{CESQL: "type LIKE 'com.%'"}}
	}
	foreign := trigger(func(t *eventingv1.Trigger) { t.OwnerReferences = nil })
	return rtesting.TableTest{{
		Name: "bad key",
		Key:  "too/many/parts",
	}, {
		Name: "gone",
		Key:  key,
	}, {
		Name:    "being deleted",
		Key:     key,
		Objects: []runtime.Object{score(func(t *v1alpha1.InferenceTrigger) { t.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} })},
	}, {
		Name:              "a Trigger is made, whatever there is of the Model",
		Key:               key,
		Objects:           []runtime.Object{score()},
		WantCreates:       []runtime.Object{trigger()},
		WantStatusUpdates: status(score(observed, propagated(subscribed, trigger()), noSink, modelMissing(missing))),
	}, {
		Name:              "what Knative says of it is repeated, and the Model can be asked",
		Key:               key,
		Objects:           []runtime.Object{score(), trigger(ready), model("ranker")},
		WantStatusUpdates: status(score(observed, propagated(subscribed, trigger(ready)), noSink, modelReady)),
	}, {
		Name:    "nothing to do",
		Key:     key,
		Objects: []runtime.Object{score(observed, propagated(subscribed, trigger(ready)), noSink, modelReady), trigger(ready), model("ranker")},
	}, {
		Name:              "without its Broker",
		Key:               key,
		Objects:           []runtime.Object{score(), trigger(withoutBroker), model("ranker")},
		WantStatusUpdates: status(score(observed, propagated(subscribed, trigger(withoutBroker)), noSink, modelReady)),
	}, {
		Name:              "with its Model misspelt",
		Key:               key,
		Objects:           []runtime.Object{score(), trigger(ready), model("rankers")},
		WantStatusUpdates: status(score(observed, propagated(subscribed, trigger(ready)), noSink, modelMissing(meant))),
	}, {
		Name:              "with its Model in another namespace",
		Key:               key,
		Objects:           []runtime.Object{score(), trigger(ready), model("ranker", func(m *v1alpha1.Model) { m.Namespace = "ads" })},
		WantStatusUpdates: status(score(observed, propagated(subscribed, trigger(ready)), noSink, modelMissing(missing))),
	}, {
		Name: "with a Model that has an address, and isn't Ready",
		Key:  key,
		Objects: []runtime.Object{score(), trigger(ready), model("ranker", func(m *v1alpha1.Model) {
			m.Status.InitializeConditions()
			m.GetConditionSet().Manage(&m.Status).MarkFalse(v1alpha1.ModelConditionRevisionReady, "ImageMissing", "No such image.")
		})},
		WantStatusUpdates: status(score(observed, propagated(subscribed, trigger(ready)), noSink, func(t *v1alpha1.InferenceTrigger) { t.Status.MarkModelNotReady(failing) })),
	}, {
		Name: "with a Model that has an address, and doesn't know yet whether it is Ready",
		Key:  key,
		Objects: []runtime.Object{score(), trigger(ready), model("ranker", func(m *v1alpha1.Model) {
			m.Status.InitializeConditions()
		})},
		WantStatusUpdates: status(score(observed, propagated(subscribed, trigger(ready)), noSink, modelReady)),
	}, {
		Name: "with a Model that has no address yet",
		Key:  key,
		Objects: []runtime.Object{score(), trigger(ready), model("ranker", func(m *v1alpha1.Model) {
			m.Status.Address = nil
			m.Status.InitializeConditions()
			m.GetConditionSet().Manage(&m.Status).MarkFalse(v1alpha1.ModelConditionRevisionReady, "ImageMissing", "No such image.")
		})},
		WantStatusUpdates: status(score(observed, propagated(subscribed, trigger(ready)), noSink, func(t *v1alpha1.InferenceTrigger) { t.Status.MarkModelNotReady(unready) })),
	}, {
		Name:              "filters come, as they were written",
		Key:               key,
		Objects:           []runtime.Object{score(filtered), trigger(ready), model("ranker")},
		WantUpdates:       updates(triggerOf(score(filtered), ready)),
		WantStatusUpdates: status(score(filtered, observed, propagated(subscribed, trigger(ready)), noSink, modelReady)),
	}, {
		Name:              "and go",
		Key:               key,
		Objects:           []runtime.Object{score(), triggerOf(score(filtered), ready), model("ranker")},
		WantUpdates:       updates(trigger(ready)),
		WantStatusUpdates: status(score(observed, propagated(subscribed, trigger(ready)), noSink, modelReady)),
	}, {
		Name: "what others changed is put right",
		Key:  key,
		Objects: []runtime.Object{score(observed, propagated(subscribed, trigger(ready)), noSink, modelReady), model("ranker"),
			trigger(ready, func(t *eventingv1.Trigger) { t.Spec.Subscriber.URI = apis.HTTP("elsewhere.example.com") })},
		WantUpdates: updates(trigger(ready)),
	}, {
		Name:              "somebody else's Trigger is left alone",
		Key:               key,
		Objects:           []runtime.Object{score(), foreign, model("ranker")},
		WantErr:           true,
		WantStatusUpdates: status(score(observed, noSink, modelReady, func(t *v1alpha1.InferenceTrigger) { t.Status.MarkTriggerNotOwned(subscribed, name) })),
		WantEvents:        []string{warning("InternalError", "Trigger search/score exists and is not owned by score: delete or rename it")},
	}, {
		Name:         "a Trigger that Knative refuses",
		Key:          key,
		Objects:      []runtime.Object{score(), model("ranker")},
		WithReactors: []clientgotesting.ReactionFunc{refusing("create", "triggers")},
		WantCreates:  []runtime.Object{trigger()},
		WantErr:      true,
		WantStatusUpdates: status(score(observed, noSink, modelReady, func(t *v1alpha1.InferenceTrigger) {
			t.Status.MarkTriggerNotWritten(subscribed, name, apierrs.NewBadRequest("creating Trigger score: spec.delivery.retryAfterMax must not be set"))
		})),
		WantEvents: []string{warning("InternalError", "creating Trigger score: spec.delivery.retryAfterMax must not be set")},
	}, {
		Name:    "what the webhook would have refused",
		Key:     key,
		Objects: []runtime.Object{score(func(t *v1alpha1.InferenceTrigger) { t.Spec.Broker = "" })},
		WantStatusUpdates: status(score(func(t *v1alpha1.InferenceTrigger) { t.Spec.Broker = "" }, observed, func(t *v1alpha1.InferenceTrigger) {
			t.Status.MarkInvalid("Correct the InferenceTrigger: missing field(s): spec.broker\nname the Broker, of the InferenceTrigger's own namespace, whose events are taken.")
		})),
	}, {
		Name:              "a Batch of a Model",
		Key:               key,
		Objects:           []runtime.Object{score(starting("ranker")), trigger(ready), model("ranker")},
		WantStatusUpdates: status(score(starting("ranker"), observed, propagated(subscribed, trigger(ready)), noSink, modelReady)),
	}, {
		Name:              "a Batch of a Model that the event names",
		Key:               key,
		Objects:           []runtime.Object{score(starting("${event.data.model}")), trigger(ready)},
		WantStatusUpdates: status(score(starting("${event.data.model}"), observed, propagated(subscribed, trigger(ready)), noSink, func(t *v1alpha1.InferenceTrigger) { t.Status.MarkModelByEvent() })),
	}}
}

func replyRows() rtesting.TableTest {
	notReady := func(t *eventingv1.Trigger) { t.Status.InitializeConditions() }
	return rtesting.TableTest{{
		Name:              "a sink has a Trigger of its own",
		Key:               key,
		Objects:           []runtime.Object{score(sink), trigger(ready), model("ranker")},
		WantCreates:       []runtime.Object{replyTrigger()},
		WantStatusUpdates: status(score(sink, observed, propagated(subscribed, trigger(ready)), propagated(delivered, replyTrigger()), modelReady)),
	}, {
		Name:              "which Knative tells of",
		Key:               key,
		Objects:           []runtime.Object{score(sink), trigger(ready), replyTrigger(ready), model("ranker")},
		WantStatusUpdates: status(score(sink, observed, propagated(subscribed, trigger(ready)), propagated(delivered, replyTrigger(ready)), modelReady)),
	}, {
		Name:              "and it isn't ready before that",
		Key:               key,
		Objects:           []runtime.Object{score(sink), trigger(ready), replyTrigger(notReady), model("ranker")},
		WantStatusUpdates: status(score(sink, observed, propagated(subscribed, trigger(ready)), propagated(delivered, replyTrigger(notReady)), modelReady)),
	}, {
		Name:    "it goes with the sink",
		Key:     key,
		Objects: []runtime.Object{score(), trigger(ready), replyTrigger(ready), model("ranker")},
		WantDeletes: []clientgotesting.DeleteActionImpl{{
			ActionImpl: clientgotesting.ActionImpl{Namespace: namespace, Verb: "delete", Resource: eventingv1.SchemeGroupVersion.WithResource("triggers")}, Name: name + "-reply",
		}},
		WantStatusUpdates: status(score(observed, propagated(subscribed, trigger(ready)), noSink, modelReady)),
	}}
}

// score is an InferenceTrigger as the webhook stores it.
func score(changes ...func(*v1alpha1.InferenceTrigger)) *v1alpha1.InferenceTrigger {
	t := &v1alpha1.InferenceTrigger{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "t", Generation: 1},
		Spec: v1alpha1.InferenceTriggerSpec{
			Broker: "default", Model: "ranker", Request: &v1alpha1.TriggerRequest{Path: "/score"},
			Delivery: &eventingduckv1.DeliverySpec{DeadLetterSink: &duckv1.Destination{URI: apis.HTTP("dead.example.com")}},
		},
	}
	for _, change := range changes {
		change(t)
	}
	t.SetDefaults(context.Background())
	return t
}

func observed(t *v1alpha1.InferenceTrigger) {
	t.Status.ObservedGeneration = 1
	t.Status.InitializeConditions()
}

func sink(t *v1alpha1.InferenceTrigger) {
	t.Spec.Reply = &v1alpha1.TriggerReply{Sink: &duckv1.Destination{URI: apis.HTTP("sink.example.com")}}
}

func starting(model string) func(*v1alpha1.InferenceTrigger) {
	return func(t *v1alpha1.InferenceTrigger) {
		t.Spec.Model, t.Spec.Request, t.Spec.Batch = "", nil, &v1alpha1.TriggerBatch{}
		s := &t.Spec.Batch.Template.Spec
		s.Model, s.Request.Path = model, "/score"
		s.Input.HTTP = &v1alpha1.BatchHTTPInput{URLs: []string{"https://store.example.com/items.jsonl"}}
		s.Output.Volume = &v1alpha1.BatchVolumeOutput{ClaimName: "results", Folder: "runs/${event.id}"}
		s.TTLAfterFinished = &metav1.Duration{Duration: time.Hour}
	}
}

func noSink(t *v1alpha1.InferenceTrigger) { t.Status.MarkNoSink() }

func modelReady(t *v1alpha1.InferenceTrigger) { t.Status.MarkModelReady() }

func modelMissing(message string) func(*v1alpha1.InferenceTrigger) {
	return func(t *v1alpha1.InferenceTrigger) { t.Status.MarkModelMissing(message) }
}

func propagated(condition apis.ConditionType, from *eventingv1.Trigger) func(*v1alpha1.InferenceTrigger) {
	return func(t *v1alpha1.InferenceTrigger) { t.Status.PropagateTrigger(condition, from) }
}

func triggerOf(of *v1alpha1.InferenceTrigger, changes ...func(*eventingv1.Trigger)) *eventingv1.Trigger {
	t, err := resources.Trigger(of, function)
	if err != nil {
		panic(err)
	}
	for _, change := range changes {
		change(t)
	}
	return t
}

func trigger(changes ...func(*eventingv1.Trigger)) *eventingv1.Trigger {
	return triggerOf(score(), changes...)
}

func replyTrigger(changes ...func(*eventingv1.Trigger)) *eventingv1.Trigger {
	t := resources.ReplyTrigger(score(sink))
	for _, change := range changes {
		change(t)
	}
	return t
}

func ready(t *eventingv1.Trigger) {
	t.Status.InitializeConditions()
	t.Status.PropagateBrokerCondition(&apis.Condition{Status: corev1.ConditionTrue})
	t.Status.PropagateSubscriptionCondition(&apis.Condition{Status: corev1.ConditionTrue})
	t.Status.MarkSubscriberResolvedSucceeded()
	t.Status.MarkDeadLetterSinkNotConfigured()
	t.Status.MarkDependencySucceeded()
	t.Status.MarkOIDCIdentityCreatedSucceeded()
}

func withoutBroker(t *eventingv1.Trigger) {
	ready(t)
	t.Status.MarkBrokerFailed("BrokerDoesNotExist", "Broker %q does not exist or there is no matching BrokerClass.", t.Spec.Broker)
}

func model(name string, changes ...func(*v1alpha1.Model)) *v1alpha1.Model {
	m := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	m.Status.Address = &duckv1.Addressable{URL: apis.HTTP(name + ".search.svc.cluster.local")}
	for _, change := range changes {
		change(m)
	}
	return m
}

func status(t *v1alpha1.InferenceTrigger) []clientgotesting.UpdateActionImpl {
	return []clientgotesting.UpdateActionImpl{{Object: t}}
}

func updates(t *eventingv1.Trigger) []clientgotesting.UpdateActionImpl {
	return []clientgotesting.UpdateActionImpl{{Object: t}}
}

func warning(reason, message string) string {
	return rtesting.Eventf(corev1.EventTypeWarning, reason, "%s", message)
}

func refusing(verb, resource string) clientgotesting.ReactionFunc {
	return func(action clientgotesting.Action) (bool, runtime.Object, error) {
		return action.Matches(verb, resource), nil, apierrs.NewBadRequest("spec.delivery.retryAfterMax must not be set")
	}
}

func factory(t *testing.T, row *rtesting.TableRow) (controller.Reconciler, rtesting.ActionRecorderList, rtesting.EventList) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{sluicefake.AddToScheme, eventingfake.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	objects := rtesting.NewObjectSorter(scheme)
	objects.AddObjects(row.Objects...)

	recorder := record.NewFakeRecorder(10)
	ctx := logging.WithLogger(context.Background(), logtesting.TestLogger(t))
	ctx = controller.WithEventRecorder(ctx, recorder)
	ctx, sluice := fakesluiceclient.With(ctx, objects.ObjectsForSchemeFunc(sluicefake.AddToScheme)...)
	ctx, eventing := fakeeventingclient.With(ctx, objects.ObjectsForSchemeFunc(eventingfake.AddToScheme)...)
	for _, reactor := range row.WithReactors {
		eventing.PrependReactor("*", "*", reactor)
	}
	ours := sluicelisters.NewInferenceTriggerLister(objects.IndexerForObjectType(&v1alpha1.InferenceTrigger{}))
	c := triggerreconciler.NewReconciler(ctx, logging.FromContext(ctx), sluice, ours, recorder, &Reconciler{
		eventing: eventing, triggers: eventinglisters.NewTriggerLister(objects.IndexerForObjectType(&eventingv1.Trigger{})),
		models: sluicelisters.NewModelLister(objects.IndexerForObjectType(&v1alpha1.Model{})), function: function,
	})
	if leader, ok := c.(reconciler.LeaderAware); ok {
		if err := leader.Promote(reconciler.UniversalBucket(), func(reconciler.Bucket, types.NamespacedName) {}); err != nil {
			t.Fatal(err)
		}
	}
	return c, rtesting.ActionRecorderList{sluice, eventing}, rtesting.EventList{Recorder: recorder}
}
