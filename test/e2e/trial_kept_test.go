//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
)

// What is tried and takes fewer replicas for the same requests, within the goal, is written to
// the Model by itself. Its history says who did that, and why; no revision is made.
func TestTrialIsKeptIfBetter(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	// At a target of 10 and 75 % of it 12 requests a second are two replicas, at 20 one.
	wasteful := int32(10)
	s.create(s.ranker("ranker", func(m *v1alpha1.Model) {
		m.Spec.Autoscaling.Target = &wasteful
		// A replay has requests come by chance: of one replica's bucket of two, some would be refused.
		m.Spec.Limit.Burst = &metav1.Duration{Duration: time.Second}
	}))
	endpoint := s.serving("ranker")
	trail := s.follow("ranker")
	end := s.offer(endpoint, 12)
	s.reach(trail, restWithin, "two replicas", func(m platform.Moment) bool { return m.Ready() == 2 })
	revisions := s.revisions("ranker")

	const lasts, judged = time.Minute, v1alpha1.TrialJudgedWithin
	s.patch("ranker", fmt.Sprintf(`{"spec": {"trial": {"for": %q, "autoscaling": {"target": 20}, "unless": {"latency": {"above": "2s"}}, "keep": "IfBetter"}}}`, lasts))
	s.trial("ranker", triedWithin, v1alpha1.TrialRunning, "")
	m := s.trial("ranker", lasts+judged+triedWithin, v1alpha1.TrialKept, v1alpha1.TrialReasonBetter)
	s.noneFailed(end())
	if took := m.Status.Trial.EndTime.Sub(m.Status.Trial.StartTime.Time); took < lasts || took > lasts+judged {
		t.Errorf("a trial of %s was kept after %s", lasts, took)
	}
	if target := *s.get("ranker").Spec.Autoscaling.Target; target != 20 {
		t.Errorf("the Model's own target is %d", target)
	}
	s.tuned(revisions[0], "20", triedWithin)
	states := s.chronicled("ranker", 2)
	newest := states[len(states)-1].Annotations
	if who := newest[sluice.TunedByAnnotationKey]; who != "system:serviceaccount:"+sluice.SystemNamespace+":controller" {
		t.Errorf("the history names %q", who)
	}
	if why := newest[sluice.ChangeCauseAnnotationKey]; !strings.HasPrefix(why, "spec.trial was kept: It took ") {
		t.Errorf("the history says %q", why)
	}
	if now := s.revisions("ranker"); !slices.Equal(now, revisions) {
		t.Errorf("revisions %v, were %v", now, revisions)
	}
	t.Logf("kept: %s", m.Status.Trial.Message)
}
