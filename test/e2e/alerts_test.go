//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/stores"
)

const (
	// watchedOver is the window of rates here, in place of minutes and hours: three scrapes of the
	// slowest job.
	watchedOver = "45s"
	// firesWithin bounds the wait for an alert's condition from its cause on.
	firesWithin = 100 * time.Second
	// overload is offered to Models that serve 5 requests a second.
	overload, overloaded = 20, 75 * time.Second
)

// watched is a stage whose alerts are asked for.
type watched struct {
	*stage
	prometheus *stores.Metrics
	rules      rules
}

func newWatched(s *stage) *watched {
	s.Helper()
	prometheus, err := stores.FindPrometheus(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return &watched{stage: s, prometheus: prometheus, rules: readRules(s.T)}
}

// fires tells whether the condition of an alert is met now for what has these labels. How long it
// has to last is promtool's to test.
func (w *watched) fires(ctx context.Context, alert string, of map[string]string) (bool, error) {
	samples, err := w.prometheus.Query(ctx, w.rules.short(w.T, alert, watchedOver))
	if err != nil {
		return false, err
	}
	for _, sample := range samples {
		all := true
		for label, value := range of {
			all = all && sample.Labels[label] == value
		}
		if all {
			return true, nil
		}
	}
	return false, nil
}

func (w *watched) untilFires(alert string, of map[string]string) {
	w.Helper()
	took := w.until(firesWithin, fmt.Sprintf("%s of %v", alert, of), func(ctx context.Context) (string, error) {
		met, err := w.fires(ctx, alert, of)
		if err != nil || met {
			return "", err
		}
		return "its condition isn't met", nil
	})
	w.Logf("%s of %v after %.1f s", alert, of, took.Seconds())
}

func (w *watched) silent(alert string, of map[string]string) {
	w.Helper()
	met, err := w.fires(w.Context(), alert, of)
	if err != nil {
		w.Fatal(err)
	}
	if met {
		w.Errorf("%s of %v is met without its cause", alert, of)
	}
}

func (w *watched) model(name string) map[string]string {
	return map[string]string{"namespace": w.namespace, "model": name}
}

// Alerts are met by their causes, made for real, and not for a Model beside them that has none: a
// limit at its cap, one that is starved, a warm-up that fails, and, where the gateways' log is
// collected, answers that are too slow.
func TestAlertsByTheirCauses(t *testing.T) {
	t.Parallel()
	w := newWatched(newStage(t))
	w.create(w.ranker("sound", fixed("50"), warmed, promising(time.Minute)))
	w.create(w.ranker("capped", fixed("5")))
	w.create(w.ranker("starved", neverMore("5")))
	w.create(w.ranker("cold", unsettled))
	w.create(w.ranker("slow", fixed("50"), promising(5*time.Millisecond), func(m *v1alpha1.Model) {
		m.Spec.Container.Env = append(m.Spec.Container.Env, corev1.EnvVar{Name: "RANKER_SETTLE", Value: "300ms"}) // slow at first
	}))
	for _, name := range []string{"sound", "capped", "starved", "slow"} {
		endpoint := w.serving(name)
		ended := make(chan struct{})
		p := plan(endpoint, load.Schedule{load.Hold(overload, overloaded)})
		go func() {
			defer close(ended)
			if _, err := p.Run(w.Context()); err != nil {
				w.Error(err)
			}
		}()
		t.Cleanup(func() { <-ended })
	}
	w.untilFires("SluiceLimitAtCap", w.model("capped"))
	w.untilFires("SluiceAutoscalerAtMax", w.model("capped"))
	w.untilFires("SluiceLimitStarved", w.model("starved"))
	w.untilFires("SluiceWarmUpFailing", w.model("cold"))
	w.silent("SluiceLimitStarved", w.model("capped"))
	w.silent("SluiceLimitAtCap", w.model("starved"))
	for _, alert := range []string{"SluiceLimitStarved", "SluiceLimitAtCap", "SluiceWarmUpFailing", "SluiceLimitNotProved", "SluiceSlotFull"} {
		w.silent(alert, w.model("sound"))
	}
	if os.Getenv("SLUICE_OBSERVABILITY") != "true" {
		t.Log("The gateways' log isn't collected (SLUICE_OBSERVABILITY), so alerts that go by it are left out")
		return
	}
	w.untilFires("SluiceModelLatencyBudgetFast", w.model("slow"))
	w.silent("SluiceModelLatencyBudgetFast", w.model("sound"))
	w.silent("SluiceModelErrorBudgetFast", w.model("slow"))
}

// A tenant's certificate of a day is told of as one that ends, by both alerts.
func TestAlertsOfCertificates(t *testing.T) {
	n := newTenants(t, wanted("acme", ownDomain))[0]
	w := newWatched(n.stage)
	w.silent("SluiceCertificateEnding", map[string]string{"tenant": n.name})
	n.keep("wildcard", newCertificate(t, "*."+n.namespace+"."+n.now().Spec.Domain))
	n.change(func(of *v1alpha1.Tenant) {
		of.Spec.TLS = &v1alpha1.TenantTLS{SecretName: "wildcard", SecretNamespace: n.namespace}
	})
	n.settled()
	w.untilFires("SluiceCertificateEnding", map[string]string{"tenant": n.name})
	w.untilFires("SluiceCertificateEnded", map[string]string{"tenant": n.name})
}

// neverMore is a limit by which the autoscaler is never asked for a second replica, though there
// could be one: what is admitted is all that it sees.
func neverMore(rate string) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		quantity := resource.MustParse(rate)
		m.Spec.Autoscaling = v1alpha1.AutoscalingSpec{MinReplicas: ptr.Int32(1), MaxReplicas: ptr.Int32(4), Metric: v1alpha1.MetricRPS, Target: ptr.Int32(1000)}
		m.Spec.Limit = v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &quantity, Policy: v1alpha1.PolicyReady}
	}
}

// promising has 99.9 % of the requests answered in a time.
func promising(threshold time.Duration) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		percent := resource.MustParse("99.9")
		m.Spec.Objective = &v1alpha1.ObjectiveSpec{
			Availability: &percent, Latency: &v1alpha1.ObjectiveLatency{Threshold: metav1.Duration{Duration: threshold}, Percent: &percent},
		}
	}
}
