//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
)

const (
	// rolledWithin bounds a rollout of a few replicas.
	rolledWithin = 2 * time.Minute
	// serves is how many replicas the Models here have when a rollout begins.
	serves = 3
)

// constant gives a Model the same number of replicas in every revision, and a limit
// that is just what they serve.
func constant(m *v1alpha1.Model) {
	m.Spec.Autoscaling.MinReplicas, m.Spec.Autoscaling.MaxReplicas = ptr.Int32(serves), ptr.Int32(2*serves)
	m.Spec.Limit.Policy = v1alpha1.PolicyReady
}

// A rollout under load: no request is lost, no revision has more than its warm
// replicas' part, the limit never falls, and undo is at once, without a new pod.
func TestRolloutFollowsWarmReplicas(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("ranker", constant))
	endpoint := s.serving("ranker")
	trail := s.follow("ranker")
	before := s.reach(trail, 30*time.Second, "all replicas", func(m platform.Moment) bool { return m.Ready() == serves })
	first := before.Revisions[0].Revision

	stop := s.offer(endpoint, 30)
	began := time.Now()
	s.release("ranker", "2")
	s.phase("ranker", v1alpha1.RolloutKeepingWarm)
	s.Logf("rolled out after %.1f s", time.Since(began).Seconds())
	moments := trail.Since(began)
	second := s.rolling("ranker").To.Name()
	for _, m := range moments {
		for _, r := range m.Revisions {
			if r.Revision == second && len(m.Revisions) > 1 && r.Ready*100 < r.Percent*serves {
				t.Errorf("%s has %d warm replicas of %d and %d percent", second, r.Ready, serves, r.Percent)
			}
		}
		if m.Limit < before.Limit-1e-6 {
			t.Errorf("the limit falls to %g, was %g: %s", m.Limit, before.Limit, m)
		}
	}
	t.Log("percentages:", percentages(moments, second))
	pods := s.podsOf(first)

	undone := time.Now()
	s.patch("ranker", `{"spec": {"rollout": {"undo": true}}}`)
	s.phase("ranker", v1alpha1.RolloutUndone)
	t.Logf("undone after %d ms", time.Since(undone).Milliseconds())
	s.predict(endpoint)
	if now := s.podsOf(first); !slices.Equal(now, pods) || len(pods) != serves {
		t.Errorf("pods of %s: %v, were %v", first, now, pods)
	}
	s.noneFailed(stop())
}

// A revision that can't start changes nothing for callers; undo and a fix both mend it.
func TestFailedRollout(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker"))
	endpoint := s.serving("ranker")
	stop := s.offer(endpoint, 10)
	s.patch("ranker", `{"spec": {"container": {"env": [{"name": "RANKER_INITIALIZE", "value": "soon"}]}}}`) // it ends at once
	s.phase("ranker", v1alpha1.RolloutFailed)
	if r := s.rolling("ranker"); r.Percent != 0 || !strings.Contains(r.Message, "set spec.rollout.undo") {
		t.Errorf("the rollout is %+v, want a reason and a remedy", r)
	}
	s.predict(endpoint)
	s.patch("ranker", `{"spec": {"rollout": {"undo": true}}}`)
	s.phase("ranker", v1alpha1.RolloutUndone)
	s.predict(endpoint)
	s.patch("ranker", `{"spec": {"rollout": {"undo": false}, "container": {"env": [{"name": "RELEASE", "value": "3"}]}}}`)
	s.phase("ranker", v1alpha1.RolloutKeepingWarm)
	if traffic := s.split("ranker"); len(traffic) != 1 || traffic[s.rolling("ranker").To.Name()] != 100 {
		t.Errorf("split = %v, want the fix", traffic)
	}
	s.noneFailed(stop())
}

