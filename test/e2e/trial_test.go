//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/autoscaling"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// triedWithin bounds the time from a change of a Model to that of its PodAutoscaler, which is
	// 3 s where nothing else runs.
	triedWithin = 20 * time.Second
	// endedWithin bounds the time from a bound's being passed to the trial's end, and
	// seenWithin that until a test that is one of several has seen it.
	endedWithin = 10 * time.Second
	seenWithin  = endedWithin + 2*time.Second
)

// What is tried is on the revision that runs, with the replicas that follow of it, and the
// limit with them; then, by itself, the Model's own is again. No revision is made.
func TestTrialEndsByItself(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker"))
	endpoint := s.serving("ranker")
	trail := s.follow("ranker")
	s.reach(trail, 20*time.Second, "one replica", func(m platform.Moment) bool { return m.Ready() == 1 })
	revisions := s.revisions("ranker")
	// At a target of 20 and 75 % of it that is one replica, at a target of 5 all four.
	end := s.offer(endpoint, 12)

	s.patch("ranker", `{"spec": {"trial": {"for": "40s", "autoscaling": {"target": 5}, "limit": {"headroomPercent": 50}}}}`)
	took := s.tuned(revisions[0], "5", triedWithin)
	s.trial("ranker", triedWithin, v1alpha1.TrialRunning, "")
	s.reach(trail, 30*time.Second, "four replicas, and the headroom that is tried", func(m platform.Moment) bool { return m.Ready() == 4 && m.Rule.Headroom == 0.5 })

	m := s.trial("ranker", time.Minute, v1alpha1.TrialEnded, v1alpha1.TrialReasonElapsed)
	back := s.tuned(revisions[0], "20", triedWithin)
	if lasted := m.Status.Trial.EndTime.Sub(m.Status.Trial.StartTime.Time); lasted < 40*time.Second || lasted > 45*time.Second {
		t.Errorf("the trial of 40 s lasted %s", lasted)
	}
	s.reach(trail, restWithin, "one replica, and the Model's own headroom", func(m platform.Moment) bool { return m.Ready() == 1 && m.Rule.Headroom == 1 })
	s.noneFailed(end())
	if now := s.revisions("ranker"); !slices.Equal(now, revisions) {
		t.Errorf("revisions %v, were %v", now, revisions)
	}
	if got := *s.get("ranker").Spec.Autoscaling.Target; got != 20 {
		t.Errorf("the Model's own target is %d", got)
	}
	t.Logf("in force after %d ms, back %d ms after the end was written", took.Milliseconds(), back.Milliseconds())
}

// A trial that hurts is ended within ten seconds, and says why.
func TestTrialIsEndedByABreach(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, unless, path, reason, says string }{
		{"errors", `{"errorPercent": 20}`, "/failure", v1alpha1.BreachErrorPercent, "500 or above"},
		{"latency", `{"latency": {"percentile": 90, "above": "200ms"}}`, "/hello?seconds=0.5", v1alpha1.BreachLatency, "200ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.create(s.streams("hello"))
			endpoint := s.serving("hello")
			revision := s.revisions("hello")[0]
			s.patch("hello", `{"spec": {"trial": {"for": "10m", "autoscaling": {"target": 7}, "unless": `+c.unless+`}}}`)
			s.trial("hello", triedWithin, v1alpha1.TrialRunning, "")
			s.tuned(revision, "7", triedWithin)

			ask := func(path string) (end func() *load.Report) {
				p := plan(endpoint, load.Schedule{load.Hold(20, 2*time.Minute)})
				p.Target.Method, p.Target.Path, p.Target.Body = http.MethodGet, path, nil
				return s.begin(p)
			}
			// Within its bounds, it goes on.
			well := ask("/hello")
			s.until(2*endedWithin, "some time within its bounds", func(context.Context) (string, error) {
				trial := s.get("hello").Status.Trial
				if trial.Phase != v1alpha1.TrialRunning {
					return "", fmt.Errorf("it has ended: %s: %s", trial.Reason, trial.Message)
				}
				if left := 5*time.Second - time.Since(trial.StartTime.Time); left > 0 {
					return left.String(), nil
				}
				return "", nil
			})
			well()
			ill := ask(c.path)
			began := time.Now()
			m := s.trial("hello", seenWithin, v1alpha1.TrialEnded, c.reason)
			took := time.Since(began)
			s.tuned(revision, "", triedWithin)
			ill()
			if !strings.Contains(m.Status.Trial.Message, c.says) {
				t.Errorf("it says %q", m.Status.Trial.Message)
			}
			if took > endedWithin {
				t.Errorf("ended after %s, want %s", took, endedWithin)
			}
			s.until(triedWithin, "nothing to be watched any more", func(context.Context) (string, error) {
				if bounds := s.rateLimit("hello").Spec.Bounds; bounds != nil {
					return fmt.Sprintf("%+v", bounds), nil
				}
				return "", nil
			})
			t.Logf("ended %.1f s after the first bad answer: %s", took.Seconds(), m.Status.Trial.Message)
		})
	}
}

