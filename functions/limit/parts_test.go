package limit

import (
	"cmp"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"

	"k8s.io/apimachinery/pkg/util/sets"
	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// tagged is a RateLimit whose revisions m-0, m-1, … have these percentages and, from
// the given one on, a tag.
func tagged(from int, percents ...int32) *v1alpha1.RateLimit {
	l := rateLimit("m")
	l.Spec.Traffic = nil
	for i, percent := range percents {
		l.Spec.Traffic = append(l.Spec.Traffic, v1alpha1.RevisionTraffic{
			Revision: fmt.Sprintf("m-%d", i), Percent: percent, Tagged: i >= from,
		})
	}
	return l
}

// servedBy is a RateLimit with so many ready replicas of each revision, on the shared
// gateway: at its plain and its cluster-local entry.
func servedBy(l *v1alpha1.RateLimit, pods int, ready ...int32) *state {
	replicas := make([]capacity.Replicas, len(ready))
	for i, n := range ready {
		replicas[i] = capacity.Replicas{Revision: l.Spec.Traffic[i].Revision, Percent: l.Spec.Traffic[i].Percent, Ready: n, Desired: n, Initial: 1}
	}
	return &state{
		limits:   []*v1alpha1.RateLimit{l},
		replicas: map[string][]capacity.Replicas{key(l): replicas},
		pods:     map[string][]Pod{gateway.Shared: make([]Pod, pods)},
		counts:   map[string]sets.Set[int]{gateway.Shared: sets.New(gateway.DefaultSlots)},
		routing: newRouting([]*istiov1.Gateway{
			istioGatewayOf(gateway.Shared, gateway.Shared, gateway.External, "./*"),
			istioGatewayOf(gateway.LocalName(gateway.Shared), gateway.Shared, gateway.Local, "./*"),
		}, []*istiov1.VirtualService{routeTo("team.m", []string{gateway.Shared, gateway.LocalName(gateway.Shared)})}),
	}
}

// traffic is a random load on the Model's own host, which follows the percentages,
// and on the revisions' tags.
type traffic struct {
	seconds int
	// host and tags are requests per second; local is the part of both that comes to the cluster-local entry.
	host  float64
	tags  []float64
	local float64
}

// admitted is how many requests of the traffic each revision gets from gateway pods
// that enforce the slots, as Envoy does: a request takes a token of every bucket that
// is for it, the slowest first, until one has none.
func (tr traffic) admitted(s *state, slots []resources.Slot, random *rand.Rand) []int {
	replicas := s.replicas[key(s.limits[0])]
	total := tr.host
	for _, rate := range tr.tags {
		total += rate
	}
	got, buckets := make([]int, len(replicas)), map[string]*filling{}
	for now := 0.0; now < float64(tr.seconds); now += random.ExpFloat64() / total {
		revision, entry := tr.pick(replicas, total, random), gateway.External
		if random.Float64() < tr.local {
			entry = gateway.Local
		}
		pod := random.IntN(len(s.pods[gateway.Shared]))
		if passes(limitsFor(slots, entry, replicas[revision].Revision), fmt.Sprint(pod, entry.Name), now, buckets) {
			got[revision]++
		}
	}
	return got
}

// pick chooses the revision of a request.
func (tr traffic) pick(replicas []capacity.Replicas, total float64, random *rand.Rand) int {
	at := random.Float64() * total
	for i, rate := range tr.tags {
		if at -= rate; at < 0 {
			return i
		}
	}
	at = random.Float64() * 100
	return slices.IndexFunc(replicas, func(r capacity.Replicas) bool { at -= float64(r.Percent); return at < 0 })
}

// limitsFor are the buckets of an entry that are for a request to a revision.
func limitsFor(slots []resources.Slot, entry gateway.Entry, revision string) []resources.Limit {
	var out []resources.Limit
	for _, s := range slots {
		for _, l := range s.Limits[slices.Index(gateway.Entries(), entry)] {
			if l.Cluster == "" || l.Cluster == gateway.RevisionClusters("team", revision, "")[0] {
				out = append(out, l)
			}
		}
	}
	slices.SortFunc(out, func(a, b resources.Limit) int { return cmp.Compare(perSecond(a), perSecond(b)) })
	return out
}

func perSecond(l resources.Limit) float64 { return float64(l.Tokens) / l.Fill.Seconds() }

// filling is a bucket's content at a time.
type filling struct{ tokens, at float64 }

func passes(limits []resources.Limit, where string, now float64, buckets map[string]*filling) bool {
	for _, l := range limits {
		id := where + l.Cluster
		b := buckets[id]
		if b == nil {
			b = &filling{tokens: float64(l.MaxTokens)}
			buckets[id] = b
		}
		b.tokens = min(float64(l.MaxTokens), b.tokens+(now-b.at)*perSecond(l))
		b.at = now
		if b.tokens < 1 {
			return false
		}
		b.tokens--
	}
	return true
}

func slotsFor(s *state, demand []float64) ([]plan, []resources.Slot) {
	f := New()
	f.Demand = arriving(demand)
	plans := decide(s, nil)
	f.divide(s, plans)
	return plans, f.slotsOf(s, plans, "token")
}

// Where there are tags, no revision is sent more than is admitted for it, whatever
// the split, its tag's requests, the entry, the pods and the cap.
func TestNoRevisionGetsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Int32Range(0, 100).Draw(t, "percent")
		l := tagged(rapid.IntRange(0, 2).Draw(t, "tagged from"), first, 100-first, 0)
		if rapid.Bool().Draw(t, "capped") {
			l.Spec.Cap = &v1alpha1.RateLimitCap{Name: "cap", RequestsPerSecond: *resource.NewQuantity(rapid.Int64Range(1, 100).Draw(t, "cap"), resource.DecimalSI)}
		}
		ready := rapid.SliceOfN(rapid.Int32Range(0, 6), 3, 3).Draw(t, "ready")
		s := servedBy(l, rapid.IntRange(1, 3).Draw(t, "pods"), ready...)
		tr := traffic{
			seconds: 20, host: rapid.Float64Range(1, 200).Draw(t, "host"), local: rapid.Float64Range(0, 1).Draw(t, "local"),
			tags: make([]float64, 3),
		}
		for i := range tr.tags {
			if l.Spec.Traffic[i].Tagged {
				tr.tags[i] = rapid.Float64Range(0, 100).Draw(t, "tag")
			}
		}
		plans, slots := slotsFor(s, []float64{tr.host * (1 - tr.local), 0, tr.host * tr.local})
		got := tr.admitted(s, slots, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		sum := 0
		for i, n := range got {
			sum += n
			rate, _ := plans[0].parts[i].Rate.Float64()
			burst := max(plans[0].parts[i].Burst, plans[0].burst).Seconds()
			if most := rate*(float64(tr.seconds)+burst) + float64(4*len(s.pods[gateway.Shared])); float64(n) > most {
				t.Errorf("revision %d got %d requests in %d s, %v a second are for it", i, n, tr.seconds, rate)
			}
		}
		limit, _ := plans[0].limit.Float64()
		if most := limit*(float64(tr.seconds)+plans[0].burst.Seconds()) + float64(4*len(s.pods[gateway.Shared])); float64(sum) > most {
			t.Errorf("%d requests in %d s at a limit of %v", sum, tr.seconds, limit)
		}
	})
}

