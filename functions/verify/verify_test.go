package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/functions/limit/demand/recorded"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// ranker is a Model whose trial of a minute is over by now.
func ranker(name string) *v1alpha1.Model {
	rate, says, tries := resource.MustParse("20"), int32(3), int32(1)
	model := &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID(name), Generation: 1},
		Spec: v1alpha1.ModelSpec{
			Container:   corev1.Container{Image: "ranker"},
			Autoscaling: v1alpha1.AutoscalingSpec{MinReplicas: &says, Metric: v1alpha1.MetricRPS, Target: &[]int32{20}[0]},
			Limit:       v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate},
			Trial: &v1alpha1.TrialSpec{
				For: metav1.Duration{Duration: time.Minute}, Keep: v1alpha1.TrialKeepIfBetter, Autoscaling: &v1alpha1.AutoscalingSpec{MinReplicas: &tries},
				Unless: &v1alpha1.TrialUnless{Latency: &v1alpha1.TrialLatency{Above: metav1.Duration{Duration: time.Second}}},
			},
		},
	}
	model.Status.Trial = v1alpha1.BeginTrial(model.Spec.Trial, time.Now().Add(-time.Minute-3*time.Second))
	return model
}

// limiter has recorded a minute with one replica, and what it was asked. It fails at first, as
// often as away says of each Model, or for ever.
type limiter struct {
	err   error
	away  int
	slow  bool
	asked []types.NamespacedName
}

func (l *limiter) of(ctx context.Context, model types.NamespacedName) (trace.Trace, error) {
	l.asked = append(l.asked, model)
	if l.slow {
		<-ctx.Done()
		return trace.Trace{}, fmt.Errorf("asking: %w", ctx.Err())
	}
	err := l.err
	if n := len(slices.DeleteFunc(slices.Clone(l.asked), func(m types.NamespacedName) bool { return m != model })); l.away > 0 && n > l.away {
		err = nil
	}
	return trace.Trace{
		Start: time.Now().Add(-70 * time.Second).Truncate(time.Second), Seconds: slices.Repeat([]float32{5}, 70), Ready: slices.Repeat([]float32{1}, 70),
	}, err
}

// verify has a Verifier at work for the time of a test.
func verify(t *testing.T, l *limiter, test func(v *Verifier, told *[]types.NamespacedName)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var told []types.NamespacedName
		v := New(l.of, func(model types.NamespacedName) { told = append(told, model) }, clock.RealClock{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go v.Run(ctx)
		test(v, &told)
	})
}

func TestVerdict(t *testing.T) {
	l := &limiter{}
	verify(t, l, func(v *Verifier, told *[]types.NamespacedName) {
		model := ranker("ranker")
		if found := v.Verdict(model, nil, nil); found != nil {
			t.Errorf("found at once: %+v", found)
		}
		v.Verdict(model, nil, nil) // nothing that is asked twice is done twice
		synctest.Wait()
		found := v.Verdict(model, nil, nil)
		if found == nil || found.Reason != v1alpha1.TrialReasonBetter || !strings.Contains(found.Message, "It took 60 ready replica-seconds") {
			t.Errorf("found %+v", found)
		}
		if want := []types.NamespacedName{{Namespace: "team", Name: "ranker"}}; !slices.Equal(*told, want) || !slices.Equal(l.asked, want) {
			t.Errorf("told of %v, asked of %v, want %v", *told, l.asked, want)
		}

		changed := model.DeepCopy()
		changed.Generation, changed.Spec.Autoscaling.MinReplicas = 2, changed.Spec.Trial.Autoscaling.MinReplicas
		if found := v.Verdict(changed, nil, nil); found != nil {
			t.Errorf("of another generation: %+v", found)
		}
		synctest.Wait()
		if found := v.Verdict(changed, nil, nil); found == nil || found.Reason != v1alpha1.TrialReasonNotBetter {
			t.Errorf("than what it says now: %+v", found)
		}

		time.Sleep(remembered + time.Second)
		over := ranker("over")
		over.Status.Trial = over.Status.Trial.Elapse(time.Now())
		v.Verdict(ranker("other"), nil, nil)
		if v.Verdict(over, nil, nil) != nil || len(v.trials) != 1 {
			t.Errorf("%d trials are remembered, want the new one", len(v.trials))
		}
	})
}

