package model

import (
	"errors"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgotesting "k8s.io/client-go/testing"
	rtesting "knative.dev/pkg/reconciler/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// finds is a Verifier that found this of every trial.
type finds v1alpha1.TrialVerdict

func (v finds) Verdict(*v1alpha1.Model, *autoscalerconfig.Config, []time.Duration) *v1alpha1.TrialVerdict {
	found := v1alpha1.TrialVerdict(v)
	return &found
}

// nothingFound is a Verifier that is at work still.
type nothingFound struct{}

func (nothingFound) Verdict(*v1alpha1.Model, *autoscalerconfig.Config, []time.Duration) *v1alpha1.TrialVerdict {
	return nil
}

// foundBy is the Verifier of a row.
func foundBy(row *rtesting.TableRow) Verifier {
	if found, ok := row.OtherTestData["found"].(finds); ok {
		return found
	}
	return nothingFound{}
}

// ifBetter is a trial of a target that is kept if it is better.
func ifBetter(n int32) *v1alpha1.TrialSpec {
	return target(n, func(s *v1alpha1.TrialSpec) {
		s.Keep = v1alpha1.TrialKeepIfBetter
		s.Unless = &v1alpha1.TrialUnless{Latency: &v1alpha1.TrialLatency{Percentile: ptr(int32(95)), Above: metav1.Duration{Duration: 250 * time.Millisecond}}}
	})
}

func TestDecideKept(t *testing.T) {
	t.Parallel()
	spec := ifBetter(5)
	const lasts = 10 * time.Minute
	better, worse, unknown := &v1alpha1.TrialVerdict{Reason: "Better", Message: "It took 60."}, &v1alpha1.TrialVerdict{Reason: "NotBetter", Message: "It took 90."},
		&v1alpha1.TrialVerdict{Reason: "Unverified", Message: "Nothing came."}
	began := func(ago time.Duration) *v1alpha1.TrialStatus {
		s := v1alpha1.BeginTrial(spec, noon.Add(-ago))
		s.Generation = 1
		return s
	}
	found := func(ago time.Duration) *v1alpha1.TrialStatus { return began(ago).FindBetter("It took 60.") }
	over := func(s *v1alpha1.TrialStatus, phase v1alpha1.TrialPhase, reason, message string) *v1alpha1.TrialStatus {
		s = s.DeepCopy()
		s.Phase, s.Reason, s.Message, s.EndTime, s.Generation = phase, reason, message, &metav1.MicroTime{Time: noon}, 0
		return s
	}
	const outdated = "The Model was changed while this was tried, so whether it is better than what the Model says now can't be told."
	const again = " The Model goes by spec.autoscaling and spec.limit again."
	unfinished := began(lasts)
	unfinished.EndTime = nil
	for _, c := range []struct {
		name  string
		state trialState
		want  trialPlan
	}{
		{"it runs", trialState{before: began(time.Minute)}, trialPlan{status: began(time.Minute), inForce: true, again: 9 * time.Minute}},
		{"its time has passed, and not all is known of it", trialState{before: began(lasts + time.Second), verdict: better},
			trialPlan{status: began(lasts + time.Second), inForce: true, again: 2 * time.Second}},
		{"it is judged", trialState{before: began(lasts + 5*time.Second)}, trialPlan{status: began(lasts + 5*time.Second), inForce: true, again: time.Second}},
		{"it is judged to the last moment", trialState{before: began(lasts + 29800*time.Millisecond)},
			trialPlan{status: began(lasts + 29800*time.Millisecond), inForce: true, again: 200 * time.Millisecond}},
		{"it is better", trialState{before: began(lasts + 5*time.Second), verdict: better},
			trialPlan{status: found(lasts + 5*time.Second), inForce: true, again: time.Second}},
		{"the status says so", trialState{before: found(lasts + 6*time.Second)},
			trialPlan{status: found(lasts + 6*time.Second), inForce: true, write: true, again: time.Second}},
		{"the Model was changed while it ran", trialState{before: began(lasts + 5*time.Second), generation: 2, verdict: better},
			trialPlan{status: over(began(lasts+5*time.Second), v1alpha1.TrialEnded, "Unverified", outdated+again)}},
		{"the Model has changed since it was judged", trialState{before: found(lasts + 6*time.Second), generation: 2, verdict: better},
			trialPlan{status: over(found(lasts+6*time.Second), v1alpha1.TrialEnded, "Unverified", outdated+again)}},
		{"the Model says it", trialState{before: found(lasts + 7*time.Second), generation: 2, held: true},
			trialPlan{status: over(found(lasts+7*time.Second), v1alpha1.TrialKept, "Better", "It took 60.")}},
		{"somebody else wrote it before", trialState{before: began(lasts), generation: 2, held: true},
			trialPlan{status: over(began(lasts), v1alpha1.TrialKept, "InBase", "spec.autoscaling and spec.limit have come to say all that was tried.")}},
		{"it is no better", trialState{before: began(lasts + 5*time.Second), verdict: worse},
			trialPlan{status: over(began(lasts+5*time.Second), v1alpha1.TrialEnded, "NotBetter", "It took 90."+again)}},
		{"it can't be told", trialState{before: began(lasts + 5*time.Second), verdict: unknown},
			trialPlan{status: over(began(lasts+5*time.Second), v1alpha1.TrialEnded, "Unverified", "Nothing came."+again)}},
		{"nobody was there in time", trialState{before: began(lasts + 30*time.Second), verdict: better},
			trialPlan{status: over(began(lasts+30*time.Second), v1alpha1.TrialEnded, "Unverified",
				"Whether it is better was not found out within 30s of its end at 2026-01-01T11:59:30Z; this was seen at 2026-01-01T12:00:00Z."+again)}},
		{"it could not be written in time", trialState{before: found(lasts + time.Hour)},
			trialPlan{status: over(found(lasts+time.Hour), v1alpha1.TrialEnded, "NotWritten",
				"It took 60. It could not be written to the Model within 30s of the trial's end at 2026-01-01T11:00:00Z."+again)}},
		{"a bound was passed at the end", trialState{before: found(lasts + 6*time.Second), breach: &v1alpha1.RateLimitBreach{Reason: "Latency", Message: "p95 was 300ms"}},
			trialPlan{status: over(found(lasts+6*time.Second), v1alpha1.TrialEnded, "Latency", "p95 was 300ms."+again)}},
		{"it doesn't say until when", trialState{before: unfinished, verdict: better},
			trialPlan{status: over(unfinished, v1alpha1.TrialEnded, "Elapsed", "Its time has passed."+again)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.state.spec, c.state.now, c.state.generation = spec, noon, max(1, c.state.generation)
			before := c.state.before.DeepCopy()
			got := decideTrial(c.state)
			if !equality.Semantic.DeepEqual(got.status, c.want.status) || got.inForce != c.want.inForce || got.write != c.want.write || got.again != c.want.again {
				t.Errorf("%+v %+v\nwant %+v %+v", got, got.status, c.want, c.want.status)
			}
			if !equality.Semantic.DeepEqual(before, c.state.before) {
				t.Error("what the status said is changed")
			}
		})
	}
	if got := decideTrial(trialState{before: found(lasts + 6*time.Second), generation: 2, now: noon}); got.write || got.status.Reason != "TakenAway" {
		t.Errorf("taken away while it is judged: %+v", got)
	}
	another := ifBetter(6)
	if got := decideTrial(trialState{spec: another, before: found(lasts + 6*time.Second), generation: 2, now: noon}); got.write || got.inForce || !got.status.Runs(another) {
		t.Errorf("another in its place: %+v", got)
	}
}

// Whatever is found, written, lost or changed in between, a trial is in force for no longer than
// it may be judged, and no Model is written but the one that the status says was judged.
func TestKeptTrialsEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now, spec := noon, ifBetter(5)
		stored := v1alpha1.BeginTrial(spec, now)
		stored.Generation = 1
		end, generation, held := stored.EndTime.Time, int64(1), false
		for range rapid.IntRange(1, 40).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int64{1, 2, 10, 590}).Draw(t, "seconds")) * time.Second)
			state := trialState{spec: spec, before: stored, held: held, generation: generation, now: now}
			if reason := rapid.SampledFrom([]string{"", "Better", "NotBetter", "Unverified"}).Draw(t, "found"); reason != "" && state.awaits() {
				state.verdict = &v1alpha1.TrialVerdict{Reason: reason}
			}
			plan := decideTrial(state)
			switch {
			case plan.inForce && (!stored.Runs(spec) || !now.Before(end.Add(30*time.Second)) || plan.again <= 0):
				t.Fatalf("in force %s after its end, looking again after %s", now.Sub(end), plan.again)
			case plan.write && (!plan.inForce || now.Before(end) || stored.Reason != "Better" || stored.Generation != generation):
				t.Fatalf("generation %d is written by %+v", generation, stored)
			case plan.write && rapid.Bool().Draw(t, "written"):
				generation, held = generation+1, true
			}
			if rapid.IntRange(0, 3).Draw(t, "the status is written") > 0 {
				stored = plan.status
			}
			if rapid.IntRange(0, 9).Draw(t, "the Model changes") == 0 {
				generation++
			}
		}
	})
}

