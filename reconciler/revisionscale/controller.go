// Package revisionscale is the source of revision.scaled events: it watches the
// autoscaler and the endpoints of every Model's revisions and hands each change
// of desired or ready replicas to the Broker. It decides nothing.
package revisionscale

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"knative.dev/eventing/pkg/client/injection/informers/eventing/v1/broker"
	"knative.dev/pkg/client/injection/kube/informers/discovery/v1/endpointslice"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	pkgreconciler "knative.dev/pkg/reconciler"
	"knative.dev/serving/pkg/apis/serving"
	autoscaler "knative.dev/serving/pkg/client/injection/informers/autoscaling/v1alpha1/podautoscaler/filtered"
	"knative.dev/serving/pkg/networking"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Selector picks the autoscalers of Models' revisions; the filtered informers of the
// process have to be set up for it.
const Selector = sluice.ModelLabelKey

// firstRetry and lastRetry are the times after which an event that the Broker didn't take
// is tried again, at first and at most. Nothing else tells that there is a Broker again,
// so the longest is what the next event waits for then.
const firstRetry, lastRetry = 50 * time.Millisecond, 5 * time.Second

func retries() workqueue.TypedRateLimiter[any] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[any](firstRetry, lastRetry)
}

// NewController returns the source.
func NewController(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	autoscalers := autoscaler.Get(ctx, Selector)
	slices := endpointslice.Get(ctx)
	brokers := broker.Get(ctx).Lister().Brokers(sluice.SystemNamespace)
	sender, err := eventing.NewSender(eventing.BrokerAddress(brokers.Get))
	if err != nil {
		logging.FromContext(ctx).Fatalw("Setting up the event sender", "error", err)
	}

	source := &Reconciler{
		autoscalers: autoscalers.Lister(), slices: slices.Lister(), sender: sender, tracer: otel.Tracer("sluice.dev/sluice/reconciler/revisionscale"),
		sent: map[types.NamespacedName]eventing.Scale{},
	}
	source.LeaderAwareFuncs = pkgreconciler.LeaderAwareFuncs{
		PromoteFunc: func(b pkgreconciler.Bucket, enqueue func(pkgreconciler.Bucket, types.NamespacedName)) error {
			return source.promote(b, enqueue)
		},
	}
	impl := controller.NewContext(ctx, source, controller.ControllerOptions{
		WorkQueueName: "RevisionScale", Logger: logging.FromContext(ctx),
		RateLimiter: retries(),
	})
	handle := func(handler cache.ResourceEventHandler, add func(cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error)) {
		if _, err := add(handler); err != nil {
			logging.FromContext(ctx).Fatalw("Watching revisions", "error", err)
		}
	}
	handle(controller.HandleAll(impl.Enqueue), autoscalers.Informer().AddEventHandler)
	handle(cache.FilteringResourceEventHandler{
		FilterFunc: isPrivate,
		Handler:    controller.HandleAll(impl.EnqueueLabelOfNamespaceScopedResource("", serving.RevisionLabelKey)),
	}, slices.Informer().AddEventHandler)
	return impl
}

// isPrivate is true for the endpoints that hold the own replicas of a Model's revision:
// those of its public Service may be the activator's.
func isPrivate(obj any) bool {
	s, ok := obj.(*discoveryv1.EndpointSlice)
	return ok && s.Labels[sluice.ModelLabelKey] != "" && s.Labels[networking.ServiceTypeKey] == string(networking.ServiceTypePrivate)
}
