// Command controller runs the reconcilers and the source of scale events.
package main

import (
	"log"

	"github.com/kelseyhightower/envconfig"
	"k8s.io/client-go/rest"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/signals"
	filteredserving "knative.dev/serving/pkg/client/injection/informers/factory/filtered"

	"sluice.dev/sluice/reconciler/gateway"
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
		model.NewController(model.Options{ServingNamespace: env.KnativeServingNamespace, WarmUpImage: env.WarmUpImage}),
		ingress.NewController,
		gateway.NewController,
		revisionscale.NewController,
		tenant.NewController(env.KnativeServingNamespace),
	}
}

// config lets a change of many Models through at more than the default 5 requests
// a second, for which they would wait in line.
func config() *rest.Config {
	c := injection.ParseAndGetRESTConfigOrDie()
	c.QPS, c.Burst = 100, 200
	return c
}
