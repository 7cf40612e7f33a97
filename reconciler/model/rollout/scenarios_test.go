package rollout

import (
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	first  = "m-00001"
	second = "m-00002"
	third  = "m-00003"
)

// running is a world whose first revision serves.
func running(t *testing.T, demand int32) *world {
	w := newWorld(demand)
	w.deploy(false)
	w.settle()
	if w.status.Phase != v1alpha1.RolloutComplete || w.revisions[first].Warm != demand {
		t.Fatalf("the first revision: %+v", w.status)
	}
	return w
}

// pass lets everything happen once.
func (w *world) pass() Plan {
	plan := w.reconcile()
	w.route()
	w.scale()
	for name := range w.revisions {
		w.warm(name)
	}
	return plan
}

// until passes until the newest revision has a percentage.
func (w *world) until(t *testing.T, percent int32) {
	t.Helper()
	for range 200 {
		if w.pass(); w.status.Percent >= percent {
			return
		}
	}
	t.Fatalf("never at %d percent: %+v", percent, w.status)
}

func (w *world) is(t *testing.T, phase v1alpha1.RolloutPhase, split Split) {
	t.Helper()
	if w.status.Phase != phase || !maps.Equal(w.split, split) {
		t.Errorf("%s (%s) with %v, want %s with %v", w.status.Phase, w.status.Message, w.split, phase, split)
	}
}

func TestLatestWins(t *testing.T) {
	t.Parallel()
	w := running(t, 8)
	w.deploy(false)
	w.until(t, 50)
	w.deploy(false)
	w.pass()
	w.is(t, v1alpha1.RolloutProgressing, Split{first: 100})
	for range 100 {
		if w.pass(); w.status.Replicas > 8 {
			t.Fatalf("%d replicas for a demand of 8: %+v", w.status.Replicas, w.status)
		}
	}
	w.settle()
	w.is(t, v1alpha1.RolloutComplete, Split{third: 100})
	if w.status.From.Name() != first {
		t.Errorf("it would go back to %s, want the revision that last served everybody", w.status.From.Name())
	}
	w.deploy(true)
	w.settle()
	w.is(t, v1alpha1.RolloutFailed, Split{third: 100})
	if w.status.From.Name() != third {
		t.Errorf("it would go back to %s, want the revision that last served everybody", w.status.From.Name())
	}
	w.deploy(false) // the fix
	w.settle()
	w.is(t, v1alpha1.RolloutComplete, Split{w.latest(): 100})
	for name, r := range w.revisions {
		if name != w.latest() && (r.Warm > 0 || slices.Contains(w.present, name)) {
			t.Errorf("%s is left over: %+v", name, r)
		}
	}
}

// An abandoned revision keeps its requests where nobody else is warm for them.
func TestAbandonedUntilOthersAreWarm(t *testing.T) {
	t.Parallel()
	w := running(t, 8)
	w.deploy(false)
	w.until(t, 50)
	w.spec.Paused = true
	w.settle()
	if w.revisions[first].Warm != 4 {
		t.Fatalf("paused for long: %+v has kept more than it is asked for", w.revisions[first])
	}
	w.spec.Paused = false
	w.deploy(false)
	w.reconcile()
	if w.split[second] == 0 || w.split[third] != 0 {
		t.Errorf("split = %v, want the second revision to keep what the first isn't warm for", w.split)
	}
	w.settle()
	w.is(t, v1alpha1.RolloutComplete, Split{third: 100})
}

func TestHeldAtPercent(t *testing.T) {
	t.Parallel()
	w := running(t, 10)
	percent := int32(20)
	w.spec.Percent = &percent
	w.deploy(false)
	w.settle()
	w.is(t, v1alpha1.RolloutPaused, Split{first: 80, second: 20})
	if w.revisions[first].Warm != 8 || w.revisions[second].Warm != 2 {
		t.Errorf("held for long, they have %d and %d replicas, want what they are asked for",
			w.revisions[first].Warm, w.revisions[second].Warm)
	}
	percent = 10 // back a little, which takes more of the first
	w.reconcile()
	w.is(t, v1alpha1.RolloutProgressing, Split{first: 80, second: 20})
	w.settle()
	w.is(t, v1alpha1.RolloutPaused, Split{first: 90, second: 10})
	w.spec.Percent = nil
	w.settle()
	w.is(t, v1alpha1.RolloutComplete, Split{second: 100})
}

func TestPausedBeforeItBegins(t *testing.T) {
	t.Parallel()
	w := running(t, 8)
	w.spec.Paused = true
	w.traffic = []v1alpha1.TrafficTarget{{LatestRevision: new(bool), Tag: "next"}}
	*w.traffic[0].LatestRevision = true
	w.deploy(false)
	if got := w.revisions[second].initial; got != 1 {
		t.Errorf("it starts with %d replicas, want one", got)
	}
	plan := w.settle()
	w.is(t, v1alpha1.RolloutPaused, Split{first: 100})
	if !slices.ContainsFunc(plan.Targets, isTag(second, "next")) {
		t.Errorf("targets = %+v, want a tag of the second revision", plan.Targets)
	}
	w.spec.Paused = false
	w.settle()
	w.is(t, v1alpha1.RolloutComplete, Split{second: 100})
}

