package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/apis"
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
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	tenantinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// A Model's container is stored as it is sent (its schema says no more than
// "object"), so a misspelt field would be dropped in silence: it is refused here.
const disallowUnknownFields = true

var (
	_ resourcesemantics.VerbLimited        = (*v1alpha1.Model)(nil)
	_ resourcesemantics.SubResourceLimited = (*v1alpha1.Model)(nil)
)

var (
	modelKind  = v1alpha1.SchemeGroupVersion.WithKind("Model")
	tenantKind = v1alpha1.SchemeGroupVersion.WithKind("Tenant")
)

// kinds are the kinds that users write.
var kinds = map[schema.GroupVersionKind]resourcesemantics.GenericCRD{
	modelKind:  &v1alpha1.Model{},
	tenantKind: &v1alpha1.Tenant{},
}

func newDefaulting(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	unchanged := func(ctx context.Context) context.Context { return ctx }
	return defaulting.NewAdmissionController(ctx,
		"defaulting.webhook.sluice.dev", "/defaulting", kinds, unchanged, disallowUnknownFields)
}

// newValidation validates by what Knative Serving's configuration allows in this
// cluster, and by what other Models and Tenants there are.
func newValidation(servingNamespace string) injection.ControllerConstructor {
	return func(ctx context.Context, _ configmap.Watcher) *controller.Impl {
		serving, neighbours := watchServing(ctx, servingNamespace), watchNeighbours(ctx)
		withContext := func(ctx context.Context) context.Context {
			return v1alpha1.WithNeighbours(serving.ToContext(ctx), neighbours)
		}
		tenants := tenantinformer.Get(ctx).Lister()
		impl := validation.NewAdmissionController(ctx,
			"validation.webhook.sluice.dev", "/resource-validation", kinds, withContext, disallowUnknownFields,
			map[schema.GroupVersionKind]validation.Callback{
				tenantKind: validation.NewCallback(refuseConflicts(tenants), webhook.Create, webhook.Update),
			})
		impl.Reconciler = synced{impl.Reconciler.(admission)}
		return impl
	}
}

// watchServing keeps what Knative Serving allows. sharedmain's own watcher sees our
// namespace only.
func watchServing(ctx context.Context, namespace string) *servingconfig.Store {
	logger := logging.FromContext(ctx).Named("serving-config")
	store := servingconfig.NewStore(logger)
	watcher := configmapinformer.NewInformedWatcher(kubeclient.Get(ctx), namespace)
	for _, name := range []string{
		servingconfig.DefaultsConfigName,
		servingconfig.FeaturesConfigName,
		autoscalerconfig.ConfigName,
	} {
		// Where a ConfigMap is missing, Knative goes by its defaults; so do we.
		missing := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
		watcher.WatchWithDefault(missing, store.OnConfigChanged)
	}
	if err := watcher.Start(ctx.Done()); err != nil {
		logger.Fatalw("Error watching Knative Serving's configuration", "namespace", namespace, "error", err)
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
	return func(namespace string) (*v1alpha1.Tenant, []*v1alpha1.Model, error) {
		tenant, err := tenancy.Of(tenants, namespace)
		if err != nil || tenant == nil {
			return nil, nil, err
		}
		all, err := tenant.Models(func(namespace string) ([]*v1alpha1.Model, error) {
			return models.Models(namespace).List(labels.Everything())
		})
		return tenant, all, err
	}
}

// refuseConflicts refuses a Tenant that asks for what is another's. One that is
// there already, in whatever state, stays writable in all that isn't its spec.
func refuseConflicts(tenants sluicelisters.TenantLister) func(context.Context, *unstructured.Unstructured) error {
	return func(ctx context.Context, object *unstructured.Unstructured) error {
		tenant := &v1alpha1.Tenant{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, tenant); err != nil {
			return fmt.Errorf("decoding the Tenant: %w", err)
		}
		before, ok := apis.GetBaseline(ctx).(*v1alpha1.Tenant)
		if tenant.DeletionTimestamp != nil || ok && equality.Semantic.DeepEqual(before.Spec, tenant.Spec) {
			return nil
		}
		others, err := tenants.List(labels.Everything())
		if err != nil {
			return fmt.Errorf("listing the Tenants: %w", err)
		}
		// A nil *FieldError must not become an error that isn't nil.
		if conflicts := tenant.ConflictsWith(others).Filter(apis.ErrorLevel); conflicts != nil {
			return conflicts
		}
		return nil
	}
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
