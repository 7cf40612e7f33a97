package warmup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

const (
	// eager is how often is looked for a model that may listen at any moment; patient
	// is how often after a minute. probing is how often one that listens is asked by its
	// own probes: Knative's own pace for a probe without a period.
	eager   = 10 * time.Millisecond
	probing = 50 * time.Millisecond
	patient = 100 * time.Millisecond
	hurry   = time.Minute
	// leastPause and mostPause lie between rounds that failed in passing.
	leastPause = 100 * time.Millisecond
	mostPause  = time.Second
	// retryAfter is how long a replica stays out that could not be warmed up, before it
	// is tried again: what was in the way, elsewhere, may be gone by then.
	retryAfter = 10 * time.Minute
)

// Caller asks the model.
type Caller interface {
	Call(ctx context.Context, r *warmup.Request) error
	Ask(ctx context.Context, probe *warmup.Probe) error
	Close()
}

// Keeper keeps verdicts beyond the container's life.
type Keeper interface {
	Save(sockets []uint64, status warmup.Status) error
	Load(sockets []uint64) (warmup.Status, bool)
}

// Engine warms the model up, each time that it starts. Run does so, Ready says
// whether the replica may serve.
type Engine struct {
	Plan  *warmup.Plan
	Model Caller
	// Sockets are those that listen at the model's port; another set is another start.
	Sockets func() ([]uint64, error)
	Marker  Keeper
	// Corpus is replayed where the plan names one.
	Corpus *Corpus
	Log    *slog.Logger

	mu     sync.Mutex
	status warmup.Status
	// of are the model's sockets that the verdict speaks of.
	of []uint64
	// fallen is a verdict that became void before anybody was told that the replica may
	// no longer serve.
	fallen  bool
	started time.Time
	// again is told when the verdict is void.
	again chan struct{}
	// concluded is closed when there is a verdict.
	concluded chan struct{}
}

// New returns an Engine without a verdict.
func New(plan *warmup.Plan) *Engine {
	return &Engine{Plan: plan, again: make(chan struct{}, 1), concluded: make(chan struct{}), status: warmup.Status{State: warmup.Waiting}}
}

// Status is how far the replica is.
func (e *Engine) Status() warmup.Status {
	e.check()
	e.mu.Lock()
	defer e.mu.Unlock()
	status := e.status
	if status.State == warmup.Warming {
		status.Seconds = time.Since(e.started).Seconds()
	}
	return status
}

// Ready tells whether the replica may serve, as of now: a verdict is good for the
// start of the model that it is of, whose sockets are looked up whenever somebody
// asks. So nothing has to run while nobody does.
func (e *Engine) Ready() bool {
	e.check()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status.State.Serves()
}

