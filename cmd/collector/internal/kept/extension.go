package kept

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/otel/metric"
)

// Extension is the type of the extension that says by a metric whether the configuration is refused.
var Extension = component.MustNewType("configuration")

// ExtensionFactory makes the extension of a Keeper. Without one, as where a configuration is only validated, it does
// nothing.
func ExtensionFactory(k *Keeper) extension.Factory {
	return extension.NewFactory(Extension,
		func() component.Config { return &struct{}{} },
		func(_ context.Context, set extension.Settings, _ component.Config) (extension.Extension, error) {
			return &gauge{keeper: k, meters: set.MeterProvider}, nil
		}, component.StabilityLevelStable)
}

type gauge struct {
	keeper       *Keeper
	meters       metric.MeterProvider
	registration metric.Registration
}

// Start registers the metric with the collector's own.
func (g *gauge) Start(context.Context, component.Host) error {
	if g.keeper == nil {
		return nil
	}
	meter := g.meters.Meter("sluice.dev/sluice/cmd/collector")
	refused, err := meter.Int64ObservableGauge("sluice_collector_configuration_refused",
		metric.WithDescription("1 while the configuration that is mounted is refused, and the last that was good goes on."))
	if err != nil {
		return err
	}
	g.registration, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		value := int64(0)
		if g.keeper.Refused() != nil {
			value = 1
		}
		o.ObserveInt64(refused, value)
		return nil
	}, refused)
	return err
}

// Shutdown leaves the metric to the next.
func (g *gauge) Shutdown(context.Context) error {
	if g.registration == nil {
		return nil
	}
	return g.registration.Unregister()
}
