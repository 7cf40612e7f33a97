package limit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// plan is what one pass decided for one RateLimit.
type plan struct {
	of    *v1alpha1.RateLimit
	limit *big.Rat
	rows  []v1alpha1.RevisionCapacity
	// slot that holds its buckets, at every entry.
	slot  int
	burst time.Duration
	// err says why there is no limit: the spec can't be enforced.
	err error
	// gone is true once the RateLimit is deleted while its route is still there.
	gone bool
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

// decide computes every limit. Two RateLimits of one virtual service would share
// a descriptor, so the first by name has it and the other is refused.
func decide(s *state) []plan {
	plans, taken := make([]plan, 0, len(s.limits)), make(map[string]string, len(s.limits))
	for _, l := range s.limits {
		p := plan{of: l, slot: SlotOf(l.Spec.VirtualService, gateway.Slots)}
		var rule Rule
		rule, p.burst, p.err = ruleOf(l.Spec)
		place := l.Spec.Gateway + "/" + l.Spec.VirtualService
		if by, ok := taken[place]; ok && p.err == nil {
			p.err = fmt.Errorf("spec.virtualService %s is limited by %s already", l.Spec.VirtualService, by)
		}
		if p.err == nil {
			taken[place] = key(l)
			p.limit = rule.Limit(s.replicas[key(l)])
			p.rows = rows(rule, s.replicas[key(l)])
		}
		plans = append(plans, p)
	}
	return plans
}

// leaving returns the plans of RateLimits that are gone while their routes are
// not: when a Model is deleted its route may outlive its RateLimit for a moment,
// and must not be without a limit meanwhile.
func leaving(before, now []plan, routed sets.Set[string]) []plan {
	limited := sets.New[string]()
	for _, p := range now {
		limited.Insert(p.of.Spec.Gateway + "/" + p.of.Spec.VirtualService)
	}
	var out []plan
	for _, p := range before {
		if p.err == nil && routed.Has(p.of.Spec.VirtualService) && !limited.Has(p.of.Spec.Gateway+"/"+p.of.Spec.VirtualService) {
			p.gone = true
			out = append(out, p)
		}
	}
	return out
}

func rows(rule Rule, revisions []Replicas) []v1alpha1.RevisionCapacity {
	out := make([]v1alpha1.RevisionCapacity, 0, len(revisions))
	for _, r := range revisions {
		out = append(out, v1alpha1.RevisionCapacity{
			Name: r.Revision, Percent: r.Percent, Desired: r.Desired, Ready: r.Ready,
			RequestsPerSecond: quantity(rule.Capacity(r)),
		})
	}
	return out
}

// slotsOf returns what every slot of every gateway should hold, those without a
// limit too: a gateway pod is not ready before all its slots exist.
func slotsOf(s *state, plans []plan, shares map[string]Shares, token string) []resources.Slot {
	entries := gateway.Entries()
	var slots []resources.Slot
	at := map[string]int{}
	for _, name := range sortedKeys(s.pods) {
		for _, entry := range entries {
			for i := range gateway.Slots {
				at[gateway.SlotObjectName(name, entry, i)] = len(slots)
				slots = append(slots, resources.Slot{Gateway: name, Entry: entry, Index: i, ProbeToken: token})
			}
		}
	}
	for _, p := range plans {
		if p.err != nil {
			continue
		}
		g := p.of.Spec.Gateway
		for i, entry := range entries {
			b := NewBucket(shares[key(p.of)].Of(p.limit, i, len(s.pods[g])), p.burst)
			slot := &slots[at[gateway.SlotObjectName(g, entry, p.slot)]]
			slot.Limits = append(slot.Limits, resources.Limit{
				VirtualService: p.of.Spec.VirtualService, MaxTokens: b.MaxTokens, Tokens: b.Tokens, Fill: b.Fill,
			})
		}
	}
	return slots
}

// quantity is a rate as the API shows it: rounded down to a thousandth.
func quantity(r *big.Rat) resource.Quantity {
	milli := floor(new(big.Rat).Mul(r, ratio(1000, 1)))
	if !milli.IsInt64() {
		return *resource.NewQuantity(1<<62, resource.DecimalSI)
	}
	return *resource.NewMilliQuantity(milli.Int64(), resource.DecimalSI)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
