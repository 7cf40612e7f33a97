//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/autoscaling"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/test/platform"
)

// Changing autoscaling or limit reaches the live revision: no new one is made, and
// no pod is replaced.
func TestTuningMakesNoRevision(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("ranker"))
	endpoint := s.serving("ranker")
	trail := s.follow("ranker")
	s.reach(trail, 20*time.Second, "one replica", func(m platform.Moment) bool { return m.Ready() == 1 })
	revisions, pods := s.revisions("ranker"), s.pods("ranker")
	if len(revisions) != 1 || len(pods) != 1 {
		t.Fatalf("revisions %v, pods %v, want one of each", revisions, pods)
	}

	s.patch("ranker", `{"spec": {"autoscaling": {"target": 25, "window": "8s"}, "limit": {"requestsPerSecondPerReplica": "30"}}}`)
	want := map[string]string{autoscaling.TargetAnnotationKey: "25", autoscaling.WindowAnnotationKey: "8s"}
	took := s.until(20*time.Second, "the autoscaler to be tuned", func(ctx context.Context) (string, error) {
		pa, err := s.Serving.AutoscalingV1alpha1().PodAutoscalers(s.namespace).Get(ctx, revisions[0], metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		for key, value := range want {
			if got := pa.Annotations[key]; got != value {
				return fmt.Sprintf("%s is %q, want %q", key, got, value), nil
			}
		}
		return "", nil
	})
	t.Logf("the autoscaler was tuned after %d ms", took.Milliseconds())
	s.reach(trail, 10*time.Second, "a rate of 30 a replica", func(m platform.Moment) bool { return m.Rule.PerReplica == 30 && m.Ready() == 1 })
	s.serving("ranker")
	s.predict(endpoint)
	if now := s.revisions("ranker"); !slices.Equal(now, revisions) {
		t.Errorf("revisions %v, were %v", now, revisions)
	}
	if now := s.pods("ranker"); !slices.Equal(now, pods) {
		t.Errorf("pods %v, were %v", now, pods)
	}
}

// patch merges JSON into a Model.
func (s *stage) patch(model, merge string) {
	s.Helper()
	if _, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Patch(s.Context(), model, types.MergePatchType, []byte(merge), metav1.PatchOptions{}); err != nil {
		s.Fatalf("patching Model %s: %v", model, err)
	}
}

// revisions are the names of a Model's revisions.
func (s *stage) revisions(model string) []string {
	s.Helper()
	list, err := s.Serving.ServingV1().Revisions(s.namespace).List(s.Context(), metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=" + model})
	if err != nil {
		s.Fatal("listing revisions:", err)
	}
	var names []string
	for _, r := range list.Items {
		names = append(names, r.Name)
	}
	return names
}

// pods are the names of a Model's pods.
func (s *stage) pods(model string) []string {
	s.Helper()
	list, err := s.Kube.CoreV1().Pods(s.namespace).List(s.Context(), metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=" + model})
	if err != nil {
		s.Fatal("listing pods:", err)
	}
	var names []string
	for _, p := range list.Items {
		names = append(names, p.Name)
	}
	return names
}
