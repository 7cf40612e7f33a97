package model

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgotesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
	"knative.dev/pkg/apis"
	rtesting "knative.dev/pkg/reconciler/testing"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
	"sluice.dev/sluice/reconciler/model/resources"
	"sluice.dev/sluice/reconciler/model/rollout"
)

// target is a trial of one, for ten minutes.
func target(n int32, changes ...func(*v1alpha1.TrialSpec)) *v1alpha1.TrialSpec {
	spec := &v1alpha1.TrialSpec{For: metav1.Duration{Duration: 10 * time.Minute}, Autoscaling: &v1alpha1.AutoscalingSpec{Target: &n}}
	for _, change := range changes {
		change(spec)
	}
	return spec
}

func TestDecideTrial(t *testing.T) {
	t.Parallel()
	spec, breach := target(5), &v1alpha1.RateLimitBreach{Reason: v1alpha1.BreachLatency, Message: "p99 was 300ms, above 250ms"}
	began := func(ago time.Duration) *v1alpha1.TrialStatus { return v1alpha1.BeginTrial(spec, noon.Add(-ago)) }
	gone := func(s *v1alpha1.TrialStatus) *v1alpha1.TrialStatus { s.Hash = ""; return s }
	const inForceAgain = " The Model goes by spec.autoscaling and spec.limit again."
	ended := func(ago time.Duration, reason, message string) *v1alpha1.TrialStatus {
		s := began(ago)
		s.Phase, s.Reason, s.Message, s.EndTime = v1alpha1.TrialEnded, reason, message+inForceAgain, &metav1.MicroTime{Time: noon}
		return s
	}
	kept := began(time.Minute).Keep(noon)
	unfinished := began(time.Minute)
	unfinished.EndTime = nil
	refusal := &apis.FieldError{Message: "invalid value: must be from 10s to 24h0m0s, is 1s", Paths: []string{"spec.trial.for"}}
	for _, c := range []struct {
		name  string
		state trialState
		want  trialPlan
	}{
		{"none", trialState{}, trialPlan{}},
		{"a new one begins, and has no value in force yet", trialState{spec: spec}, trialPlan{status: began(0)}},
		{"a new one that the base holds is kept", trialState{spec: spec, held: true}, trialPlan{status: began(0).Keep(noon)}},
		{"a new one that can't be", trialState{spec: spec, refusal: refusal},
			trialPlan{status: ended(0, "Invalid", "invalid value: must be from 10s to 24h0m0s, is 1s: spec.trial.for.")}},
		{"another one after one that is over begins", trialState{spec: spec, before: v1alpha1.BeginTrial(target(6), noon.Add(-time.Hour)).Keep(noon)}, trialPlan{status: began(0)}},
		{"another one in place of one that runs begins", trialState{spec: spec, before: v1alpha1.BeginTrial(target(6), noon)}, trialPlan{status: began(0)}},
		{"one that runs", trialState{spec: spec, before: began(time.Minute)}, trialPlan{status: began(time.Minute), inForce: true, again: 9 * time.Minute}},
		{"one that runs to its last moment", trialState{spec: spec, before: began(10*time.Minute - time.Microsecond)},
			trialPlan{status: began(10*time.Minute - time.Microsecond), inForce: true, again: time.Microsecond}},
		{"its time passes", trialState{spec: spec, before: began(10 * time.Minute)}, trialPlan{status: ended(10*time.Minute, "Elapsed", "Its time has passed.")}},
		{"its time passed while nobody was there", trialState{spec: spec, before: began(time.Hour)},
			trialPlan{status: ended(time.Hour, "Elapsed", "Its time passed at 2026-01-01T11:10:00Z, which was seen 50m0s later.")}},
		{"a bound is passed", trialState{spec: spec, before: began(time.Minute), breach: breach},
			trialPlan{status: ended(time.Minute, "Latency", "p99 was 300ms, above 250ms.")}},
		{"a bound was passed before its time", trialState{spec: spec, before: began(time.Hour), breach: breach},
			trialPlan{status: ended(time.Hour, "Latency", "p99 was 300ms, above 250ms.")}},
		{"the base has come to hold it", trialState{spec: spec, before: began(time.Minute), held: true}, trialPlan{status: kept}},
		{"it is taken away", trialState{before: began(time.Minute)}, trialPlan{status: gone(ended(time.Minute, "TakenAway", "spec.trial was taken away."))}},
		{"one that is over is taken away", trialState{before: kept}, trialPlan{status: gone(kept.DeepCopy())}},
		{"one that was taken away", trialState{before: gone(kept.DeepCopy())}, trialPlan{status: gone(kept.DeepCopy())}},
		{"it is put back", trialState{spec: spec, before: gone(kept.DeepCopy())}, trialPlan{status: began(0)}},
		{"one that is over", trialState{spec: spec, before: ended(time.Hour, "Elapsed", "")}, trialPlan{status: ended(time.Hour, "Elapsed", "")}},
		{"one that was kept, and isn't held any more", trialState{spec: spec, before: kept}, trialPlan{status: kept}},
		{"one that doesn't say until when", trialState{spec: spec, before: unfinished}, trialPlan{status: ended(time.Minute, "Elapsed", "Its time has passed.")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.state.now = noon
			before := c.state.before.DeepCopy()
			if got := decideTrial(c.state); !equality.Semantic.DeepEqual(got.status, c.want.status) || got.inForce != c.want.inForce || got.again != c.want.again {
				t.Errorf("%+v %+v\nwant %+v %+v", got, got.status, c.want, c.want.status)
			}
			if !equality.Semantic.DeepEqual(before, c.state.before) {
				t.Error("what the status said is changed")
			}
		})
	}
}

