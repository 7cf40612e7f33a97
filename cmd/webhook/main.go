// Command webhook defaults and validates Sluice's kinds as they are written.
// Wiring only: the rules are in reconciler/apis.
package main

import (
	"log"
	"time"

	"github.com/kelseyhightower/envconfig"
	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/signals"
	"knative.dev/pkg/webhook"
	"knative.dev/pkg/webhook/certificates"
)

type environment struct {
	// Service is the name of the Service by which the API server reaches us, in
	// our own namespace (SYSTEM_NAMESPACE).
	Service string `envconfig:"WEBHOOK_NAME" default:"webhook"`
	// Port is the port to serve on.
	Port int `envconfig:"WEBHOOK_PORT" default:"8443"`
	// Secret holds our certificate, which we write ourselves.
	Secret string `envconfig:"WEBHOOK_SECRET_NAME" default:"webhook-certs"`
	// KnativeServingNamespace is where Knative Serving keeps the ConfigMaps that
	// say what a revision may be.
	KnativeServingNamespace string `envconfig:"KNATIVE_SERVING_NAMESPACE" default:"knative-serving"`
}

func main() {
	var env environment
	if err := envconfig.Process("", &env); err != nil {
		log.Fatal("Error reading the environment: ", err)
	}
	ctx := webhook.WithOptions(signals.NewContext(), webhook.Options{
		ServiceName: env.Service,
		SecretName:  env.Secret,
		Port:        env.Port,
		// Less than Kubernetes gives a pod to end, which Knative's own is not.
		GracePeriod: 10 * time.Second,
	})
	sharedmain.WebhookMainWithContext(ctx, "webhook",
		certificates.NewController,
		newDefaulting,
		newValidation(env.KnativeServingNamespace),
	)
}
