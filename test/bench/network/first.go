package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	networkingv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/network"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/bench/internal/closedloop"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	firstPart = "Model applied to first 200, image present, against a plain Knative Service made Ready by hand"
	// firstRounds is how often the two arms that are compared are run. The kubelet
	// looks at a new pod once a second, beginning whenever it likes, which is most
	// of the difference from run to run.
	firstRounds = 28
	// askEvery is how often a host is asked while it isn't served; no figure here
	// is finer than that.
	askEvery = 5 * time.Millisecond
	// runWithin bounds one run.
	runWithin = time.Minute
)

// arm is one way to bring a container to its first answer.
type arm struct {
	name string
	// target is where a run of that name will answer.
	target func(b *bench, name string) load.Target
	// start applies the run's object and does what is to be done by hand.
	start func(b *bench, ctx context.Context, seen *recorder, name string) error
	// last is what a run waits for beside the first answer.
	last milestone
	// every how many rounds it is run.
	every int
}

// arms are run in turn. By hand is done what every ingress class does, with nothing
// to prove and nothing to limit: when Knative asks for routes, one is written, and
// when it answers, Knative is told so and declares its Service Ready.
// The last arm knows beforehand that the revision will be ready, and so shows what
// waiting for that costs, whoever does: the activator passes requests on as soon as its
// own probe succeeds, long before the revision is said to be ready.
var arms = []arm{
	{name: "sluice", target: (*bench).modelTarget, start: (*bench).startModel, last: modelReady, every: 1},
	{name: "hand", target: (*bench).handTarget, start: (*bench).startByHand, last: serviceReady, every: 1},
	{name: "ahead", target: (*bench).handTarget, start: (*bench).startAhead, last: revisionReady, every: 10},
}

// measureFirst runs the arms in turn, each time beginning with another.
func (b *bench) measureFirst(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the watches
	seen, err := watchRuns(ctx, b.clients)
	if err != nil {
		return err
	}
	if err := b.rehearse(ctx, seen); err != nil {
		return err
	}
	b.Sayf("first answer: %d rounds", firstRounds)
	took := map[string][]float64{}
	for round := range firstRounds {
		for i := range arms {
			arm := arms[(round+i)%len(arms)]
			if round%arm.every != 0 {
				continue
			}
			first, err := b.runArm(ctx, seen, arm, runName(arm, round))
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, arm.name, err)
			}
			took[arm.name] = append(took[arm.name], first.Seconds())
			if err := b.endRun(ctx, runName(arm, round)); err != nil {
				return err
			}
		}
	}
	b.reportFirst(took, seen)
	return nil
}

func runName(a arm, round int) string { return fmt.Sprintf("%s-%d", a.name, round) }

// rehearse brings the image to the node and learns the hosts' domain.
func (b *bench) rehearse(ctx context.Context, seen *recorder) error {
	const name = "rehearsal"
	ctx, cancel := context.WithTimeout(ctx, 2*runWithin)
	defer cancel()
	if err := b.startModel(ctx, seen, name); err != nil {
		return err
	}
	if err := seen.wait(ctx, name, modelReady); err != nil {
		return err
	}
	m, err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("getting the Model: %w", err)
	}
	b.domain = strings.TrimPrefix(m.Status.URL.Host, name+"."+namespace+".")
	return b.endRun(ctx, name)
}

// runArm returns how long one run took from applying to the first answer. The host
// is asked from the beginning on, in every arm alike.
func (b *bench) runArm(ctx context.Context, seen *recorder, a arm, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	start := seen.begin(name)
	steps, ctx := errgroup.WithContext(ctx)
	steps.Go(func() error { return a.start(b, ctx, seen, name) })
	var answered time.Time
	steps.Go(func() (err error) {
		if answered, err = firstAnswer(ctx, a.target(b, name)); err == nil {
			seen.note(name, firstAnswered, answered)
		}
		return err
	})
	steps.Go(func() error { return seen.wait(ctx, name, a.last) })
	if err := steps.Wait(); err != nil {
		return 0, err
	}
	return answered.Sub(start), nil
}

func (b *bench) modelTarget(name string) load.Target {
	return get(b.gateway, strings.Join([]string{name, namespace, b.domain}, "."))
}

func (b *bench) handTarget(name string) load.Target { return get(b.minimal, handHost(name)) }

func (b *bench) startModel(ctx context.Context, _ *recorder, name string) error {
	_, err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Create(ctx, ranker(name, b.Image), metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating the Model: %w", err)
	}
	return nil
}

