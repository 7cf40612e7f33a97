package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	networkingclient "knative.dev/networking/pkg/client/injection/client"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/configmap"
	configmapinformer "knative.dev/pkg/configmap/informer"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/reconciler"
	"knative.dev/pkg/webhook"
	"knative.dev/pkg/webhook/resourcesemantics"
	"knative.dev/pkg/webhook/resourcesemantics/defaulting"
	"knative.dev/pkg/webhook/resourcesemantics/validation"
	servingconfig "knative.dev/serving/pkg/apis/config"
	autoscalerconfig "knative.dev/serving/pkg/autoscaler/config"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluiceclient "sluice.dev/sluice/reconciler/client/injection/client"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	tenantinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant"
)

// What a schema doesn't name is stored as it is sent, so a misspelt field would be dropped
// in silence: it is refused here, and by strict before.
const disallowUnknownFields = true

var (
	_ resourcesemantics.VerbLimited        = (*v1alpha1.Model)(nil)
	_ resourcesemantics.SubResourceLimited = (*v1alpha1.Model)(nil)
)

var (
	modelKind   = v1alpha1.SchemeGroupVersion.WithKind("Model")
	tenantKind  = v1alpha1.SchemeGroupVersion.WithKind("Tenant")
	batchKind   = v1alpha1.SchemeGroupVersion.WithKind("Batch")
	triggerKind = v1alpha1.SchemeGroupVersion.WithKind("InferenceTrigger")
)

// kinds are the kinds that users write.
var kinds = map[schema.GroupVersionKind]resourcesemantics.GenericCRD{
	modelKind:   &v1alpha1.Model{},
	tenantKind:  &v1alpha1.Tenant{},
	batchKind:   &v1alpha1.Batch{},
	triggerKind: &v1alpha1.InferenceTrigger{},
}

func newDefaulting(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	unchanged := func(ctx context.Context) context.Context { return ctx }
	impl := defaulting.NewAdmissionController(ctx,
		"defaulting.webhook.sluice.dev", "/defaulting", kinds, unchanged, disallowUnknownFields)
	impl.Reconciler = faithful{admission: strict{legible{impl.Reconciler.(admission)}}}
	return impl
}

// newValidation validates by what Knative Serving's configuration allows in this
// cluster, and by what other Models and Tenants there are.
func newValidation(servingNamespace string) injection.ControllerConstructor {
	return func(ctx context.Context, _ configmap.Watcher) *controller.Impl {
		serving, neighbours := watchServing(ctx, servingNamespace), watchNeighbours(ctx)
		autoscalers := autoscalerServed(kubeclient.Get(ctx), servingNamespace)
		uncapped := uncapped(networkingclient.Get(ctx), modelinformer.Get(ctx).Lister())
		withContext := func(ctx context.Context) context.Context {
			ctx = v1alpha1.WithUncapped(v1alpha1.WithNeighbours(serving.ToContext(ctx), neighbours), uncapped)
			return v1alpha1.WithAutoscalerServed(ctx, autoscalers)
		}
		claims := claims{
			tenants:          tenantinformer.Get(ctx).Lister(),
			kube:             kubeclient.Get(ctx),
			networking:       networkingclient.Get(ctx),
			servingNamespace: servingNamespace,
		}
		impl := validation.NewAdmissionController(ctx,
			"validation.webhook.sluice.dev", "/resource-validation", kinds, withContext, disallowUnknownFields,
			map[schema.GroupVersionKind]validation.Callback{
				tenantKind: validation.NewCallback(claims.check, webhook.Create, webhook.Update),
			})
		impl.Reconciler = synced{scaling{
			admission: strict{legible{impl.Reconciler.(admission)}}, models: sluiceclient.Get(ctx).SluiceV1alpha1(), withContext: withContext,
		}}
		return impl
	}
}

// watchServing keeps what Knative Serving allows. sharedmain's own watcher sees our
// namespace only.
func watchServing(ctx context.Context, namespace string) *servingconfig.Store {
	logger := logging.FromContext(ctx).Named("serving-config")
	store := servingconfig.NewStore(logger)
	names := []string{servingconfig.DefaultsConfigName, servingconfig.FeaturesConfigName, autoscalerconfig.ConfigName}
	watcher := configmapinformer.NewInformedWatcher(kubeclient.Get(ctx), namespace)
	for _, name := range names {
		// Where a ConfigMap is missing, Knative goes by its defaults; so do we.
		missing := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
		watcher.WatchWithDefault(missing, store.OnConfigChanged)
	}
	if err := watcher.Start(ctx.Done()); err != nil {
		logger.Fatalw("Error watching Knative Serving's configuration", "namespace", namespace, "error", err)
	}
	// Where there is a default, the watcher doesn't wait for what there really is.
	for _, name := range names {
		existing, err := kubeclient.Get(ctx).CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil:
			store.OnConfigChanged(existing)
		case !apierrs.IsNotFound(err):
			logger.Fatalw("Error reading Knative Serving's configuration", "namespace", namespace, "name", name, "error", err)
		}
	}
	return store
}

// watchNeighbours keeps who shares a tenant's caps.
func watchNeighbours(ctx context.Context) v1alpha1.Neighbours {
	tenants := tenantinformer.Get(ctx).Informer().GetIndexer()
	if err := tenancy.Index(tenants); err != nil {
		logging.FromContext(ctx).Fatalw("Error preparing the cache of Tenants", "error", err)
	}
	models := modelinformer.Get(ctx).Lister()
	return tenancy.Neighbours(tenants, func(namespace string) ([]*v1alpha1.Model, error) {
		return models.Models(namespace).List(labels.Everything())
	})
}

// synced is an admission controller that says no more of itself than these
// interfaces. Knative's also says that it needs no caches, and would be asked before
// they are filled.
type synced struct{ admission }

type admission interface {
	controller.Reconciler
	reconciler.LeaderAware
	webhook.AdmissionController
}
