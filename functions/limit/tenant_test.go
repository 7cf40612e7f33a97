package limit

import (
	"fmt"
	"math"
	"math/big"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/division"
	"sluice.dev/sluice/functions/limit/slack"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// member is a Model of a tenant, or of none, with a batch.
type member struct {
	namespace string
	capped    bool
	replicas  int32
	demand    float64
}

// tenancy is a limiter of such Models, one virtual service each, of 10 requests a second a replica.
type tenancy struct {
	*Function
	clock   *clocktesting.FakeClock
	members []member
	limits  []*v1alpha1.RateLimit
	rule    capacity.Rule
	cap     *big.Rat
}

func newTenancy(requestsPerSecond int64, members ...member) *tenancy {
	f := newFleets()
	t := &tenancy{Function: f.Function, clock: f.clock, members: members, rule: f.rule, cap: big.NewRat(requestsPerSecond, 1)}
	for i, m := range members {
		l := rateLimit(fmt.Sprint("m-", i))
		l.Namespace, l.Spec.VirtualService = m.namespace, gateway.VirtualServiceName(m.namespace, l.Name)
		if m.capped {
			l.Spec.Cap = &v1alpha1.RateLimitCap{Name: "cap"}
		}
		t.limits = append(t.limits, l)
	}
	return t
}

// plans are those of a pass, a second after the last one.
func (f *tenancy) plans() (*state, []plan) {
	f.clock.Step(time.Second)
	s, plans := &state{replicas: map[string][]capacity.Replicas{}}, make([]plan, len(f.limits))
	f.divisions = map[string]division.Division{}
	for i, l := range f.limits {
		m := f.members[i]
		of := []capacity.Replicas{{Revision: "m-1", Percent: 100, Desired: m.replicas, Ready: m.replicas, Initial: 1}}
		s.replicas[key(l)] = of
		plans[i] = plan{
			of: l, rule: f.rule, uncapped: f.rule.Limit(of), serving: f.rule.Serving(of), batch: true, marks: true, reported: &proof{},
			homes: []home{{gateway: gateway.Shared, presence: presence{roles: make([]division.Role, len(gateway.Entries()))}}},
		}
		if m.capped {
			plans[i].cap = f.cap
		}
		f.divisions[l.Spec.VirtualService] = demanded(m.demand)
	}
	applyCaps(plans)
	return s, plans
}

// What is left to the batches of a tenant comes, with its online demand, to no more than its cap,
// in whatever namespaces they are. Models that are alike have alike of it, what the demand takes
// of one is taken from no other, and what isn't the tenant's is left as it is.
func TestBatchesShareATenantsCap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := []member{{namespace: "team-a", capped: true, replicas: 3}, {namespace: "team-b", capped: true, replicas: 3}, {namespace: "rival", replicas: 3}}
		for i := range rapid.IntRange(0, 3).Draw(t, "others") {
			members = append(members, member{
				namespace: fmt.Sprint("team-", i), capped: true, replicas: rapid.Int32Range(1, 9).Draw(t, "replicas"), demand: rapid.Float64Range(0, 90).Draw(t, "demand"),
			})
		}
		most := rapid.Int64Range(1, 400).Draw(t, "cap")
		f := newTenancy(most, members...)
		left := func() ([]float64, []plan) {
			var plans []plan
			for range 50 { // until the buckets have settled
				_, plans = f.plans()
				f.Demand = reading{arriving{0, 0, 0}, f.clock.Now()}
				f.leave(plans)
				f.Function.plans = plans
			}
			rates := make([]float64, len(plans))
			for i, p := range plans {
				rates[i] = f.batches.left[key(p.of)].At(f.clock.Now())
			}
			return rates, plans
		}
		rates, plans := left()
		sum := 0.0
		for i, m := range members {
			limit, _ := plans[i].limit.Float64()
			if m.capped {
				sum += rates[i] + min(limit, m.demand)
			}
			if rates[i] > 0 && rates[i] > max(0, limit-m.demand) {
				t.Fatalf("%g are left of a limit of %g with a demand of %g", rates[i], limit, m.demand)
			}
		}
		if sum > float64(most)+1e-6 {
			t.Fatalf("%v are left, which with the demand of %+v is more than the cap of %d", rates, members, most)
		}
		if math.Abs(rates[0]-rates[1]) > 1e-9 || rates[0] <= 0 {
			t.Fatalf("two Models that are alike have %g and %g", rates[0], rates[1])
		}
		if want := (1 - slack.Usual.Reserve) * 30; math.Abs(rates[2]-want) > 1e-9 {
			t.Fatalf("%g are left of what isn't the tenant's, want %g", rates[2], want)
		}
		f.members[1].demand = rapid.Float64Range(0, 200).Draw(t, "rise")
		after, _ := left()
		for i := range rates {
			if i != 1 && math.Abs(after[i]-rates[i]) > 1e-9 {
				t.Fatalf("a demand for one Model takes from another: %g of %g are left", after[i], rates[i])
			}
		}
		if after[1] > rates[1] {
			t.Fatalf("with more demand there is more left: %g, was %g", after[1], rates[1])
		}
	})
}

// A cap scales limits down in proportion, so what batch calls for of one Model comes off the
// limits of the tenant's others: never so much that they lack what their online demand takes.
func TestBatchLeavesATenantsOthersTheirDemand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.Int64Range(40, 400).Draw(t, "cap")
		members := []member{{namespace: "team-a", capped: true, replicas: 1}}
		for i := range rapid.IntRange(1, 3).Draw(t, "others") {
			demand := rapid.Float64Range(0, float64(most)/3).Draw(t, "demand")
			members = append(members, member{namespace: fmt.Sprint("team-", i), capped: true, replicas: max(1, int32(math.Ceil(demand/10))), demand: demand})
		}
		f := newTenancy(most, members...)
		k := key(f.limits[0])
		_, before := f.plans()
		least := make([]float64, len(before)) // of each limit, with one replica for batch
		for i := range before {
			least[i], _ = before[i].limit.Float64()
		}
		highest := int32(1)
		for i := range 100 {
			n, ok := slack.NeedOf(1e6, time.Duration(1000-i)*time.Second, 0)
			if !ok {
				t.Fatal("nothing is needed")
			}
			f.batches.asked[k] = asking{at: f.clock.Now(), needs: []slack.Need{n}}
			s, plans := f.plans()
			for j := 1; j < len(plans); j++ {
				if limit, _ := plans[j].limit.Float64(); limit < min(members[j].demand, least[j])-1e-6 {
					t.Fatalf("pass %d: with %d replicas called for, of a demand of %g %g are admitted, and were %g", i, f.members[0].replicas, members[j].demand, limit, least[j])
				}
			}
			if err := f.call(s, plans); err != nil {
				t.Fatal(err)
			}
			called := f.calledOf(&plans[0], s.replicas[k][0])
			if called < f.members[0].replicas {
				t.Fatalf("pass %d: %d are called for, were %d", i, called, f.members[0].replicas)
			}
			f.members[0].replicas, highest = called, max(highest, called)
		}
		quiet := true
		for _, m := range members[1:] {
			quiet = quiet && m.demand == 0
		}
		if full := int32(math.Ceil(float64(most) / 10)); quiet && highest < min(full, callBeside) {
			t.Fatalf("without any demand beside, %d are called for of %d", highest, full)
		}
	})
}
