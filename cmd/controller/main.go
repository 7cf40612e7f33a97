// Command controller runs the reconcilers and the source of scale events, and answers what is
// asked of Models.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/kelseyhightower/envconfig"
	"github.com/prometheus/client_golang/prometheus"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corev1informers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/signals"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	filteredserving "knative.dev/serving/pkg/client/injection/informers/factory/filtered"

	"sluice.dev/sluice/cmd/internal/serving"
	"sluice.dev/sluice/functions/access"
	"sluice.dev/sluice/functions/asked"
	"sluice.dev/sluice/functions/limit/demand/recorded"
	"sluice.dev/sluice/functions/verify"
	apisconfig "sluice.dev/sluice/reconciler/apis/config"
	apisgateway "sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	tenantinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant"
	"sluice.dev/sluice/reconciler/exposition"
	"sluice.dev/sluice/reconciler/gateway"
	"sluice.dev/sluice/reconciler/informers"
	"sluice.dev/sluice/reconciler/ingress"
	"sluice.dev/sluice/reconciler/model"
	"sluice.dev/sluice/reconciler/revisionscale"
	"sluice.dev/sluice/reconciler/tenant"
)

type environment struct {
	// KnativeServingNamespace is where Knative Serving keeps the ConfigMaps that say
	// which routes get which domain, and what pods may be.
	KnativeServingNamespace string `envconfig:"KNATIVE_SERVING_NAMESPACE" default:"knative-serving"`
	// WarmUpImage warms up the replicas of revisions that are made from now on.
	WarmUpImage string `envconfig:"WARM_UP_IMAGE"`
	// Limiter is the URL of what records the demand of Models, LimiterToken the file that tells
	// it who asks.
	Limiter      string `envconfig:"LIMITER" required:"true"`
	LimiterToken string `envconfig:"LIMITER_TOKEN" default:"/var/run/secrets/sluice.dev/limiter/token"`
	// Port takes questions about Models.
	Port int `envconfig:"PORT" default:"8090"`
}

func main() {
	var env environment
	if err := envconfig.Process("", &env); err != nil {
		log.Fatal("Error reading the environment: ", err)
	}
	ctx := filteredserving.WithSelectors(signals.NewContext(), revisionscale.Selector)
	sharedmain.MainWithConfig(ctx, "controller", config(), controllers(env)...)
}

func controllers(env environment) []injection.ControllerConstructor {
	return []injection.ControllerConstructor{
		models(env),
		ingress.NewController,
		gateway.NewController,
		revisionscale.NewController,
		tenant.NewController(env.KnativeServingNamespace),
	}
}

// models reconciles Models, and answers what is asked of them, whichever replica leads.
func models(env environment) injection.ControllerConstructor {
	return func(ctx context.Context, cmw configmap.Watcher) *controller.Impl {
		scaling := informers.ConfigMap(kubeclient.Get(ctx), env.KnativeServingNamespace, apisconfig.AutoscalerName)
		impl := model.NewController(model.Options{
			ServingNamespace: env.KnativeServingNamespace, WarmUpImage: env.WarmUpImage, Scaling: scaling, Verifier: verifier(env),
		})(ctx, cmw)
		expose(ctx)
		go serving.Until(ctx, answering(ctx, env, scaling).Server(fmt.Sprintf(":%d", env.Port)))
		return impl
	}
}

// expose shows Prometheus what the controller has in its caches, whichever replica leads.
func expose(ctx context.Context) {
	known, tenants := modelinformer.Get(ctx).Lister(), tenantinformer.Get(ctx).Informer().GetIndexer()
	prometheus.MustRegister(exposition.Models{
		List: func() ([]*v1alpha1.Model, error) { return known.List(labels.Everything()) },
		Tenant: func(namespace string) string {
			if tenant, err := tenancy.Of(tenants, namespace); err == nil && tenant != nil {
				return tenant.Name
			}
			return ""
		},
	})
	copies := informers.Get(ctx).Certificates.Lister().Secrets(apisgateway.Namespace)
	prometheus.MustRegister(exposition.Certificates{List: func() ([]*corev1.Secret, error) {
		return copies.List(labels.SelectorFromSet(labels.Set{sluice.ManagedByLabelKey: sluice.ManagedBy}))
	}})
}

// answering is the function that answers questions about Models.
func answering(ctx context.Context, env environment, scaling corev1informers.ConfigMapInformer) *asked.Function {
	reviews, err := kubernetes.NewForConfig(reviewsOf(injection.GetConfig(ctx)))
	if err != nil {
		log.Fatal("Error building the client for reviews: ", err)
	}
	reviewer := access.New(asked.Audience, reviews.AuthenticationV1().TokenReviews(), reviews.AuthorizationV1().SubjectAccessReviews())
	known, tenants := modelinformer.Get(ctx), tenantinformer.Get(ctx).Informer()
	return asked.New(asked.Sources{
		May: func(r *http.Request, model types.NamespacedName) error {
			return reviewer.May(r, authorizationv1.ResourceAttributes{
				Namespace: model.Namespace, Verb: "get", Group: v1alpha1.SchemeGroupVersion.Group, Version: v1alpha1.SchemeGroupVersion.Version, Resource: "models", Name: model.Name,
			})
		},
		Model: func(model types.NamespacedName) (*v1alpha1.Model, error) {
			return known.Lister().Models(model.Namespace).Get(model.Name)
		},
		Synced: func() bool { return known.Informer().HasSynced() && tenants.HasSynced() },
		Neighbours: tenancy.Neighbours(tenants.GetIndexer(), func(namespace string) ([]*v1alpha1.Model, error) {
			return known.Lister().Models(namespace).List(labels.Everything())
		}),
		Cluster: func() *autoscalerconfig.Config {
			return apisconfig.Autoscaler(scaling.Lister().ConfigMaps(env.KnativeServingNamespace).Get)
		},
		Recorded: recorded.New(env.Limiter, env.LimiterToken).Of,
	})
}

// reviewsOf gives reviews a rate of their own: anybody can send tokens, and no reconciler is to
// wait for that.
func reviewsOf(config *rest.Config) *rest.Config {
	own := rest.CopyConfig(config)
	own.QPS, own.Burst = 20, 40
	return own
}

// verifier judges trials by what the limiter recorded.
func verifier(env environment) func(ctx context.Context, changed func(types.NamespacedName)) model.Verifier {
	return func(ctx context.Context, changed func(types.NamespacedName)) model.Verifier {
		v := verify.New(recorded.New(env.Limiter, env.LimiterToken).Of, changed, clock.RealClock{})
		go v.Run(ctx)
		return v
	}
}

// config lets a change of many Models through at more than the default 5 requests
// a second, for which they would wait in line.
func config() *rest.Config {
	c := injection.ParseAndGetRESTConfigOrDie()
	c.QPS, c.Burst = 100, 200
	return c
}
