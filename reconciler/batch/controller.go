package batch

import (
	"context"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	kubeinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/logging"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/batch/resources"
	sluiceclient "sluice.dev/sluice/reconciler/client/injection/client"
	batchinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/batch"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	batchreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/batch"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/recording"
)

// settle is how long after a change of a pod its Batch is looked at: pods change several
// times as they start.
const settle = 500 * time.Millisecond

// NewController returns what watches Batches and all that runs them. The follower knows how
// far they are, and what becomes of them is told to the sender.
func NewController(worker resources.Worker, follower Follower, sender Sender) injection.ControllerConstructor {
	return func(ctx context.Context, _ configmap.Watcher) *controller.Impl {
		batches, models := batchinformer.Get(ctx), modelinformer.Get(ctx)
		runs := kubeinformers.NewSharedInformerFactoryWithOptions(kubeclient.Get(ctx), 0, kubeinformers.WithTransform(slim),
			kubeinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = sluice.BatchLabelKey }))
		jobs, pods := runs.Batch().V1().Jobs(), runs.Core().V1().Pods()
		namespaces := kubeinformers.NewSharedInformerFactoryWithOptions(kubeclient.Get(ctx), 0, kubeinformers.WithTransform(slim)).Core().V1().Namespaces()

		told := newNews(sender)
		go told.run(ctx)
		var impl *controller.Impl
		r := newReconciler(cluster{
			kube: kubeclient.Get(ctx), sluice: sluiceclient.Get(ctx),
			batches: batches.Lister(), models: models.Lister(), jobs: jobs.Lister(), pods: pods.Lister(),
			namespaces: namespaces.Lister(),
		}, worker, outside{follower: follower, news: told}, schedule{PassiveClock: clock.RealClock{}, later: func(b any, after time.Duration) { impl.EnqueueAfter(b, after) }})
		ctx = recording.WithRecorder(ctx, "batch-controller")
		impl = batchreconciler.NewImpl(ctx, r)

		watch(batches.Informer(), controller.HandleAll(impl.Enqueue))
		watch(batches.Informer(), whenWritten(controller.GetEventRecorder(ctx)))
		watch(jobs.Informer(), byLabel(impl.EnqueueKey))
		watch(pods.Informer(), byLabel(func(key types.NamespacedName) { impl.EnqueueKeyAfter(key, settle) }))
		watch(models.Informer(), whenModelChanges(batches.Lister(), impl.Enqueue))
		watch(namespaces.Informer(), whenNamespaceGoes(batches.Lister(), impl.Enqueue))
		if err := controller.StartInformers(ctx.Done(), jobs.Informer(), pods.Informer(), namespaces.Informer()); err != nil {
			logging.FromContext(ctx).Fatalw("Error starting the informers of runs", zap.Error(err))
		}
		return impl
	}
}

// watch adds a handler to an informer that has not been started yet, which can't fail.
func watch(informer cache.SharedIndexInformer, handler cache.ResourceEventHandler) {
	_, _ = informer.AddEventHandler(handler)
}

// byLabel enqueues the Batch that an object's label names. Labels are anybody's to set: an
// empty one names none.
func byLabel(enqueue func(types.NamespacedName)) cache.ResourceEventHandler {
	return controller.HandleAll(func(object any) {
		if of, err := kmeta.DeletionHandlingAccessor(object); err == nil && batchOf(of) != "" {
			enqueue(types.NamespacedName{Namespace: of.GetNamespace(), Name: batchOf(of)})
		}
	})
}

// whenModelChanges enqueues the Batches of a Model that comes, goes, or gets an address.
func whenModelChanges(batches sluicelisters.BatchLister, enqueue func(any)) cache.ResourceEventHandler {
	all := func(object any) {
		model, err := kmeta.DeletionHandlingAccessor(object)
		if err != nil {
			return
		}
		of, err := batches.Batches(model.GetNamespace()).List(labels.Everything())
		if err != nil {
			return
		}
		for _, b := range of {
			if b.Spec.Model == model.GetName() && !b.Status.IsFinished() {
				enqueue(b)
			}
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: all, DeleteFunc: all,
		UpdateFunc: func(before, after any) {
			was, had := before.(*v1alpha1.Model)
			is, has := after.(*v1alpha1.Model)
			if had && has && canBeAsked(was) && canBeAsked(is) {
				return
			}
			all(after)
		},
	}
}

func canBeAsked(m *v1alpha1.Model) bool {
	return m.AskedAt() != ""
}