// keptRows take a Model through the end of a trial that is kept if it is better.
func keptRows() rtesting.TableTest {
	const outdated = "The Model was changed while this was tried, so whether it is better than what the Model says now can't be told."
	const lasts, found, again = 10 * time.Minute, "It took 60 ready replica-seconds.", " The Model goes by spec.autoscaling and spec.limit again."
	spec := ifBetter(5)
	base := func(m *v1alpha1.Model) { m.Spec.Autoscaling.Target, m.ResourceVersion = ptr(int32(10)), "7" }
	ran := func(ago time.Duration) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) {
			m.Spec.Trial, m.Status.Trial = spec.DeepCopy(), v1alpha1.BeginTrial(spec, noon.Add(-ago))
			m.Status.Trial.Generation = m.Generation
		}
	}
	better := func(m *v1alpha1.Model) { m.Status.Trial = m.Status.Trial.FindBetter(found) }
	over := func(reason, message string) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) { m.Status.Trial = m.Status.Trial.End(reason, message, noon) }
	}
	scaledTo := func(to string) func(*servingv1.Revision) {
		return func(r *servingv1.Revision) { r.Annotations["autoscaling.knative.dev/target"] = to }
	}
	watched := func(ago time.Duration) func(*v1alpha1.RateLimit) {
		return func(l *v1alpha1.RateLimit) {
			l.Spec.Bounds = &v1alpha1.RateLimitBounds{
				Since: metav1.NewMicroTime(noon.Add(-ago)), Latency: &v1alpha1.LatencyBound{Percentile: 95, Above: metav1.Duration{Duration: 250 * time.Millisecond}},
			}
		}
	}
	row := func(name string, ago time.Duration, at string, changes ...func(*v1alpha1.Model)) rtesting.TableRow {
		return rtesting.TableRow{
			Name: name, Key: key,
			Objects: []runtime.Object{
				restingModel(slices.Concat([]func(*v1alpha1.Model){base, ran(ago)}, changes)...), service(withGeneration(1), ready, defaulted),
				revision(first, scaledTo(at)), rateLimit(service(ready), limited, watched(ago)),
			},
			OtherTestData: map[string]any{"again": time.Second},
		}
	}
	ends := func(r rtesting.TableRow, kind, says string, want *v1alpha1.Model) rtesting.TableRow {
		r.WantPatches = slices.Insert(r.WantPatches, 0, patch(first, `{"metadata":{"annotations":{"autoscaling.knative.dev/target":"10"}}}`))
		r.WantEvents = []string{
			rtesting.Eventf(kind, "TrialEnded", "%s", says+again), rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", first),
		}
		r.WantStatusUpdates = status(want)
		delete(r.OtherTestData, "again")
		return r
	}
	with := func(r rtesting.TableRow, v v1alpha1.TrialVerdict) rtesting.TableRow {
		r.OtherTestData["found"] = finds(v)
		return r
	}
	written := patch(name, `{"metadata":{"annotations":{"kubernetes.io/change-cause":"spec.trial was kept: `+found+`"},"resourceVersion":"7"},"spec":{"autoscaling":{"target":5}}}`)
	answered := func(r rtesting.TableRow, err error) rtesting.TableRow {
		r.WantPatches = []clientgotesting.PatchActionImpl{written}
		r.WithReactors = []clientgotesting.ReactionFunc{func(action clientgotesting.Action) (bool, runtime.Object, error) {
			return action.Matches("patch", "models"), nil, err
		}}
		return r
	}
	models := schema.GroupResource{Group: "sluice.dev", Resource: "models"}
	const late = lasts + 5*time.Second

	isBetter := with(row("it is better: the status says so first", late, "5"), v1alpha1.TrialVerdict{Reason: "Better", Message: found})
	isBetter.WantStatusUpdates = status(restingModel(base, ran(late), better))
	isWritten := row("then that very version of the Model is written", late, "5", better)
	isWritten.WantPatches = []clientgotesting.PatchActionImpl{written}
	says := row("the Model says it: it is kept, and nothing changes", late, "5", better, func(m *v1alpha1.Model) { m.Spec.Autoscaling.Target = ptr(int32(5)) })
	says.OtherTestData = nil
	says.WantEvents = []string{rtesting.Eventf(corev1.EventTypeNormal, "TrialKept", "%s", found)}
	says.WantStatusUpdates = status(restingModel(base, ran(late), better, func(m *v1alpha1.Model) {
		m.Spec.Autoscaling.Target, m.Status.Trial = ptr(int32(5)), m.Status.Trial.Keep(noon)
	}))
	refused := answered(row("it may not be written", late, "5", better), apierrs.NewBadRequest("no room"))
	return rtesting.TableTest{
		row("its time has passed: it is judged, and what is tried stays in force", late, "5"),
		isBetter, isWritten, says,
		ends(row("the Model has changed since it began: nothing is written", late, "5", better, func(m *v1alpha1.Model) { m.Status.Trial.Generation-- }),
			corev1.EventTypeWarning, "Unverified: "+outdated, restingModel(base, ran(late), func(m *v1alpha1.Model) { m.Status.Trial = m.Status.Trial.Outdated(noon) })),
		answered(row("the Model changes in that moment: it isn't written", late, "5", better), apierrs.NewConflict(models, name, errors.New("it changed"))),
		answered(row("the Model is deleted in that moment", late, "5", better), apierrs.NewNotFound(models, name)),
		answered(row("the API server is away: it is tried again", late, "5", better), apierrs.NewServerTimeout(models, "patch", 1)),
		ends(refused, corev1.EventTypeWarning, "NotWritten: "+found+" It could not be written to the Model: no room.",
			restingModel(base, ran(late), over("NotWritten", found+" It could not be written to the Model: no room"))),
		ends(with(row("it is no better", late, "5"), v1alpha1.TrialVerdict{Reason: "NotBetter", Message: "It took 90."}),
			corev1.EventTypeNormal, "It took 90.", restingModel(base, ran(late), over("NotBetter", "It took 90."))),
		ends(with(row("it can't be told", late, "5"), v1alpha1.TrialVerdict{Reason: "Unverified", Message: "Nothing came."}),
			corev1.EventTypeWarning, "Unverified: Nothing came.", restingModel(base, ran(late), over("Unverified", "Nothing came."))),
		ends(with(row("the controller was away over its end for too long", time.Hour, "5"), v1alpha1.TrialVerdict{Reason: "Better", Message: found}),
			corev1.EventTypeWarning, "Unverified: Whether it is better was not found out within 30s of its end at 2026-01-01T11:10:00Z; this was seen at 2026-01-01T12:00:00Z.",
			restingModel(base, ran(time.Hour), func(m *v1alpha1.Model) { m.Status.Trial = m.Status.Trial.Unjudged(noon) })),
	}
}

func TestStartsOf(t *testing.T) {
	t.Parallel()
	pod := func(took time.Duration, ready corev1.ConditionStatus, restarts int32) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(noon)},
			Status: corev1.PodStatus{
				ContainerStatuses: []corev1.ContainerStatus{{RestartCount: restarts}},
				Conditions: []corev1.PodCondition{
					{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(noon)},
					{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.NewTime(noon.Add(took))},
				},
			},
		}
	}
	got := startsOf([]*corev1.Pod{
		pod(3*time.Second, corev1.ConditionTrue, 0), pod(2*time.Second, corev1.ConditionTrue, 0), pod(time.Second, corev1.ConditionFalse, 0),
		pod(time.Second, corev1.ConditionTrue, 1), pod(time.Hour, corev1.ConditionTrue, 0),
	})
	if want := []time.Duration{2 * time.Second, 3 * time.Second}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := startsOf(slices.Repeat([]*corev1.Pod{pod(time.Second, corev1.ConditionTrue, 0)}, 300)); len(got) != mostStarts {
		t.Errorf("%d starts, want at most %d", len(got), mostStarts)
	}
}
