package limit

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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
)

// pending is a limit that was decided and is not proved yet.
type pending struct {
	limit string
	// since is when its change was noticed, written when the slots were.
	since, written time.Time
}

// limitID tells a RateLimit from others, and from earlier ones of its name.
type limitID struct {
	key string
	uid types.UID
}

func idOf(l *v1alpha1.RateLimit) limitID { return limitID{key: key(l), uid: l.UID} }

// settle forgets what is known of RateLimits that are no more, and shows the limits of
// those that there are.
func (f *Function) settle() {
	keys, known, reported := sets.New[string](), make(map[string]pending), make(map[limitID]*v1alpha1.RateLimitStatus, len(f.plans))
	for _, p := range f.plans {
		k, id := key(p.of), idOf(p.of)
		if w, ok := f.pending[k]; ok {
			known[k] = w
		}
		if status, ok := f.reported[id]; ok {
			reported[id] = status
		}
		keys.Insert(k)
	}
	f.pending, f.reported = known, reported
	f.statuses.keep(keys)
	f.traces.keep(keys)
	inForce.record(f.plans)
}

// report says what the statuses are to be by what was seen, and sends an event for
// each limit that is proved now and was not before.
func (f *Function) report() {
	for i := range f.plans {
		if p := &f.plans[i]; !p.gone {
			f.reportOn(p)
		}
	}
	behind.record(f.plans)
}

func (f *Function) reportOn(p *plan) {
	seen := proof{}
	if !p.refused() {
		seen = f.proofOf(p)
	}
	if p.reported != nil && p.reported.equal(seen) {
		return // most answers are about few limits
	}
	p.reported = &seen
	id := idOf(p.of)
	before := f.reported[id]
	if before == nil {
		before = &p.of.Status
	}
	status, changed := f.statusOf(p, before, seen)
	var waited pending
	if !p.refused() && (changed || len(seen.lagging) > 0) {
		waited = f.waiting(p)
	} else {
		delete(f.pending, key(p.of))
	}
	if len(seen.lagging) > 0 && f.Clock.Since(waited.written) < patience {
		return
	}
	if changed && isReady(status) {
		f.applied(p, before, status, waited)
	}
	f.reported[id] = status
	f.statuses.want(p.of, status)
}

// waiting returns what is known of a limit that waits for its proof.
func (f *Function) waiting(p *plan) pending {
	w, ok := f.pending[key(p.of)]
	if limit := p.limit.RatString(); !ok || w.limit != limit {
		f.traces.changed(key(p.of), f.at)
		w = pending{limit: limit, since: f.noticed, written: f.Clock.Now()}
		f.pending[key(p.of)] = w
	}
	return w
}

// statusOf returns the status that a plan and its proof amount to, and whether it tells
// of another limit, or another proof, than the status before.
func (f *Function) statusOf(p *plan, before *v1alpha1.RateLimitStatus, seen proof) (status *v1alpha1.RateLimitStatus, changed bool) {
	status = before.DeepCopy()
	conditions := p.of.GetConditionSet().Manage(status)
	conditions.InitializeConditions()
	status.ObservedGeneration = p.of.Generation
	if p.err != nil {
		conditions.MarkFalse(v1alpha1.RateLimitConditionWritten, "InvalidSpec", "%v", p.err)
		conditions.MarkUnknown(v1alpha1.RateLimitConditionProved, "InvalidSpec", "there is nothing to prove")
		if status.Limit != nil {
			status.Limit.ProvedGateways = nil
		}
		return status, true
	}
	if p.refused() {
		conditions.MarkFalse(v1alpha1.RateLimitConditionWritten, slotFull, "%s", p.crowdedOut())
		conditions.MarkUnknown(v1alpha1.RateLimitConditionProved, slotFull, "there is nothing to prove")
		if status.Limit != nil {
			status.Limit.ProvedGateways = slices.DeleteFunc(status.Limit.ProvedGateways, p.refusedAt)
		}
		return status, true
	}
	if conditions.MarkTrue(v1alpha1.RateLimitConditionWritten); p.lacksRoom() {
		conditions.MarkFalse(v1alpha1.RateLimitConditionWritten, slotFull, "%s", p.crowdedOut())
	}
	markProved(conditions, seen, f.inTheWay)
	status.Revisions = p.rows
	status.NeededUntil = neededUntil(p.rows, before, f.Clock.Now())
	status.Limit = limitStatus(p, seen)
	changed = before.Limit == nil || before.Limit.RequestsPerSecond.Cmp(status.Limit.RequestsPerSecond.Quantity) != 0 || !isReady(before)
	if seen.complete() && changed {
		now := metav1.NewMicroTime(f.Clock.Now().Truncate(time.Microsecond)) // as the API server will have it
		status.Limit.Since = &now
	} else if before.Limit != nil && !changed {
		status.Limit.Since = before.Limit.Since
	}
	return status, changed
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
		RequestsPerSecond: v1alpha1.RateOf(p.limit),
		GatewayPods:       int32(seen.pods),
		ProvedGatewayPods: int32(seen.pods - len(seen.lagging)),
		ProvedGateways:    seen.proved,
	}
	if p.limit.Cmp(p.uncapped) < 0 {
		uncapped := v1alpha1.RateOf(p.uncapped)
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
func (f *Function) applied(p *plan, before, now *v1alpha1.RateLimitStatus, waited pending) {
	took := f.Clock.Since(waited.since)
	convergence.Observe(took.Seconds())
	steps.WithLabelValues("prove").Observe(f.Clock.Since(waited.written).Seconds())
	d := eventing.LimitApplied{
		Model:   eventing.Ref{Namespace: p.of.Namespace, Name: p.of.Name},
		Gateway: strings.Join(sets.List(sets.New(p.of.Spec.Gateways...)), ","), New: now.Limit.RequestsPerSecond.String(),
		GatewayPods: now.Limit.GatewayPods, Seconds: took.Seconds(), Since: now.Limit.Since.Time, ResourceVersion: p.of.ResourceVersion,
	}
	if before.Limit != nil {
		d.Old = before.Limit.RequestsPerSecond.String()
	}
	for _, r := range now.Revisions {
		d.Ready += r.Ready
	}
	f.Log.Infow("Limit applied", zap.Stringer("limit", d), zap.Duration("took", took))
	event, err := eventing.NewLimitApplied(d)
	if err != nil {
		f.Log.Errorw("Limit event not built", zap.Error(err))
		return
	}
	event = f.traces.proved(key(p.of), f.Clock.Now(), event,
		attribute.String("sluice.limit.old", d.Old), attribute.String("sluice.limit.new", d.New), attribute.Int("sluice.gateway.pods", int(d.GatewayPods)))
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
