package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/openloop"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	killPart = "kill -9, with events confused, and online callers beside"
	// killLasts bounds the part, atItWithin the wait for a moment to kill at.
	killLasts, atItWithin = 5 * time.Minute, 2 * time.Minute
	// resumesWithin bounds the time until requests are answered again, once all is there;
	// resumeWait is for how long that is waited for.
	resumesWithin, resumeWait = 5 * time.Second, time.Minute
	// leastKills is how many there have to be.
	leastKills = 12
	// partItems is how many items a worker puts at once.
	partItems = 1000
	// againEvery is how often old events come again.
	againEvery = 2 * time.Second
)

// ours are Sluice's own processes that a run may need.
var ours = []string{"batch", "controller", "limiter"}

// killRun is one Batch at one Model, with one worker at a time.
type killRun struct {
	sleeper

	items int
	// rows are those of a request, 1 for Lines.
	rows int32
	// online requests per second beside it.
	online float64
	pulse  pulse
	steps  []step
	// at is where online callers come to its Model.
	at platform.Endpoint
	// kills and figures are what came of it.
	kills, figures []report.Figure
}

// step is a kill.
type step struct {
	// when says it in words; moment waits for it, and returns what is to be done once the
	// victim has ended.
	when   string
	moment func(context.Context) (then func(), err error)
	victim victim
	// resumed returns when the run went on after a time; nil for an answered request.
	resumed func(after time.Time) (time.Time, bool)
}

// killing is the part as it goes.
type killing struct {
	*bench
	before  *interceptor
	front   string
	chaos   *platform.Chaos
	outages *outages
}

// measureKill kills whatever a run needs, one after another, and counts what came of each item.
func (b *bench) measureKill(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, killLasts)
	defer cancel()
	if err := b.renew(ctx); err != nil {
		return err
	}
	k := &killing{bench: b, outages: newOutages()}
	if b.Wants("deadline") {
		// They are at rest by then.
		if err := b.createDuties(ctx); err != nil {
			return err
		}
	}
	stop, err := k.confuse(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	runs := k.runs()
	for _, r := range runs {
		if err := k.prepare(ctx, r); err != nil {
			return err
		}
	}
	group, working := errgroup.WithContext(ctx)
	for _, r := range runs {
		group.Go(func() error { return k.conduct(working, r) })
	}
	err = group.Wait()
	kills := 0
	for _, r := range runs {
		kills += len(r.kills)
		k.report.Add(killPart, r.kills...)
		k.report.Add(killPart, r.figures...)
	}
	if err != nil {
		return err
	}
	seen, refused := k.chaos.Seen()
	k.Sayf("kill: %s; the limiter refused %q", seen, refused)
	k.report.Add(killPart,
		report.Value("kills", float64(kills), "").Within(report.AtLeast, leastKills),
		report.Value("events swallowed", float64(seen.Swallowed), "").Within(report.AtLeast, 1),
		report.Value("events doubled", float64(seen.Doubled), "").Within(report.AtLeast, 1),
		report.Value("events delivered after the next", float64(seen.Behind), "").Within(report.AtLeast, 1),
		report.Value("events delivered again long after", float64(seen.Again), ""),
	)
	return nil
}

// prepare makes what a run needs.
func (k *killing) prepare(ctx context.Context, r *killRun) error {
	if err := k.upload(ctx, r.inputs(), r.items, number); err != nil {
		return err
	}
	var err error
	r.at, err = k.deploy(ctx, r.model(k.streams))
	return err
}

func (r *killRun) inputs() string { return "in/" + r.name + "/" }

func (r *killRun) path() string { return numberPath(r.seconds) }

