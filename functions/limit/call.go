package limit

import (
	"errors"
	"math"
	"math/big"
	"time"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/slack"
)

const (
	// unknownStart is how long a replica is thought to take to start as long as none is ready
	// whose start is known.
	unknownStart = 10 * time.Second
	// callBeside bounds what batch calls for where maxReplicas don't: so many replicas beside
	// those that the online demand fills. Deadlines cost nothing to set, and what the autoscaler
	// wants is no measure of it: that wants what was called for.
	callBeside = 10
)

// call decides how many replicas batch calls for of each plan that it runs on, so that it
// meets its deadlines. It may be none where requests with the mark have no bucket of their
// own: then batch has nothing of them. Of a plan that nothing can be decided of, what was called
// for stands.
func (f *Function) call(s *state, plans []plan) error {
	now, called, errs := f.Clock.Now(), map[string]slack.Called{}, []error(nil)
	for i := range plans {
		p := &plans[i]
		if p.err != nil || p.gone || !p.batch || !p.marks {
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
		called[k] = slack.Usual.Call(f.called[k], f.fleetOf(p, s.replicas[k], start), needs, now)
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

func most(replicas float64) int32 { return int32(min(math.Ceil(replicas), math.MaxInt32)) }

// calledOf is the least number of replicas of a revision for batch: its part of those that
// are called for, and one, which credits can't wake. Where replicas can't be had, it is one
// more than there are, as for the online demand.
func (f *Function) calledOf(p *plan, r capacity.Replicas) int32 {
	if !p.batch || r.Percent <= 0 {
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
