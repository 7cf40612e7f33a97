// Command batch runs Batches: it reconciles them, and leases to their workers what Models
// have left. It reconciles InferenceTriggers, too, and answers their events.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/kelseyhightower/envconfig"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventinglisters "knative.dev/eventing/pkg/client/listers/eventing/v1"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/signals"

	"sluice.dev/sluice/cmd/internal/serving"
	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/eventing/guard"
	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/batch/lease"
	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/functions/callers"
	"sluice.dev/sluice/functions/trigger"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/batch"
	"sluice.dev/sluice/reconciler/batch/resources"
	"sluice.dev/sluice/reconciler/broker"
	sluiceclient "sluice.dev/sluice/reconciler/client/injection/client"
	batchinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/batch"
	triggerinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/inferencetrigger"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/recording"
	triggerreconciler "sluice.dev/sluice/reconciler/trigger"
)

// environment is what the Deployment says.
type environment struct {
	// WorkerImage runs in the pods of Batches that begin from now on; Credits is the URL by
	// which they reach this.
	WorkerImage string `envconfig:"BATCH_WORKER_IMAGE" required:"true"`
	Credits     string `envconfig:"CREDITS" required:"true"`
	// Limiter is the URL of what knows what is left of Models, Token the file that tells it
	// who asks.
	Limiter string `envconfig:"LIMITER" required:"true"`
	Token   string `envconfig:"LIMITER_TOKEN" default:"/var/run/secrets/sluice.dev/limiter/token"`
	// Sink is the Broker's address; the name is Knative's.
	Sink string `envconfig:"K_SINK" required:"true"`
	// Port takes workers' asks, EventsPort events.
	Port       int `envconfig:"PORT" default:"8090"`
	EventsPort int `envconfig:"EVENTS_PORT" default:"8091"`
	// Triggers is the URL by which Brokers deliver events to this.
	Triggers string `envconfig:"TRIGGERS" required:"true"`
	// EventingNamespace is where Knative Eventing keeps its features.
	EventingNamespace string `envconfig:"KNATIVE_EVENTING_NAMESPACE" default:"knative-eventing"`
}

func main() {
	var env environment
	if err := envconfig.Process("", &env); err != nil {
		log.Fatal("Error reading the environment: ", err)
	}
	config := injection.ParseAndGetRESTConfigOrDie()
	known, err := callers.New(rest.CopyConfig(config), task.TokenAudience)
	if err != nil {
		log.Fatal("Error telling callers: ", err)
	}
	sender, err := eventing.NewSender(func() (string, error) { return env.Sink, nil })
	if err != nil {
		log.Fatal("Error building the event sender: ", err)
	}
	worker := resources.Worker{Image: env.WorkerImage, Credits: env.Credits}
	sharedmain.MainWithConfig(broker.WithSelector(signals.NewContext()), "batch", config, func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		function := lease.New(clock.RealClock{}, logging.FromContext(ctx))
		function.Left = lease.NewLimiter(env.Limiter, env.Token).Left
		batches := batchinformer.Get(ctx).Lister()
		function.Model, function.Runs = modelOf(batches), runsOf(batches)
		go function.Run(ctx)
		// What is leased ends by itself once this does, and events that are under way are delivered again.
		go serving.Until(ctx, leases(env.Port, function.Handler(known.Of)))
		return batch.NewController(worker, function, sender)(ctx, cmw)
	}, func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		door := guard.Door{Trigger: trigger.KnativeTrigger, Audience: eventing.TriggersAudience}
		watched, err := guard.Watch(ctx, rest.CopyConfig(config), env.EventingNamespace, door)
		if err != nil {
			log.Fatal("Error guarding the door for events: ", err)
		}
		go serving.Until(ctx, answering(ctx).Door(watched.Admit).Server(fmt.Sprintf(":%d", env.EventsPort)))
		return triggerreconciler.NewController(env.Triggers)(ctx, cmw)
	}, broker.NewController(env.Triggers))
}

// leases is the server that answers workers.
func leases(port int, leases http.Handler) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("POST "+credits.Path, leases)
	return &http.Server{
		Addr: fmt.Sprintf(":%d", port), Handler: mux,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
	}
}

// answering is the function that answers events.
func answering(ctx context.Context) *trigger.Function {
	function := trigger.New(clock.RealClock{}, logging.FromContext(ctx))
	triggers, models := triggerinformer.Get(ctx), modelinformer.Get(ctx)
	function.Trigger, function.Model = lookUps(triggers.Lister(), models.Lister(), func() bool {
		return triggers.Informer().HasSynced() && models.Informer().HasSynced()
	})
	batches := sluiceclient.Get(ctx).SluiceV1alpha1()
	function.Batches = func(namespace string) trigger.Batches { return batches.Batches(namespace) }
	cached, brokers := batchinformer.Get(ctx), broker.Informer(ctx)
	function.Started = startedBy(cached.Lister(), cached.Informer().HasSynced)
	function.Broker = brokerOf(brokers.Lister(), brokers.Informer().HasSynced)
	recorder := controller.GetEventRecorder(recording.WithRecorder(ctx, "batch-requests"))
	function.Tell = func(b *eventingv1.Broker, reason, message string) {
		recorder.Event(b, corev1.EventTypeWarning, reason, message)
	}
	return function
}

