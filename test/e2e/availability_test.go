//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Where there are two of each, one of each may be killed, those that lead among them: what
// is served goes on, and a Model that is made meanwhile is served and limited.
func TestOneOfTwoIsKilled(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("old", fixed("20")))
	old := s.serving("old")
	components := []string{"webhook", limiter, "controller"}
	for _, component := range components {
		s.scale(sluice.SystemNamespace, component, 2)
	}
	stop := s.answersAlways(old)
	for _, component := range components {
		s.killOldest(component)
	}
	killed := time.Now()
	s.until(20*time.Second, "a Model to be taken", func(ctx context.Context) (string, error) {
		_, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Create(ctx, s.ranker("new", fixed("20")), metav1.CreateOptions{})
		if err != nil {
			return err.Error(), nil //nolint:nilerr // the webhook that was killed may be asked for a moment
		}
		return "", nil
	})
	taken := time.Since(killed)
	s.predict(s.serving("new"))
	s.condition("new", v1alpha1.ModelConditionLimited, corev1.ConditionTrue, "")
	t.Logf("a Model was taken %.1f s after one of each was killed, and served after %.1f s; the other answered %d times",
		taken.Seconds(), time.Since(killed).Seconds(), stop())
}

// killOldest ends the pod of a component that is there for longest, which leads where
// one does, without a moment's notice.
func (s *stage) killOldest(component string) {
	s.Helper()
	pods := s.Kube.CoreV1().Pods(sluice.SystemNamespace)
	all, err := pods.List(s.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=" + component})
	if err != nil || len(all.Items) == 0 {
		s.Fatalf("listing the pods of %s: %d, %v", component, len(all.Items), err)
	}
	oldest := slices.MinFunc(all.Items, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	if err := pods.Delete(s.Context(), oldest.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.Int64(0)}); err != nil {
		s.Fatalf("killing a pod of %s: %v", component, err)
	}
}

// Nobody waits for Sluice's webhooks and policies who doesn't write Sluice's kinds, whatever
// becomes of them.
func TestWebhooksAreAskedOfOurKindsAlone(t *testing.T) {
	t.Parallel()
	registered := cluster.clients.Kube.AdmissionregistrationV1()
	mutating, err := registered.MutatingWebhookConfigurations().Get(t.Context(), "defaulting.webhook.sluice.dev", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	validating, err := registered.ValidatingWebhookConfigurations().Get(t.Context(), "validation.webhook.sluice.dev", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	policies, err := registered.ValidatingAdmissionPolicies().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string][]admissionv1.Rule{}
	asks := func(name string, wait *int32, of []admissionv1.RuleWithOperations) {
		if wait == nil || *wait > 10 {
			t.Errorf("%s may take %v seconds", name, ptr.Int32Value(wait))
		}
		for _, r := range of {
			rules[name] = append(rules[name], r.Rule)
		}
	}
	for _, w := range mutating.Webhooks {
		asks(w.Name, w.TimeoutSeconds, w.Rules)
	}
	for _, w := range validating.Webhooks {
		asks(w.Name, w.TimeoutSeconds, w.Rules)
	}
	for _, name := range []string{"spec.ratelimits.sluice.dev", "status.ratelimits.sluice.dev"} {
		i := slices.IndexFunc(policies.Items, func(p admissionv1.ValidatingAdmissionPolicy) bool { return p.Name == name })
		if i < 0 {
			t.Fatalf("there is no policy %s", name)
		}
		for _, r := range policies.Items[i].Spec.MatchConstraints.ResourceRules {
			rules[name] = append(rules[name], r.Rule)
		}
	}
	if len(rules) != 4 {
		t.Errorf("rules of %d webhooks and policies, want 4", len(rules))
	}
	for name, of := range rules {
		for _, r := range of {
			if !slices.Equal(r.APIGroups, []string{sluice.GroupName}) {
				t.Errorf("%s is asked about %s", name, fmt.Sprint(r.APIGroups, r.Resources))
			}
		}
	}
}
