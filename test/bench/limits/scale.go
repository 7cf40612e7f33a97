package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/scrape"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/platform"
)

const (
	scalePart = "Scale: 32 gateways, 100 caps"
	// gateways is how many there are: the benchmark's own, with its pods, and others
	// that have none. caps is how many tenants' caps the subjects share.
	gateways, caps = 32, 100
	// scales is how many replicas a subject goes through, one after the other.
	scales = 16
	// byAutoscaler is every how many-th subject that follows its autoscaler's decisions
	// and not its endpoints. Knative's own webhooks look at each of these.
	byAutoscaler = 10
	// slotsAGateway is how many objects hold a gateway's limits.
	slotsAGateway = gateway.DefaultSlots
	// writtenWithin bounds the wait for the last state.
	writtenWithin = 30 * time.Second
	// worthTelling is how many cores a container keeps busy to be named.
	worthTelling = 0.05
)

// level is a number of subjects, and what so many events a second for so long showed.
type level struct {
	subjects, rate int
	lasts          time.Duration

	// delays of the events until they were written, in seconds.
	delays []float64
	// events that were written, and how late the last of them began.
	events int
	late   time.Duration
	// unwritten subjects' last state hadn't been written in time; caughtUp is how long
	// after the last event all were, in seconds.
	unwritten int
	caughtUp  float64
	used      usage
	// cores that containers kept busy, by namespace and name.
	cores map[string]float64
	took  time.Duration
}

func (l level) String() string {
	return fmt.Sprintf("%s, %d Models without pods, %d scale events a second", scalePart, l.subjects, l.rate)
}

// levels of the scale model. The one in the middle asks no more of the machine than it
// easily has, and so tells of the limiter by itself.
var levels = []level{
	{subjects: 100, rate: 500, lasts: 15 * time.Second},
	{subjects: 1000, rate: 20, lasts: 15 * time.Second},
	{subjects: 1000, rate: 500, lasts: 60 * time.Second},
}

// parseLevels reads what the flag says.
func parseLevels(text string) ([]level, error) {
	var out []level
	for of := range strings.SplitSeq(text, ",") {
		parts := strings.Split(of, ":")
		if len(parts) != 3 {
			return nil, fmt.Errorf("%q has %d parts, want 3", of, len(parts))
		}
		subjects, errSubjects := strconv.Atoi(parts[0])
		rate, errRate := strconv.Atoi(parts[1])
		lasts, errLasts := time.ParseDuration(parts[2])
		if err := errors.Join(errSubjects, errRate, errLasts); err != nil {
			return nil, fmt.Errorf("%q: %w", of, err)
		}
		if subjects < writers || rate <= 0 || lasts <= 0 || len(out) > 0 && subjects < out[len(out)-1].subjects {
			return nil, fmt.Errorf("%q: want at least %d subjects, no fewer than before, and a rate and a time above 0", of, writers)
		}
		out = append(out, level{subjects: subjects, rate: rate, lasts: lasts})
	}
	return out, nil
}

// measureScale has the installed limiter follow a storm of scale events.
func (b *bench) measureScale(ctx context.Context) error {
	if err := b.bringUp(ctx, mostPods); err != nil {
		return err
	}
	if err := b.bringUpOthers(ctx); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	books := newLedger()
	if _, err := b.watchSlots(watching, books.read); err != nil {
		return err
	}
	var subjects []*scaled
	measured := slices.Clone(b.levels)
	for i := range measured {
		more, err := b.fill(ctx, len(subjects), measured[i].subjects, books)
		if err != nil {
			return err
		}
		subjects = append(subjects, more...)
		b.Sayf("scale: %d events a second for %v to %d subjects", measured[i].rate, measured[i].lasts, len(subjects))
		if err := b.storm(ctx, &measured[i], subjects, books); err != nil {
			return err
		}
	}
	stop()
	b.reportScale(measured)
	b.Sayf("scale: removing %d subjects and the gateways", len(subjects))
	return b.leaveScale(ctx)
}

