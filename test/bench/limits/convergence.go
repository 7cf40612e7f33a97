package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/scrape"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/platform"
)

const (
	convergencePart = "Convergence: from a scale decision or a ready replica to the limit on each of 3 gateway pods"
	churnPart       = convergencePart + ", while an unrelated route changes every 70 ms"

	// A round is a replica that becomes ready, a decision to scale down, and as many
	// changes by hand.
	convergenceRounds, churnRounds = 100, 30
	// Changes come at random times after the last one was enforced. The decision comes
	// right after the replica, so about half of them within the 300 ms in which the limiter
	// holds writes back.
	pauseMost = 300 * time.Millisecond
	// restored is how long istiod and the limiter are left alone after a round: what
	// brings the scale back to where it began changes no limit, but they look at it.
	restored = 250 * time.Millisecond
	// apart is how long is between the two writes of that: they reach the limiter by two
	// watches, and the other way round they would be a change.
	apart = 100 * time.Millisecond
	// churnEvery is how often the unrelated route changes: istiod waits for 100 ms
	// without any change.
	churnEvery = 70 * time.Millisecond
	// leastChurn is how often it has to, a second, for the churn to be one.
	leastChurn = 12
	// burstEvery is the least time between two bursts of the limiter's writes, in ms.
	burstEvery = 300
)

// changes are the times, in milliseconds, that changes of one kind took until they
// were enforced on each line of each pod, and those of their parts.
type changes struct {
	all   []float64
	parts map[milestone][]float64
}

func (c *changes) add(took float64, parts map[milestone]float64) {
	if c.parts == nil {
		c.parts = map[milestone][]float64{}
	}
	c.all = append(c.all, took)
	for m, at := range parts {
		c.parts[m] = append(c.parts[m], at)
	}
}

// convergence is what was measured at rest or under churn.
type convergence struct {
	ready, decided, byHand changes
}

// ours are the changes that the limiter made.
func (c convergence) ours() []float64 { return slices.Concat(c.ready.all, c.decided.all) }

// part is a milestone of all of them.
func (c convergence) part(m milestone) []float64 {
	return slices.Concat(c.ready.parts[m], c.decided.parts[m])
}

// measureConvergence times changes of a limit by what it follows, and by hand, in
// alternation: first at rest, then under churn.
func (b *bench) measureConvergence(ctx context.Context) error {
	if err := b.bringUp(ctx, mostPods); err != nil {
		return err
	}
	s := following(fixed("convergence", 10), 2)
	if err := b.populate(ctx, s); err != nil {
		return err
	}
	if err := b.proved(ctx, s.subject); err != nil {
		return err
	}
	floor, err := b.addByHand(ctx)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	c, err := b.newCourse(watching, s, floor)
	if err != nil {
		return err
	}
	b.Sayf("convergence: %d rounds", convergenceRounds)
	before, err := b.stepHistograms(ctx)
	if err != nil {
		return err
	}
	calm, err := c.run(ctx, convergenceRounds)
	if err != nil {
		return err
	}
	after, err := b.stepHistograms(ctx)
	if err != nil {
		return err
	}
	b.reportConvergence(calm)
	b.reportSelf(before, after)

	b.Sayf("convergence: %d rounds under churn", churnRounds)
	shaken, err := b.underChurn(ctx, c)
	if err != nil {
		return err
	}
	stop()
	return b.leaveConvergence(ctx, s, shaken)
}

func (b *bench) leaveConvergence(ctx context.Context, s *scaled, shaken convergence) error {
	b.reportChurn(shaken)
	if err := b.deleteTrigger(ctx); err != nil {
		return err
	}
	return b.dismiss(ctx, s.subject)
}

// course is changes one after another.
type course struct {
	*bench
	subject *scaled
	floor   *byHand
	watch   *recorder
	chance  *rand.Rand
}

func (b *bench) newCourse(ctx context.Context, s *scaled, floor *byHand) (*course, error) {
	watch, err := b.record(ctx, s)
	if err != nil {
		return nil, err
	}
	return &course{bench: b, subject: s, floor: floor, watch: watch, chance: b.chance()}, nil
}

