//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/ptr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// Who may edit a namespace gets past neither a Model's limit nor the tenant's caps: by a
// Route of their own, by a domain for the revision, by a Knative Service beside it. What
// re-enters at the Model's own host is in its limit, and goes on: a domain for its Knative
// Service, and one that names the Model itself.
func TestNobodyPassesALimit(t *testing.T) {
	n := newTenants(t, wanted("acme"))[0]
	const rate, seconds = 5, 6
	n.create(n.ranker("ranker", fixed("5")))
	before := n.plain("before", n.container(), nil)
	endpoint := n.serving("ranker")
	account, err := n.modelTeam(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	knative, err := n.KnativeAs(account)
	if err != nil {
		t.Fatal(err)
	}
	n.wrote(knative.ServingV1().Routes(n.namespace).Create(t.Context(), ownRoute(n.namespace, "past", rankerRevision), metav1.CreateOptions{}))
	n.says("past", "ReplicasOfModel", "Model ranker")
	direct, mapped, named := "direct."+n.name+".example.org", "mapped."+n.name+".example.org", "named."+n.name+".example.org"
	for host, name := range map[string]string{direct: rankerRevision, mapped: "ranker", named: "ranker"} {
		n.claimDomain(host)
		mapping := domainMapping(n.namespace, host, name)
		switch host {
		case direct:
			mapping.Spec.Ref.APIVersion = "v1"
		case named:
			mapping.Spec.Ref = *n.reference("ranker")
		}
		n.wrote(knative.ServingV1beta1().DomainMappings(n.namespace).Create(t.Context(), mapping, metav1.CreateOptions{}))
	}
	n.says(direct, "ReplicasOfModel", "Model ranker")

	n.predict(platform.Endpoint{Address: cluster.address, Host: before})
	n.change(func(of *v1alpha1.Tenant) { of.Spec.Limits.Models = ptr.Int32(3) })
	n.says("before", v1alpha1.ReasonTenantCapped, n.name)
	n.answers(before, http.StatusNotFound)

	for _, host := range []string{mapped, named} {
		n.until(readyWithin, "domain "+host+" to be ready", func(ctx context.Context) (string, error) {
			got, err := n.Serving.ServingV1beta1().DomainMappings(n.namespace).Get(ctx, host, metav1.GetOptions{})
			if err != nil || got.IsReady() {
				return "", err
			}
			return fmt.Sprintf("%+v", got.Status.Conditions), nil
		})
	}
	plans, passed := map[string]load.Plan{}, 0
	for _, host := range []string{endpoint.Host, "past." + strings.TrimPrefix(endpoint.Host, "ranker."), direct, mapped, named} {
		plans[host] = plan(platform.Endpoint{Address: cluster.address, Host: host}, load.Schedule{load.Hold(2*rate, seconds*time.Second)})
	}
	for host, report := range n.runAll(plans) {
		t.Logf("%s: %+v, codes %v", host, report.Total, report.Codes)
		passed += report.Total.Admitted
	}
	if passed > most(rate, seconds) {
		t.Errorf("%d passed in %d s, at a limit of %d/s", passed, seconds, rate)
	}
}

// ownRoute is a Route of our class to a revision, labelled as its Model's. Knative's own
// label is for those that a Service owns.
func ownRoute(namespace, name, revision string) *servingv1.Route {
	model, _, _ := strings.Cut(revision, "-0")
	return &servingv1.Route{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Labels:      map[string]string{sluice.ModelLabelKey: model},
			Annotations: map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName},
		},
		Spec: servingv1.RouteSpec{Traffic: []servingv1.TrafficTarget{{RevisionName: revision, Percent: ptr.Int64(100)}}},
	}
}

// wrote ends the test if an account was not let write something: then nothing
// was tried.
func (s *stage) wrote(_ any, err error) {
	s.Helper()
	if err != nil {
		s.Fatal("writing as the model team:", err)
	}
}

// says waits until a route is refused, with nothing at the gateways, for a reason that
// names something.
func (s *stage) says(route, reason, naming string) {
	s.Helper()
	s.until(refusedWithin, "Ingress "+route+" to be refused", func(ctx context.Context) (string, error) {
		got, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).Get(ctx, route, metav1.GetOptions{})
		if isGone, err := gone(err); err != nil || isGone {
			return "there is none yet", err
		}
		ready := got.Status.GetCondition(netv1alpha1.IngressConditionReady)
		if !ready.IsFalse() || ready.Reason != reason || !strings.Contains(ready.Message, naming) {
			return fmt.Sprintf("%+v", ready), nil
		}
		_, err = s.Istio.NetworkingV1().VirtualServices(gateway.Namespace).Get(ctx, gateway.VirtualServiceName(s.namespace, route), metav1.GetOptions{})
		if isGone, err := gone(err); err != nil || isGone {
			return "", err
		}
		return "there is a VirtualService for it", nil
	})
}