// A limiter that doesn't answer for a moment isn't all that is found.
func TestLimiterAway(t *testing.T) {
	l := &limiter{err: errors.New("503 Service Unavailable"), away: 3}
	verify(t, l, func(v *Verifier, _ *[]types.NamespacedName) {
		model := ranker("ranker")
		v.Verdict(model, nil, nil)
		v.Verdict(ranker("other"), nil, nil) // it needn't wait for that
		time.Sleep(4 * askAgain)
		synctest.Wait()
		if found := v.Verdict(model, nil, nil); found == nil || found.Reason != v1alpha1.TrialReasonBetter {
			t.Errorf("found %+v", found)
		}
		want := []types.NamespacedName{{Namespace: "team", Name: "ranker"}, {Namespace: "team", Name: "other"}}
		if !slices.Equal(l.asked[:2], want) {
			t.Errorf("asked of %v, want %v", l.asked, want)
		}
	})
}

// What can't be found out is said, with why.
func TestUnverified(t *testing.T) {
	for name, c := range map[string]struct {
		limiter limiter
		says    string
	}{
		"the recording can't be read": {limiter{err: errors.New("asking for the demand: no route")}, "Whether it is better can't be told: asking for the demand: no route."},
		"nothing is recorded":         {limiter{err: fmt.Errorf("%w: the Model is new", recorded.ErrNone)}, "no recorded demand: the Model is new."},
		"nobody answers":              {limiter{slow: true}, "asking: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			verify(t, &c.limiter, func(v *Verifier, _ *[]types.NamespacedName) {
				model := ranker("ranker")
				v.Verdict(model, nil, nil)
				// It ended 3 s ago, and is to be told while somebody waits.
				time.Sleep(v1alpha1.TrialJudgedWithin - 3*time.Second - time.Second)
				synctest.Wait()
				if found := v.Verdict(model, nil, nil); found == nil || found.Reason != v1alpha1.TrialReasonUnverified || !strings.Contains(found.Message, c.says) {
					t.Errorf("found %+v, want %q", found, c.says)
				}
			})
		})
	}
}

// However many trials end at once, what waits is bounded, and each is judged once it is asked
// about again; of one Model the last is.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limiter{err: recorded.ErrNone}
		v := New(l.of, func(types.NamespacedName) {}, clock.RealClock{})
		for i := range waiting + 5 {
			v.Verdict(ranker(fmt.Sprint("m-", i)), nil, nil)
		}
		if len(v.trials) != waiting {
			t.Errorf("%d wait", len(v.trials))
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go v.Run(ctx)
		synctest.Wait()
		last := ranker(fmt.Sprint("m-", waiting))
		v.Verdict(last, nil, nil)
		synctest.Wait()
		if v.Verdict(last, nil, nil) == nil || len(l.asked) != waiting+1 {
			t.Errorf("%d were judged", len(l.asked))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := &limiter{err: recorded.ErrNone}
		v := New(l.of, func(types.NamespacedName) {}, clock.RealClock{})
		before, now := ranker("ranker"), ranker("ranker")
		now.Generation = 2
		v.Verdict(before, nil, nil)
		v.Verdict(now, nil, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go v.Run(ctx)
		synctest.Wait()
		if v.Verdict(now, nil, nil) == nil || len(l.asked) != 1 {
			t.Errorf("%d were judged, want the last alone", len(l.asked))
		}
	})
}

func TestLatencyOf(t *testing.T) {
	model := ranker("ranker")
	if got := latencyOf(model); got != 0 {
		t.Errorf("%s, where nobody tells", got)
	}
	replica := func(state string, latency time.Duration) v1alpha1.ReplicaWarmUp {
		return v1alpha1.ReplicaWarmUp{State: state, LastLatency: &metav1.Duration{Duration: latency}}
	}
	model.Status.WarmUp = &v1alpha1.WarmUpStatus{Replicas: []v1alpha1.ReplicaWarmUp{
		replica("Failed", time.Millisecond), replica("Warm", 30*time.Millisecond), replica("Warm", 10*time.Millisecond), replica("Warm", 20*time.Millisecond),
		replica("Warm", 0), {State: "Warm"},
	}}
	if got := latencyOf(model); got != 20*time.Millisecond {
		t.Errorf("%s, want the median", got)
	}
}