// Whatever is written, breaks or is away in between, nothing that is tried is in force before
// the status has its end, nor after that; and no trial runs twice.
func TestTrialsEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := noon
		var spec *v1alpha1.TrialSpec
		var stored *v1alpha1.TrialStatus // as the API server has it
		var breach *v1alpha1.RateLimitBreach
		held, runs := false, map[string]int{} // begun, of each writing of each trial
		writing := 0
		id := func() string { return fmt.Sprint(spec.Hash(), writing) }
		// A pass of the reconciler, if it comes to one, whose status may get lost.
		look := func(t *rapid.T) {
			luck := rapid.IntRange(0, 5).Draw(t, "luck")
			if luck == 0 {
				return
			}
			status := v1alpha1.RateLimitStatus{Breach: breach}
			state := trialState{spec: spec, before: stored.DeepCopy(), held: held, now: now}
			if stored.Runs(spec) {
				state.breach = status.BreachOf(stored.StartTime)
			}
			plan := decideTrial(state)
			if plan.inForce {
				if wrong := wronglyInForce(state, plan); wrong != "" {
					t.Fatalf("in force, %s", wrong)
				}
			}
			if luck == 1 {
				return
			}
			if plan.status.Runs(spec) && !stored.Runs(spec) {
				if runs[id()]++; runs[id()] > 1 {
					t.Fatalf("%s runs twice", spec.Values())
				}
			}
			stored = plan.status
		}
		happens := map[string]func(*rapid.T){}
		for what, change := range map[string]func(*rapid.T){
			"time passes": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.SampledFrom([]int64{1, 299, 300, 599, 600}).Draw(t, "seconds")) * time.Second)
			},
			"a trial is written": func(t *rapid.T) {
				next := target(rapid.Int32Range(5, 7).Draw(t, "target"))
				if spec == nil || next.Hash() != spec.Hash() {
					spec, writing, held = next, writing+1, false
				}
			},
			"it is taken away": func(*rapid.T) { spec = nil },
			"the base is":      func(t *rapid.T) { held = rapid.Bool().Draw(t, "held") },
			"a bound is passed": func(*rapid.T) {
				if stored != nil && stored.Phase == v1alpha1.TrialRunning {
					breach = &v1alpha1.RateLimitBreach{Since: *stored.StartTime, Reason: v1alpha1.BreachErrorPercent}
				}
			},
		} {
			happens[what] = func(t *rapid.T) { change(t); look(t) }
		}
		t.Repeat(happens)
	})
}