// answers waits until a host answers with a status at the shared gateway.
func (s *stage) answers(host string, status int) {
	s.Helper()
	s.until(refusedWithin, fmt.Sprintf("%s to answer %d", host, status), func(ctx context.Context) (string, error) {
		got, err := ask(ctx, cluster.address, "http://"+host+readyPath)
		if err != nil || got.status == status {
			return "", err
		}
		return fmt.Sprintf("it answers %d", got.status), nil
	})
}

// While there is no limiter a new Model has no route, one that has a route keeps it, and
// the new one is served once its limit was proved.
func TestNoRouteWithoutItsLimit(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("old", fixed("20")))
	old := s.serving("old")
	from := s.resize(t.Context(), sluice.SystemNamespace, "limiter", 0)
	back := func(ctx context.Context) { s.resize(ctx, sluice.SystemNamespace, "limiter", from) }
	s.Cleanup(func() { back(context.Background()) })
	s.scaled(sluice.SystemNamespace, "limiter", 0)

	s.create(s.ranker("new", fixed("20")))
	host := strings.Replace(old.Host, "old.", "new.", 1)
	s.until(readyWithin, "the new one's route to wait", func(ctx context.Context) (string, error) {
		got, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).Get(ctx, "new", metav1.GetOptions{})
		if isGone, err := gone(err); err != nil || isGone {
			return "there is none yet", err
		}
		ready := got.Status.GetCondition(netv1alpha1.IngressConditionReady)
		if ready == nil || !ready.IsUnknown() || ready.Reason != "LimitNotProved" {
			return fmt.Sprintf("%+v", ready), nil
		}
		return "", nil
	})
	s.answers(host, http.StatusNotFound)
	s.predict(old)

	back(t.Context())
	took := time.Now()
	endpoint := s.serving("new")
	t.Logf("served %.1f s after the limiter was asked back", time.Since(took).Seconds())
	s.predict(endpoint)
	limit, err := s.Sluice.SluiceV1alpha1().RateLimits(s.namespace).Get(t.Context(), "new", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !limit.ProvedAt(gateway.Shared) {
		t.Errorf("it is served, and its limit is %+v", limit.Status)
	}
}

// A RateLimit is the controller's to write, and about the virtual service of its own
// namespace and name: whoever writes another one is refused.
func TestForgedRateLimit(t *testing.T) {
	t.Parallel()
	s, victim := newStage(t), newStage(t)
	forged := func(name, of string) *v1alpha1.RateLimit {
		return &v1alpha1.RateLimit{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
			Spec: v1alpha1.RateLimitSpec{
				Gateways: []string{gateway.Shared}, VirtualService: gateway.VirtualServiceName(of, "ranker"),
				RequestsPerSecondPerReplica: *quantity("1k"), Burst: metav1.Duration{Duration: time.Second}, Policy: v1alpha1.PolicyReady,
			},
		}
	}
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	users, controller := s.Sluice.SluiceV1alpha1().RateLimits(s.namespace), s.AsController.SluiceV1alpha1().RateLimits(s.namespace)
	if _, err := controller.Create(t.Context(), forged("ranker", s.namespace), dry); err != nil {
		t.Fatal("the controller's own:", err)
	}
	for what, try := range map[string]func() error{
		"spec.limit of the Model": func() error {
			_, err := users.Create(t.Context(), forged("ranker", s.namespace), dry)
			return err
		},
		gateway.VirtualServiceName(s.namespace, "ranker"): func() error {
			_, err := controller.Create(t.Context(), forged("ranker", victim.namespace), dry)
			return err
		},
		gateway.VirtualServiceName(s.namespace, "a"): func() error {
			_, err := controller.Create(t.Context(), forged("a", s.namespace), dry)
			return err
		},
	} {
		if err := try(); err == nil {
			t.Errorf("what has to be refused by %q was accepted", what)
		} else if !strings.Contains(err.Error(), what) {
			t.Errorf("%q is not named by: %v", what, err)
		}
	}
}
