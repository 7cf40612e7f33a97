// Command queue-proxy is Knative's, with a gate: while the model in its pod is cold,
// requests wait. In a pod without a warm-up it does what Knative's does.
package main

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	corev1 "k8s.io/api/core/v1"
	pkgnet "knative.dev/pkg/network"
	"knative.dev/serving/pkg/queue/readiness"
	"knative.dev/serving/pkg/queue/sharedmain"

	"sluice.dev/sluice/functions/warmup/gate"
	"sluice.dev/sluice/reconciler/apis/warmup"
)

// idleConnections are what Knative keeps where the concurrency has no bound.
const idleConnections = 1000

func main() {
	if sharedmain.Main(hold) != nil {
		os.Exit(1)
	}
}

// hold puts the gate between queue-proxy and a model that is warmed up.
func hold(d *sharedmain.Defaults) {
	if !warmedUp(os.Getenv("SERVING_READINESS_PROBE")) {
		return
	}
	idle := idleConnections
	if concurrency := number("CONTAINER_CONCURRENCY"); concurrency > 0 {
		idle = concurrency
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(warmup.Port))
	patience := time.Duration(number("REVISION_TIMEOUT_SECONDS")) * time.Second
	g := gate.New(pkgnet.DialWithBackOff, gate.Ask(address), patience, waits(d), d.Ctx.Done())
	d.Transport = otelhttp.NewTransport(g.Transport(idle)) // with the providers that queue-proxy has set
	d.Logger.Info("Requests wait while the model is not warm")
}

// waits is told how long requests waited: among the metrics that queue-proxy has of
// requests.
func waits(d *sharedmain.Defaults) func(time.Duration, error) {
	histogram, err := otel.Meter("sluice.dev/sluice").Float64Histogram("sluice.warmup.wait", metric.WithUnit("s"),
		metric.WithDescription("How long requests waited for a model that was not warm."),
		metric.WithExplicitBucketBoundaries(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300))
	if err != nil {
		d.Logger.Errorw("Waits are not measured", "error", err)
		return func(time.Duration, error) {}
	}
	opened, refused, left := outcome("opened"), outcome("refused"), outcome("left")
	return func(waited time.Duration, err error) {
		of := opened
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			of = left
		case err != nil:
			of = refused
		}
		histogram.Record(d.Ctx, waited.Seconds(), of)
	}
}

func outcome(name string) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", name)))
}

// warmedUp tells whether a warm-up is among what has to be ready.
func warmedUp(probes string) bool {
	decoded, err := readiness.DecodeProbes(probes, true)
	return err == nil && slices.ContainsFunc(decoded, func(p *corev1.Probe) bool {
		return p != nil && p.HTTPGet != nil && p.HTTPGet.Path == warmup.ReadyPath && p.HTTPGet.Port.IntValue() == warmup.Port
	})
}

// number is a variable that queue-proxy has read already, and refused if it is none.
func number(variable string) int {
	n, _ := strconv.Atoi(os.Getenv(variable))
	return n
}