// conduct takes a run through its kills to its end, and reports what came of it.
func (k *killing) conduct(ctx context.Context, r *killRun) error {
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	beside.Go(func() { k.feel(ctx, r.name, &r.pulse) })
	callers, stop := make(chan *load.Report, 1), make(chan struct{})
	beside.Go(func() { callers <- k.callOnline(ctx, r, stop) })
	back := &regress{}
	beside.Go(func() { k.follow(ctx, r.name, back) })

	if err := k.begin(ctx, r); err != nil {
		return err
	}
	for _, s := range r.steps {
		// One that can't be judged has missed its bound, and the next are tried.
		took, err := k.strike(ctx, r, s)
		if err != nil {
			took = math.NaN()
			k.Sayf("kill: %s: %s, %s: %v", r.name, s.when, s.victim.name, err)
		}
		r.kills = append(r.kills, report.Value(fmt.Sprintf("%s: %s, %s: resumed", r.name, s.when, s.victim.name), took, "s").
			Within(report.AtMost, resumesWithin.Seconds()))
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	done, err := k.complete(ctx, r.name, killLasts)
	if err != nil {
		return err
	}
	close(stop)
	if err := k.judge(ctx, r, done); err != nil {
		return err
	}
	r.figures = append(r.figures, report.Value(r.name+": times that its progress went back", float64(back.times()), "").Within(report.AtMost, 0))
	if online := <-callers; online != nil {
		total := online.Total
		r.figures = append(r.figures,
			report.Value(r.name+": online requests beside it", float64(total.Offered), ""),
			report.Value(r.name+": of these not answered with 2xx", float64(total.Offered-total.Admitted), ""),
			report.Value(r.name+": p99 of their answers", 1e3*total.P99.Seconds(), "ms"),
		)
	}
	return nil
}

// begin starts the run; its output is behind it.
func (k *killing) begin(ctx context.Context, r *killRun) error {
	of := k.batch(r.name, r.name, r.path(), r.inputs())
	of.Spec.Workers = ptr.Int32(1)
	of.Spec.Output.S3.Endpoint = k.front
	if r.rows > 1 {
		of.Spec.Format = v1alpha1.BatchFormat{Type: v1alpha1.FormatRows, Rows: &r.rows}
	}
	return k.start(ctx, of)
}

// strike kills one, waits until it is there again, and then for the run to go on. It returns
// how many seconds that took.
func (k *killing) strike(ctx context.Context, r *killRun, s step) (seconds float64, err error) {
	waiting, cancel := context.WithTimeout(ctx, atItWithin)
	then, err := s.moment(waiting)
	cancel()
	if then != nil {
		defer then()
	}
	if err != nil {
		return 0, err
	}
	name := r.owns(s.victim.name)
	k.outages.begin(name)
	defer k.outages.forget(name)
	before, err := s.victim.kill(ctx)
	if err != nil {
		return 0, err
	}
	killed := time.Now()
	k.Sayf("kill: %s: %s: the %s was killed", r.name, s.when, s.victim.name)
	if then != nil {
		then()
	}
	if err := s.victim.back(ctx, before); err != nil {
		return 0, err
	}
	ready := time.Now()
	if s.victim.serves != nil {
		if err := s.victim.serves(ctx); err != nil {
			return 0, err
		}
		r.figures = append(r.figures, report.Value(r.name+": the "+s.victim.name+" Ready, until online callers are answered", time.Since(ready).Seconds(), "s"))
	}
	back := time.Now()
	k.outages.end(name, back)
	resumed, err := k.resumed(ctx, r, s)
	if err != nil {
		return 0, err
	}
	k.Sayf("kill: %s: the %s was there again after %.1f s, and the run went on %.1f s later", r.name, s.victim.name, back.Sub(killed).Seconds(), resumed.Seconds())
	return resumed.Seconds(), nil
}

// owns names what is killed: one of Sluice's own, or a run's.
func (r *killRun) owns(name string) string {
	for _, own := range ours {
		if name == own {
			return name
		}
	}
	return name + " of " + r.name
}

// resumed returns the time from when all that the run needs was there until it went on: a
// reading of its Model's replicas shows a request of it answered that was answered since, or
// what the step has for it.
func (k *killing) resumed(ctx context.Context, r *killRun, s step) (took time.Duration, err error) {
	needs := append([]string{}, ours...)
	for _, own := range []string{"planner", "worker", "model", "replica"} {
		needs = append(needs, r.owns(own))
	}
	on := s.resumed
	if on == nil {
		on = r.pulse.after
	}
	err = platform.Until(ctx, resumeWait, "the run to go on", func(context.Context) (string, error) {
		back, ok := k.outages.over(needs)
		if !ok {
			return "something is away", nil
		}
		at, ok := on(back)
		if !ok {
			return "nothing was answered since " + back.Format(time.TimeOnly), nil
		}
		took = max(0, at.Sub(back))
		return "", nil
	})
	return took, err
}

// judge counts the records, and holds the Batch's own numbers against them.
func (k *killing) judge(ctx context.Context, r *killRun, done *v1alpha1.Batch) error {
	all, err := k.count(ctx, r.name, r.items, numbered)
	if err != nil {
		return err
	}
	failed, err := k.countErrors(ctx, r.name, r.items)
	if err != nil {
		return err
	}
	want := int64(spoiltOf(r.items))
	r.figures = append(r.figures,
		report.Value(r.name+": items", float64(r.items), ""),
		report.Value(r.name+": records", float64(all.records), "").Within(report.AtLeast, float64(r.items)),
		report.Value(r.name+": items without a record", float64(all.missing()), "").Within(report.AtMost, 0),
		report.Value(r.name+": items with more than one", float64(all.doubled), "").Within(report.AtMost, 0),
		report.Value(r.name+": records that aren't their item's", float64(all.odd), "").Within(report.AtMost, 0),
		report.Value(r.name+": errors too many, too few, twice or not expected",
			float64(abs(int64(failed.records)-want)+int64(failed.doubled+failed.odd)), "").Within(report.AtMost, 0),
		report.Value(r.name+": items that its status counts otherwise",
			float64(abs(asNumber(done.Status.Failed)-want)+abs(asNumber(done.Status.Succeeded)-int64(r.items)+want)), "").Within(report.AtMost, 0),
		report.Value(r.name+": requests answered again", float64(r.pulse.answered())-r.requests(), ""),
		report.Value(r.name+": from start to end", done.Status.CompletionTime.Sub(done.Status.StartTime.Time).Seconds(), "s"),
	)
	return nil
}

// requests are those of all items that can be asked about, were none asked again.
func (r *killRun) requests() float64 {
	return float64(r.items-r.items/spoiltEvery) / float64(max(1, r.rows))
}

func asNumber(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

func abs(n int64) int64 { return max(n, -n) }

// callOnline asks the run's Model as long as it goes on. What is lost while it is killed isn't
// Sluice's to keep.
func (k *killing) callOnline(ctx context.Context, r *killRun, stop <-chan struct{}) *load.Report {
	schedule := load.Schedule{load.Hold(r.online, killLasts)}
	m, err := k.clients.Sluice.SluiceV1alpha1().Models(namespace).Get(ctx, r.name, metav1.GetOptions{})
	if err != nil || m.Status.URL == nil {
		return nil
	}
	got, err := load.Plan{
		Target: load.Target{
			Address: k.gateway, Host: m.Status.URL.Host, Method: http.MethodPost, Path: r.path(), Body: []byte(number(0)),
			Header: http.Header{"Content-Type": {"application/json"}},
		},
		Schedule: schedule, Lanes: openloop.Lanes, RequestTimeout: openloop.LongestAnswer, Stop: stop,
		Bounds: load.Bounds{Requests: schedule.Requests(), Duration: schedule.Duration() + openloop.LongestAnswer, InFlight: openloop.InFlight},
	}.Run(ctx)
	if err != nil {
		k.Sayf("kill: no online callers: %v", err)
		return nil
	}
	return got
}

// again has old events come again, as long as its context lasts.
func (k *killing) again(ctx context.Context) {
	for command.Pause(ctx, againEvery) == nil {
		k.chaos.Again()
	}
}