// wronglyInForce says why what is tried must not be in force; "" where it may.
func wronglyInForce(s trialState, plan trialPlan) string {
	switch {
	case !s.before.Runs(s.spec):
		return fmt.Sprintf("and the status says %+v", s.before)
	case !s.now.Before(s.before.EndTime.Time):
		return fmt.Sprintf("at %s, after its end at %s", s.now, s.before.EndTime)
	case s.held || s.breach != nil:
		return fmt.Sprintf("though held: %t, breach: %v", s.held, s.breach)
	case plan.again != s.before.EndTime.Sub(s.now) || plan.again > s.spec.For.Duration:
		return fmt.Sprintf("and it looks again after %s, where it ends at %s", plan.again, s.before.EndTime)
	}
	return ""
}

// trialRows take a Model through its trials.
func trialRows() rtesting.TableTest {
	bounds := func(s *v1alpha1.TrialSpec) {
		s.Unless = &v1alpha1.TrialUnless{ErrorPercent: ptr(int32(2)), Latency: &v1alpha1.TrialLatency{Percentile: ptr(int32(95)), Above: metav1.Duration{Duration: 250 * time.Millisecond}}}
	}
	headroom := func(s *v1alpha1.TrialSpec) { s.Limit = &v1alpha1.LimitSpec{HeadroomPercent: ptr(int32(50))} }
	tries := func(spec *v1alpha1.TrialSpec) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) { m.Spec.Trial = spec.DeepCopy() }
	}
	runs := func(spec *v1alpha1.TrialSpec, ago time.Duration) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) {
			tries(spec)(m)
			m.Status.Trial = v1alpha1.BeginTrial(spec, noon.Add(-ago))
		}
	}
	over := func(reason, message string) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) { m.Status.Trial = m.Status.Trial.End(reason, message, noon) }
	}
	base := func(m *v1alpha1.Model) { m.Spec.Autoscaling.Target = ptr(int32(10)) }
	scaledTo := func(to string) func(*servingv1.Revision) {
		return func(r *servingv1.Revision) { r.Annotations["autoscaling.knative.dev/target"] = to }
	}
	retargeted := func(name, to string) clientgotesting.PatchActionImpl {
		return patch(name, `{"metadata":{"annotations":{"autoscaling.knative.dev/target":"`+to+`"}}}`)
	}
	watched := func(l *v1alpha1.RateLimit) {
		l.Spec.Bounds = &v1alpha1.RateLimitBounds{
			Since: metav1.NewMicroTime(noon.Add(-time.Minute)), ErrorPercent: ptr(int32(2)),
			Latency: &v1alpha1.LatencyBound{Percentile: 95, Above: metav1.Duration{Duration: 250 * time.Millisecond}},
		}
	}
	triedLimit := func(l *v1alpha1.RateLimit) { l.Spec.HeadroomPercent = 50 }
	breached := func(ago time.Duration) func(*v1alpha1.RateLimit) {
		return func(l *v1alpha1.RateLimit) {
			l.Status.Breach = &v1alpha1.RateLimitBreach{
				Since: metav1.NewMicroTime(noon.Add(-ago)), Reason: v1alpha1.BreachErrorPercent, Message: "12 of 100 answers were 5xx, above 2%.",
			}
		}
	}
	tuned := func(name string) string {
		return rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", name)
	}
	normal := func(reason, message string) string {
		return rtesting.Eventf(corev1.EventTypeNormal, reason, "%s", message)
	}
	warned := func(message string) string {
		return rtesting.Eventf(corev1.EventTypeWarning, "TrialEnded", "%s", message)
	}
	const again = " The Model goes by spec.autoscaling and spec.limit again."
	atRest := service(withGeneration(1), ready, defaulted)
	nine := map[string]any{"again": 9 * time.Minute}
	image := func(m *v1alpha1.Model) { m.Spec.Container.Image = "registry.example/ranker:2" }
	both := routed(resources.Named(first, 50, ""), resources.Named(second, 50, ""))
	halfway := func(m *v1alpha1.Model) {
		m.Spec.Rollout.Paused = true
		rolling(v1alpha1.RolloutPaused, 50, noon.Add(-time.Hour))(m)
		because("Paused", `Revision "ranker-00002" is held at 50 percent; unset spec.rollout.paused to go on.`)(m)
	}
	annotated := func(m *v1alpha1.Model) {
		m.Annotations = map[string]string{"autoscaling.knative.dev/target": "8", "autoscaling.knative.dev/window": "30s"}
	}
	upTo := func(n int32) func(*v1alpha1.TrialSpec) {
		return func(s *v1alpha1.TrialSpec) { s.Autoscaling = &v1alpha1.AutoscalingSpec{MaxReplicas: &n} }
	}
	four := func(m *v1alpha1.Model) { m.Spec.Autoscaling.MaxReplicas = ptr(int32(4)) }
	allowed := func(n int32) func(*v1alpha1.Model) { return func(m *v1alpha1.Model) { m.Status.MaxReplicas = &n } }
	fiveReplicas := tenant(func(t *v1alpha1.Tenant) { t.Spec.Limits.MaxReplicas = ptr(int32(5)) })
	ofTenant := service(withGeneration(1), ready, defaulted, labelled)
	return rtesting.TableTest{{
		Name:              "a trial begins: its end is written, and nothing is in force yet",
		Key:               key,
		Objects:           []runtime.Object{restingModel(base, tries(target(5))), atRest, revision(first, scaledTo("10")), rateLimit(service(ready), limited)},
		WantEvents:        []string{normal("TrialBegan", `Trying {"autoscaling":{"target":5}} for 10m0s at most`)},
		WantStatusUpdates: status(restingModel(base, runs(target(5), 0))),
	}, {
		Name: "it is in force: the live revision is tuned, the limit follows and is watched, the template stays",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(base, runs(target(5, bounds, headroom), time.Minute)), atRest, revision(first, scaledTo("10")), rateLimit(service(ready), limited),
		},
		OtherTestData: nine,
		WantPatches:   []clientgotesting.PatchActionImpl{retargeted(first, "5")},
		WantUpdates:   []clientgotesting.UpdateActionImpl{{Object: rateLimit(service(ready), limited, triedLimit, watched)}},
		WantEvents:    []string{tuned(first)},
	}, {
		Name: "while it runs, nothing is written",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(base, runs(target(5, bounds, headroom), time.Minute)), atRest, revision(first, scaledTo("5")), rateLimit(service(ready), limited, triedLimit, watched),
		},
		OtherTestData: nine,
	}, {
		Name:              "its time passes: the base is in force again, and no revision is made",
		Key:               key,
		Objects:           []runtime.Object{restingModel(base, runs(target(5), 10*time.Minute)), atRest, revision(first, scaledTo("5")), rateLimit(service(ready), limited)},
		WantPatches:       []clientgotesting.PatchActionImpl{retargeted(first, "10")},
		WantEvents:        []string{normal("TrialEnded", "Its time has passed."+again), tuned(first)},
		WantStatusUpdates: status(restingModel(base, runs(target(5), 10*time.Minute), over("Elapsed", "Its time has passed."))),
	}, {
		Name: "a bound is passed: it ends, and the breach can be read until that is written",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(base, runs(target(5, bounds), time.Minute)), atRest, revision(first, scaledTo("5")), rateLimit(service(ready), limited, watched, breached(time.Minute)),
		},
		WantPatches:       []clientgotesting.PatchActionImpl{retargeted(first, "10")},
		WantEvents:        []string{warned("ErrorPercent: 12 of 100 answers were 5xx, above 2%." + again), tuned(first)},
		WantStatusUpdates: status(restingModel(base, runs(target(5, bounds), time.Minute), over("ErrorPercent", "12 of 100 answers were 5xx, above 2%."))),
	}, {
		Name: "that is written: nothing is watched any more",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(base, runs(target(5, bounds), time.Minute), over("ErrorPercent", "12 of 100 answers were 5xx, above 2%.")), atRest, revision(first, scaledTo("10")),
			rateLimit(service(ready), limited, watched, breached(time.Minute)),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: rateLimit(service(ready), limited, breached(time.Minute))}},
	}, {
		Name: "a bound of an earlier trial was passed",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(base, runs(target(5, bounds), time.Minute)), atRest, revision(first, scaledTo("5")), rateLimit(service(ready), limited, watched, breached(time.Hour)),
		},
		OtherTestData: nine,
	}, {
		Name: "its end can't be written: the base is in force all the same",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(base, runs(target(5), 10*time.Minute)), atRest, revision(first, scaledTo("5")), rateLimit(service(ready), limited),
		},
		WithReactors: []clientgotesting.ReactionFunc{func(action clientgotesting.Action) (bool, runtime.Object, error) {
			return action.Matches("update", "models"), nil, errors.New("no luck")
		}},
		WantErr:     true,
		WantPatches: []clientgotesting.PatchActionImpl{retargeted(first, "10")},
		WantEvents: []string{
			normal("TrialEnded", "Its time has passed."+again), tuned(first),
			rtesting.Eventf(corev1.EventTypeWarning, "UpdateFailed", "Failed to update status for %q: no luck", name),
		},
		WantStatusUpdates: status(restingModel(base, runs(target(5), 10*time.Minute), over("Elapsed", "Its time has passed."))),
	}, {
		Name: "the base has come to hold it",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(func(m *v1alpha1.Model) { m.Spec.Autoscaling.Target = ptr(int32(5)) }, runs(target(5), time.Minute)), atRest, revision(first, scaledTo("5")), rateLimit(service(ready), limited),
		},
		WantEvents: []string{normal("TrialKept", "spec.autoscaling and spec.limit have come to say all that was tried.")},
		WantStatusUpdates: status(restingModel(func(m *v1alpha1.Model) { m.Spec.Autoscaling.Target = ptr(int32(5)) }, runs(target(5), time.Minute), func(m *v1alpha1.Model) {
			m.Status.Trial = m.Status.Trial.Keep(noon)
		})),
	}, {
		Name: "it is taken away",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(base, runs(target(5), time.Minute), tries(nil)), atRest, revision(first, scaledTo("5")), rateLimit(service(ready), limited),
		},
		WantPatches: []clientgotesting.PatchActionImpl{retargeted(first, "10")},
		WantEvents:  []string{normal("TrialEnded", "spec.trial was taken away."+again), tuned(first)},
		WantStatusUpdates: status(restingModel(base, runs(target(5), time.Minute), tries(nil), over("TakenAway", "spec.trial was taken away."), func(m *v1alpha1.Model) {
			m.Status.Trial.Hash = ""
		})),
	}, {
		Name: "one that is over is taken away, and can begin anew",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(base, runs(target(5), time.Hour), over("Elapsed", "Its time has passed."), tries(nil)), atRest, revision(first, scaledTo("10")), rateLimit(service(ready), limited),
		},
		WantStatusUpdates: status(restingModel(base, runs(target(5), time.Hour), over("Elapsed", "Its time has passed."), tries(nil), func(m *v1alpha1.Model) { m.Status.Trial.Hash = "" })),
	}, {
		Name: "one that is over, at rest",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(base, runs(target(5), time.Hour), over("Elapsed", "Its time has passed.")), atRest, revision(first, scaledTo("10")), rateLimit(service(ready), limited),
		},
	}, {
		Name: "what is tried wins over an annotation, and leaves another alone",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(annotated, runs(target(5), time.Minute)), atRest, rateLimit(service(ready), limited),
			revision(first, func(r *servingv1.Revision) { r.Annotations["autoscaling.knative.dev/window"] = "30s" }, scaledTo("8")),
		},
		OtherTestData: nine,
		WantPatches:   []clientgotesting.PatchActionImpl{retargeted(first, "5")},
		WantEvents:    []string{tuned(first)},
	}, {
		Name: "rolled out in mid-trial: the next revision begins with what is tried",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(base, image, runs(target(5), time.Minute)), atRest, revision(first, scaledTo("5")), rateLimit(service(ready), limited),
		},
		OtherTestData: nine,
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: resources.RebuildService(model(image, func(m *v1alpha1.Model) { m.Spec.Autoscaling.Target = ptr(int32(5)) }), nil, atRest),
		}},
		WantStatusUpdates: status(restingModel(base, image, runs(target(5), time.Minute), outOfDate, func(m *v1alpha1.Model) { m.Status.ServiceGeneration = 2 })),
	}, {
		Name: "it ends amid a rollout: both revisions go back",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(base, halfway, runs(target(5), 10*time.Minute)), service(withGeneration(1), ready, defaulted, both), rateLimit(service(ready, both), limited),
			revision(first, scaledTo("5")), revision(second, scaledTo("5")),
		},
		WantPatches:       []clientgotesting.PatchActionImpl{retargeted(first, "10"), retargeted(second, "10")},
		WantEvents:        []string{normal("TrialEnded", "Its time has passed."+again), tuned(first), tuned(second)},
		WantStatusUpdates: status(restingModel(base, halfway, runs(target(5), 10*time.Minute), over("Elapsed", "Its time has passed."))),
	}, {
		Name: "one that the webhook would have refused doesn't begin",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(base, tries(target(5, func(s *v1alpha1.TrialSpec) { s.For.Duration = time.Second }))), atRest, revision(first, scaledTo("10")), rateLimit(service(ready), limited),
		},
		WantEvents: []string{warned("Invalid: invalid value: must be from 10s to 24h0m0s, is 1s: spec.trial.for." + again)},
		WantStatusUpdates: status(restingModel(base, runs(target(5, func(s *v1alpha1.TrialSpec) { s.For.Duration = time.Second }), 0),
			over("Invalid", "invalid value: must be from 10s to 24h0m0s, is 1s: spec.trial.for."))),
	}, {
		Name: "its tenant has no room for it",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(four, allowed(4), tries(target(5, upTo(6)))), ofTenant, bounded(first, "4"), rateLimit(service(ready), limited, placed(tenant())), fiveReplicas,
		},
		WantEvents:        []string{warned("TenantCap: " + noRoomForTrial + again)},
		WantStatusUpdates: status(restingModel(four, allowed(4), runs(target(5, upTo(6)), 0), over("TenantCap", noRoomForTrial))),
	}, {
		Name: "its tenant has room for it, which is claimed before it is in force",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(four, allowed(4), tries(target(5, upTo(5)))), ofTenant, bounded(first, "4"), rateLimit(service(ready), limited, placed(tenant())), fiveReplicas,
		},
		WantEvents:        []string{normal("TrialBegan", `Trying {"autoscaling":{"maxReplicas":5}} for 10m0s at most`)},
		WantStatusUpdates: status(restingModel(four, allowed(5), runs(target(5, upTo(5)), 0))),
	}, {
		Name: "fewer replicas are tried: what the Model itself may have stays its own",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(four, allowed(4), runs(target(5, upTo(2)), time.Minute)), ofTenant, bounded(first, "4"), rateLimit(service(ready), limited, placed(tenant())), fiveReplicas,
		},
		OtherTestData: nine,
		WantPatches:   []clientgotesting.PatchActionImpl{patch(first, `{"metadata":{"annotations":{"autoscaling.knative.dev/max-scale":"2"}}}`)},
		WantEvents:    []string{tuned(first)},
	}}
}

