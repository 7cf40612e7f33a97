package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	networkingv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/platform"
)

const (
	routesPart = "Routes without pods behind them, 4 gateways connected to istiod"
	// changes is how many routes are added and removed, one at a time, at each
	// level.
	changes = 7
	// oneMore is the route that comes and goes.
	oneMore = "one-more"
	// writers make routes at once while a level is filled.
	writers = 8
	// quietFor is how long istiod must have pushed nothing to be done with a change:
	// longer than it collects changes before it pushes.
	quietFor = time.Second
)

// levels are how many routes there are while one more comes and goes.
var levels = []int{0, 100, 200, 300}

// level is what was measured with so many routes.
type level struct {
	routes int
	// filled is how long the routes that the level before hadn't took until all were
	// Ready, in seconds.
	filled float64
	// config is what the shared gateway's Envoy says that it was told, in bytes.
	config float64
	// controller and istiod are the kubelet's count of their memory, in bytes.
	controller, istiod float64
	changes            []change
}

// change is what one more route cost.
type change struct {
	// ready is how long it took to be Ready, in seconds.
	ready float64
	// pushed is what istiod sent to all gateways when it was added, in bytes, and
	// pushes how often it sent routes to one of them.
	pushed, pushes float64
	// writes is how many writes of Kubernetes objects its adding and removing took,
	// those of the benchmark left out.
	writes float64
	// controllerHeap and istiodHeap are the sizes, in bytes, to which the heaps may
	// grow before they are collected: by default twice what was alive the last time,
	// so they don't swing as the heaps themselves do.
	controllerHeap, istiodHeap float64
}

// each returns one quantity of all changes.
func (l level) each(quantity func(change) float64) []float64 {
	all := make([]float64, 0, len(l.changes))
	for _, c := range l.changes {
		all = append(all, quantity(c))
	}
	return all
}

// measureRoutes fills the gateway with routes and measures, level by level, what
// one more costs.
func (b *bench) measureRoutes(ctx context.Context) error {
	b.Sayf("routes: bringing up %d more gateways", tenants)
	if err := b.bringUpTenants(ctx); err != nil {
		return err
	}
	if err := b.makeBackend(ctx, oneMore); err != nil {
		return err
	}
	var measured []level
	before := 0
	for _, routes := range levels {
		at := level{routes: routes}
		start := time.Now()
		if err := b.fill(ctx, before, routes); err != nil {
			return err
		}
		at.filled = time.Since(start).Seconds()
		b.Sayf("routes: %d are there; adding and removing one, %d times", routes, changes)
		if err := b.measureLevel(ctx, &at); err != nil {
			return fmt.Errorf("with %d routes: %w", routes, err)
		}
		measured = append(measured, at)
		before = routes
	}
	b.reportRoutes(measured)
	b.Sayf("routes: removing %d", before)
	return b.deleteRoutes(ctx)
}

func (b *bench) bringUpTenants(ctx context.Context) error {
	client := b.clients.Sluice.SluiceV1alpha1().Tenants()
	for i := range tenants {
		if _, err := client.Create(ctx, tenant(i), metav1.CreateOptions{}); err != nil && !apierrs.IsAlreadyExists(err) {
			return fmt.Errorf("creating tenant %d: %w", i, err)
		}
	}
	return platform.Until(ctx, 2*time.Minute, "the tenants' gateways", func(ctx context.Context) (string, error) {
		for i := range tenants {
			t, err := client.Get(ctx, tenant(i).Name, metav1.GetOptions{})
			if err != nil {
				return "", fmt.Errorf("getting tenant %d: %w", i, err)
			}
			if t.Status.Gateway != gateway.OfTenant(t.Name) || t.Status.GatewayPods == 0 {
				return fmt.Sprintf("%s: gateway %q, %d pods, move %+v", t.Name, t.Status.Gateway, t.Status.GatewayPods, t.Status.Move), nil
			}
		}
		return "", nil
	})
}

// fill makes the routes from one number to another and waits until all are Ready.
func (b *bench) fill(ctx context.Context, from, to int) error {
	making, inner := errgroup.WithContext(ctx)
	making.SetLimit(writers)
	for i := from; i < to; i++ {
		name := fmt.Sprintf("route-%03d", i)
		making.Go(func() error {
			if err := b.makeBackend(inner, name); err != nil {
				return err
			}
			return b.makeRoute(inner, name)
		})
	}
	if err := making.Wait(); err != nil {
		return err
	}
	return platform.Until(ctx, 2*time.Minute, fmt.Sprintf("%d routes to be Ready", to), func(ctx context.Context) (string, error) {
		list, err := b.clients.Networking.NetworkingV1alpha1().Ingresses(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", fmt.Errorf("listing ingresses: %w", err)
		}
		ready := 0
		for i := range list.Items {
			if list.Items[i].IsReady() {
				ready++
			}
		}
		if ready < to {
			return fmt.Sprintf("%d are", ready), nil
		}
		return "", nil
	})
}

func (b *bench) makeBackend(ctx context.Context, name string) error {
	service, slice := backend(name)
	if _, err := b.clients.Kube.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating service %s: %w", name, err)
	}
	if _, err := b.clients.Kube.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the endpoints of %s: %w", name, err)
	}
	return nil
}

func (b *bench) makeRoute(ctx context.Context, name string) error {
	_, err := b.clients.Networking.NetworkingV1alpha1().Ingresses(namespace).Create(ctx, ingress(name), metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating ingress %s: %w", name, err)
	}
	return nil
}

