package limit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/queue"
	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/functions/limit/slots"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// plan is what one pass decided for one RateLimit.
type plan struct {
	of *v1alpha1.RateLimit
	// rule is the one of its spec.
	rule capacity.Rule
	// limit to enforce: what the replicas can serve, under its cap if it has one.
	limit, uncapped, cap *big.Rat
	// group is the rate that all who share its cap have together, nil without one.
	group *big.Rat
	rows  []v1alpha1.RevisionCapacity
	// parts are what single revisions are held to, within the limit.
	parts []capacity.Part
	// slots that hold its buckets at every entry, by how many there are.
	slots map[int]int
	burst time.Duration
	// err says why there is no limit: the spec can't be enforced.
	err error
	// gone is true once the RateLimit is deleted, or can't be enforced any more,
	// while its route is still there.
	gone bool
	// homes are the gateways, sorted, that hold its buckets.
	homes []home
	// fits is how much of it the slots where it belongs have room for.
	fits map[place]slots.Fit
	// serves is what the replicas serve, without any headroom and under the cap; queue
	// how long requests from inside the cluster may wait, 0 if they may not.
	serves *big.Rat
	queue  time.Duration
	// batch is true where batch runs on it, idle where it holds no replica, and marks where the
	// slots have room for a bucket of its own, which has the rate marked. serving is what ready
	// replicas serve.
	batch, idle, marks bool
	marked, serving    *big.Rat
	// reported is the proof that its status goes by, nil before the first.
	reported *proof
}

// home is a gateway that holds the buckets of a plan.
type home struct {
	gateway string
	presence
	// asked are the lines, but for the pod, that are to prove it there.
	asked []line
}

// SlotOf chooses the slot of a virtual service by rendezvous hashing (Thaler and
// Ravishankar, 1998): when the number of slots changes, only those move that
// must.
func SlotOf(virtualService string, slots int) int {
	best, slot := uint64(0), 0
	for i := range slots {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", virtualService, i))
		if score := binary.BigEndian.Uint64(sum[:8]); i == 0 || score > best {
			best, slot = score, i
		}
	}
	return slot
}

// decide computes every limit and where it belongs. before are the last pass'
// plans.
func decide(s *state, before []plan) []plan {
	plans := own(s)
	plans = append(plans, leaving(before, plans, s.routing)...)
	applyCaps(plans)
	for i := range plans {
		plans[i].homes = homesOf(plans[i], s.routing)
	}
	setSlots(plans, s.counts)
	fill(s, plans, before)
	setLines(plans, s.routing)
	return plans
}

// own computes each RateLimit's limit by itself. One that is not about the virtual
// service of its own name is refused, so no two share a descriptor.
func own(s *state) []plan {
	plans := make([]plan, 0, len(s.limits))
	for _, l := range s.limits {
		p := plan{of: l}
		if p.rule, p.err = ruleOf(l.Spec); p.err == nil {
			p.err = l.CheckVirtualService()
		}
		if p.err == nil {
			p.cap, p.err = capOf(l.Spec)
		}
		if p.err == nil {
			p.err = capacity.CheckTraffic(l.Spec.Traffic)
		}
		if p.err == nil {
			p.burst = l.Spec.Burst.Duration
			p.uncapped = p.rule.Limit(s.replicas[key(l)])
			p.serves = p.rule.WithoutHeadroom().Limit(s.replicas[key(l)])
			if l.Spec.Queue != nil {
				p.queue = l.Spec.Queue.Duration
			}
			p.batch, p.idle = s.batches.Has(key(l)), s.idle.Has(key(l))
			p.serving = p.rule.Serving(s.replicas[key(l)])
			p.rows = rows(p.rule, s.replicas[key(l)])
			p.parts = p.rule.Parts(l, s.replicas[key(l)])
		}
		plans = append(plans, p)
	}
	return plans
}

// leaving returns the plans of RateLimits that are gone while their routes are
// not: when a Model is deleted its route may outlive its RateLimit for a moment,
// and must not be without a limit meanwhile.
func leaving(before, now []plan, r *routing) []plan {
	limited := sets.New[string]()
	for _, p := range now {
		if p.err == nil {
			limited.Insert(p.of.Spec.VirtualService)
		}
	}
	var out []plan
	for _, p := range before {
		if p.err == nil && !limited.Has(p.of.Spec.VirtualService) && r.attached(p.of.Spec.VirtualService).Len() > 0 {
			p.gone = true
			out = append(out, p)
		}
	}
	return out
}

// homesOf are the gateways that hold a plan's buckets: those that are to
// have its route, be it there or not, and those that have it still. A limit comes
// before its route and goes after it.
func homesOf(p plan, r *routing) []home {
	if p.err != nil {
		return nil
	}
	names := r.attached(p.of.Spec.VirtualService)
	if !p.gone {
		names.Insert(p.of.Spec.Gateways...)
	}
	var homes []home
	for _, name := range sets.List(names.Intersection(r.gateways)) {
		homes = append(homes, home{gateway: name, presence: r.at(p.of.Spec.VirtualService, name)})
	}
	return homes
}

