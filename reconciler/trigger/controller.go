package trigger

import (
	"context"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"knative.dev/eventing/pkg/client/informers/externalversions"
	eventingclient "knative.dev/eventing/pkg/client/injection/client"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/logging"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	triggerinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/inferencetrigger"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	triggerreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/inferencetrigger"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/recording"
)

// NewController returns what watches InferenceTriggers, their Triggers and their Models. Function
// is the URL of what events are delivered to.
func NewController(function string) injection.ControllerConstructor {
	return func(ctx context.Context, _ configmap.Watcher) *controller.Impl {
		ours, models := triggerinformer.Get(ctx), modelinformer.Get(ctx)
		made := externalversions.NewSharedInformerFactoryWithOptions(eventingclient.Get(ctx), 0,
			externalversions.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = sluice.TriggerLabelKey })).Eventing().V1().Triggers()

		impl := triggerreconciler.NewImpl(recording.WithRecorder(ctx, "trigger-controller"), &Reconciler{
			eventing: eventingclient.Get(ctx), triggers: made.Lister(), models: models.Lister(), function: function,
		})
		watch(ours.Informer(), controller.HandleAll(impl.Enqueue))
		watch(made.Informer(), cache.FilteringResourceEventHandler{
			FilterFunc: controller.FilterController(&v1alpha1.InferenceTrigger{}), Handler: controller.HandleAll(impl.EnqueueControllerOf),
		})
		watch(models.Informer(), whenModelChanges(ours.Lister(), impl.Enqueue))
		if err := controller.StartInformers(ctx.Done(), made.Informer()); err != nil {
			logging.FromContext(ctx).Fatalw("Error starting the informer of Triggers", zap.Error(err))
		}
		return impl
	}
}

// watch adds a handler to an informer that has not been started yet, which can't fail.
func watch(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	_, _ = informer.AddEventHandler(handler)
}

// whenModelChanges enqueues the InferenceTriggers of a namespace in which a Model comes, goes,
// gets or loses its address, or stops or begins to be Ready: any of them may say of it that it was
// meant.
func whenModelChanges(ours sluicelisters.InferenceTriggerLister, enqueue func(any)) cache.ResourceEventHandler {
	all := func(object any) {
		model, err := kmeta.DeletionHandlingAccessor(object)
		if err != nil {
			return
		}
		of, err := ours.InferenceTriggers(model.GetNamespace()).List(labels.Everything())
		if err != nil {
			return
		}
		for _, t := range of {
			enqueue(t)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: all, DeleteFunc: all,
		UpdateFunc: func(before, after any) {
			was, had := before.(*v1alpha1.Model)
			is, has := after.(*v1alpha1.Model)
			if had && has && was.AskedAt() == is.AskedAt() && was.AskedAt() != "" && unreadiness(was) == unreadiness(is) {
				return
			}
			all(after)
		},
	}
}

// unreadiness is what a Model says of why it isn't Ready; "" of one that is, or doesn't
// know yet.
func unreadiness(m *v1alpha1.Model) string {
	if ready := m.Status.GetCondition(v1alpha1.ModelConditionReady); ready.IsFalse() {
		return ready.Reason + ": " + ready.Message
	}
	return ""
}
