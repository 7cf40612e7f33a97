package limit

import (
	"fmt"
	"math"
	"math/big"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
	"knative.dev/serving/pkg/apis/serving"
	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/division"
	"sluice.dev/sluice/functions/limit/slack"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// fleets are Models with a batch each, of whose replicas the autoscaler has at once what is
// called for.
type fleets struct {
	*Function
	clock  *clocktesting.FakeClock
	limits []*v1alpha1.RateLimit
	rule   capacity.Rule
	// most is the maxReplicas of each, cap that all share; nil for none.
	most int32
	cap  *big.Rat
	// there are the replicas of each, demand is the online demand for it.
	there  []int32
	demand float64
}

// demanded is a division of a demand, in requests per second.
func demanded(rate float64) division.Division {
	return division.Division{}.Next([]division.Site{{Places: []division.Place{{Role: division.Forwarding, Demand: rate}}}}, 100, time.Time{})
}

func newFleets(there ...int32) *fleets {
	f := &fleets{Function: New(), clock: clocktesting.NewFakeClock(time.Unix(2_000_000_000, 0)), there: there}
	f.Clock = f.clock
	f.Caches.Pods, f.Caches.Deployments = cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexByRevision()), cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexByRevision())
	f.rule = capacity.Rule{PerReplica: big.NewRat(10, 1), Policy: v1alpha1.PolicyDemand, Headroom: big.NewRat(1, 1)}
	for i := range there {
		l := rateLimit(string(rune('a' + i)))
		l.Spec.Cap = &v1alpha1.RateLimitCap{Name: "cap"}
		f.limits = append(f.limits, l)
	}
	return f
}

// ask has each batch ask for so many requests within a time.
func (f *fleets) ask(requests float64, left time.Duration) {
	for _, l := range f.limits {
		f.batches.asked[key(l)] = asking{at: f.clock.Now()}
		if n, ok := slack.NeedOf(requests, left, 0); ok {
			f.batches.asked[key(l)] = asking{at: f.clock.Now(), needs: []slack.Need{n}}
		}
	}
}

// next is what is called for in a pass, a second after the last one.
func (f *fleets) next(t interface{ Fatal(...any) }) []int32 {
	f.clock.Step(time.Second)
	s, plans := &state{replicas: map[string][]capacity.Replicas{}}, make([]plan, len(f.limits))
	for i, l := range f.limits {
		of := []capacity.Replicas{{Revision: "m-1", Percent: 100, Desired: f.there[i], Ready: f.there[i], Max: f.most, Initial: 1}}
		s.replicas[key(l)] = of
		plans[i] = plan{of: l, rule: f.rule, uncapped: f.rule.Limit(of), cap: f.cap, serving: f.rule.Serving(of), batch: true, marks: true}
	}
	applyCaps(plans)
	f.divisions = map[string]division.Division{}
	for _, l := range f.limits {
		f.divisions[l.Spec.VirtualService] = demanded(f.demand)
	}
	if err := f.call(s, plans); err != nil {
		t.Fatal(err)
	}
	for i, l := range f.limits {
		f.there[i] = f.calledOf(&plans[i], s.replicas[key(l)][0])
	}
	return f.there
}

// However much is needed, no more replicas are called for than serve what a cap lets
// through, be it one's own or shared, and they don't come and go as it begins to bind.
func TestCallKeepsToACap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFleets(rapid.SliceOfN(rapid.Int32Range(1, 3), 1, 3).Draw(t, "there")...)
		f.cap = big.NewRat(rapid.Int64Range(1, 100).Draw(t, "cap"), 1)
		f.most = rapid.SampledFrom([]int32{0, 0, 4, 1000}).Draw(t, "maxReplicas")
		shared, _ := f.cap.Float64()
		most := int32(1)
		for float64(most)*10 < shared {
			most++
		}
		falls := make([]int, len(f.there))
		for i := range 100 {
			f.ask(1e6, time.Duration(1000-i)*time.Second)
			before := append([]int32{}, f.there...)
			for of, n := range f.next(t) {
				if n > most {
					t.Fatalf("%d replicas are called for in pass %d, %d serve the cap of %g", n, i, most, shared)
				}
				if n < before[of] {
					falls[of]++
				}
			}
		}
		for of, n := range falls {
			if n > 1 { // from what was there at first
				t.Fatalf("those of %d became fewer %d times", of, n)
			}
		}
	})
}

// Without maxReplicas, what is called for is bounded by the online demand: that the autoscaler
// wants what was called for makes it no more, nor does what can't be had of a demand.
func TestCallDoesNotFeedOnItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFleets(rapid.Int32Range(1, 30).Draw(t, "there"))
		f.limits[0].Spec.Cap = nil
		demand, requests := rapid.Float64Range(0, 300).Draw(t, "demand"), rapid.Float64Range(1e5, 1e15).Draw(t, "requests")
		for i := range 120 {
			f.demand = demand * rapid.Float64Range(.97, 1).Draw(t, "moves")
			f.ask(requests, time.Duration(1000-i)*time.Second)
			got, most := f.next(t)[0], int32(math.Ceil(demand/10))+callBeside
			if got > most {
				t.Fatalf("%d replicas are called for in pass %d, of %d", got, i, most)
			}
			if got < callBeside {
				t.Fatalf("%d replicas are called for in pass %d, and there may be %d beside a demand of %g", got, i, callBeside, demand)
			}
		}
	})
}

