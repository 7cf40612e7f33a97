package limit

import (
	"context"
	"math/big"
	"strings"
	"testing"
	"time"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// arriving is the same demand everywhere, by entry.
type arriving []float64

func (a arriving) At(string, string) []float64      { return a }
func (a arriving) Arrived(string, string) []float64 { return a }
func (arriving) Marked(string, string) []float64    { return make([]float64, len(gateway.Entries())) }
func (a arriving) Latest(string, string) []float64  { return a }
func (arriving) ReadAt(string) time.Time            { return time.Time{} }
func (arriving) Known() bool                        { return true }
func (arriving) Run(context.Context)                {}

// What all pods and filter chains admit together is the limit, whatever the demand,
// however many certificates serve the host, and whichever number of slots a pod has.
func TestSlotsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		certificates := rapid.IntRange(0, 3).Draw(t, "certificates")
		pods := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Pod { return Pod{Slots: rapid.IntRange(3, 5).Draw(t, "slots")} }), 1, 4).Draw(t, "pods")
		gateways := []*istiov1.Gateway{istioGatewayOf(gateway.Shared, gateway.Shared, gateway.External, "./*")}
		serving := []string{gateway.Shared}
		for _, owner := range []string{"a", "b", "c"}[:certificates] {
			name := gateway.SecureName(owner, gateway.Shared)
			gateways = append(gateways, istioGatewayOf(name, gateway.Shared, gateway.Secure, "./*.blue.test"))
			serving = append(serving, name)
		}
		l := rateLimit("m")
		s := &state{
			limits:   []*v1alpha1.RateLimit{l},
			replicas: map[string][]capacity.Replicas{key(l): {{Percent: 100, Ready: rapid.Int32Range(1, 50).Draw(t, "ready"), Desired: 50}}},
			pods:     map[string][]Pod{gateway.Shared: pods},
			counts:   map[string]sets.Set[int]{},
			routing:  newRouting(gateways, []*istiov1.VirtualService{routeTo("team.m", serving, "m.blue.test")}),
		}
		for _, p := range pods {
			s.count(gateway.Shared, p.Slots)
		}
		f := New()
		f.Demand = arriving(rapid.SliceOfN(rapid.Float64Range(0, 100), 3, 3).Draw(t, "demand"))
		plans := decide(s, nil)
		f.divide(s, plans)
		sum := new(big.Rat)
		slots := f.slotsOf(s, plans, "token")
		for _, pod := range pods {
			sum.Add(sum, admittedBy(pod, slots, certificates))
		}
		if sum.Cmp(plans[0].limit) != 0 {
			t.Fatalf("%v with %d certificates admit %s of %s", pods, certificates, sum, plans[0].limit)
		}
	})
}

// admittedBy is what a pod admits by the slots that reach it, over all of its entries
// and filter chains.
func admittedBy(pod Pod, slots []resources.Slot, certificates int) *big.Rat {
	sum := new(big.Rat)
	for _, slot := range slots {
		if slot.Slots != pod.Slots {
			continue
		}
		for e, limits := range slot.Limits {
			for _, l := range limits {
				rate := capacity.Bucket{Tokens: l.Tokens, Fill: l.Fill}.Rate()
				if gateway.Entries()[e] == gateway.Secure {
					rate.Mul(rate, big.NewRat(int64(max(1, certificates)), 1))
				}
				sum.Add(sum, rate)
			}
		}
	}
	return sum
}

// While pods of two numbers of slots serve, each holds every limit, and each is asked
// about the slot that it has it in; nothing is left for a number that no pod has.
func TestTwoNumbersOfSlots(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, rateLimit("m"))
	b.serve(gateway.Shared, gateway.Shared, gateway.External, "./*")
	b.route(routeTo("team.m", []string{gateway.Shared}))
	b.until("the first limit", b.applied(10))
	filters := b.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace)
	const count = 7
	if _, err := filters.Create(t.Context(), inserting(gateway.Shared, count), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("slots in both numbers", func() bool { return b.slotWrites() == gateway.DefaultSlots+1+count })
	next := gatewayPod(gateway.Shared, "shared-b")
	next.Labels = gateway.PodSelector(gateway.Shared, count)
	if _, err := b.kube.CoreV1().Pods(gateway.Namespace).Create(t.Context(), next, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the proof on both pods", func() bool { return b.applied(10)() && b.limit("m").Status.Limit.ProvedGatewayPods == 2 })
	in := gateway.SlotObjectName(gateway.Shared, count, SlotOf("team.m", count))
	for _, object := range []string{slotAt(gateway.Shared, "team.m"), in} {
		filter, err := b.slot(t.Context(), object, gateway.External)
		if err != nil {
			t.Fatal(err)
		}
		if len(filter.GetDescriptors()) != 2 { // the prober's, and the Model's
			t.Errorf("slot %s holds %v", object, filter.GetDescriptors())
		}
	}

	// The former pods are gone, and the gateway's builder takes away what inserted theirs.
	if err := b.kube.CoreV1().Pods(gateway.Namespace).Delete(t.Context(), "shared-a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the proof on the one that is left", func() bool { return b.limit("m").Status.Limit.GatewayPods == 1 && b.applied(10)() })
	if err := filters.Delete(t.Context(), inserting(gateway.Shared, gateway.DefaultSlots).Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	former := slotAt(gateway.Shared, "team.m")
	if err := filters.Delete(t.Context(), former, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.scale(2, 2)
	b.until("a later limit", b.applied(20))
	if _, err := filters.Get(t.Context(), former, metav1.GetOptions{}); err == nil {
		t.Error("a slot in a number that no pod has was written")
	}
}

// A RateLimit that names another's virtual service, whatever comes first by name, gets
// nothing and takes nothing, and says why.
func TestForgedRateLimit(t *testing.T) {
	elsewhere := aboutAnother(rateLimit("m"))
	elsewhere.Namespace = "another"
	for name, forged := range map[string]*v1alpha1.RateLimit{"of its namespace": aboutAnother(rateLimit("a")), "of another namespace": elsewhere} {
		t.Run(name, func(t *testing.T) {
			own := rateLimit("m")
			s := &state{limits: []*v1alpha1.RateLimit{forged, own}, routing: newRouting(nil, nil)}
			plans := decide(s, nil)
			if err := plans[0].err; err == nil || !strings.Contains(err.Error(), "spec.virtualService") {
				t.Errorf("the forged one is refused by %v", err)
			}
			if err := plans[1].err; err != nil || len(plans[1].homes) != 1 || plans[1].limit.Cmp(big.NewRat(10, 1)) != 0 {
				t.Errorf("its own has %v at %d gateways: %v", plans[1].limit, len(plans[1].homes), err)
			}
		})
	}
}
