package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"sluice.dev/sluice/functions/limit/demand/recorded"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/functions/whatif/verdict"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
)

const (
	// waiting bounds the trials that wait for their turn; of more, those that come in vain are
	// asked about again.
	waiting = 64
	// askAgain is when what was recorded is asked for again where that didn't come.
	askAgain = 2 * time.Second
	// askedWithin bounds each asking: others wait for their turn meanwhile.
	askedWithin = 5 * time.Second
	// tellBefore is how long before nobody waits any more something has to be found: who waits
	// looks each second.
	tellBefore = 3 * time.Second
	// remembered is how long a verdict is known: a trial has half a minute to be asked about.
	remembered = 2 * v1alpha1.TrialJudgedWithin
)

// Recorded tells what came to a Model in the last day.
type Recorded func(ctx context.Context, model types.NamespacedName) (trace.Trace, error)

// Verifier judges trials. It may be asked at once.
type Verifier struct {
	recorded Recorded
	// changed is told of the Model of whose trial something was found.
	changed func(model types.NamespacedName)
	clock   clock.PassiveClock
	queue   chan *trial

	mu sync.Mutex
	// trials has one of each Model: the last that was asked about.
	trials map[types.UID]*trial
}

// trial is one that is judged.
type trial struct {
	verdict.Trial
	id
	asked time.Time
	// away is why what was recorded didn't come when it was last asked for.
	away error
	// found is nil until it is judged.
	found *v1alpha1.TrialVerdict
}

// id tells a trial of a Model from every other, and of another Model that it is compared with.
type id struct {
	hash       string
	since      int64 // in microseconds
	generation int64
}

// New returns what judges by a recording, in Run, and tells of which Model something was found.
func New(recorded Recorded, changed func(model types.NamespacedName), c clock.PassiveClock) *Verifier {
	return &Verifier{recorded: recorded, changed: changed, clock: c, queue: make(chan *trial, waiting), trials: map[types.UID]*trial{}}
}

// Verdict is what was found of a Model's trial, whose time has passed; nil while nothing was
// yet, in which case changed will be told of the Model, or it is to be asked again. Scaling is
// how Knative scales where the Model doesn't say, starts how long its replicas took to start.
func (v *Verifier) Verdict(m *v1alpha1.Model, scaling *autoscalerconfig.Config, starts []time.Duration) *v1alpha1.TrialVerdict {
	status := m.Status.Trial
	if m.Spec.Trial == nil || !status.Runs(m.Spec.Trial) || status.StartTime == nil || status.EndTime == nil {
		return nil
	}
	now := v.clock.Now()
	asked := &trial{
		Trial: verdict.Trial{
			From: status.StartTime.Time, To: status.EndTime.Time, Model: m.DeepCopy(), Cluster: scaling, Latency: latencyOf(m), Starts: starts,
		},
		id: id{hash: status.Hash, since: status.StartTime.UnixMicro(), generation: m.Generation}, asked: now,
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.DeleteFunc(v.trials, func(_ types.UID, t *trial) bool { return now.Sub(t.asked) > remembered })
	if known := v.trials[m.UID]; known != nil && known.id == asked.id {
		return known.found
	}
	select {
	case v.queue <- asked:
		v.trials[m.UID] = asked
	default:
	}
	return nil
}

// Run judges until the context ends.
func (v *Verifier) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-v.queue:
			if !v.wanted(t) {
				continue
			}
			found, ok := v.judge(ctx, t)
			if ctx.Err() != nil {
				return // the next judges it
			}
			if !ok {
				time.AfterFunc(askAgain, func() { v.again(t) })
				continue
			}
			v.mu.Lock()
			t.found = &found
			v.mu.Unlock()
			v.changed(types.NamespacedName{Namespace: t.Model.Namespace, Name: t.Model.Name})
		}
	}
}

// wanted is false of a trial in whose place another is asked about by now.
func (v *Verifier) wanted(t *trial) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.trials[t.Model.UID] == t
}

// again has a trial wait for another turn. Where too many do, it is asked about again.
func (v *Verifier) again(t *trial) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.trials[t.Model.UID] != t {
		return
	}
	select {
	case v.queue <- t:
	default:
		delete(v.trials, t.Model.UID)
	}
}

// judge reads what was recorded of a trial and has it judged, until nobody waits for it any more.
// It is false if what was recorded has to be asked for again: who tells may be away for a moment.
func (v *Verifier) judge(ctx context.Context, t *trial) (v1alpha1.TrialVerdict, bool) {
	end := t.To.Add(v1alpha1.TrialJudgedWithin - tellBefore)
	ctx, cancel := context.WithTimeout(ctx, end.Sub(v.clock.Now()))
	defer cancel()
	model := types.NamespacedName{Namespace: t.Model.Namespace, Name: t.Model.Name}
	asked := t.Trial
	var err error
	began := v.clock.Now()
	asking, stop := context.WithTimeout(ctx, askedWithin)
	asked.Recorded, err = v.recorded(asking, model)
	stop()
	switch {
	case err == nil:
		var found v1alpha1.TrialVerdict
		if found, err = verdict.Of(ctx, asked); err == nil {
			return found, true
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("that took longer than the %s after its end: try it for a shorter time", v1alpha1.TrialJudgedWithin)
		}
	case errors.Is(err, recorded.ErrNone):
	case end.Sub(v.clock.Now()) > askAgain+v.clock.Since(began): // another such asking ends in time
		t.away = err
		return v1alpha1.TrialVerdict{}, false
	case errors.Is(err, context.DeadlineExceeded) && t.away != nil:
		err = t.away
	}
	return v1alpha1.TrialVerdict{Reason: v1alpha1.TrialReasonUnverified, Message: fmt.Sprintf("Whether it is better can't be told: %v.", err)}, true
}

// latencyOf is how long a replica works on a request, as its warm-ups saw it: the median of
// the replicas' last rounds; 0 where none tells.
func latencyOf(m *v1alpha1.Model) time.Duration {
	if m.Status.WarmUp == nil {
		return 0
	}
	var known []time.Duration
	for _, r := range m.Status.WarmUp.Replicas {
		if r.State == string(warmup.Warm) && r.LastLatency != nil && r.LastLatency.Duration > 0 {
			known = append(known, r.LastLatency.Duration)
		}
	}
	if len(known) == 0 {
		return 0
	}
	slices.SortFunc(known, cmp.Compare)
	return known[len(known)/2]
}
