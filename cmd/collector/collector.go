package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
	"go.opentelemetry.io/collector/featuregate"
	"go.opentelemetry.io/collector/otelcol"

	"sluice.dev/sluice/cmd/collector/internal/kept"
	"sluice.dev/sluice/cmd/collector/internal/off"
)

// synchronous has lines read from files handed on before it is noted that they were read. Without it up to a tenth of
// a second of them is lost when a collector is killed.
const synchronous = "stanza.synchronousLogEmitter"

// run runs a collector by what the keeper has in force, and by what was good where it can't run by that.
func run(ctx context.Context, settings kept.Settings, ticks <-chan time.Time) error {
	if err := featuregate.GlobalRegistry().Set(synchronous, true); err != nil {
		return err
	}
	keeper, err := kept.New(ctx, settings)
	if err != nil {
		return err
	}
	var current atomic.Pointer[otelcol.Collector]
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go keeper.Watch(watching, ticks, func() bool {
		c := current.Load()
		return c != nil && c.GetState() == otelcol.StateRunning
	})
	for {
		collector, err := newCollector(keeper.Providers(), keeper)
		if err != nil {
			return err
		}
		current.Store(collector)
		err = collector.Run(ctx)
		switch {
		case ctx.Err() != nil:
			return err
		case err == nil:
			return errors.New("a component of the collector gave up; the log says which")
		case !keeper.Fall(err):
			return err
		}
	}
}

// validate says what a collector would refuse of a configuration, without starting one.
func validate(ctx context.Context, state kept.State) error {
	collector, err := newCollector(kept.Fixed(state), nil)
	if err != nil {
		return err
	}
	return collector.DryRun(ctx)
}

func newCollector(providers []confmap.ProviderFactory, keeper *kept.Keeper) (*otelcol.Collector, error) {
	return otelcol.NewCollector(otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{
			Command: "collector", Description: "Sluice's distribution of the OpenTelemetry Collector", Version: "0.155.0",
		},
		Factories: func() (otelcol.Factories, error) {
			factories, err := components()
			if err != nil {
				return factories, err
			}
			factories.Extensions[kept.Extension] = kept.ExtensionFactory(keeper)
			return factories, nil
		},
		// run ends it by its context.
		DisableGracefulShutdown: true,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
			URIs: []string{kept.URI},
			ProviderFactories: append(providers,
				fileprovider.NewFactory(), envprovider.NewFactory(), yamlprovider.NewFactory()),
			ConverterFactories: []confmap.ConverterFactory{off.NewFactory()},
		}},
	})
}