// AwaitReady is Ready, but waits a while for a verdict where there is none yet. That a
// replica may no longer serve is told at once: until then it gets requests, and its
// model may listen again any moment.
func (e *Engine) AwaitReady(ctx context.Context, most time.Duration) bool {
	e.check()
	e.mu.Lock()
	state, concluded, fallen := e.status.State, e.concluded, e.fallen
	e.fallen = false
	e.mu.Unlock()
	if state.Ended() || fallen {
		return state.Serves()
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-concluded:
		return e.Ready()
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// check voids the verdict once the model is another one, or none.
func (e *Engine) check() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.status.State.Ended() {
		return
	}
	now, err := e.Sockets()
	if err != nil {
		e.Log.Error("The model's sockets can't be read", "error", err)
		return
	}
	if common(now, e.of) {
		return
	}
	e.void()
	e.fallen = true
	e.again <- struct{}{}
}

// void forgets what is known of a model that has ended.
func (e *Engine) void() {
	e.Log.Warn("The model has ended", "was", e.status)
	e.status = warmup.Status{State: warmup.Waiting, Starts: e.status.Starts, Reason: "the model has ended and doesn't listen yet"}
}

// Run warms the model up whenever it starts, until the context ends.
func (e *Engine) Run(ctx context.Context) {
	pulled := e.prefetch(ctx)
	for {
		sockets, err := e.await(ctx)
		if err != nil {
			return
		}
		if status, ok := e.Marker.Load(sockets); ok {
			e.conclude(sockets, status)
			e.Log.Info("Warm already; this container has restarted", "state", status.State)
		} else {
			e.begin()
			<-pulled
			if errors.Is(e.warmUp(ctx, sockets), errRestarted) {
				continue
			}
		}
		if e.rest(ctx) != nil {
			return
		}
	}
}

// rest lasts until the verdict is void.
func (e *Engine) rest(ctx context.Context) error {
	var retry <-chan time.Time
	if e.Status().State == warmup.Failed {
		timer := time.NewTimer(retryAfter)
		defer timer.Stop()
		retry = timer.C
	}
	select {
	case <-e.again:
	case <-retry:
		e.giveAnotherTry()
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// giveAnotherTry forgets a failure, unless the model has ended meanwhile.
func (e *Engine) giveAnotherTry() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status.State == warmup.Failed {
		e.status.State = warmup.Waiting
		return
	}
	<-e.again // that has been seen
}

// prefetch pulls the corpus while the model starts. Its outcome is seen when the
// corpus is pulled again, which costs nothing where it is there.
func (e *Engine) prefetch(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if e.Corpus == nil {
			return
		}
		if err := e.Corpus.Pull(ctx); err != nil {
			e.Log.Warn("The artifact could not be pulled", "error", err)
		}
	}()
	return done
}

// await returns the model's sockets once it listens and its own probes pass.
func (e *Engine) await(ctx context.Context) ([]uint64, error) {
	for begin := time.Now(); ; {
		sockets, err := e.Sockets()
		if err == nil && len(sockets) == 0 {
			err = fmt.Errorf("the model doesn't listen at port %d yet", e.Plan.Model.Port)
		}
		if err == nil {
			err = e.ask(ctx)
		}
		if err == nil {
			return sockets, nil
		}
		e.note(err.Error())
		pause := eager
		switch {
		case time.Since(begin) > hurry:
			pause = patient
		case len(sockets) > 0:
			pause = probing
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// ask asks the model's own probes, one after the other.
func (e *Engine) ask(ctx context.Context) error {
	for i := range e.Plan.Model.Probes {
		probe := &e.Plan.Model.Probes[i]
		bounded, cancel := context.WithTimeout(ctx, probe.Timeout())
		err := e.Model.Ask(bounded, probe)
		cancel()
		if err != nil {
			return fmt.Errorf("the model isn't ready by its %s: %w", probe.Name, err)
		}
	}
	return nil
}

// errRestarted is the end of a model in the middle of its warm-up.
var errRestarted = errors.New("the model restarted in the middle of its warm-up")

// warmUp comes to a verdict about the model whose sockets these are.
func (e *Engine) warmUp(ctx context.Context, sockets []uint64) error {
	bounded, cancel := context.WithDeadline(ctx, e.started.Add(e.Plan.Timeout()))
	defer cancel()
	err := e.rounds(bounded, sockets)
	e.Model.Close()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if now, unknown := e.Sockets(); unknown == nil && !common(now, sockets) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.void()
		return errRestarted
	}
	status := e.Status()
	switch {
	case err == nil:
		status.State, status.Reason = warmup.Warm, ""
	case e.Plan.ServeCold:
		status.State, status.Reason = warmup.ServingCold, err.Error()
	default:
		status.State, status.Reason = warmup.Failed, err.Error()
	}
	e.conclude(sockets, status)
	e.Log.Info("Warm-up ended", "verdict", status)
	if status.State.Serves() {
		if err := e.Marker.Save(sockets, status); err != nil {
			e.Log.Error("The verdict can't be kept: should this container restart, the model is warmed up again", "error", err)
		}
	}
	debug.FreeOSMemory() // from here on it is idle
	return nil
}

// rounds replays until the replica is warm, or says why it isn't.
func (e *Engine) rounds(ctx context.Context, sockets []uint64) error {
	round, err := e.source(ctx)
	if err != nil {
		return err
	}
	var means []float64
	loaded, pause := e.Plan.Model.Conclusive, leastPause
	for !e.done(means) {
		var sum time.Duration
		var count int
		failed := replay(ctx, round, e.Plan.Concurrency, e.Model.Call, func(latency time.Duration) {
			sum, count = sum+latency, count+1
			e.answered(latency)
		})
		switch {
		case failed == nil:
			means, pause = append(means, sum.Seconds()/float64(max(1, count))), leastPause
			loaded = true
			e.completed(means)
		case ctx.Err() != nil:
			if failed.request != nil { // the time may be up with all answered
				e.note(failed.String())
			}
			return e.timedOut(means)
		case !failed.passing(loaded):
			return errors.New(failed.String())
		default:
			e.note(failed.String())
			means = nil // what failed has warmed nothing up
			if now, err := e.Sockets(); err == nil && !common(now, sockets) {
				return errRestarted
			}
			if sleep(ctx, pause) != nil {
				return e.timedOut(means)
			}
			pause = min(2*pause, mostPause)
		}
	}
	return nil
}

// passing failures are those of a model that isn't ready yet: answers that say so, and as
// long as nothing tells that it has loaded, any.
func (f *failure) passing(loaded bool) bool {
	var unexpected *unexpectedError
	return errors.As(f.err, &unexpected) && (unexpected.passing || !loaded)
}

// done tells whether these rounds, by their mean latencies in seconds, are enough.
func (e *Engine) done(means []float64) bool {
	plan := e.Plan
	if len(plan.Requests) == 0 && plan.Corpus == "" {
		return true
	}
	if plan.Repeat > 0 && len(means) >= plan.Repeat {
		return true
	}
	return plan.Stable != nil && levelledOff(means, plan.Stable.Window, float64(plan.Stable.Tolerance)/100)
}

// source returns what a round replays; pulled again as long as the registry may only
// be in trouble.
func (e *Engine) source(ctx context.Context) (Requests, error) {
	if e.Corpus == nil {
		return inline(e.Plan.Requests), nil
	}
	for {
		err := e.Corpus.Pull(ctx)
		if err == nil {
			return e.Corpus.Requests(), nil
		}
		if !temporary(err) {
			return nil, err
		}
		e.note(err.Error())
		if sleep(ctx, mostPause) != nil {
			return nil, fmt.Errorf("not pulled within %s: %w", e.Plan.Timeout(), err)
		}
	}
}

// temporary troubles are those of the registry, or on the way there.
func temporary(err error) bool {
	var refused *transport.Error
	if errors.As(err, &refused) {
		return refused.Temporary()
	}
	var network net.Error
	return errors.As(err, &network)
}

func (e *Engine) timedOut(means []float64) error {
	e.mu.Lock()
	reason := e.status.Reason
	e.mu.Unlock()
	text := fmt.Sprintf("not warm within %s, after %d rounds", e.Plan.Timeout(), len(means))
	if stable := e.Plan.Stable; stable != nil && len(means) >= stable.Window {
		last := means[len(means)-stable.Window:]
		text += fmt.Sprintf(": over the last %d the latency may have fallen by %.0f %% still, of which %d %% are tolerated",
			stable.Window, 100*fall(last)/median(last), stable.Tolerance)
	} else if reason != "" {
		text += ": " + reason
	}
	return errors.New(text)
}

// begin starts the count of a warm-up.
func (e *Engine) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.started = time.Now()
	e.status = warmup.Status{State: warmup.Warming, Starts: e.status.Starts + 1}
	e.Log.Info("The model answers; warming it up", "starts", e.status.Starts)
}

func (e *Engine) answered(latency time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status.Requests++; e.status.Requests == 1 {
		e.status.FirstMilliseconds = milliseconds(latency.Seconds())
	}
}

func (e *Engine) completed(means []float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status.Rounds++
	e.status.LastMilliseconds = milliseconds(means[len(means)-1])
	e.status.Reason = ""
}

// note says why it is not warm yet.
func (e *Engine) note(reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status.Reason = reason
}

// conclude says what the replica has come to.
func (e *Engine) conclude(sockets []uint64, status warmup.Status) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status, e.of = status, sockets
	close(e.concluded)
	e.concluded = make(chan struct{})
}

// milliseconds rounds to microseconds.
func milliseconds(seconds float64) float64 {
	return float64(time.Duration(seconds*float64(time.Second)).Round(time.Microsecond)) / float64(time.Millisecond)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
