package limit

import (
	"context"
	"math/big"
	"testing"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// arriving is the same demand everywhere, by entry.
type arriving []float64

func (a arriving) At(string, string) []float64 { return a }
func (arriving) Run(context.Context)           {}

// What all pods and filter chains admit together is the limit, whatever the demand
// and however many certificates serve the host.
func TestSlotsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		certificates, pods := rapid.IntRange(0, 3).Draw(t, "certificates"), rapid.IntRange(1, 4).Draw(t, "pods")
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
			replicas: map[string][]Replicas{key(l): {{Percent: 100, Ready: rapid.Int32Range(1, 50).Draw(t, "ready"), Desired: 50}}},
			pods:     map[string][]Pod{gateway.Shared: make([]Pod, pods)},
			routing:  newRouting(gateways, []*istiov1.VirtualService{routeTo("team.m", serving, "m.blue.test")}),
		}
		f := New()
		f.Demand = arriving(rapid.SliceOfN(rapid.Float64Range(0, 100), 3, 3).Draw(t, "demand"))
		plans := decide(s, nil)
		f.divide(plans)
		sum := new(big.Rat)
		for _, slot := range slotsOf(s, plans, f.divisions, "token") {
			for _, l := range slot.Limits {
				buckets := int64(pods)
				if slot.Entry == gateway.Secure {
					buckets *= int64(max(1, certificates))
				}
				rate := Bucket{Tokens: l.Tokens, Fill: l.Fill}.Rate()
				sum.Add(sum, rate.Mul(rate, ratio(buckets, 1)))
			}
		}
		if sum.Cmp(plans[0].limit) != 0 {
			t.Fatalf("%d pods with %d certificates admit %s of %s", pods, certificates, sum, plans[0].limit)
		}
	})
}
