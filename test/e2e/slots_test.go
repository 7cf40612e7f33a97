//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/platform"
)

// The number of slots changes, there and back, while a Model is offered four times its
// limit: no request is lost, no second admits what two pods may not, and nothing of the
// former number is left.
func TestNumberOfSlotsChanges(t *testing.T) {
	const (
		slots, age = "limit-slots", "max-connection-duration"
		limit      = 50
		rolled     = time.Minute
	)
	brief := configure(t, sluice.SystemNamespace, config.GatewayName, age, ptr.String(briefConnections))
	t.Cleanup(func() { configure(t, sluice.SystemNamespace, config.GatewayName, age, brief) })
	s := newStage(t)
	s.create(s.ranker("m", fixed(strconv.Itoa(limit))))
	endpoint := s.serving("m")
	trail := s.follow("m")
	s.reach(trail, 10*time.Second, "the limit", limitOf(limit))

	end := s.offer(endpoint, 4*limit)
	before := configure(t, sluice.SystemNamespace, config.GatewayName, slots, ptr.String("6"))
	back := func() {
		configure(t, sluice.SystemNamespace, config.GatewayName, slots, before)
		if err := platform.Until(context.Background(), rolled, "the former number of slots", s.slotted(gateway.DefaultSlots)); err != nil {
			t.Error(err)
		}
	}
	undone := false
	t.Cleanup(func() {
		if !undone {
			back()
		}
	})
	took := s.until(rolled, "six slots", s.slotted(6))
	s.reach(trail, 10*time.Second, "the limit in six slots", limitOf(limit))
	undone = true
	back()
	s.reach(trail, 10*time.Second, "the limit in four", limitOf(limit))
	report := end()
	t.Logf("all pods had six slots after %.1f s", took.Seconds())
	s.bounded(report, limit, 2)
	if most := 1.1 * limit * float64(len(report.Seconds)); float64(report.Total.Admitted) > most {
		t.Errorf("%d admitted in %d s, want at most %.0f", report.Total.Admitted, len(report.Seconds), most)
	}
}

// slotted is met once the pods of the shared gateway have slots in that number, and
// nothing else that was made for slots is there.
func (s *stage) slotted(slots int) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		selector := metav1.ListOptions{LabelSelector: gateway.LabelKey + "=" + gateway.Shared}
		pods, err := s.Kube.CoreV1().Pods(gateway.Namespace).List(ctx, selector)
		if err != nil {
			return "", err
		}
		for _, p := range pods.Items {
			if n := gateway.SlotsOf(p.Labels); n != slots {
				return fmt.Sprintf("pod %s has %d slots", p.Name, n), nil
			}
		}
		filters, err := s.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).List(ctx, selector)
		if err != nil {
			return "", err
		}
		found := 0
		for _, f := range filters.Items {
			switch n := gateway.SlotsOf(f.Labels); {
			case n == slots && f.Labels[gateway.SlotLabelKey] != "":
				found++
			case n != 0 && n != slots:
				return f.Name + " is there", nil
			}
		}
		if len(pods.Items) == 0 || found != slots {
			return fmt.Sprintf("%d pods, %d slots", len(pods.Items), found), nil
		}
		return "", nil
	}
}