// What holds each revision takes next to nothing from the Model's own host, below its
// limit and above, though requests come to the revisions in clumps.
func TestPartsCostTheModelLittle(t *testing.T) {
	for name, test := range map[string]struct {
		limit *v1alpha1.RateLimit
		ready []int32
	}{
		"half each":     {tagged(1, 50, 50), []int32{4, 4}},
		"a tenth":       {tagged(1, 90, 10), []int32{18, 2}},
		"with a spare":  {tagged(1, 90, 10), []int32{9, 3}},
		"a tag for all": {tagged(0, 100), []int32{5}},
		"a tag apart":   {tagged(1, 100, 0), []int32{5, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, load := range []float64{0.8, 1.5} {
				held, free := onItsHost(load, test.limit, test.ready), onItsHost(load, untagged(test.limit), test.ready)
				if float64(held) < 0.97*float64(free) {
					t.Errorf("at %v of the limit, %d are admitted, and %d where no revision is held", load, held, free)
				}
			}
		})
	}
}

// onItsHost is how much is admitted of a load, as a part of the limit, on a Model's
// own host.
func onItsHost(load float64, l *v1alpha1.RateLimit, ready []int32) int {
	s := servedBy(l, 2, ready...)
	plans, _ := slotsFor(s, nil)
	limit, _ := plans[0].limit.Float64()
	_, slots := slotsFor(s, []float64{load * limit, 0, 0})
	sum := 0
	for _, n := range (traffic{seconds: 200, host: load * limit}).admitted(s, slots, rand.New(rand.NewPCG(1, 2))) {
		sum += n
	}
	return sum
}

