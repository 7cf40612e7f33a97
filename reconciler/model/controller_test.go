package model

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	_ "knative.dev/eventing/pkg/client/injection/informers/eventing/v1/broker/fake"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	_ "knative.dev/pkg/client/injection/kube/client/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/discovery/v1/endpointslice/fake"
	"knative.dev/pkg/configmap"
	rtesting "knative.dev/pkg/reconciler/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	_ "knative.dev/serving/pkg/client/injection/informers/autoscaling/v1alpha1/podautoscaler/filtered/fake"
	filteredserving "knative.dev/serving/pkg/client/injection/informers/factory/filtered"
	_ "knative.dev/serving/pkg/client/injection/informers/factory/filtered/fake"
	_ "knative.dev/serving/pkg/client/injection/informers/serving/v1/revision/fake"
	_ "knative.dev/serving/pkg/client/injection/informers/serving/v1/service/fake"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	_ "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model/fake"
	_ "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/ratelimit/fake"
	_ "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant/fake"
	"sluice.dev/sluice/reconciler/informers"
)

func fakeContext(t *testing.T) context.Context {
	ctx, _ := rtesting.SetupFakeContext(t, func(ctx context.Context) context.Context {
		return filteredserving.WithSelectors(ctx, sluice.ModelLabelKey)
	})
	return ctx
}

func TestNewController(t *testing.T) {
	cmw := configmap.NewStaticWatcher(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: config.WarmUpName}})
	ctx := fakeContext(t)
	options := Options{
		ServingNamespace: "knative-serving",
		Scaling:          informers.ConfigMap(kubeclient.Get(ctx), "knative-serving", config.AutoscalerName),
		Verifier:         func(context.Context, func(types.NamespacedName)) Verifier { return nothingFound{} },
	}
	if NewController(options)(ctx, cmw) == nil {
		t.Error("no controller")
	}
}

func TestNamesakeOfModel(t *testing.T) {
	ctx := fakeContext(t)
	models := modelinformer.Get(ctx)
	if err := models.Informer().GetIndexer().Add(model()); err != nil {
		t.Fatal(err)
	}
	named := func(namespace, name string) *servingv1.Service {
		return &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	concerns := namesakeOfModel(models.Lister())
	for _, c := range []struct {
		name   string
		object any
		want   bool
	}{
		{"owned", service(), true},
		{"in the Model's way", named(namespace, name), true},
		{"removed, which was missed", cache.DeletedFinalStateUnknown{Key: key, Obj: named(namespace, name)}, true},
		{"a RateLimit", &v1alpha1.RateLimit{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}, true},
		{"another name", named(namespace, "other"), false},
		{"another namespace", named("other", name), false},
		{"not an object", "ranker", false},
	} {
		if got := concerns(c.object); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}
