package limit

import (
	"errors"
	"math"
	"math/big"
	"time"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/slack"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// unknownStart is how long a replica is thought to take to start as long as none is ready
	// whose start is known, nor was when another started.
	unknownStart = 10 * time.Second
	// callBeside bounds what batch calls for where maxReplicas don't: so many replicas beside
	// those that the online demand fills. Deadlines cost nothing to set, and what the autoscaler
	// wants is no measure of it: that wants what was called for.
	callBeside = 10
	// headway is how much of the online demand for others a cap has to leave them, so that it
	// doesn't refuse what moves: a quarter more, as at an entry.
	headway = 1.25
)

// call decides how many replicas batch calls for of each plan that it runs on, so that it
// meets its deadlines. It may be none where requests with the mark have no bucket of their
// own: then batch has nothing of them. Of a plan that nothing can be decided of, what was called
// for stands.
func (f *Function) call(s *state, plans []plan) error {
	now, called, errs := f.Clock.Now(), map[string]slack.Called{}, []error(nil)
	sharing := sharersOf(plans)
	for i := range plans {
		p := &plans[i]
		if p.err != nil || p.gone || !p.batch || p.idle || !p.marks {
			continue
		}
		k := key(p.of)
		needs := f.batches.needs(k, now)
		if len(needs) == 0 {
			continue
		}
		start, err := f.startOf(p, s.replicas[k])
		if err != nil {
			called[k], errs = f.called[k], append(errs, err)
			continue
		}
		fleet := f.fleetOf(p, s.replicas[k], start)
		if room, bounded := f.roomBeside(p, sharing, called); bounded && (fleet.Within == 0 || room < fleet.Within) {
			fleet.Within = room
		}
		called[k] = slack.Usual.Call(f.called[k], fleet, needs, now)
	}
	f.called = called
	return errors.Join(errs...)
}

// startOf is how long a replica takes of the revision that takes longest.
func (f *Function) startOf(p *plan, revisions []capacity.Replicas) (time.Duration, error) {
	longest := time.Duration(0)
	for _, r := range revisions {
		if r.Percent <= 0 {
			continue
		}
		starts, err := f.Caches.starts(p.of.Namespace, r.Revision)
		if err != nil {
			return 0, err
		}
		took, known := starts.Quickest()
		if !known { // at zero, what those took that were there last is the best guess
			took, known = f.took[revisionKey{limit: key(p.of), revision: r.Revision}]
		}
		if !known {
			took = min(unknownStart, starts.Deadline)
		}
		longest = max(longest, took)
	}
	return longest + slack.Reaction, nil
}

// fleetOf is what batch has of a plan's replicas, as if one revision had all requests. More
// replicas than serve all that its cap lets through are of no use, whether it binds now or
// would once they are there.
func (f *Function) fleetOf(p *plan, revisions []capacity.Replicas, start time.Duration) slack.Fleet {
	q, _ := p.rule.PerReplica.Float64()
	serves, _ := p.serving.Float64()
	fleet := slack.Fleet{PerReplica: q, Serves: serves, Demand: f.divisions[p.of.Spec.VirtualService].Demand(), Start: start, Most: math.MaxInt32}
	if p.group != nil {
		replicas, _ := new(big.Rat).Quo(p.group, p.rule.PerReplica).Float64()
		fleet.Most = most(replicas)
	}
	for _, r := range revisions {
		switch {
		case r.Percent <= 0:
		case r.Max > 0:
			fleet.Most = min(fleet.Most, most(float64(r.Max)*100/float64(r.Percent)))
		default: // of a demand that is refused, what is said may be anything
			fleet.Within = most(min(fleet.Demand, fleet.Serves)/q + callBeside)
		}
	}
	return fleet
}

// sharersOf are the plans that share a cap with others, by its name.
func sharersOf(plans []plan) map[string][]*plan {
	sharing := map[string][]*plan{}
	for i := range plans {
		if p := &plans[i]; p.err == nil && p.group != nil {
			sharing[p.of.Spec.Cap.Name] = append(sharing[p.of.Spec.Cap.Name], p)
		}
	}
	return sharing
}

// roomBeside is how many replicas batch may call for of a plan, one at least, so that those with
// which it shares a cap keep limits with headway above their online demand: the cap scales all of
// them down in proportion, so a limit that grows takes from others. What is demanded beyond
// what there would be without a cap doesn't count. It is false where nothing bounds them.
func (f *Function) roomBeside(p *plan, sharing map[string][]*plan, called map[string]slack.Called) (int32, bool) {
	if p.group == nil {
		return 0, false
	}
	most, _ := p.group.Float64()
	others, together := 0.0, math.Inf(1) // what all limits may come to, before they are scaled
	for _, o := range sharing[p.of.Spec.Cap.Name] {
		if o == p {
			continue
		}
		limit, _ := o.uncapped.Float64()
		if needed := min(headway*f.divisions[o.of.Spec.VirtualService].Demand(), limit); needed > 0 {
			together = min(together, most*limit/needed)
		}
		n, decided := called[key(o.of)]
		if !decided {
			n = f.called[key(o.of)]
		}
		others += max(limit, o.admittedPerReplica()*float64(n.Replicas)) // those on their way, too
	}
	if math.IsInf(together, 1) {
		return 0, false
	}
	return int32(max(1, min(math.Floor((together-others)/p.admittedPerReplica()), math.MaxInt32))), true
}

// admittedPerReplica is what a plan's limit grows by with a replica, before a cap.
func (p *plan) admittedPerReplica() float64 {
	admitted := p.rule.PerReplica
	if p.rule.Policy == v1alpha1.PolicyDemand && p.rule.Headroom != nil {
		admitted = new(big.Rat).Mul(admitted, new(big.Rat).Add(big.NewRat(1, 1), p.rule.Headroom))
	}
	perReplica, _ := admitted.Float64()
	return perReplica
}

func most(replicas float64) int32 { return int32(min(math.Ceil(replicas), math.MaxInt32)) }

// calledOf is the least number of replicas of a revision for batch: its part of those that
// are called for, and one, which credits can't wake; none where batch is idle. Where replicas
// can't be had, it is one more than there are, as for the online demand.
func (f *Function) calledOf(p *plan, r capacity.Replicas) int32 {
	if !p.batch || p.idle || r.Percent <= 0 {
		return 0
	}
	n := most(float64(f.called[key(p.of)].Replicas) * float64(r.Percent) / 100)
	if r.Max > 0 {
		n = min(n, r.Max)
	}
	if there := max(r.Ready, r.Desired-r.Missing); r.Missing > 0 {
		n = min(n, there+1)
	}
	return max(1, n)
}