// run makes rounds. With one replica ready of two desired, the limit is that of one;
// it doubles when the second is ready, and halves when one is desired. Then the
// replica goes and is desired again, which changes nothing.
func (c *course) run(ctx context.Context, rounds int) (convergence, error) {
	var all convergence
	for range rounds {
		for _, step := range []func(context.Context) error{
			func(ctx context.Context) error {
				return c.ours(ctx, &all.ready, func() error { return c.become(ctx, c.subject, 2) })
			},
			func(ctx context.Context) error {
				return c.ours(ctx, &all.decided, func() error { return c.decide(ctx, c.subject, 1) })
			},
			func(ctx context.Context) error { return c.byHandOnce(ctx, &all.byHand) },
			func(ctx context.Context) error { return c.byHandOnce(ctx, &all.byHand) },
			c.restore,
		} {
			if err := step(ctx); err != nil {
				return all, fmt.Errorf("change %d: %w", len(all.ours())+1, err)
			}
		}
	}
	return all, nil
}

func (c *course) restore(ctx context.Context) error {
	if err := c.become(ctx, c.subject, 1); err != nil {
		return err
	}
	if err := command.Pause(ctx, apart); err != nil {
		return err
	}
	if err := c.decide(ctx, c.subject, 2); err != nil {
		return err
	}
	return command.Pause(ctx, restored)
}

// ours times one change by the limiter: until each plain entry of each pod tells
// another generation, which must be that of the slot as it is then written.
func (c *course) ours(ctx context.Context, into *changes, change func() error) error {
	lines, slot := c.all(), c.subject.slot()
	before, err := c.atRest(ctx, lines)
	if err != nil {
		return err
	}
	if err := command.Pause(ctx, between(c.chance, 0, pauseMost)); err != nil {
		return err
	}
	began := c.watch.begin()
	if err := change(); err != nil {
		return err
	}
	c.watch.note(answered, time.Now())
	turned, err := c.turns(ctx, lines, slot, before)
	if err != nil {
		return err
	}
	_, first, last := span(turned)
	c.watch.note(firstEnforced, first)
	if err := c.watch.wait(ctx, proved); err != nil {
		return err
	}
	written := c.watch.generation()
	for _, t := range turned {
		if t.entry == gateway.External && t.generation != written {
			return fmt.Errorf("%s enforces generation %s, but %s is written", t.pod, t.generation, written)
		}
	}
	into.add(milliseconds(last.Sub(began)), c.watch.parts())
	return nil
}

// atRest returns what each line enforces, once that is what was written last.
func (c *course) atRest(ctx context.Context, lines []line) (map[string]string, error) {
	var now map[string]string
	err := platform.Until(ctx, enforcedWithin, "the slot as it was last written", func(ctx context.Context) (string, error) {
		var err error
		if now, err = c.generations(ctx, lines, c.subject.slot()); err != nil {
			return "", err
		}
		for _, l := range lines {
			if told := c.watch.generation(); l.entry == gateway.External && now[l.address] != told {
				return fmt.Sprintf("%s tells %s, not %s", l.pod, now[l.address], told), nil
			}
		}
		return "", nil
	})
	return now, err
}

// byHandOnce times one change of the filter made by hand.
func (c *course) byHandOnce(ctx context.Context, into *changes) error {
	lines := c.externals()
	before, err := c.generations(ctx, lines, handMadeSlot)
	if err != nil {
		return err
	}
	if err := command.Pause(ctx, between(c.chance, 0, pauseMost)); err != nil {
		return err
	}
	began := time.Now()
	want, err := c.changeByHand(ctx, c.floor)
	if err != nil {
		return err
	}
	turned, err := c.turns(ctx, lines, handMadeSlot, before)
	if err != nil {
		return err
	}
	for _, t := range turned {
		if t.generation != want {
			return fmt.Errorf("%s enforces generation %s, but %s was written by hand", t.pod, t.generation, want)
		}
	}
	_, _, last := span(turned)
	into.add(milliseconds(last.Sub(began)), nil)
	return nil
}

func milliseconds(d time.Duration) float64 { return 1e3 * d.Seconds() }