const noRoomForTrial = `invalid value: must be from 1 to 5, is 6: tenant "acme" may have 5 replicas (spec.limits.maxReplicas of the Tenant), of which its other Models claim 0: spec.trial.autoscaling.maxReplicas; ` +
	"lower that of another Model of the tenant, or have the operator raise the cap."

// What was written of a trial last counts, whatever the cache has: a trial that has begun
// doesn't begin again, and one that has ended doesn't run on.
// What was tried goes back though the Service can't be written, for as long as that takes;
// otherwise nothing of a revision is changed then.
func TestTriedGoesBackWhilePending(t *testing.T) {
	spec := target(5)
	over := v1alpha1.BeginTrial(spec, noon).Elapse(noon.Add(spec.For.Duration))
	tried := func(r *servingv1.Revision) { r.Annotations[autoscaling.TargetAnnotationKey] = "5" }
	for name, tt := range map[string]struct {
		status *v1alpha1.TrialStatus
		live   bool
		back   bool
	}{
		"over":                {over, true, true},
		"of another revision": {over, false, false},
		"it runs":             {v1alpha1.BeginTrial(spec, noon), true, false},
		"there was none":      {nil, true, false},
	} {
		m := model(func(m *v1alpha1.Model) { m.Spec.Trial, m.Status.Trial = spec, tt.status })
		p := &pass{Model: m, most: v1alpha1.UnboundedReplicas, plan: rollout.Plan{Pending: true}}
		got := tune(p, resources.Scaled{Revision: revision(first, tried)}, tt.live, 0)
		if _, back := got.changes[autoscaling.TargetAnnotationKey]; back != tt.back {
			t.Errorf("%s: changes %v, want the target among them: %t", name, got.changes, tt.back)
		}
	}
}

