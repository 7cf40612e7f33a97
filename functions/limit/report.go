package limit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// patience is how long the last status stands while a new limit is on its way
	// to the gateway pods: normally a tenth of it.
	patience = 2 * time.Second
	// namedPods bounds the pods that a status names.
	namedPods = 10
	// statusesAtOnce bounds the statuses that are being written at the same time.
	statusesAtOnce = 16
)

// pending is a limit that was decided and is not proved yet.
type pending struct {
	limit string
	// since is when its change was noticed, written when the slots were.
	since, written time.Time
}

// report writes the statuses that differ from what was seen, and sends an event
// for each limit that is proved now and was not before.
func (f *Function) report(ctx context.Context) error {
	var errs []error
	known := make(map[string]pending, len(f.plans))
	for _, p := range f.plans {
		if w, ok := f.pending[key(p.of)]; ok {
			known[key(p.of)] = w
		}
	}
	f.pending = known
	recordLimits(f.plans)
	var due []*update
	for i := range f.plans {
		if p := &f.plans[i]; !p.gone {
			if u := f.due(p); u != nil {
				due = append(due, u)
			}
		}
	}
	f.writeStatuses(ctx, due)
	for _, u := range due {
		switch {
		case apierrs.IsNotFound(u.err), apierrs.IsConflict(u.err): // deleted or changed meanwhile: the cache will say so
		case u.err != nil:
			errs = append(errs, fmt.Errorf("updating the status of rate limit %s: %w", key(u.want), u.err))
		default:
			if u.changed && u.got.IsReady() {
				f.applied(u.of, u.got, u.waited)
			}
			u.of.of = u.got
		}
	}
	return errors.Join(errs...)
}

// update is a status to be written, and what came of it.
type update struct {
	of     *plan
	want   *v1alpha1.RateLimit
	waited pending
	// changed is true if it tells of another limit, or another proof.
	changed bool

	got *v1alpha1.RateLimit
	err error
}

// due returns the status of a plan if it is to be written.
func (f *Function) due(p *plan) *update {
	var seen proof
	if p.err == nil {
		seen = f.proofOf(p)
	}
	u := &update{of: p, want: p.of.DeepCopy()}
	u.changed = f.statusOf(u.want, p, seen)
	if p.err == nil && (u.changed || len(seen.lagging) > 0) {
		u.waited = f.waiting(p)
	} else {
		delete(f.pending, key(p.of))
	}
	if p.err == nil && len(seen.lagging) > 0 && f.Clock.Since(u.waited.written) < patience {
		return nil
	}
	if equality.Semantic.DeepEqual(u.want.Status, p.of.Status) {
		return nil
	}
	return u
}

// writeStatuses writes statuses side by side: the next pass waits for them.
func (f *Function) writeStatuses(ctx context.Context, due []*update) {
	var group errgroup.Group
	group.SetLimit(statusesAtOnce)
	for _, u := range due {
		group.Go(func() error {
			u.got, u.err = f.Limits.RateLimits(u.want.Namespace).UpdateStatus(ctx, u.want, metav1.UpdateOptions{})
			return nil
		})
	}
	_ = group.Wait() // each has its own error
}

// waiting returns what is known of a limit that waits for its proof.
func (f *Function) waiting(p *plan) pending {
	w, ok := f.pending[key(p.of)]
	if limit := p.limit.RatString(); !ok || w.limit != limit {
		w = pending{limit: limit, since: f.noticed, written: f.Clock.Now()}
		f.pending[key(p.of)] = w
	}
	return w
}

// statusOf sets the status that a plan and its proof amount to, and returns
// whether it tells of another limit, or another proof, than the status before.
func (f *Function) statusOf(l *v1alpha1.RateLimit, p *plan, seen proof) bool {
	before := l.Status.DeepCopy()
	conditions := l.GetConditionSet().Manage(&l.Status)
	conditions.InitializeConditions()
	l.Status.ObservedGeneration = l.Generation
	if p.err != nil {
		conditions.MarkFalse(v1alpha1.RateLimitConditionWritten, "InvalidSpec", "%v", p.err)
		conditions.MarkUnknown(v1alpha1.RateLimitConditionProved, "InvalidSpec", "there is nothing to prove")
		return true
	}
	conditions.MarkTrue(v1alpha1.RateLimitConditionWritten)
	markProved(conditions, seen, f.inTheWay)
	l.Status.Revisions = p.rows
	l.Status.NeededUntil = neededUntil(p.rows, before, f.Clock.Now())
	l.Status.Limit = limitStatus(p, seen)
	changed := before.Limit == nil || before.Limit.RequestsPerSecond.Cmp(l.Status.Limit.RequestsPerSecond) != 0 ||
		!isReady(before)
	if seen.complete() && changed {
		now := metav1.NewMicroTime(f.Clock.Now())
		l.Status.Limit.Since = &now
	} else if before.Limit != nil && !changed {
		l.Status.Limit.Since = before.Limit.Since
	}
	return changed
}

