//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
)

// A Model of the longest name that the webhook takes serves as any other: its replicas
// count in its limit as they come, a second revision takes over as they are warm, and its
// revisions, whose names Knative hashes, can be told to it by name.
func TestLongestNameServes(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	name := strings.Repeat("longest-", 7) + "ranking" // 63, the first label of its host
	s.create(s.ranker(name, func(m *v1alpha1.Model) { m.Spec.Limit.Policy = v1alpha1.PolicyReady }))
	endpoint := s.serving(name)
	s.predict(endpoint)
	trail := s.follow(name)
	s.reach(trail, 30*time.Second, "one replica", func(m platform.Moment) bool { return m.Ready() == 1 && m.Limit == 20 })
	s.patch(name, `{"spec": {"autoscaling": {"minReplicas": 2}}}`)
	two := s.reach(trail, readyWithin, "two replicas", func(m platform.Moment) bool { return m.Ready() == 2 && m.Limit == 40 })

	first := two.Revisions[0].Revision
	s.release(name, "2")
	s.phase(name, v1alpha1.RolloutKeepingWarm)
	second := s.rolling(name).To.Name()
	if traffic := s.split(name); second == first || traffic[second] != 100 {
		t.Errorf("split = %v, want all for the revision after %s", traffic, first)
	}
	s.share(name, first, 30)
	s.predict(endpoint)
}