// bringUpOthers makes the gateways that have no pods.
func (b *bench) bringUpOthers(ctx context.Context) error {
	b.Sayf("scale: bringing up %d gateways without pods", gateways-1)
	for i := 1; i < gateways; i++ {
		if _, err := b.clients.Sluice.SluiceV1alpha1().Tenants().Create(ctx, withoutPods(otherTenant(i)), metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating tenant %d: %w", i, err)
		}
	}
	return platform.Until(ctx, 2*time.Minute, "the slots of all gateways", func(ctx context.Context) (string, error) {
		list, err := b.clients.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).List(ctx, metav1.ListOptions{LabelSelector: gateway.SlotLabelKey})
		if err != nil {
			return "", fmt.Errorf("listing slots: %w", err)
		}
		if n := len(list.Items); n < gateways*slotsAGateway {
			return fmt.Sprintf("%d are there", n), nil
		}
		return "", nil
	})
}

func otherTenant(i int) string { return fmt.Sprintf("%s-%d", tenantName, i) }

// gatewayOf the i-th subject: they are dealt out.
func gatewayOf(i int) string {
	if i%gateways == 0 {
		return ownGateway
	}
	return gateway.OfTenant(otherTenant(i % gateways))
}

// follower is the i-th subject of the scale model.
func follower(i int) *scaled {
	s := following(subject{
		name: fmt.Sprintf("scale-%04d", i), gateway: gatewayOf(i), rate: 100, policy: v1alpha1.PolicyReady, cap: fmt.Sprintf("bench-%02d", i%caps),
	}, 0)
	if i%byAutoscaler == 0 {
		s.policy, s.desired = v1alpha1.PolicyDemand, 1
	}
	return s
}

// fill makes the subjects from one number to another and waits until all are in
// their slots.
func (b *bench) fill(ctx context.Context, from, to int, books *ledger) ([]*scaled, error) {
	if from == to {
		return nil, nil
	}
	b.Sayf("scale: making subjects %d to %d", from, to)
	more := make([]*scaled, 0, to-from)
	making, inner := errgroup.WithContext(ctx)
	making.SetLimit(writers)
	for i := from; i < to; i++ {
		s := follower(i)
		more = append(more, s)
		making.Go(func() error { return b.populate(inner, s) })
	}
	if err := making.Wait(); err != nil {
		return nil, err
	}
	err := platform.Until(ctx, 2*time.Minute, fmt.Sprintf("%d subjects in their slots", to), func(context.Context) (string, error) {
		if n := books.known(); n < to {
			return fmt.Sprintf("%d are", n), nil
		}
		return "", nil
	})
	if err != nil {
		return nil, err
	}
	return more, b.quiet(ctx)
}

// quiet waits until the limiter has written nothing for two seconds.
func (b *bench) quiet(ctx context.Context) error {
	last, since := -1.0, time.Now()
	return platform.Until(ctx, writtenWithin, "the limiter to have nothing to write", func(ctx context.Context) (string, error) {
		page, err := scrape.Pods(ctx, b.clients.Kube, scrape.Limiter)
		if err != nil {
			return "", err
		}
		now, err := page.Sum(slotWrites, scrape.Every)
		if err != nil {
			return "", err
		}
		if now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return "it writes", nil
		}
		return "", nil
	})
}

// read notes what a slot shows of each subject at the plain entry.
func (l *ledger) read(f *istio.EnvoyFilter, at time.Time) {
	c, err := read(f)
	if err != nil {
		return // what it held stays open, and shows
	}
	for name, rate := range c.rates {
		l.write(name, rate, at)
	}
}

