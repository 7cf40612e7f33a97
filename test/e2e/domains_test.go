//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
)

// freeWithin bounds how long a domain that was withdrawn keeps others from its hosts.
const freeWithin = 2 * time.Second

// A Tenant's domain takes no host that others are served at, whoever gets to see it
// first, nor the cluster's own; and one that is withdrawn is free at once, though its
// Tenant takes its time to go.
func TestDomainTakesNoHostOfOthers(t *testing.T) {
	t.Parallel()
	t.Cleanup(func() { removeTenants(t) })
	s, rival := newStage(t), newStage(t)
	s.create(s.ranker("ranker", fixed("20")))
	served := s.serving("ranker")
	_, domain, _ := strings.Cut(served.Host, ".")
	_, clusters, _ := strings.Cut(domain, ".")
	stop := s.answersAlways(served)

	n := &tenant{stage: rival, name: "rival" + strings.TrimPrefix(rival.namespace, "e2e")}
	for _, taken := range []string{domain, clusters} {
		how, err := n.refusedDomain(taken)
		if err == nil {
			err = names(how, "spec.domain")
		}
		if err != nil {
			t.Errorf("domain %s: %v", taken, err)
		}
		t.Logf("domain %s: %s", taken, how)
	}
	// Whose a namespace is that is selected, the webhook doesn't know.
	n.make([]func(*v1alpha1.Tenant){func(of *v1alpha1.Tenant) {
		of.Spec.Namespaces = v1alpha1.TenantNamespaces{Selector: &metav1.LabelSelector{
			MatchLabels: map[string]string{corev1.LabelMetadataName: rival.namespace}}}
		of.Spec.Domain = domain
	}})
	n.until(refusedWithin, "the domain to be refused", func(context.Context) (string, error) {
		got := n.now()
		condition := got.Status.GetCondition(v1alpha1.TenantConditionDomainReady)
		if got.Status.Domain != "" {
			return "", fmt.Errorf("domain %s is in force", got.Status.Domain)
		}
		if !condition.IsFalse() {
			return fmt.Sprintf("%+v", condition), nil
		}
		t.Logf("%s: %s", condition.Reason, condition.Message)
		return "", hides(strings.ReplaceAll(condition.Message, domain, ""), s.namespace, "ranker")
	})

	own := ownDomainOf(n.name)
	n.change(ownDomain)
	n.settled()
	n.publish(n.route("kept", "none", "kept."+own)) // keeps the Tenant from going
	wanted := s.route("wanted", "ranker", "wanted."+own)
	s.publish(wanted)
	how, err := s.refusedRoute(t.Context(), wanted.Name)
	if err != nil {
		t.Fatal("a host of a domain in force:", err)
	}
	t.Log("a host of a domain in force:", how)
	if err := n.Sluice.SluiceV1alpha1().Tenants().Delete(t.Context(), n.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal("deleting the Tenant:", err)
	}
	took := s.until(freeWithin, "a host of a domain that was withdrawn", func(ctx context.Context) (string, error) {
		got, err := ask(ctx, cluster.address, "http://wanted."+own+readyPath)
		if err != nil || got.status == http.StatusOK {
			return "", err
		}
		return fmt.Sprint("it answers ", got.status), nil
	})
	if n.now().DeletionTimestamp == nil {
		t.Error("the Tenant isn't being deleted")
	}
	t.Logf("free %.2f s after the deletion; the Model answered %d times meanwhile", took.Seconds(), stop())
}

func (s *stage) publish(route *netv1alpha1.Ingress) {
	s.Helper()
	if _, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).Create(s.Context(), route, metav1.CreateOptions{}); err != nil {
		s.Fatalf("creating Ingress %s: %v", route.Name, err)
	}
}

// refusedDomain asks for a domain and returns how it was refused.
func (n *tenant) refusedDomain(domain string) (string, error) {
	_, err := n.Sluice.SluiceV1alpha1().Tenants().Create(n.Context(), &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{testLabelKey: testLabel(n.T)}},
		Spec:       v1alpha1.TenantSpec{Namespaces: v1alpha1.TenantNamespaces{Names: []string{n.namespace}}, Domain: domain},
	}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err == nil {
		return "", errors.New("it is accepted")
	}
	return refusedByAPI(err)
}

// answersAlways asks a Model ten times a second, and fails the test for each answer
// that isn't one, until it is stopped. That returns how many there were.
func (s *stage) answersAlways(model platform.Endpoint) (stop func() int) {
	ctx, cancel := context.WithCancel(s.Context())
	answers := make(chan int, 1)
	go func() {
		n, tick := 0, time.NewTicker(100*time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				answers <- n
				return
			case <-tick.C:
			}
			got, err := ask(ctx, model.Address, "http://"+model.Host+readyPath)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				s.Error(err)
			case got.status != http.StatusOK:
				s.Errorf("the Model answers %d", got.status)
			default:
				n++
			}
		}
	}()
	return func() int { cancel(); return <-answers }
}