// readyAfter is a pod of revision m-1 that was ready that long after it was made, and was
// started again so often.
func readyAfter(after time.Duration, restarts int32) *corev1.Pod {
	made := time.Unix(2_000_000_000, 0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: fmt.Sprint("m-", after, restarts), Labels: map[string]string{serving.RevisionLabelKey: "m-1"}, CreationTimestamp: metav1.NewTime(made)},
		Status: corev1.PodStatus{
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(made.Add(time.Second))},
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(made.Add(after))},
			},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "model", RestartCount: restarts, Ready: true}},
		},
	}
}

// How long replicas took is known when there are none any more, until other ones take another
// time or the limit goes.
func TestStartOfThoseThatWereThere(t *testing.T) {
	f := newFleets(1)
	k := key(f.limits[0])
	see := func(ready, desired int32, pods ...*corev1.Pod) time.Duration {
		t.Helper()
		objects := make([]any, 0, len(pods))
		for _, pod := range pods {
			objects = append(objects, pod)
		}
		if err := f.Caches.Pods.Replace(objects, ""); err != nil {
			t.Fatal(err)
		}
		of := []capacity.Replicas{{Revision: "m-1", Percent: 100, Desired: desired, Ready: ready}}
		s := &state{limits: f.limits, replicas: map[string][]capacity.Replicas{k: of}, starts: map[revisionKey]capacity.Starts{}}
		if ready < desired {
			starts, err := f.Caches.starts("team", "m-1")
			if err != nil {
				t.Fatal(err)
			}
			s.starts[revisionKey{limit: k, revision: "m-1"}] = starts
		}
		if err := f.expect(s, f.clock.Now()); err != nil {
			t.Fatal(err)
		}
		got, err := f.startOf(&plan{of: f.limits[0]}, of)
		if err != nil {
			t.Fatal(err)
		}
		return got - slack.Reaction
	}
	quick, slow := readyAfter(2*time.Second, 0), readyAfter(7*time.Second, 0)
	for _, tt := range []struct {
		when string
		got  time.Duration
		want time.Duration
	}{
		{"none was ever there", see(0, 0), unknownStart},
		{"one is on its way", see(0, 1), unknownStart},
		{"it is there, and its pod isn't known to be", see(1, 1), unknownStart},
		{"it is", see(1, 1, quick), 2 * time.Second},
		{"none is there any more", see(0, 0), 2 * time.Second},
		{"others are on their way", see(0, 2), 2 * time.Second},
		{"they took longer", see(1, 1, slow), 7 * time.Second},
		{"none is there any more again", see(0, 0), 7 * time.Second},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %s, want %s", tt.when, tt.got, tt.want)
		}
	}
	if err := f.expect(&state{}, f.clock.Now()); err != nil || len(f.took) > 0 {
		t.Errorf("without limits %v is known, %v", f.took, err)
	}
}

// A replica takes as long as one took, and with no replica of which that is known some time
// that is neither the age of one whose container was started again nor the deadline.
func TestStartOf(t *testing.T) {
	for name, tt := range map[string]struct {
		pods []*corev1.Pod
		want time.Duration
	}{
		"from zero":                  {nil, unknownStart},
		"as one took":                {[]*corev1.Pod{readyAfter(4*time.Second, 0)}, 4 * time.Second},
		"started again, a day later": {[]*corev1.Pod{readyAfter(24*time.Hour, 1)}, unknownStart},
		"started again, soon":        {[]*corev1.Pod{readyAfter(time.Minute, 1)}, unknownStart},
		"ready again, a day later":   {[]*corev1.Pod{readyAfter(24*time.Hour, 0)}, unknownStart},
		"one of them is as it was":   {[]*corev1.Pod{readyAfter(24*time.Hour, 1), readyAfter(5*time.Minute, 0), readyAfter(6*time.Second, 0)}, 6 * time.Second},
	} {
		f := newFleets(1)
		for _, pod := range tt.pods {
			slim, err := slimPod(pod)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Caches.Pods.Add(slim); err != nil {
				t.Fatal(err)
			}
		}
		got, err := f.startOf(&plan{of: f.limits[0]}, []capacity.Replicas{{Revision: "m-1", Percent: 100}, {Revision: "m-2"}})
		if err != nil || got != tt.want+slack.Reaction {
			t.Errorf("%s: %s, %v, want %s", name, got, err, tt.want+slack.Reaction)
		}
	}
}