// storm writes events at the rate for as long as the level lasts, and waits until
// the last state is written.
func (b *bench) storm(ctx context.Context, at *level, subjects []*scaled, books *ledger) error {
	before, err := b.use(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := b.write(ctx, at, subjects, books); err != nil {
		return err
	}
	at.took = time.Since(began)
	ended := time.Now()
	err = platform.Until(ctx, writtenWithin, "the last state of all to be written", func(context.Context) (string, error) {
		if at.unwritten = books.unwritten(); at.unwritten > 0 {
			return fmt.Sprintf("%d are not", at.unwritten), nil
		}
		return "", nil
	})
	if ctx.Err() != nil {
		return err
	}
	at.caughtUp = time.Since(ended).Seconds()
	at.delays = books.close(time.Now())
	after, err := b.use(ctx)
	at.used, at.cores = after.since(before), after.containers.CoresSince(before.containers)
	return err
}

// write writes the events that there is time for. Each subject is one writer's, so
// that its events stay in order.
func (b *bench) write(ctx context.Context, at *level, subjects []*scaled, books *ledger) error {
	began, every := time.Now(), time.Second/time.Duration(at.rate)
	events := int(at.lasts / every)
	var mu sync.Mutex
	writing, ctx := errgroup.WithContext(ctx)
	for w := range writers {
		writing.Go(func() error {
			for n := w; n < events; n += writers {
				due := began.Add(time.Duration(n) * every)
				if err := command.Pause(ctx, time.Until(due)); err != nil {
					return err
				}
				late := time.Since(due)
				if time.Since(began) > at.lasts {
					return nil
				}
				if err := b.scaleOnce(ctx, subjects[turnOf(n, len(subjects))], books); err != nil {
					return err
				}
				mu.Lock()
				at.events, at.late = at.events+1, max(at.late, late)
				mu.Unlock()
			}
			return nil
		})
	}
	return writing.Wait()
}

// turnOf is the subject whose turn the n-th event is, such that all events of a
// subject are of one writer: the n-th event is of writer n modulo writers.
func turnOf(n, subjects int) int {
	usable := subjects / writers * writers
	return n % usable
}

// scaleOnce takes a subject to its next scale.
func (b *bench) scaleOnce(ctx context.Context, s *scaled, books *ledger) error {
	if s.policy == v1alpha1.PolicyDemand {
		next := s.desired%scales + 1
		books.event(s.virtualService(), next, time.Now())
		return b.decide(ctx, s, next)
	}
	next := s.ready%scales + 1
	books.event(s.virtualService(), next, time.Now())
	return b.become(ctx, s, next)
}

// leaveScale removes the subjects, waits until their slots are quiet, and asks the
// gateways to go.
func (b *bench) leaveScale(ctx context.Context) error {
	if err := b.deleteSubjects(ctx); err != nil {
		return fmt.Errorf("removing the subjects: %w", err)
	}
	if err := b.quiet(ctx); err != nil {
		return err
	}
	return b.deleteGateways(ctx)
}

func (b *bench) reportScale(levels []level) {
	for _, l := range levels {
		name, writes := l.String(), l.used.slotWrites
		seconds := l.took.Seconds() + l.caughtUp
		b.report.Add(name,
			report.Value("events written", float64(l.events)/l.took.Seconds(), "1/s").Within(report.AtLeast, 0.98*float64(l.rate)),
			report.Value("latest behind its time", l.late.Seconds(), "s"),
			report.Value("event to write, p99", stats.Quantile(l.delays, 0.99), "s").Within(report.AtMost, 1),
			report.Value("event to write, p50", stats.Median(l.delays), "s"),
			report.Value("event to write, max", slices.Max(l.delays), "s"),
			report.Value("Models whose last state wasn't written", float64(l.unwritten), "").Within(report.AtMost, 0),
			report.Value("last state written, after the last event", l.caughtUp, "s"),
			report.Value("writes, of one a slot every 300 ms", writes/(gateways*slotsAGateway*seconds/0.3), "×").Within(report.AtMost, 1),
			report.Value("writes of slots", writes/seconds, "1/s"),
			report.Value("writes of statuses", l.used.statusWrites/seconds, "1/s"),
			report.Value("limiter: CPU", l.used.cpu/seconds, "cores"),
			report.Value("limiter: CPU per event", 1e3*l.used.cpu/float64(l.events), "ms"),
			report.Value("limiter: memory", l.used.memory/1e6, "MB"),
			report.Value("sent by istiod per write of a slot, 4 gateway pods", l.used.pushed/writes/1e3, "kB"),
			report.Value("sent by istiod", l.used.pushed/seconds/1e6, "MB/s"),
		)
		b.report.Add(name+": cores that were kept busy, of "+strconv.Itoa(runtime.NumCPU()), l.busy()...)
	}
	small, large := levels[0], levels[len(levels)-1]
	grown := (large.used.cpu / float64(large.events)) / (small.used.cpu / float64(small.events))
	b.report.Add(fmt.Sprintf("%s: growth from %d to %d Models", scalePart, small.subjects, large.subjects),
		report.Value("limiter: CPU per event", grown, "×").Within(report.AtMost, float64(large.subjects)/float64(small.subjects)),
		report.Value("limiter: memory", large.used.memory/small.used.memory, "×"),
	)
}

// busy are those who kept the machine's cores busy, from before the first event until
// the last state was written: a rate of events that isn't reached is reached by none
// of them.
func (l level) busy() []report.Figure {
	seconds := l.took.Seconds() + l.caughtUp
	figures := []report.Figure{
		report.Value("API server", l.used.server/seconds, "cores"),
		report.Value("the benchmark itself", l.used.self/seconds, "cores"),
	}
	for _, name := range slices.Sorted(maps.Keys(l.cores)) {
		if l.cores[name] >= worthTelling {
			figures = append(figures, report.Value(name, l.cores[name], "cores"))
		}
	}
	return figures
}

const slotWrites = "sluice_limit_slot_writes_total"

// usage is what counters tell of the limiter and of what it causes.
type usage struct {
	// cpu in seconds; memory, resident, in bytes.
	cpu, memory float64
	// slotWrites and statusWrites are writes to the API server, pushed what istiod
	// sent to gateways, in bytes.
	slotWrites, statusWrites, pushed float64
	// server is the CPU of the API server, self that of the benchmark, in seconds.
	server, self float64
	containers   scrape.CPU
}

// since is what was used after an earlier reading. Memory is what it is.
func (u usage) since(before usage) usage {
	return usage{
		cpu: u.cpu - before.cpu, memory: u.memory,
		slotWrites: u.slotWrites - before.slotWrites, statusWrites: u.statusWrites - before.statusWrites,
		pushed: u.pushed - before.pushed,
		server: u.server - before.server, self: u.self - before.self,
	}
}

func (b *bench) use(ctx context.Context) (usage, error) {
	var now usage
	limiter, err := scrape.Pods(ctx, b.clients.Kube, scrape.Limiter)
	if err != nil {
		return now, err
	}
	istiod, err := scrape.Pods(ctx, b.clients.Kube, scrape.Istiod)
	if err != nil {
		return now, err
	}
	server, err := scrape.APIServer(ctx, b.clients.Kube)
	if err != nil {
		return now, err
	}
	statuses := func(l scrape.Labels) bool {
		return l["resource"] == "ratelimits" && l["subresource"] == "status" && l["verb"] == "PUT"
	}
	for _, read := range []struct {
		into   *float64
		page   scrape.Page
		metric string
		keep   func(scrape.Labels) bool
	}{
		{&now.cpu, limiter, "process_cpu_seconds_total", scrape.Every},
		{&now.memory, limiter, "process_resident_memory_bytes", scrape.Every},
		{&now.slotWrites, limiter, slotWrites, scrape.Every},
		{&now.statusWrites, server, "apiserver_request_total", statuses},
		{&now.pushed, istiod, "pilot_xds_config_size_bytes_sum", scrape.Every},
		{&now.server, server, "process_cpu_seconds_total", scrape.Every},
	} {
		if *read.into, err = read.page.Sum(read.metric, read.keep); err != nil {
			return now, err
		}
	}
	if now.self, err = ownCPU(); err != nil {
		return now, err
	}
	now.containers, err = scrape.ContainerCPU(ctx, b.clients.Kube)
	return now, err
}

// ownCPU is the CPU time of the benchmark's own process, in seconds.
func ownCPU() (float64, error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, fmt.Errorf("reading the benchmark's own usage: %w", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds(), nil
}
