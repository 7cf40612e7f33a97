package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/configmap"
	configmapinformer "knative.dev/pkg/configmap/informer"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/webhook/resourcesemantics"
	"knative.dev/pkg/webhook/resourcesemantics/defaulting"
	"knative.dev/pkg/webhook/resourcesemantics/validation"
	servingconfig "knative.dev/serving/pkg/apis/config"
	autoscalerconfig "knative.dev/serving/pkg/autoscaler/config"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// A Model's container is stored as it is sent (its schema says no more than
// "object"), so a misspelt field would be dropped in silence: it is refused here.
const disallowUnknownFields = true

var (
	_ resourcesemantics.VerbLimited        = (*v1alpha1.Model)(nil)
	_ resourcesemantics.SubResourceLimited = (*v1alpha1.Model)(nil)
)

// kinds are the kinds that users write.
var kinds = map[schema.GroupVersionKind]resourcesemantics.GenericCRD{
	v1alpha1.SchemeGroupVersion.WithKind("Model"): &v1alpha1.Model{},
}

func newDefaulting(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	unchanged := func(ctx context.Context) context.Context { return ctx }
	return defaulting.NewAdmissionController(ctx,
		"defaulting.webhook.sluice.dev", "/defaulting", kinds, unchanged, disallowUnknownFields)
}

// newValidation validates by what Knative Serving's configuration allows in this
// cluster. sharedmain's own watcher sees our namespace only.
func newValidation(servingNamespace string) injection.ControllerConstructor {
	return func(ctx context.Context, _ configmap.Watcher) *controller.Impl {
		logger := logging.FromContext(ctx).Named("serving-config")
		store := servingconfig.NewStore(logger)
		watcher := configmapinformer.NewInformedWatcher(kubeclient.Get(ctx), servingNamespace)
		for _, name := range []string{
			servingconfig.DefaultsConfigName,
			servingconfig.FeaturesConfigName,
			autoscalerconfig.ConfigName,
		} {
			// Where a ConfigMap is missing, Knative goes by its defaults; so do we.
			missing := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: servingNamespace}}
			watcher.WatchWithDefault(missing, store.OnConfigChanged)
		}
		if err := watcher.Start(ctx.Done()); err != nil {
			logger.Fatalw("Error watching Knative Serving's configuration", "namespace", servingNamespace, "error", err)
		}
		return validation.NewAdmissionController(ctx,
			"validation.webhook.sluice.dev", "/resource-validation", kinds, store.ToContext, disallowUnknownFields)
	}
}
