//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// steadyRate is the fixed limit, in requests per second.
	steadyRate = 100
	// settle is left out of the measurement: shares find the demand meanwhile, which
	// fills buckets once more, and those empty.
	settle = 4
	// measured is how many seconds are measured.
	measured = 10
	// tolerance of the rate that is admitted.
	tolerance = 0.02
	// deepBurst is how long the gateway or the load may stand still, on a machine
	// that they share with everything else, before tokens are lost. Every refill by
	// a change elsewhere would give as much away at once, half a second's requests.
	deepBurst = 500 * time.Millisecond
)

// A fixed limit at twice its rate is held within 2 %, while routes to another Model
// change twice a second, and so does the limit of one in another slot. Either would
// refill per-route buckets, or those of the same filter.
func TestLimitIsSteady(t *testing.T) {
	s := newStage(t)
	other := s.inAnotherSlot("steady", "other")
	s.create(s.ranker("steady", fixed(strconv.Itoa(steadyRate)), func(m *v1alpha1.Model) {
		m.Spec.Limit.Burst = &metav1.Duration{Duration: deepBurst}
	}))
	s.create(s.ranker(other, fixed("50")))
	steady := s.serving("steady")
	s.serving(other)
	s.reach(s.follow("steady"), 20*time.Second, "one replica", func(m platform.Moment) bool { return m.Ready() == 1 && m.Limit == steadyRate })

	route := s.routeTo(other)
	slot := slotName(s.namespace, other)
	routesBefore, slotBefore := s.routeGeneration(route), s.slotGeneration(slot)
	ctx, stop := context.WithCancel(t.Context())
	churned := make(chan error, 1)
	go func() { churned <- s.churn(ctx, route, other) }()
	report := s.run(plan(steady, load.Schedule{load.Hold(2*steadyRate, (settle+measured)*time.Second)}))
	routes, slots := s.routeGeneration(route)-routesBefore, s.slotGeneration(slot)-slotBefore
	stop()
	if err := <-churned; err != nil {
		t.Fatal("changing routes and limits:", err)
	}

	// Twice a second for 14 s, less what takes effect together on a busy machine.
	if routes < measured || slots < measured {
		t.Errorf("routes changed %d times and the other slot %d times, want at least %d of each", routes, slots, measured)
	}
	sum := load.Sum(report.Seconds[settle : settle+measured])
	if off := float64(sum.Admitted)/(steadyRate*measured) - 1; off < -tolerance || off > tolerance {
		t.Errorf("%d admitted in %d s, %+.1f %% off a limit of %d/s", sum.Admitted, measured, 100*off, steadyRate)
	}
	t.Logf("%d of %d admitted in %d s at a limit of %d/s; %d changes of routes, %d of the other slot",
		sum.Admitted, sum.Offered, measured, steadyRate, routes, slots)
	if !t.Failed() {
		return
	}
	for _, second := range report.Seconds {
		t.Logf("second %2d: %3d offered, %3d admitted, p99 %v", second.Index+1, second.Offered, second.Admitted, second.P99)
	}
}

// inAnotherSlot is a name for a Model whose slot is not that of the given one.
func (s *stage) inAnotherSlot(model, prefix string) string {
	name := prefix
	for i := 0; slotName(s.namespace, name) == slotName(s.namespace, model); i++ {
		name = fmt.Sprintf("%s-%d", prefix, i)
	}
	return name
}

// routeTo makes an Ingress of our class to a Model, whose routes can be changed at will:
// those of the Model itself are Knative's to write.
func (s *stage) routeTo(model string) *netv1alpha1.Ingress {
	s.Helper()
	ingress := s.route("changing", model, "changing."+s.namespace+".example.com")
	if _, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).Create(s.Context(), ingress, metav1.CreateOptions{}); err != nil {
		s.Fatal("creating an Ingress:", err)
	}
	s.until(20*time.Second, "the Ingress to be ready", func(ctx context.Context) (string, error) {
		got, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).Get(ctx, ingress.Name, metav1.GetOptions{})
		if err != nil || got.IsReady() {
			return "", err
		}
		return fmt.Sprintf("%+v", got.Status.GetCondition(netv1alpha1.IngressConditionReady)), nil
	})
	return ingress
}

// churn changes the Ingress's routes and a Model's limit twice a second until ctx
// ends.
func (s *stage) churn(ctx context.Context, route *netv1alpha1.Ingress, model string) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		header := fmt.Sprintf(`[{"op": "add", "path": "/spec/rules/0/http/paths/0/appendHeaders", "value": {"x-change": "%d"}}]`, i)
		if _, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).Patch(
			ctx, route.Name, types.JSONPatchType, []byte(header), metav1.PatchOptions{}); err != nil && ctx.Err() == nil {
			return fmt.Errorf("changing a route: %w", err)
		}
		rate := fmt.Sprintf(`{"spec": {"limit": {"requestsPerSecondPerReplica": "%d"}}}`, 50+i%10)
		if _, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Patch(
			ctx, model, types.MergePatchType, []byte(rate), metav1.PatchOptions{}); err != nil && ctx.Err() == nil {
			return fmt.Errorf("changing a limit: %w", err)
		}
	}
}

// routeGeneration counts the changes of an Ingress's VirtualService.
func (s *stage) routeGeneration(route *netv1alpha1.Ingress) int64 {
	s.Helper()
	got, err := s.Istio.NetworkingV1().VirtualServices(gateway.Namespace).Get(
		s.Context(), gateway.VirtualServiceName(route.Namespace, route.Name), metav1.GetOptions{})
	if err != nil {
		s.Fatal("getting a VirtualService:", err)
	}
	return got.Generation
}

// slotGeneration counts the changes of a slot.
func (s *stage) slotGeneration(name string) int64 {
	s.Helper()
	got, err := s.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal("getting a slot:", err)
	}
	return got.Generation
}