// The controller killed at every phase, changes in quick succession: the latest wins.
func TestLatestRolloutWinsWhateverDies(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("ranker", constant))
	endpoint := s.serving("ranker")
	stop := s.offer(endpoint, 20)
	for release := range 3 {
		s.release("ranker", fmt.Sprint("r", release))
		s.until(readyWithin, "some requests to have moved, or the revision to be there", func(context.Context) (string, error) {
			if now := s.rolling("ranker"); now.Phase != v1alpha1.RolloutProgressing || now.To.Name() == "" {
				return fmt.Sprintf("%+v", now), nil
			}
			return "", nil
		})
		if _, err := s.kill(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.phase("ranker", v1alpha1.RolloutKeepingWarm)
	revisions := s.revisions("ranker")
	slices.Sort(revisions)
	if traffic := s.split("ranker"); traffic[revisions[len(revisions)-1]] != 100 {
		t.Errorf("split = %v of %v, want the newest", traffic, revisions)
	}
	s.predict(endpoint)
	s.noneFailed(stop())
}

// A Model at zero is rolled out without a replica of the revision before.
func TestRolloutAtZero(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker", func(m *v1alpha1.Model) { m.Spec.Autoscaling.MinReplicas = ptr.Int32(0) }))
	endpoint := s.serving("ranker")
	trail := s.follow("ranker")
	s.reach(trail, restWithin, "no replica", func(m platform.Moment) bool { return m.Ready() == 0 && m.Desired() == 0 })
	first := trail.Now().Revisions[0].Revision
	s.until(restWithin, "the last pod to go", func(context.Context) (string, error) { return strings.Join(s.podsOf(first), ", "), nil })
	s.release("ranker", "2")
	s.phase("ranker", v1alpha1.RolloutComplete)
	if pods := s.podsOf(first); len(pods) > 0 {
		t.Errorf("pods of %s were started: %v", first, pods)
	}
	s.predict(endpoint)
}

// Held at a percentage, with a tag to the newest revision, then undone later: warmed
// first.
func TestHeldTaggedAndUndoneLater(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker", constant, func(m *v1alpha1.Model) {
		m.Spec.Rollout = v1alpha1.RolloutSpec{Percent: ptr.Int32(0), KeepWarm: &metav1.Duration{}}
		m.Spec.Traffic = []v1alpha1.TrafficTarget{{LatestRevision: ptr.Bool(true), Tag: "next"}}
	}))
	endpoint := s.serving("ranker")
	first := s.rolling("ranker").To.Name()
	s.release("ranker", "2")
	s.phase("ranker", v1alpha1.RolloutPaused)
	second := s.rolling("ranker").To.Name()
	if traffic := s.split("ranker"); traffic[first] != 100 {
		t.Errorf("split = %v, want none for %s", traffic, second)
	}
	tagged := endpoint
	tagged.Host = "next-" + endpoint.Host
	s.until(readyWithin, "the tag's host to answer", func(ctx context.Context) (string, error) {
		status, _, _, err := tagged.Post(ctx, platform.InferPath, cluster.request)
		if err != nil || status != http.StatusOK {
			return fmt.Sprintf("status %d, error %v", status, err), nil
		}
		return "", nil
	})
	s.patch("ranker", `{"spec": {"rollout": {"percent": 34}}}`)
	s.until(rolledWithin, "a third", func(context.Context) (string, error) {
		if traffic := s.split("ranker"); traffic[second] != 33 && traffic[second] != 34 {
			return fmt.Sprint(traffic), nil
		}
		return "", nil
	})
	s.patch("ranker", `{"spec": {"rollout": {"percent": null}}}`)
	s.phase("ranker", v1alpha1.RolloutComplete)
	s.until(2*time.Minute, "the first revision's pods to go", func(context.Context) (string, error) {
		if pods := s.podsOf(first); len(pods) > 0 {
			return strings.Join(pods, ", "), nil
		}
		return "", nil
	})
	stop, trail := s.offer(endpoint, 30), s.follow("ranker")
	s.patch("ranker", `{"spec": {"rollout": {"undo": true}}}`)
	s.phase("ranker", v1alpha1.RolloutUndone)
	for _, m := range trail.Since(time.Time{}) {
		for _, r := range m.Revisions {
			if r.Revision == first && len(m.Revisions) > 1 && r.Ready*100 < r.Percent*serves {
				t.Errorf("%s has %d warm replicas of %d and %d percent", first, r.Ready, serves, r.Percent)
			}
		}
	}
	s.noneFailed(stop())
}

// A rollout that is undone halfway is over at once: what served before has all its
// replicas still, and gets all requests, of which none is lost or waits for another
// limit. A Model that is deleted halfway leaves nothing of either revision.
func TestRolloutEndsHalfway(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker", warmed, func(m *v1alpha1.Model) {
		m.Spec.Autoscaling.MinReplicas, m.Spec.Autoscaling.MaxReplicas = ptr.Int32(serves), ptr.Int32(serves)
		m.Spec.Limit.Policy = v1alpha1.PolicyReady
	}))
	endpoint := s.serving("ranker")
	stop, trail := s.offer(endpoint, 50), s.follow("ranker")
	before := s.reach(trail, 30*time.Second, "all replicas", func(m platform.Moment) bool { return m.Ready() == serves })
	first := before.Revisions[0].Revision
	pods, began := s.podsOf(first), time.Now()
	s.update("ranker", func(m *v1alpha1.Model) {
		m.Spec.Autoscaling.MinReplicas = ptr.Int32(1) // or all of the new revision's are there at once
		slow(m)                                       // so that each step takes a while
	})
	s.halfway("ranker", first)
	undone := time.Now()
	s.patch("ranker", `{"spec": {"rollout": {"undo": true}}}`)
	s.until(10*time.Second, "all requests to be back", func(context.Context) (string, error) {
		if traffic := s.split("ranker"); traffic[first] != 100 {
			return fmt.Sprint(traffic), nil
		}
		return "", nil
	})
	took := time.Since(undone)
	s.phase("ranker", v1alpha1.RolloutUndone)
	for _, m := range trail.Since(began) {
		if m.Limit < before.Limit-1e-6 {
			t.Errorf("the limit falls to %g, was %g: %s", m.Limit, before.Limit, m)
		}
	}
	if now := s.podsOf(first); !slices.Equal(now, pods) || len(pods) != serves {
		t.Errorf("pods of %s: %v, were %v", first, now, pods)
	}
	t.Logf("undone after %d ms", took.Milliseconds())

	s.update("ranker", func(m *v1alpha1.Model) {
		m.Spec.Rollout.Undo = false
		m.Spec.Container.Env = append(m.Spec.Container.Env, corev1.EnvVar{Name: "RELEASE", Value: "3"})
	})
	s.halfway("ranker", first)
	s.noneFailed(stop())
	s.noneEarly("ranker")
	if err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Delete(t.Context(), "ranker", metav1.DeleteOptions{}); err != nil {
		t.Fatal("deleting the Model:", err)
	}
	took = s.until(30*time.Second, "everything of the Model to go", func(ctx context.Context) (string, error) {
		left, err := s.present(ctx, "ranker")
		if err != nil {
			return "", err
		}
		living, err := s.living(ctx, "ranker")
		for _, pod := range living {
			left = append(left, pod.Name)
		}
		return strings.Join(slices.Concat(left, s.slotsWith("ranker"), s.revisions("ranker")), ", "), err
	})
	t.Logf("everything was gone %.1f s after the deletion", took.Seconds())
}

