// Command controller runs the reconcilers and the source of scale events.
package main

import (
	"k8s.io/client-go/rest"
	filteredinformers "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/signals"
	filteredserving "knative.dev/serving/pkg/client/injection/informers/factory/filtered"

	"sluice.dev/sluice/reconciler/gateway"
	"sluice.dev/sluice/reconciler/ingress"
	"sluice.dev/sluice/reconciler/model"
	"sluice.dev/sluice/reconciler/revisionscale"
)

func main() {
	ctx := filteredinformers.WithSelectors(signals.NewContext(), revisionscale.Selector)
	ctx = filteredserving.WithSelectors(ctx, revisionscale.Selector)
	sharedmain.MainWithConfig(ctx, "controller", config(),
		model.NewController,
		ingress.NewController,
		gateway.NewController,
		revisionscale.NewController,
	)
}

// config lets a change of many Models through at more than the default 5 requests
// a second, for which they would wait in line.
func config() *rest.Config {
	c := injection.ParseAndGetRESTConfigOrDie()
	c.QPS, c.Burst = 100, 200
	return c
}
