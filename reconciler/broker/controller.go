package broker

import (
	"context"
	"fmt"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingscheme "knative.dev/eventing/pkg/client/clientset/versioned/scheme"
	"knative.dev/eventing/pkg/client/informers/externalversions"
	eventinginformers "knative.dev/eventing/pkg/client/informers/externalversions/eventing/v1"
	eventingclient "knative.dev/eventing/pkg/client/injection/client"
	brokerinformer "knative.dev/eventing/pkg/client/injection/informers/eventing/v1/broker/filtered"
	filteredfactory "knative.dev/eventing/pkg/client/injection/informers/factory/filtered"
	eventinglisters "knative.dev/eventing/pkg/client/listers/eventing/v1"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/logging"
	pkgreconciler "knative.dev/pkg/reconciler"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/recording"
)

func init() {
	// Events tell of Brokers: who records them has to know the kind.
	utilruntime.Must(eventingscheme.AddToScheme(scheme.Scheme))
}

// WithSelector has those Brokers watched that have the label, and no others. A context that Informer
// or NewController is given has to come of it.
func WithSelector(ctx context.Context) context.Context {
	return filteredfactory.WithSelectors(ctx, sluice.BatchRequestsLabelKey)
}

// Informer is of the Brokers that have the label, whatever it says.
func Informer(ctx context.Context) eventinginformers.BrokerInformer {
	return brokerinformer.Get(ctx, sluice.BatchRequestsLabelKey)
}

// NewController returns what watches those Brokers, and the Triggers that are made for them. Function
// is the URL of what requests are delivered to.
func NewController(function string) injection.ControllerConstructor {
	return func(ctx context.Context, _ configmap.Watcher) *controller.Impl {
		brokers := Informer(ctx)
		made := externalversions.NewSharedInformerFactoryWithOptions(eventingclient.Get(ctx), 0,
			externalversions.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.LabelSelector = labels.Set{sluice.BatchRequestsLabelKey: sluice.BatchRequestsTaken, sluice.ManagedByLabelKey: sluice.ManagedBy}.String()
			})).Eventing().V1().Triggers()

		ctx = recording.WithRecorder(ctx, "broker-controller")
		impl := controller.NewContext(ctx, &Reconciler{
			LeaderAwareFuncs: promote(brokers.Lister(), made.Lister()),
			eventing:         eventingclient.Get(ctx), brokers: brokers.Lister(), triggers: made.Lister(),
			recorder: controller.GetEventRecorder(ctx), function: function,
		}, controller.ControllerOptions{WorkQueueName: "brokers", Logger: logging.FromContext(ctx)})
		// One that has lost the label comes as one that has gone.
		watch(brokers.Informer(), controller.HandleAll(impl.Enqueue))
		// So does one that lost it while nobody watched, by its Trigger.
		watch(made.Informer(), cache.FilteringResourceEventHandler{
			FilterFunc: controller.FilterController(&eventingv1.Broker{}), Handler: controller.HandleAll(impl.EnqueueControllerOf),
		})
		if err := controller.StartInformers(ctx.Done(), made.Informer()); err != nil {
			logging.FromContext(ctx).Fatalw("Error starting the informer of Brokers' Triggers", zap.Error(err))
		}
		return impl
	}
}

// watch adds a handler to an informer that has not been started yet, which can't fail.
func watch(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	_, _ = informer.AddEventHandler(handler)
}

// promote enqueues every Broker, and every one that has a Trigger, when this process comes to lead.
func promote(brokers eventinglisters.BrokerLister, triggers eventinglisters.TriggerLister) pkgreconciler.LeaderAwareFuncs {
	return pkgreconciler.LeaderAwareFuncs{
		PromoteFunc: func(bucket pkgreconciler.Bucket, enqueue func(pkgreconciler.Bucket, types.NamespacedName)) error {
			labelled, err := brokers.List(labels.Everything())
			if err != nil {
				return fmt.Errorf("listing Brokers: %w", err)
			}
			made, err := triggers.List(labels.Everything())
			if err != nil {
				return fmt.Errorf("listing Triggers: %w", err)
			}
			for _, b := range labelled {
				enqueue(bucket, types.NamespacedName{Namespace: b.Namespace, Name: b.Name})
			}
			for _, t := range made {
				if owner := metav1.GetControllerOf(t); owner != nil {
					enqueue(bucket, types.NamespacedName{Namespace: t.Namespace, Name: owner.Name})
				}
			}
			return nil
		},
	}
}