func untagged(l *v1alpha1.RateLimit) *v1alpha1.RateLimit {
	out := l.DeepCopy()
	for i := range out.Spec.Traffic {
		out.Spec.Traffic[i].Tagged = false
	}
	return out
}

// Requests that no tag leads need no buckets of a revision, and neither do revisions
// that could have the whole limit.
func TestParts(t *testing.T) {
	for name, test := range map[string]struct {
		limit *v1alpha1.RateLimit
		ready []int32
		want  map[string]int64
	}{
		"no tag":                      {tagged(2, 50, 50), []int32{2, 2}, map[string]int64{"": 40}},
		"one revision":                {tagged(0, 100), []int32{2}, map[string]int64{"": 20}},
		"a tag apart":                 {tagged(1, 100, 0), []int32{3, 2}, map[string]int64{"": 30, "m-1": 20}},
		"a tag with more":             {tagged(1, 100, 0), []int32{3, 4}, map[string]int64{"": 30}},
		"a tag that nothing serves":   {tagged(1, 100, 0), []int32{3, 0}, map[string]int64{"": 30, "m-1": 10}},
		"a tag with a part":           {tagged(1, 50, 50), []int32{2, 3}, map[string]int64{"": 40, "m-0": 20, "m-1": 30}},
		"a tag of one, the other not": {tagged(1, 90, 10), []int32{9, 1}, map[string]int64{"": 100, "m-0": 90, "m-1": 10}},
	} {
		t.Run(name, func(t *testing.T) {
			_, slots := slotsFor(servedBy(test.limit, 1, test.ready...), nil)
			got := map[string]*big.Rat{}
			for _, slot := range slots {
				for _, l := range slices.Concat(slot.Limits...) {
					revision, _, _ := strings.Cut(strings.TrimPrefix(l.Cluster, "outbound|80||"), ".")
					if got[revision] == nil {
						got[revision] = new(big.Rat)
					}
					got[revision].Add(got[revision], capacity.Bucket{Tokens: l.Tokens, Fill: l.Fill}.Rate())
				}
			}
			for revision, rate := range got {
				if want := test.want[strings.TrimPrefix(revision, "outbound|81||")]; rate.Cmp(big.NewRat(want, 1)) != 0 {
					t.Errorf("%q may have %s, want %d", revision, rate, want)
				}
			}
			for revision := range test.want {
				if got[revision] == nil {
					t.Errorf("nothing holds %q", revision)
				}
			}
		})
	}
}

// Two rows of one revision would be one bucket twice, which Envoy refuses, and with it
// the limits of other Models.
func TestTrafficIsChecked(t *testing.T) {
	for name, spoil := range map[string]func(*v1alpha1.RateLimit){
		"twice":     func(l *v1alpha1.RateLimit) { l.Spec.Traffic[1].Revision = "m-0" },
		"no name":   func(l *v1alpha1.RateLimit) { l.Spec.Traffic[1].Revision = "outbound|80||x" },
		"nameless":  func(l *v1alpha1.RateLimit) { l.Spec.Traffic[1].Revision = "" },
		"too much":  func(l *v1alpha1.RateLimit) { l.Spec.Traffic[0].Percent = 101 },
		"less than": func(l *v1alpha1.RateLimit) { l.Spec.Traffic[0].Percent = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			l := tagged(1, 100, 0)
			spoil(l)
			if plans, _ := slotsFor(servedBy(l, 1, 1, 1), nil); plans[0].err == nil {
				t.Errorf("%+v is accepted", l.Spec.Traffic)
			}
		})
	}
}