func (b *bench) measureLevel(ctx context.Context, at *level) error {
	if err := b.quiet(ctx); err != nil {
		return err
	}
	var err error
	if at.config, err = b.configSize(ctx, gateway.Shared); err != nil {
		return err
	}
	for range changes {
		c, err := b.changeOnce(ctx)
		if err != nil {
			return err
		}
		at.changes = append(at.changes, c)
	}
	if at.controller, err = b.freshWorkingSet(ctx, controller); err != nil {
		return err
	}
	at.istiod, err = b.freshWorkingSet(ctx, istiod)
	return err
}

// changeOnce adds one route and removes it again.
func (b *bench) changeOnce(ctx context.Context) (change, error) {
	before, err := b.count(ctx)
	if err != nil {
		return change{}, err
	}
	ready, err := b.timeRoute(ctx, oneMore)
	if err != nil {
		return change{}, err
	}
	if err := b.quiet(ctx); err != nil {
		return change{}, err
	}
	added, err := b.count(ctx)
	if err != nil {
		return change{}, err
	}
	if err := b.removeRoute(ctx, oneMore); err != nil {
		return change{}, err
	}
	removed, err := b.count(ctx)
	if err != nil {
		return change{}, err
	}
	const byTheBenchmark = 2
	return change{
		ready:  ready.Seconds(),
		pushed: added.pushed - before.pushed, pushes: added.pushes - before.pushes,
		writes:         removed.writes - before.writes - byTheBenchmark,
		controllerHeap: removed.controllerHeap, istiodHeap: removed.istiodHeap,
	}, nil
}

// counters are read before and after a change.
type counters struct{ pushed, pushes, writes, controllerHeap, istiodHeap float64 }

func (b *bench) count(ctx context.Context) (now counters, err error) {
	const heap = "go_memstats_next_gc_bytes"
	routes := func(l tags) bool { return l["type"] == "rds" }
	for _, read := range []struct {
		into *float64
		from func() (float64, error)
	}{
		{&now.pushed, func() (float64, error) { return b.pushed(ctx) }},
		{&now.pushes, func() (float64, error) { return b.sum(ctx, istiod, "pilot_xds_pushes", routes) }},
		{&now.writes, func() (float64, error) { return b.writes(ctx) }},
		{&now.controllerHeap, func() (float64, error) { return b.sum(ctx, controller, heap, every) }},
		{&now.istiodHeap, func() (float64, error) { return b.sum(ctx, istiod, heap, every) }},
	} {
		if *read.into, err = read.from(); err != nil {
			return now, err
		}
	}
	return now, nil
}

// timeRoute creates a route and returns how long it took to be seen Ready.
func (b *bench) timeRoute(ctx context.Context, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	events, err := b.clients.Networking.NetworkingV1alpha1().Ingresses(namespace).Watch(ctx,
		metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()})
	if err != nil {
		return 0, fmt.Errorf("watching ingress %s: %w", name, err)
	}
	defer events.Stop()
	start := time.Now()
	if err := b.makeRoute(ctx, name); err != nil {
		return 0, err
	}
	for event := range events.ResultChan() {
		if event.Type == watch.Error {
			return 0, fmt.Errorf("watching ingress %s: %w", name, apierrs.FromObject(event.Object))
		}
		if ing, ok := event.Object.(*networkingv1alpha1.Ingress); ok && ing.IsReady() {
			return time.Since(start), nil
		}
	}
	return 0, fmt.Errorf("waiting for ingress %s to be Ready: %w", name, errors.Join(ctx.Err(), errWatchEnded))
}

var errWatchEnded = errors.New("the watch ended")

// removeRoute deletes a route and waits until it is gone and istiod is done.
func (b *bench) removeRoute(ctx context.Context, name string) error {
	client := b.clients.Networking.NetworkingV1alpha1().Ingresses(namespace)
	if err := client.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("deleting ingress %s: %w", name, err)
	}
	err := platform.Until(ctx, runWithin, "ingress "+name+" to go", func(ctx context.Context) (string, error) {
		_, err := client.Get(ctx, name, metav1.GetOptions{})
		if apierrs.IsNotFound(err) {
			return "", nil
		}
		return "it is there", err
	})
	if err != nil {
		return err
	}
	return b.quiet(ctx)
}

// pushed is how many bytes of configuration istiod has sent to gateways.
func (b *bench) pushed(ctx context.Context) (float64, error) {
	return b.sum(ctx, istiod, "pilot_xds_config_size_bytes_sum", every)
}

// quiet waits until istiod has pushed nothing for a while.
func (b *bench) quiet(ctx context.Context) error {
	last, since := -1.0, time.Now()
	return platform.Until(ctx, runWithin, "istiod to have nothing to push", func(ctx context.Context) (string, error) {
		now, err := b.pushed(ctx)
		if err != nil {
			return "", err
		}
		if now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < quietFor {
			return "it pushes", nil
		}
		return "", nil
	})
}

// freshWorkingSet waits for a count of the kubelet that is younger than the call.
func (b *bench) freshWorkingSet(ctx context.Context, of component) (float64, error) {
	var bytes float64
	since := time.Now()
	err := platform.Until(ctx, time.Minute, "the kubelet to count the memory of "+of.selector, func(ctx context.Context) (string, error) {
		now, fresh, err := b.workingSet(ctx, of, since)
		if !fresh || err != nil {
			return "its count is from before", err
		}
		bytes = now
		return "", nil
	})
	return bytes, err
}
