package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/bench/internal/closedloop"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	floodPart  = "A tenant beside another that is offered five times its limit, a gateway each"
	floodModel = "flood"
	// floodLimit is the flooded Model's limit, in requests per second; floodTimes it
	// is offered. Both are small, so that the machine's cores aren't what is shared.
	floodLimit, floodTimes = 10, 5
	// The other tenant is asked for predictions one at a time, by turns without and
	// with the flood. All turns of a kind are judged together: a turn by itself has few
	// requests above its p99.
	floodTurns = 12
	floodLasts = 3 * time.Second
	// floodMost is how much of a flood may be admitted, as a part of its limit's three
	// seconds: a bucket that holds a tenth of a second and two requests is full when it
	// comes, and once more when the limiter gives the entry its whole share.
	floodMost = 1.2
)

// measureFlood compares what one tenant's callers wait without and with a flood at
// another's gateway.
func (b *bench) measureFlood(ctx context.Context) error {
	b.Sayf("flood: bringing up two tenants' Models")
	quiet, flooded, err := b.deployFlood(ctx)
	if err != nil {
		return err
	}
	pool, err := closedloop.OpenPool(predict(quiet, b.prediction), 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := inTurns(ctx, pool); err != nil { // it warms up
		return err
	}
	b.Sayf("flood: %d turns without and with it", floodTurns)
	var with, without []float64
	var flood load.Second
	for range floodTurns {
		calm, err := inTurns(ctx, pool)
		if err != nil {
			return err
		}
		without = append(without, calm...)
		answers := make(chan flooding, 1)
		go func() { answers <- b.flood(ctx, flooded) }()
		storm, err := inTurns(ctx, pool)
		did := <-answers
		if err := errors.Join(err, did.err); err != nil {
			return err
		}
		with = append(with, storm...)
		flood.Offered += did.Offered
		flood.Admitted += did.Admitted
	}
	b.reportFlood(without, with, flood)
	return b.removeFlood(ctx)
}

func (b *bench) reportFlood(without, with []float64, flood load.Second) {
	p99 := func(samples []float64) float64 { return 1e3 * stats.Quantile(samples, 0.99) }
	lasted := floodTurns * floodLasts.Seconds()
	b.report.Add(floodPart,
		report.Value("p99, with the flood / without", p99(with)/p99(without), "×").Within(report.AtMost, 1.3),
		report.Value("p50, with the flood / without", stats.Median(with)/stats.Median(without), "×"),
		report.Value("p99, without", p99(without), "ms"),
		report.Value("p99, with the flood", p99(with), "ms"),
		report.Value("the flood", float64(flood.Offered)/lasted, "requests/s"),
		report.Value("admitted of it / its limit", float64(flood.Admitted)/lasted/floodLimit, "×").Within(report.AtMost, floodMost),
	)
}

// inTurns asks for as long as a turn lasts and returns how long each request took, in
// seconds.
func inTurns(ctx context.Context, pool *closedloop.Pool) ([]float64, error) {
	var all []float64
	for end := time.Now().Add(floodLasts); time.Now().Before(end); {
		took, err := pool.InTurn(ctx, requestsPerTurn)
		if err != nil {
			return nil, err
		}
		all = append(all, took...)
	}
	return all, nil
}

// flooding is what became of a flood.
type flooding struct {
	load.Second
	err error
}

// flood offers a Model more than its limit, for a turn.
func (b *bench) flood(ctx context.Context, target load.Target) flooding {
	schedule := load.Schedule{load.Hold(floodTimes*floodLimit, floodLasts)}
	got, err := load.Plan{
		Target: predict(target, b.prediction), Schedule: schedule,
		Bounds: load.Bounds{Requests: schedule.Requests(), Duration: 2 * floodLasts, InFlight: 64},
	}.Run(ctx)
	if err != nil {
		return flooding{err: fmt.Errorf("flooding: %w", err)}
	}
	if t := got.Total; t.Failed+t.Errored+t.Dropped > 0 {
		err = fmt.Errorf("flooding: %+v, want answers of 2xx and 429 only: %v", t, got.Errors)
	}
	return flooding{Second: got.Total, err: err}
}

// deployFlood gives two of the tenants a Model each.
func (b *bench) deployFlood(ctx context.Context) (quiet, flooded load.Target, err error) {
	for i := range 2 {
		_, err := b.clients.Kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: meta("", tenant(i).Name)}, metav1.CreateOptions{})
		if err != nil {
			return quiet, flooded, fmt.Errorf("creating namespace %s: %w", tenant(i).Name, err)
		}
	}
	if err := b.bringUpTenants(ctx); err != nil {
		return quiet, flooded, err
	}
	targets := []*load.Target{&quiet, &flooded}
	for i, target := range targets {
		if err := b.createFlooded(ctx, i); err != nil {
			return quiet, flooded, err
		}
		if *target, err = b.tenantsModel(ctx, i); err != nil {
			return quiet, flooded, err
		}
	}
	return quiet, flooded, nil
}