// churn is what was measured under it, and how often the route really changed.
func (b *bench) underChurn(ctx context.Context, c *course) (convergence, error) {
	route := subject{name: "unrelated", gateway: gateway.Shared}.route()
	if _, err := b.clients.Istio.NetworkingV1().VirtualServices(gateway.Namespace).Create(ctx, route, metav1.CreateOptions{}); err != nil {
		return convergence{}, fmt.Errorf("creating an unrelated route: %w", err)
	}
	churning, stop := context.WithCancel(ctx)
	defer stop()
	ended, began := make(chan churned, 1), time.Now()
	go func() { ended <- b.churn(churning, route) }()
	all, err := c.run(ctx, churnRounds)
	took := time.Since(began)
	stop()
	done := <-ended
	if err == nil {
		err = done.err
	}
	b.report.Add(churnPart, report.Value("changes of the unrelated route", float64(done.changes)/took.Seconds(), "1/s").
		Within(report.AtLeast, leastChurn))
	return all, err
}

type churned struct {
	changes int
	err     error
}

// churn changes a route until ctx ends.
func (b *bench) churn(ctx context.Context, route *istiov1.VirtualService) churned {
	tick := time.NewTicker(churnEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return churned{changes: n}
		}
		patch := fmt.Appendf(nil, `{"spec": {"hosts": ["unrelated-%d.example.com"]}}`, n)
		_, err := b.clients.Istio.NetworkingV1().VirtualServices(gateway.Namespace).Patch(
			ctx, route.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil && ctx.Err() == nil {
			return churned{changes: n, err: fmt.Errorf("changing an unrelated route: %w", err)}
		}
	}
}

func (b *bench) reportConvergence(c convergence) {
	ours, floor := c.ours(), c.byHand.all
	p50, p99 := stats.Median(floor), stats.Quantile(floor, 0.99)
	b.report.Add(convergencePart,
		report.Value("p50 / p50 by hand", stats.Median(ours)/p50, "×").Within(report.AtMost, 2),
		report.Value("p99", stats.Quantile(ours, 0.99), "ms").Within(report.AtMost, math.Round(burstEvery+2*p99)),
		report.Value("max", slices.Max(ours), "ms"),
		report.Median("p50", stats.Summarize(ours), "ms"),
		report.Median("p50 of replicas that became ready", stats.Summarize(c.ready.all), "ms"),
		report.Median("p50 of decisions to scale down", stats.Summarize(c.decided.all), "ms"),
		report.Median("by hand: p50", stats.Summarize(floor), "ms"),
		report.Value("by hand: p99", p99, "ms"),
		report.Value("by hand: max", slices.Max(floor), "ms"),
	)
	for _, m := range milestones {
		if took := c.part(m); len(took) > 0 {
			b.report.Add(convergencePart+": parts, since the change was sent",
				report.Median(string(m), stats.Summarize(took), "ms"),
				report.Value(string(m)+", p99", stats.Quantile(took, 0.99), "ms"))
		}
	}
}

func (b *bench) reportChurn(c convergence) {
	ours, floor := c.ours(), c.byHand.all
	b.report.Add(churnPart,
		report.Value("p99", stats.Quantile(ours, 0.99), "ms").Within(report.AtMost, 1500),
		report.Value("max", slices.Max(ours), "ms"),
		report.Median("p50", stats.Summarize(ours), "ms"),
		report.Median("by hand: p50", stats.Summarize(floor), "ms"),
		report.Value("by hand: p99", stats.Quantile(floor, 0.99), "ms"),
	)
}

// stepHistograms are what the limiter tells of its own steps.
func (b *bench) stepHistograms(ctx context.Context) (map[string]scrape.Histogram, error) {
	page, err := scrape.Pods(ctx, b.clients.Kube, scrape.Limiter)
	if err != nil {
		return nil, fmt.Errorf("reading the limiter's steps: %w", err)
	}
	return page.Histograms("sluice_limit_")
}

// reportSelf tells what the limiter observed between two readings of its histograms.
func (b *bench) reportSelf(before, after map[string]scrape.Histogram) {
	for _, name := range slices.Sorted(maps.Keys(after)) {
		h := after[name].Since(before[name])
		if h.Count() == 0 {
			continue
		}
		b.report.Add(convergencePart+": as the limiter counts, between the bounds of its histograms",
			report.Value(fmt.Sprintf("%s, p50 of %.0f", name, h.Count()), 1e3*h.Quantile(0.5), "ms"),
			report.Value(name+", p99", 1e3*h.Quantile(0.99), "ms"))
	}
}