// startByHand creates a Knative Service and serves its Ingress.
func (b *bench) startByHand(ctx context.Context, seen *recorder, name string) error {
	if err := b.routeAt(ctx, seen, name, ingressCreated); err != nil {
		return err
	}
	if err := seen.wait(ctx, name, firstAnswered); err != nil {
		return err
	}
	ingresses := b.clients.Networking.NetworkingV1alpha1().Ingresses(namespace)
	ing, err := ingresses.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("getting ingress %s: %w", name, err)
	}
	ing.Status.InitializeConditions()
	ing.Status.ObservedGeneration = ing.Generation
	ing.Status.MarkNetworkConfigured()
	at := []networkingv1alpha1.LoadBalancerIngressStatus{{DomainInternal: network.GetServiceHostname(minimalName, gateway.Namespace)}}
	ing.Status.MarkLoadBalancerReady(at, at)
	if _, err := ingresses.UpdateStatus(ctx, ing, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("declaring ingress %s ready: %w", name, err)
	}
	return nil
}

// startAhead creates a Knative Service and routes to its revision at once.
func (b *bench) startAhead(ctx context.Context, seen *recorder, name string) error {
	return b.routeAt(ctx, seen, name, revisionCreated)
}

// routeAt creates a Knative Service and, at a milestone, the route to its revision.
func (b *bench) routeAt(ctx context.Context, seen *recorder, name string, at milestone) error {
	m := ranker(name, b.Image)
	m.SetDefaults(ctx)
	_, err := b.clients.Serving.ServingV1().Services(namespace).Create(ctx, plainService(m), metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating the Knative Service: %w", err)
	}
	if err := seen.wait(ctx, name, at); err != nil {
		return err
	}
	// Knative counts generations of a Service in the names of its revisions.
	route := handRoute(name, kmeta.ChildName(name, "-00001"))
	if _, err := b.clients.Istio.NetworkingV1().VirtualServices(gateway.Namespace).Create(ctx, route, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the route by hand: %w", err)
	}
	return nil
}

// firstAnswer asks a target until it answers 200 and returns when it did.
func firstAnswer(ctx context.Context, target load.Target) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	connection, err := closedloop.Open(target)
	if err != nil {
		return time.Time{}, err
	}
	defer connection.Close()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		status, _, err := connection.Ask(ctx)
		if err == nil && status == http.StatusOK {
			return time.Now(), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("waiting for the first answer of %s: %w: last status %d, error %w",
				target.Host, ctx.Err(), status, err)
		}
	}
}

func (b *bench) reportFirst(took map[string][]float64, seen *recorder) {
	model, answered := stats.Summarize(took["sluice"]), stats.Summarize(took["hand"])
	byHand := stats.Summarize(seen.after(arms[1], serviceReady))
	b.report.Add(firstPart,
		report.Value("p50, Model / Ready by hand", model.Median/byHand.Median, "×").Within(report.AtMost, 1.15),
		report.Value("p50, Model / first 200 by hand", model.Median/answered.Median, "×"),
		report.Median("Model", model, "s"),
		report.Median("Ready by hand", byHand, "s"),
		report.Median("first 200 by hand", answered, "s"),
		report.Median("first 200, routed ahead of the revision", stats.Summarize(took["ahead"]), "s"),
	)
	for _, arm := range arms[:2] {
		for _, milestone := range milestones {
			if after := seen.after(arm, milestone); len(after) > 0 {
				b.report.Add(firstPart+": parts, by "+arm.name, report.Median(string(milestone), stats.Summarize(after), "s"))
			}
		}
	}
}

// endRun removes a Model, or a Knative Service, of one name with its route by hand,
// and waits until the gateway has forgotten it. Its pods drain meanwhile, idle.
func (b *bench) endRun(ctx context.Context, name string) error {
	remove := metav1.DeleteOptions{}
	for _, err := range []error{
		b.clients.Sluice.SluiceV1alpha1().Models(namespace).Delete(ctx, name, remove),
		b.clients.Istio.NetworkingV1().VirtualServices(gateway.Namespace).Delete(ctx, handRoute(name, "").Name, remove),
		b.clients.Serving.ServingV1().Services(namespace).Delete(ctx, name, remove),
	} {
		if stage.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting %s: %w", name, err)
		}
	}
	return platform.Until(ctx, 30*time.Second, "the routes and limits of "+name+" to go", stage.NoRoutesLeft(b.clients, namespace))
}
