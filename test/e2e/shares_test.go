//go:build e2e

package e2e

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/network"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// All of a demand of twice the limit goes over from the external entry to the
// cluster-local one. Within ten seconds nine tenths of the limit are admitted there,
// and no more than it, for both together, at any time.
func TestSharesFollowTheDemand(t *testing.T) {
	const limit, before, after = 100, 6, 14
	s := newStage(t)
	s.create(s.ranker("ranker", fixed("100")))
	external := s.serving("ranker")
	local := platform.Endpoint{Address: s.localAddress(gateway.Shared), Host: network.GetServiceHostname("ranker", s.namespace)}
	s.reach(s.follow("ranker"), 10*time.Second, "the limit", func(m platform.Moment) bool { return m.Limit == limit })

	first := s.run(plan(external, load.Schedule{load.Hold(2*limit, before*time.Second)}))
	second := s.run(plan(local, load.Schedule{load.Hold(2*limit, after*time.Second)}))
	for i, sec := range second.Seconds {
		t.Logf("second %2d at the other entry: %3d of %3d admitted", i+1, sec.Admitted, sec.Offered)
	}
	late := load.Sum(second.Seconds[10:after])
	if least := 0.9 * limit * (after - 10); float64(late.Admitted) < least {
		t.Errorf("%d admitted in %d s from the eleventh on, want at least %g", late.Admitted, after-10, least)
	}
	// A bucket is full to begin with, a tenth of a second and two requests; each of the
	// handful of times that shares move fills two.
	const moves = 8
	total, most := first.Total.Admitted+second.Total.Admitted, limit*(before+after)+2*moves*(limit/10+2)
	if total > most {
		t.Errorf("%d admitted in %d s, want at most %d", total, before+after, most)
	}
	t.Logf("%d admitted in %d s at a limit of %d/s, %d of them in the last %d s", total, before+after, limit, late.Admitted, after-10)
}

// Traffic of two fifths of the limit goes over to the cluster-local entry, and back: there
// is room for it at both.
func TestTrafficChangesItsEntry(t *testing.T) {
	const limit, rate, first, each = 100, 40, 10, 5
	s := newStage(t)
	s.create(s.ranker("ranker", fixed("100")))
	external := s.serving("ranker")
	local := platform.Endpoint{Address: s.localAddress(gateway.Shared), Host: network.GetServiceHostname("ranker", s.namespace)}
	s.reach(s.follow("ranker"), 10*time.Second, "the limit", limitOf(limit))

	s.run(plan(external, load.Schedule{load.Hold(rate, first*time.Second)}))
	for _, to := range []struct {
		name string
		at   platform.Endpoint
	}{{"local", local}, {"external", external}} {
		report := s.run(plan(to.at, load.Schedule{load.Hold(rate, each*time.Second)}))
		t.Logf("%d of the first %d at the %s entry were refused", report.Total.Limited, report.Total.Offered, to.name)
		if most := report.Total.Offered / 50; report.Total.Limited > most { // the load isn't quite even
			t.Errorf("%d of %d were refused at the %s entry, want at most %d", report.Total.Limited, report.Total.Offered, to.name, most)
		}
	}
}

// localAddress is an address on this machine of the entry that is for callers
// within the cluster.
func (s *stage) localAddress(of string) string {
	s.Helper()
	services := s.Kube.CoreV1().Services(gateway.Namespace)
	made, err := services.Create(s.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-local"},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeLoadBalancer,
			Selector: map[string]string{gateway.LabelKey: of},
			Ports:    []corev1.ServicePort{{Name: "http2", Port: 80, TargetPort: intstr.FromInt32(int32(gateway.Local.Port))}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal("creating a Service:", err)
	}
	s.Cleanup(func() {
		if err := services.Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil {
			s.Error("deleting a Service:", err)
		}
	})
	address := ""
	s.until(readyWithin, "an address of the Service", func(ctx context.Context) (string, error) {
		if address, err = s.serviceAddress(ctx, made.Name, 80); err != nil {
			return err.Error(), nil //nolint:nilerr // what is waited for
		}
		if _, err := ask(ctx, address, "http://nobody.example.org/"); err != nil {
			return err.Error(), nil //nolint:nilerr // what is waited for
		}
		return "", nil
	})
	return address
}
