//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/autoscaling"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Whoever scales a Model as one scales a Deployment sets what is kept of it: at once, on the
// revision that runs. What would do nothing is refused, with what to do instead.
func TestModelIsScaled(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker"))
	s.serving("ranker")
	revisions := s.revisions("ranker")
	began := time.Now()
	if err := s.scaleModel("ranker", 2); err != nil {
		t.Fatal("scaling:", err)
	}
	s.until(answerWithin, "two replicas to be asked for", func(ctx context.Context) (string, error) { return s.place("ranker").AsksFor(ctx, 2) })
	t.Logf("scaled after %.2f s", time.Since(began).Seconds())
	m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(t.Context(), "ranker", metav1.GetOptions{})
	if err != nil {
		t.Fatal("getting the Model:", err)
	}
	if least := ptr.Int32Value(m.Spec.Autoscaling.MinReplicas); least != 2 {
		t.Errorf("minReplicas is %d, want 2", least)
	}
	if client, ok := m.ScaledBy(); !ok || client != "kubectl" {
		t.Errorf("scaled by %q, %t", client, ok)
	}
	if now := s.revisions("ranker"); len(now) != len(revisions) {
		t.Errorf("revisions %v, were %v", now, revisions)
	}
	s.refusesScale("ranker", 5, "spec.autoscaling.minReplicas", "must not be above maxReplicas, which is 4")
	s.patch("ranker", fmt.Sprintf(`{"metadata": {"annotations": {%q: "1"}}}`, autoscaling.MinScaleAnnotationKey))
	s.refusesScale("ranker", 3, autoscaling.MinScaleAnnotationKey, "kubectl annotate model ranker "+autoscaling.MinScaleAnnotationKey+"-")
	s.patch("ranker", fmt.Sprintf(`{"metadata": {"annotations": {%q: null}}}`, autoscaling.MinScaleAnnotationKey))
	if err := s.scaleModel("ranker", 0); err != nil {
		t.Fatal("scaling to none:", err)
	}
	s.scaledTo("ranker", 0)
}

// scaleModel does what `kubectl scale` does.
func (s *stage) scaleModel(model string, replicas int) error {
	_, err := s.Dynamic.Resource(v1alpha1.SchemeGroupVersion.WithResource("models")).Namespace(s.namespace).Patch(s.Context(), model,
		types.MergePatchType, fmt.Appendf(nil, `{"spec": {"replicas": %d}}`, replicas), metav1.PatchOptions{FieldManager: "kubectl"}, v1alpha1.ScaleSubresource)
	return err
}

func (s *stage) refusesScale(model string, replicas int, says ...string) {
	s.Helper()
	err := s.scaleModel(model, replicas)
	for _, part := range says {
		if err == nil || !strings.Contains(err.Error(), part) {
			s.Errorf("scaling to %d: %v, want a refusal that says %q", replicas, err, part)
		}
	}
}