func TestCatchUpWithTrial(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakePassiveClock(noon)
	of := func(status *v1alpha1.TrialStatus) *v1alpha1.Model {
		m := ofGeneration("a", 1, v1alpha1.RolloutComplete)
		m.Status.Trial = status
		return m
	}
	begun := v1alpha1.BeginTrial(target(5), noon)
	ended := begun.Elapse(noon.Add(10 * time.Minute))
	client := sluicefake.NewSimpleClientset(of(ended))
	b := newBehind(client, clock)
	check := func(when string, cached, want *v1alpha1.TrialStatus, asked int) {
		t.Helper()
		client.ClearActions()
		m := of(cached)
		if err := b.catchUp(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if !equality.Semantic.DeepEqual(m.Status.Trial, want) || len(client.Actions()) != asked {
			t.Errorf("%s: the trial is %+v after %d questions, want %+v after %d", when, m.Status.Trial, len(client.Actions()), want, asked)
		}
	}
	check("nothing was written", begun, begun, 0)
	b.noteTrial("a", ended)
	check("the cache is behind", begun, ended, 1)
	check("it is still", begun, ended, 1)
	check("it has caught up", ended, ended, 0)
	check("nothing is remembered", begun, begun, 0)

	b.noteTrial("a", begun.Keep(noon))
	check("what was to be written was not", begun, ended, 1)
	check("the cache has what is there", ended, ended, 0)

	b.noteTrial("a", begun)
	clock.SetTime(noon.Add(2 * behindFor))
	check("long ago", nil, nil, 0)
	b.noteTrial("a", begun)
	clock.SetTime(noon.Add(4 * behindFor))
	b.noteTrial("b", begun)
	if len(b.trials) != 1 {
		t.Errorf("%d trials are remembered, want the one that was written within the minute", len(b.trials))
	}
}