func markProved(conditions apis.ConditionManager, seen proof, inTheWay []string) {
	switch {
	case len(seen.lagging) > 0 && len(inTheWay) > 0:
		conditions.MarkFalse(v1alpha1.RateLimitConditionProved, "SlotsDuplicated",
			"%d of %d gateway pods were not seen to enforce the limit; delete what has an extension of a slot's name, since Envoy refuses all slots where two are: EnvoyFilter %s",
			len(seen.lagging), seen.pods, strings.Join(inTheWay[:min(len(inTheWay), namedPods)], ", "))
	case len(seen.without) > 0:
		conditions.MarkFalse(v1alpha1.RateLimitConditionProved, "NoGatewayPods",
			"no ready pod of gateway %s", strings.Join(seen.without, ", "))
	case len(seen.lagging) > 0:
		var named []string
		for _, q := range seen.lagging[:min(len(seen.lagging), namedPods)] {
			named = append(named, q.String())
		}
		conditions.MarkFalse(v1alpha1.RateLimitConditionProved, "PodsLag",
			"%d of %d gateway pods were not seen to enforce the limit: %s", len(seen.lagging), seen.pods, strings.Join(named, ", "))
	default:
		conditions.MarkTrue(v1alpha1.RateLimitConditionProved)
	}
}

func limitStatus(p *plan, seen proof) *v1alpha1.LimitStatus {
	status := &v1alpha1.LimitStatus{
		RequestsPerSecond: quantity(p.limit),
		GatewayPods:       int32(seen.pods),
		ProvedGatewayPods: int32(seen.pods - len(seen.lagging)),
	}
	if p.limit.Cmp(p.uncapped) < 0 {
		uncapped := quantity(p.uncapped)
		status.UncappedRequestsPerSecond = &uncapped
	}
	for _, q := range seen.lagging[:min(len(seen.lagging), namedPods)] {
		status.LaggingGatewayPods = append(status.LaggingGatewayPods, q.pod.Name)
	}
	return status
}

func isReady(s *v1alpha1.RateLimitStatus) bool {
	return s.GetCondition(v1alpha1.RateLimitConditionReady).IsTrue()
}

// applied records and tells that a limit is proved. The event is news, not a
// command: one that is lost is counted, and the status has it all.
func (f *Function) applied(p *plan, l *v1alpha1.RateLimit, waited pending) {
	took := f.Clock.Since(waited.since)
	convergence.Observe(took.Seconds())
	steps.WithLabelValues("prove").Observe(f.Clock.Since(waited.written).Seconds())
	d := eventing.LimitApplied{
		Model:   eventing.Ref{Namespace: l.Namespace, Name: l.Name},
		Gateway: strings.Join(sets.List(sets.New(l.Spec.Gateways...)), ","), New: decimal(l.Status.Limit),
		GatewayPods: l.Status.Limit.GatewayPods, Seconds: took.Seconds(), ResourceVersion: l.ResourceVersion,
	}
	if p.of.Status.Limit != nil {
		d.Old = decimal(p.of.Status.Limit)
	}
	for _, r := range l.Status.Revisions {
		d.Ready += r.Ready
	}
	f.Log.Infow("Limit applied", zap.Stringer("limit", d), zap.Duration("took", took))
	event, err := eventing.NewLimitApplied(d)
	if err != nil {
		f.Log.Errorw("Limit event not built", zap.Error(err))
		return
	}
	select {
	case f.news <- event:
	default:
		eventsSent.WithLabelValues(eventing.LimitAppliedType, "dropped").Inc()
	}
}

// tell sends the news, beside the passes: a Broker that is down holds up no limit.
func (f *Function) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-f.news:
			result := "sent"
			if err := f.Events.Send(ctx, event); err != nil {
				result = "failed"
				f.Log.Warnw("Event not sent", zap.Error(err))
			}
			eventsSent.WithLabelValues(event.Type(), result).Inc()
		}
	}
}

// decimal is a limit as a decimal number.
func decimal(l *v1alpha1.LimitStatus) string {
	return strconv.FormatFloat(l.RequestsPerSecond.AsApproximateFloat64(), 'f', -1, 64)
}