// createFlooded creates the Model of a tenant, once its namespace is held.
func (b *bench) createFlooded(ctx context.Context, i int) error {
	name := tenant(i).Name
	err := platform.Until(ctx, time.Minute, "namespace "+name+" to be its tenant's", func(ctx context.Context) (string, error) {
		t, err := b.clients.Sluice.SluiceV1alpha1().Tenants().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting tenant %s: %w", name, err)
		}
		if on := t.GatewaysOf(name); !slices.Contains(on, gateway.OfTenant(name)) {
			return fmt.Sprintf("its gateways are %v", on), nil
		}
		return "", nil
	})
	if err != nil {
		return err
	}
	m := ranker(floodModel, b.Image)
	m.Namespace = name
	m.Spec.Autoscaling.TargetBurstCapacity = ptr.Int32(0) // keeps the activator out of the path
	if i > 0 {
		m.Spec.Limit.RequestsPerSecondPerReplica = resource.NewQuantity(floodLimit, resource.DecimalSI)
	}
	if _, err := b.clients.Sluice.SluiceV1alpha1().Models(name).Create(ctx, m, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the Model of %s: %w", name, err)
	}
	return nil
}

// tenantsModel is where a tenant's Model is served, once it is.
func (b *bench) tenantsModel(ctx context.Context, i int) (load.Target, error) {
	name := tenant(i).Name
	address, err := b.addressOf(ctx, gateway.OfTenant(name))
	if err != nil {
		return load.Target{}, err
	}
	host := ""
	err = platform.Until(ctx, 90*time.Second, "the Model of "+name+" to be Ready", func(ctx context.Context) (string, error) {
		got, err := b.clients.Sluice.SluiceV1alpha1().Models(name).Get(ctx, floodModel, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting the Model: %w", err)
		}
		if !got.IsReady() || got.Status.URL == nil {
			return fmt.Sprintf("%+v", got.Status.GetCondition("Ready")), nil
		}
		host = got.Status.URL.Host
		return "", nil
	})
	target := get(address, host)
	if err == nil {
		_, err = firstAnswer(ctx, target)
	}
	return target, err
}

// removeFlood removes the tenants' namespaces, so that the next part has the machine
// to itself.
func (b *bench) removeFlood(ctx context.Context) error {
	var errs []error
	for _, name := range tenantNamespaces() {
		models := b.clients.Sluice.SluiceV1alpha1().Models(name)
		if err := models.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); stage.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("deleting the Models of %s: %w", name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return platform.Until(ctx, time.Minute, "the tenants' namespaces to go", func(ctx context.Context) (string, error) {
		for _, name := range tenantNamespaces() {
			limits, err := b.clients.Sluice.SluiceV1alpha1().RateLimits(name).List(ctx, metav1.ListOptions{})
			if err != nil {
				return "", fmt.Errorf("listing rate limits: %w", err)
			}
			if len(limits.Items) > 0 {
				return "limits are left in " + name, nil
			}
			switch err := b.clients.Kube.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); {
			case apierrs.IsNotFound(err):
			case err == nil, apierrs.IsConflict(err):
				return name + " is going", nil
			default:
				return "", fmt.Errorf("deleting namespace %s: %w", name, err)
			}
		}
		return "", nil
	})
}

// tenantNamespaces are the namespaces of the tenants, where they are there.
func tenantNamespaces() []string {
	names := make([]string, tenants)
	for i := range names {
		names[i] = tenant(i).Name
	}
	return names
}