// halfway waits until a rollout from a revision has moved some of the requests.
func (s *stage) halfway(model, from string) {
	s.Helper()
	s.until(rolledWithin, "some requests to have moved", func(context.Context) (string, error) {
		if traffic := s.split(model); traffic[from] == 0 || traffic[from] == 100 {
			return fmt.Sprint(traffic), nil
		}
		return "", nil
	})
}

// release makes a new revision of a Model.
func (s *stage) release(model, value string) {
	s.Helper()
	env, err := json.Marshal([]map[string]string{{"name": "RELEASE", "value": value}})
	if err != nil {
		s.Fatal(err)
	}
	s.patch(model, fmt.Sprintf(`{"spec": {"container": {"env": %s}}}`, env))
}

// rolling is the rollout that a Model tells of. With each split that is written it
// tells of none for a moment, until Knative has taken that up.
func (s *stage) rolling(model string) v1alpha1.RolloutStatus {
	s.Helper()
	var now v1alpha1.RolloutStatus
	s.until(rolledWithin, "Model "+model+" to tell of a rollout", func(ctx context.Context) (string, error) {
		m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, model, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if m.Status.Rollout == nil || m.Status.GetCondition(v1alpha1.ModelConditionRolledOut).GetReason() == "OutOfDate" {
			return "not yet", nil
		}
		now = *m.Status.Rollout
		return "", nil
	})
	return now
}

// phase waits for a rollout to be in a phase, of what the Model asks for now.
func (s *stage) phase(model string, phase v1alpha1.RolloutPhase) {
	s.Helper()
	s.until(rolledWithin, "phase "+string(phase), func(ctx context.Context) (string, error) {
		m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, model, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		condition := m.Status.GetCondition(v1alpha1.ModelConditionRolledOut)
		if m.Generation != m.Status.ObservedGeneration || condition.GetReason() == "OutOfDate" || m.Status.Rollout == nil || m.Status.Rollout.Phase != phase {
			return fmt.Sprintf("%+v, %+v", m.Status.Rollout, condition), nil
		}
		return "", nil
	})
}

// split is how a Model's requests are served now.
func (s *stage) split(model string) map[string]int64 {
	s.Helper()
	service, err := s.Serving.ServingV1().Services(s.namespace).Get(s.Context(), model, metav1.GetOptions{})
	if err != nil {
		s.Fatal("getting the Knative Service:", err)
	}
	split := map[string]int64{}
	for _, t := range service.Status.Traffic {
		if percent := ptr.Int64Value(t.Percent); percent > 0 {
			split[t.RevisionName] += percent
		}
	}
	return split
}

// podsOf are the pods of a revision, sorted.
func (s *stage) podsOf(revision string) []string {
	s.Helper()
	list, err := s.Kube.CoreV1().Pods(s.namespace).List(s.Context(), metav1.ListOptions{LabelSelector: serving.RevisionLabelKey + "=" + revision})
	if err != nil {
		s.Fatal("listing pods:", err)
	}
	names := make([]string, 0, len(list.Items))
	for _, pod := range list.Items {
		names = append(names, pod.Name)
	}
	slices.Sort(names)
	return names
}

func percentages(moments []platform.Moment, revision string) []int32 {
	var out []int32
	for _, m := range moments {
		for _, r := range m.Revisions {
			if r.Revision == revision && (len(out) == 0 || out[len(out)-1] != r.Percent) {
				out = append(out, r.Percent)
			}
		}
	}
	return out
}