// errNotYet is of caches that aren't filled: what isn't in them may be there.
var errNotYet = errors.New("the caches are not filled yet")

// lookUps find InferenceTriggers, and the URLs of Models, once the caches are filled.
func lookUps(triggers sluicelisters.InferenceTriggerLister, models sluicelisters.ModelLister, synced func() bool) (
	func(namespace, name string) (*v1alpha1.InferenceTrigger, error), func(namespace, name string) (string, error),
) {
	triggerOf := func(namespace, name string) (*v1alpha1.InferenceTrigger, error) {
		if !synced() {
			return nil, errNotYet
		}
		return triggers.InferenceTriggers(namespace).Get(name)
	}
	modelOf := func(namespace, name string) (string, error) {
		if !synced() {
			return "", errNotYet
		}
		model, err := models.Models(namespace).Get(name)
		switch {
		case apierrs.IsNotFound(err) || err == nil && model.DeletionTimestamp != nil:
			return "", fmt.Errorf("there is no Model %q in namespace %q", name, namespace)
		case err != nil:
			return "", fmt.Errorf("getting Model %s/%s: %w", namespace, name, err)
		}
		return model.AskedAt(), nil
	}
	return triggerOf, modelOf
}

// brokerOf finds the Brokers that have the label of those whose requests are taken, once the cache is
// filled.
func brokerOf(brokers eventinglisters.BrokerLister, synced func() bool) func(namespace, name string) (*eventingv1.Broker, error) {
	return func(namespace, name string) (*eventingv1.Broker, error) {
		if !synced() {
			return nil, errNotYet
		}
		return brokers.Brokers(namespace).Get(name)
	}
}

// startedBy lists the Batches of a namespace that have a label, once the cache is filled.
func startedBy(batches sluicelisters.BatchLister, synced func() bool) func(namespace, label, value string) ([]*v1alpha1.Batch, error) {
	return func(namespace, label, value string) ([]*v1alpha1.Batch, error) {
		if !synced() {
			return nil, errNotYet
		}
		of, err := batches.Batches(namespace).List(labels.SelectorFromSet(labels.Set{label: value}))
		if err != nil {
			return nil, fmt.Errorf("listing batches: %w", err)
		}
		return of, nil
	}
}

// modelOf finds the Model that a batch asks, as long as it is to.
func modelOf(batches sluicelisters.BatchLister) func(namespace, name string, uid types.UID) (string, error) {
	return func(namespace, name string, uid types.UID) (string, error) {
		b, err := batches.Batches(namespace).Get(name)
		switch {
		case apierrs.IsNotFound(err) || err == nil && b.UID != uid:
			return "", fmt.Errorf("there is no batch %s/%s of UID %s", namespace, name, uid)
		case err != nil:
			return "", fmt.Errorf("looking up batch %s/%s: %w", namespace, name, err)
		case b.DeletionTimestamp != nil || b.Spec.Suspend || b.Status.IsFinished():
			return "", fmt.Errorf("batch %s/%s asks nobody any more: it is deleted, suspended or finished", namespace, name)
		}
		return namespace + "/" + b.Spec.Model, nil
	}
}

// runsOf lists the batches that have begun, and go on.
func runsOf(batches sluicelisters.BatchLister) func() ([]lease.Run, error) {
	return func() ([]lease.Run, error) {
		all, err := batches.List(labels.Everything())
		if err != nil {
			return nil, fmt.Errorf("listing batches: %w", err)
		}
		runs := make([]lease.Run, 0, len(all))
		for _, b := range all {
			if b.DeletionTimestamp == nil && !b.Spec.Suspend && b.Status.HasBegun() && !b.Status.IsFinished() {
				runs = append(runs, runOf(b))
			}
		}
		return runs, nil
	}
}

func runOf(b *v1alpha1.Batch) lease.Run {
	run := lease.Run{UID: b.UID, Model: b.Namespace + "/" + b.Spec.Model, Done: b.Status.ItemsDone(), PerRequest: 1, Starves: b.Status.NoSlackSince()}
	if b.Status.Total != nil {
		run.Items = *b.Status.Total
	}
	if planned, held := b.Status.GetCondition(v1alpha1.BatchConditionPlanned), b.Status.GetCondition(v1alpha1.BatchConditionRunning).IsFalse(); planned.IsTrue() && !held {
		run.Planned = planned.LastTransitionTime.Inner.Time
	}
	if rows := b.Spec.Format.Rows; b.Spec.Format.Type == v1alpha1.FormatRows && rows != nil {
		run.PerRequest = int(*rows)
	}
	if end, ok := b.End(); ok {
		run.End = end
	}
	if most := b.Spec.MaxReplicas; most != nil {
		run.MaxReplicas = *most
	}
	return run
}