// What was tried is kept by writing it to the base: nothing changes then, nor when the trial
// is taken away. Another trial within it is refused.
func TestTrialIsKept(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker"))
	s.serving("ranker")
	revision := s.revisions("ranker")[0]
	s.patch("ranker", `{"spec": {"trial": {"for": "10m", "autoscaling": {"target": 5}}}}`)
	s.trial("ranker", triedWithin, v1alpha1.TrialRunning, "")
	s.tuned(revision, "5", triedWithin)

	models := s.Sluice.SluiceV1alpha1().Models(s.namespace)
	_, err := models.Patch(t.Context(), "ranker", types.MergePatchType, []byte(`{"spec": {"trial": {"autoscaling": {"target": 7}}}}`), metav1.PatchOptions{})
	if err == nil || !strings.Contains(err.Error(), "take spec.trial away first") {
		t.Errorf("a trial of a trial: %v, want a refusal with its remedy", err)
	}
	s.patch("ranker", `{"spec": {"autoscaling": {"target": 5}}}`)
	s.trial("ranker", triedWithin, v1alpha1.TrialKept, v1alpha1.TrialReasonInBase)
	s.patch("ranker", `{"spec": {"trial": null}}`)
	m := s.trial("ranker", triedWithin, v1alpha1.TrialKept, v1alpha1.TrialReasonInBase)
	s.tuned(revision, "5", time.Second)
	if now := s.revisions("ranker"); len(now) != 1 {
		t.Errorf("revisions %v, want %s alone", now, revision)
	}
	t.Logf("kept: %s", m.Status.Trial.Message)
}

// A trial whose time passes while the controller is down is over as soon as it is back, and
// one that is taken away in mid-trial is over at once.
func TestTrialEndsWithoutTheController(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("ranker"))
	s.serving("ranker")
	revision := s.revisions("ranker")[0]
	s.patch("ranker", `{"spec": {"trial": {"for": "10m", "autoscaling": {"target": 5}}}}`)
	s.trial("ranker", triedWithin, v1alpha1.TrialRunning, "")
	s.tuned(revision, "5", triedWithin)
	s.patch("ranker", `{"spec": {"trial": null}}`)
	s.trial("ranker", triedWithin, v1alpha1.TrialEnded, v1alpha1.TrialReasonTakenAway)
	s.tuned(revision, "20", triedWithin)

	s.patch("ranker", `{"spec": {"trial": {"for": "20s", "autoscaling": {"target": 5}}}}`)
	m := s.trial("ranker", triedWithin, v1alpha1.TrialRunning, "")
	s.tuned(revision, "5", triedWithin)
	end := m.Status.Trial.EndTime.Time
	s.scale(sluice.SystemNamespace, "controller", 0)
	s.until(time.Minute, "the trial's time to pass", func(context.Context) (string, error) {
		if left := time.Until(end); left > 0 {
			return left.String(), nil
		}
		return "", nil
	})
	if got := s.get("ranker").Status.Trial; got.Phase != v1alpha1.TrialRunning || !got.EndTime.Time.Equal(end) {
		t.Errorf("with nobody there, the status says %+v", got)
	}
	s.resize(t.Context(), sluice.SystemNamespace, "controller", 1)
	s.scaled(sluice.SystemNamespace, "controller", 1)
	back := time.Now()
	s.trial("ranker", takenOver, v1alpha1.TrialEnded, v1alpha1.TrialReasonElapsed)
	s.tuned(revision, "20", triedWithin)
	t.Logf("over %.1f s after the controller was back", time.Since(back).Seconds())
	if now := s.revisions("ranker"); len(now) != 1 {
		t.Errorf("revisions %v, want %s alone", now, revision)
	}

	// A Model that is deleted in mid-trial goes with all that is its own.
	s.patch("ranker", `{"spec": {"trial": {"for": "30s", "autoscaling": {"target": 5}, "unless": {"errorPercent": 2}}}}`)
	s.trial("ranker", triedWithin, v1alpha1.TrialRunning, "")
	if err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Delete(t.Context(), "ranker", metav1.DeleteOptions{}); err != nil {
		t.Fatal("deleting the Model:", err)
	}
	s.until(time.Minute, "the Model's limit and revision to go", func(ctx context.Context) (string, error) {
		_, noLimit := s.Sluice.SluiceV1alpha1().RateLimits(s.namespace).Get(ctx, "ranker", metav1.GetOptions{})
		_, noRevision := s.Serving.ServingV1().Revisions(s.namespace).Get(ctx, revision, metav1.GetOptions{})
		if !apierrs.IsNotFound(noLimit) || !apierrs.IsNotFound(noRevision) {
			return fmt.Sprint("they are there: ", errors.Join(noLimit, noRevision)), nil
		}
		return "", nil
	})
}

// trial waits until a Model's trial is in a phase, for a reason.
func (s *stage) trial(model string, within time.Duration, phase v1alpha1.TrialPhase, reason string) *v1alpha1.Model {
	s.Helper()
	var m *v1alpha1.Model
	s.until(within, fmt.Sprintf("the trial of Model %s to be %s %s", model, phase, reason), func(context.Context) (string, error) {
		m = s.get(model)
		if trial := m.Status.Trial; trial == nil || trial.Phase != phase || trial.Reason != reason {
			return fmt.Sprintf("%+v", trial), nil
		}
		return "", nil
	})
	return m
}

// tuned waits until a revision's autoscaler has a target; "" for none.
func (s *stage) tuned(revision, target string, within time.Duration) time.Duration {
	s.Helper()
	return s.until(within, fmt.Sprintf("revision %s to have a target of %q", revision, target), func(ctx context.Context) (string, error) {
		pa, err := s.Serving.AutoscalingV1alpha1().PodAutoscalers(s.namespace).Get(ctx, revision, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting the autoscaler of %s: %w", revision, err)
		}
		if got := pa.Annotations[autoscaling.TargetAnnotationKey]; got != target {
			return fmt.Sprintf("it is %q", got), nil
		}
		return "", nil
	})
}

// get is a Model as it is.
func (s *stage) get(name string) *v1alpha1.Model {
	s.Helper()
	m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatalf("getting Model %s: %v", name, err)
	}
	return m
}