func rows(rule capacity.Rule, revisions []capacity.Replicas) []v1alpha1.RevisionCapacity {
	out := make([]v1alpha1.RevisionCapacity, 0, len(revisions))
	for _, r := range revisions {
		out = append(out, v1alpha1.RevisionCapacity{
			Name: r.Revision, Percent: r.Percent, Desired: r.Desired, Ready: r.Ready,
			RequestsPerSecond: v1alpha1.RateOf(rule.Capacity(r)),
			Missing:           r.Missing, Reason: r.Why.Reason, Message: r.Why.Message,
		})
	}
	return out
}

// setSlots sets each plan's slots, for each number of slots that a gateway has.
func setSlots(plans []plan, counts map[string]sets.Set[int]) {
	all := sets.New[int]()
	for _, of := range counts {
		all = all.Union(of)
	}
	for i := range plans {
		p := &plans[i]
		p.slots = make(map[int]int, all.Len())
		for count := range all {
			p.slots[count] = SlotOf(p.of.Spec.VirtualService, count)
		}
	}
}

// slotsOf returns what every slot of every gateway should hold, those without a
// limit too: a gateway pod is not ready before all its slots exist. While a gateway has
// pods of two numbers of slots, a limit is in a slot of each, and in one of each pod's.
func (f *Function) slotsOf(s *state, plans []plan, token string) []resources.Slot {
	entries := gateway.Entries()
	var all []resources.Slot
	at := map[string]int{}
	for _, name := range sets.List(s.routing.gateways) {
		for _, count := range sets.List(s.counts[name]) {
			for i := range count {
				slot := resources.Slot{Gateway: name, Slots: count, Index: i, ProbeToken: token,
					Limits: make([][]resources.Limit, len(entries)), Shares: resources.Shares{}}
				slot.Claimed = s.claimed[slot.Name()]
				at[slot.Name()] = len(all)
				all = append(all, slot)
			}
		}
	}
	for _, p := range plans {
		for i, h := range p.homes {
			divided, in := f.divisions[p.of.Spec.VirtualService], map[place]slots.Fit{} // of each number one holds the limit
			for count := range s.counts[h.gateway] {
				here := place{gateway: h.gateway, count: count, slot: p.slots[count]}
				if in[here] = p.fits[here]; in[here] != slots.None {
					all[at[here.object()]].Shares[p.of.Spec.VirtualService] = divided.Shares(i)
				}
			}
			for e, entry := range entries {
				of := big.NewRat(1, h.buckets(entry, len(s.pods[h.gateway])))
				share := func(rate *big.Rat) *big.Rat {
					part := divided.Of(rate, i, e)
					return part.Mul(part, of)
				}
				limits := p.limits(share)
				if p.queue > 0 && entry == gateway.Local {
					buckets := int(h.buckets(entry, len(s.pods[h.gateway]))) * len(p.homes)
					limits[0].Queue, limits[0].Depth = f.queues[p.of.Spec.VirtualService].Room(p.depth(), buckets)
				}
				p.mark(&limits[0], entry, h.buckets(entry, len(s.pods[h.gateway]))*int64(len(p.homes)))
				for here, fit := range in {
					slot := all[at[here.object()]]
					switch fit {
					case slots.Whole:
						slot.Limits[e] = append(slot.Limits[e], limits...)
					case slots.LimitAlone:
						slot.Limits[e] = append(slot.Limits[e], limits[0])
					case slots.None:
					}
				}
			}
		}
	}
	return all
}

// depth is how many requests from inside the cluster may wait, over all gateway pods.
func (p plan) depth() float64 {
	serves, _ := p.serves.Float64()
	if limit, _ := p.limit.Float64(); limit < serves {
		serves = limit
	}
	return queue.Depth(serves, p.queue)
}

// limits are a plan's buckets, the limit's own first, where it has a share of every rate. What a revision may
// have beyond the limit itself is out of its reach anyway.
func (p plan) limits(share func(*big.Rat) *big.Rat) []resources.Limit {
	bucketOf := func(cluster string, rate *big.Rat, burst time.Duration) resources.Limit {
		b := capacity.NewBucket(share(rate), burst)
		return resources.Limit{
			VirtualService: p.of.Spec.VirtualService, Cluster: cluster, MaxTokens: b.MaxTokens, Tokens: b.Tokens, Fill: b.Fill,
		}
	}
	out := []resources.Limit{bucketOf("", p.limit, p.burst)}
	for _, part := range p.parts {
		if part.Rate.Cmp(p.limit) >= 0 {
			continue
		}
		for _, cluster := range part.Clusters {
			out = append(out, bucketOf(cluster, part.Rate, part.Burst))
		}
	}
	return out
}

// buckets is how many token buckets Envoy makes of one: one a pod and, on the HTTPS
// entry, one a filter chain.
func (h home) buckets(entry gateway.Entry, pods int) int64 {
	n := int64(max(1, pods))
	if entry == gateway.Secure {
		n *= int64(max(1, len(h.chains)))
	}
	return n
}