func TestAtZero(t *testing.T) {
	t.Parallel()
	w := running(t, 0)
	w.deploy(false)
	for range 10 {
		if plan := w.pass(); len(plan.Floors) > 0 || w.revisions[first].Desired > 0 {
			t.Fatalf("replicas are started for nobody: %v, %+v", plan.Floors, w.revisions[first])
		}
	}
	w.is(t, v1alpha1.RolloutComplete, Split{second: 100})
	w.spec.Undo = true
	w.reconcile()
	w.is(t, v1alpha1.RolloutUndoing, Split{first: 100})
	w.settle()
	w.is(t, v1alpha1.RolloutUndone, Split{first: 100})
}

// What fails and what is lost.
func TestFaults(t *testing.T) {
	t.Parallel()
	t.Run("a warm replica lost", func(t *testing.T) {
		t.Parallel()
		w := running(t, 8)
		w.deploy(false)
		w.until(t, 50)
		w.revisions[second].Warm = 2
		w.reconcile()
		w.is(t, v1alpha1.RolloutProgressing, Split{first: 75, second: 25})
	})
	t.Run("the old revision fails", func(t *testing.T) {
		t.Parallel()
		w := running(t, 8)
		w.deploy(false)
		w.until(t, 50)
		w.revisions[first].Warm, w.revisions[first].Ready = 0, corev1.ConditionFalse
		w.reconcile()
		if !maps.Equal(w.split, Split{second: 100}) {
			t.Errorf("split = %v, want what is ready", w.split)
		}
	})
	t.Run("the new one fails while both are kept", func(t *testing.T) {
		t.Parallel()
		w := running(t, 8)
		w.deploy(false)
		w.until(t, 100)
		w.pass()
		w.revisions[second].Warm, w.revisions[second].Ready = 0, corev1.ConditionFalse
		w.reconcile()
		w.is(t, v1alpha1.RolloutFailed, Split{first: 100})
	})
	t.Run("the new one fails long after", func(t *testing.T) {
		t.Parallel()
		w := running(t, 8)
		w.deploy(false)
		w.settle()
		w.revisions[second].Warm, w.revisions[second].Ready = 0, corev1.ConditionFalse
		if plan := w.reconcile(); plan.Targets != nil {
			t.Errorf("targets = %+v, want the revision to be left to itself", plan.Targets)
		}
	})
	t.Run("nothing to undo", func(t *testing.T) {
		t.Parallel()
		w := running(t, 8)
		w.spec.Undo = true
		w.settle()
		if w.status.Reason != reasonNothingToUndo {
			t.Errorf("got %+v", w.status)
		}
	})
	t.Run("the revision before was deleted", func(t *testing.T) {
		t.Parallel()
		w := running(t, 8)
		w.deploy(false)
		w.settle()
		delete(w.revisions, first)
		w.spec.Undo = true
		w.settle()
		w.is(t, v1alpha1.RolloutComplete, Split{second: 100})
		if w.status.Reason != reasonNothingToUndo {
			t.Errorf("got %+v", w.status)
		}
	})
}

// More demand in the middle takes more of the new revision before it has it all.
func TestDemandGrowsMeanwhile(t *testing.T) {
	t.Parallel()
	w := running(t, 4)
	w.deploy(false)
	w.until(t, 50)
	w.demand = 8
	for range 100 {
		w.pass()
		if served := w.capacityOf(w.served); w.status.Phase == v1alpha1.RolloutProgressing && served < 4 {
			t.Fatalf("the capacity is %d of 4 at least: %v", served, w.served)
		}
	}
	w.is(t, v1alpha1.RolloutKeepingWarm, Split{second: 100})
	if w.revisions[second].Warm != 8 {
		t.Errorf("%d replicas for 8", w.revisions[second].Warm)
	}
}

// A share for a named revision is its own, and warmed before it is given.
func TestNamedShare(t *testing.T) {
	t.Parallel()
	w := running(t, 10)
	w.deploy(false)
	w.settle()
	share := int32(30)
	w.traffic = []v1alpha1.TrafficTarget{{RevisionName: first, Percent: &share}, {RevisionName: "m-gone", Tag: "gone"}}
	w.reconcile()
	w.is(t, v1alpha1.RolloutProgressing, Split{second: 100})
	w.settle()
	w.is(t, v1alpha1.RolloutComplete, Split{first: 30, second: 70})
	if w.status.Reason != reasonTargetNotReady {
		t.Errorf("reason = %q, want one for the revision that is gone", w.status.Reason)
	}
	w.deploy(false)
	w.settle()
	w.is(t, v1alpha1.RolloutComplete, Split{first: 30, third: 70})
}

func TestPending(t *testing.T) {
	t.Parallel()
	before := &v1alpha1.RolloutStatus{Phase: v1alpha1.RolloutComplete}
	if plan := Decide(State{Before: before}); !plan.Pending || plan.Targets != nil || plan.Status.Phase != before.Phase {
		t.Errorf("got %+v, want nothing to be done", plan)
	}
}

func TestRest(t *testing.T) {
	t.Parallel()
	w := running(t, 2)
	w.deploy(false)
	w.until(t, 100)
	if plan := w.pass(); w.status.Phase != v1alpha1.RolloutKeepingWarm || plan.Again != 5*time.Minute {
		t.Errorf("looks again after %v: %+v", plan.Again, w.status)
	}
}
