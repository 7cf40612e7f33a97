package limit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/functions/limit/slots"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// place is a slot of a gateway.
type place struct {
	gateway     string
	count, slot int
}

// object is the name of the slot's object.
func (p place) object() string { return gateway.SlotObjectName(p.gateway, p.count, p.slot) }

// String says where, for a status.
func (p place) String() string {
	return fmt.Sprintf("slot %d of the %d of gateway %s", p.slot, p.count, p.gateway)
}

// fill decides which limits there is room for in the slots where they belong, and notes
// what they claim of each. One that doesn't fit would keep etcd from taking the slot at
// all, and so freeze every other limit in it. A limit is held where it fitted in the last
// pass or, in a process' first one, if its status says that it was written.
func fill(s *state, plans, before []plan) {
	fitted := make(map[limitID]map[place]slots.Fit, len(before))
	for _, p := range before {
		fitted[idOf(p.of)] = p.fits
	}
	claims, of := map[place][]slots.Claim{}, map[place][]*plan{}
	for i := range plans {
		p := &plans[i]
		p.fits = map[place]slots.Fit{}
		claim := p.claim()
		last, known := fitted[idOf(p.of)]
		for _, h := range p.homes {
			for count := range s.counts[h.gateway] {
				at := place{gateway: h.gateway, count: count, slot: p.slots[count]}
				if claim.Held = last[at] == slots.Whole; !known {
					claim.Held = p.of.Status.GetCondition(v1alpha1.RateLimitConditionWritten).IsTrue()
				}
				claims[at], of[at] = append(claims[at], claim), append(of[at], p)
			}
		}
	}
	s.claimed = make(map[string]int, len(claims))
	for at, asked := range claims {
		for i, fit := range slots.Fill(gateway.SlotBytes, asked) {
			s.claimed[at.object()] += asked[i].Limit + asked[i].Parts
			of[at][i].fits[at] = fit
		}
	}
	for i := range plans {
		if p := &plans[i]; p.batch {
			p.marks = s.roomForMark(p)
		}
	}
}

// roomForMark takes what is left of the room of slots for the bucket of requests with the
// mark, if all of those that hold a limit have that: batch never crowds a limit out.
func (s *state) roomForMark(p *plan) bool {
	plain := resources.Limit{VirtualService: p.of.Spec.VirtualService}
	marked := plain
	marked.Marked = resources.Bucket{Tokens: 1}
	more := marked.Bytes() - plain.Bytes()
	for at, fit := range p.fits {
		if fit == slots.None || s.claimed[at.object()]+more > gateway.SlotBytes {
			return false
		}
	}
	for at := range p.fits {
		s.claimed[at.object()] += more
	}
	return len(p.fits) > 0
}

// claim is what a plan asks of each slot where it belongs.
func (p *plan) claim() slots.Claim {
	entries := len(gateway.Entries())
	claim := slots.Claim{
		Name: key(p.of), Since: p.of.CreationTimestamp.Time,
		Limit: entries*resources.Limit{VirtualService: p.of.Spec.VirtualService}.Bytes() + resources.ShareBytes,
	}
	for _, part := range p.parts {
		for _, cluster := range part.Clusters {
			claim.Parts += entries * resources.Limit{VirtualService: p.of.Spec.VirtualService, Cluster: cluster}.Bytes()
		}
	}
	return claim
}

// slotFull is the reason of what there is no room for.
const slotFull = "SlotFull"

// refused is true where the limit can't be enforced, or has no room in a slot of its.
func (p *plan) refused() bool {
	return p.err != nil || slices.Contains(slices.Collect(maps.Values(p.fits)), slots.None)
}

// refusedAt is true where a slot of that gateway has no room for the limit.
func (p *plan) refusedAt(name string) bool {
	for at, fit := range p.fits {
		if at.gateway == name && fit == slots.None {
			return true
		}
	}
	return false
}

// lacksRoom is true where the limit itself, or at least a bucket of one of its
// revisions, isn't in every slot where it belongs.
func (p *plan) lacksRoom() bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(p.fits)), func(f slots.Fit) bool { return f != slots.Whole })
}

// crowdedOut says what there is no room for, and what helps.
func (p *plan) crowdedOut() string {
	places, what := sets.New[string](), "the buckets of its revisions"
	for at, fit := range p.fits {
		if fit != slots.Whole {
			places.Insert(at.String())
		}
		if fit == slots.None {
			what = "the limit"
		}
	}
	named := sets.List(places)
	return fmt.Sprintf("there is no room for %s in %s, which may hold %d bytes; slots become more by themselves, up to %d, and are "+
		"more from the start with limit-slots of ConfigMap config-gateway; beyond that, give a tenant a gateway of its own",
		what, strings.Join(named[:min(len(named), namedPods)], ", "), gateway.SlotBytes, gateway.MaxSlots)
}

// recordFill shows how full the slots are that there are, and no others.
func (f *Function) recordFill(s *state) {
	for _, name := range slices.Collect(maps.Keys(f.filled)) {
		if _, ok := f.slots[name]; !ok {
			slotFill.DeleteLabelValues(name)
			delete(f.filled, name)
		}
	}
	for name := range f.slots {
		f.filled[name] = struct{}{}
		slotFill.WithLabelValues(name).Set(float64(s.claimed[name]) / gateway.SlotBytes)
	}
}
