package v1alpha1

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/apis"
	"pgregory.net/rapid"
)

func initialized() *BatchStatus {
	s := &BatchStatus{}
	s.InitializeConditions()
	return s
}

// Whatever comes after what, Succeeded repeats Complete, Failed is there if and only if the
// run has failed, and nothing runs that is over.
func TestBatchConditions(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	rapid.Check(t, func(t *rapid.T) {
		s := initialized()
		steps := map[string]func(){
			"planning": s.MarkPlanning, "starting": s.MarkStarting, "running": s.MarkRunning, "no slack": s.MarkNoSlack,
			"held":      func() { s.MarkHeld("Suspended", "So it is: 100% sure.") },
			"planned":   func() { s.MarkPlanned(10, 2) },
			"completed": func() { s.MarkPlanned(10, 2); s.MarkCompleted(now) },
			"failed":    func() { s.MarkFailed(now, "StoreAway", "So it is: 100% sure.") },
		}
		for !s.IsFinished() {
			step := rapid.SampledFrom([]string{"planning", "starting", "running", "no slack", "held", "planned", "completed", "failed"}).Draw(t, "step")
			steps[step]()
			s.Settle()
			succeeded, complete := s.GetCondition(BatchConditionSucceeded), s.GetCondition(BatchConditionComplete)
			failed, running := s.GetCondition(BatchConditionFailed), s.GetCondition(BatchConditionRunning)
			switch {
			case succeeded.Status != complete.Status || succeeded.Reason != complete.Reason || succeeded.Message != complete.Message:
				t.Fatalf("%s: Succeeded is %+v, Complete %+v", step, succeeded, complete)
			case complete.Reason == "" && step != "planned":
				t.Fatalf("%s: no reason", step)
			case failed.IsTrue() != complete.IsFalse():
				t.Fatalf("%s: Failed is %v, Complete %v", step, failed, complete)
			case s.IsFinished() != (running == nil && s.CompletionTime != nil) && step != "planned":
				t.Fatalf("%s: Running is %v, CompletionTime %v", step, running, s.CompletionTime)
			}
		}
	})
}

// Since when nothing is left for a run is known for as long as that is said, however often.
func TestNoSlackSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // conditions go by the clock of the machine
		s := initialized()
		var since time.Time
		for i, step := range []struct {
			mark func()
			says bool
		}{
			{s.MarkRunning, false}, {s.MarkNoSlack, true}, {s.MarkNoSlack, true}, {s.MarkRunning, false},
			{func() { s.MarkHeld("Suspended", "x") }, false}, {s.MarkNoSlack, true},
		} {
			time.Sleep(time.Minute)
			step.mark()
			got := s.NoSlackSince()
			if got.IsZero() == step.says || i == 2 && !got.Equal(since) || (i == 1 || i == 5) && !got.Equal(time.Now().Truncate(0)) {
				t.Errorf("after step %d it has been said since %s", i+1, got)
			}
			since = got
		}
	})
}

func TestJobNotWritten(t *testing.T) {
	t.Parallel()
	kind := schema.GroupKind{Group: "batch", Kind: "Job"}
	for name, test := range map[string]struct {
		err    error
		reason string // "" for nothing said
	}{
		"lost a race": {apierrs.NewConflict(schema.GroupResource{}, "a", errors.New("x")), ""},
		"refused":     {apierrs.NewInvalid(kind, "a", nil), "Refused"},
		"forbidden":   {apierrs.NewForbidden(schema.GroupResource{}, "a", errors.New("quota")), "Refused"},
		"away":        {errors.New("connection refused"), "NotWritten"},
	} {
		s := initialized()
		s.MarkJobNotWritten("nightly-work", test.err)
		running := s.GetCondition(BatchConditionRunning)
		if got := running.GetReason(); got != test.reason || (got != "" && !running.IsFalse()) {
			t.Errorf("%s: got %+v", name, running)
		}
	}
}

func TestBatchTimes(t *testing.T) {
	t.Parallel()
	start := time.Unix(1e9, 0)
	b := &Batch{}
	if _, ok := b.End(); ok {
		t.Error("an end without a deadline")
	}
	b.Spec.Deadline, b.Spec.TTLAfterFinished = &metav1.Duration{Duration: time.Minute}, &metav1.Duration{Duration: time.Hour}
	if _, ok := b.End(); ok {
		t.Error("an end without a start")
	}
	if _, ok := b.Expiry(); ok {
		t.Error("an expiry without an end")
	}
	b.Status.StartTime, b.Status.CompletionTime = &metav1.Time{Time: start}, &metav1.Time{Time: start.Add(time.Second)}
	if end, ok := b.End(); !ok || !end.Equal(start.Add(time.Minute)) {
		t.Errorf("the end is %v", end)
	}
	if expiry, ok := b.Expiry(); !ok || !expiry.Equal(start.Add(time.Second+time.Hour)) {
		t.Errorf("the expiry is %v", expiry)
	}
}

// A progress is written at most once in 5 s, and all of it once that time has passed; what
// changes a condition is written at once.
func TestPaceProgress(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now, stored := time.Unix(1e9, 0), initialized()
		stored.MarkRunning()
		var written time.Time
		for range rapid.IntRange(1, 30).Draw(t, "passes") {
			now = now.Add(time.Duration(rapid.Int64Range(1, int64(4*time.Second)).Draw(t, "after")))
			next := stored.DeepCopy()
			done := rapid.Int64Range(0, 3).Draw(t, "succeeded")
			next.Succeeded = &done
			changed := rapid.IntRange(0, 9).Draw(t, "condition") == 0
			if changed && next.GetCondition(BatchConditionRunning).IsTrue() {
				next.MarkHeld("Suspended", "x")
			} else if changed {
				next.MarkRunning()
			}
			differs := stored.Succeeded == nil || *stored.Succeeded != done
			wait := next.PaceProgress(stored, now)
			wrote := next.ProgressTime != nil && next.ProgressTime.Time.Equal(now)
			paced{wrote: wrote, changed: changed, differs: differs, wait: wait, since: now.Sub(written)}.check(t)
			if wrote && *next.Succeeded != done || !wrote && differs && next.Succeeded == nil {
				t.Fatal("something else is written")
			}
			if wrote {
				written = now
			}
			stored = next
		}
	})
}

// paced is what became of a progress, some time since the one before was written.
type paced struct {
	wrote, changed, differs bool
	wait, since             time.Duration
}

func (p paced) check(t *rapid.T) {
	switch {
	case p.wrote && !p.changed && p.since < progressEvery:
		t.Fatalf("written again after %s", p.since)
	case p.differs && p.changed && !p.wrote:
		t.Fatal("what comes with a condition waits")
	case p.differs && !p.wrote && (p.wait <= 0 || p.since+p.wait < progressEvery):
		t.Fatalf("waits for %s", p.wait)
	}
}

func TestConditionsOfBatchesAreOfItsSet(t *testing.T) {
	t.Parallel()
	s := initialized()
	for _, of := range []apis.ConditionType{BatchConditionSucceeded, BatchConditionPlanned, BatchConditionComplete} {
		if c := s.GetCondition(of); c == nil || c.Status != corev1.ConditionUnknown {
			t.Errorf("%s is %v at first", of, c)
		}
	}
}

// A run that is behind for a while is too slow, until it is on time again; that is told no
// more often than how far it is, and not once it is over.
func TestMarkPace(t *testing.T) {
	t.Parallel()
	now := time.Now() // conditions change by the real clock
	s, end := initialized(), now.Add(time.Hour)
	for _, step := range []struct {
		after, late time.Duration
		status      corev1.ConditionStatus
		says        string
	}{
		{0, -time.Minute, corev1.ConditionTrue, ""},
		{5 * time.Second, time.Minute, corev1.ConditionUnknown, "Behind"},
		{10 * time.Second, -time.Minute, corev1.ConditionTrue, ""},
		{11 * time.Second, time.Minute, corev1.ConditionTrue, ""}, // too soon to tell
		{15 * time.Second, time.Minute, corev1.ConditionUnknown, "Behind"},
		{10 * time.Minute, time.Minute, corev1.ConditionFalse, "1m0s after its deadline"},
		{10*time.Minute + time.Second, time.Hour, corev1.ConditionFalse, "1m0s after its deadline"},
		{11 * time.Minute, time.Hour, corev1.ConditionFalse, "1h0m0s after its deadline"},
		{12 * time.Minute, 0, corev1.ConditionTrue, ""},
	} {
		at := now.Add(step.after)
		due := s.ProgressIsDue(at)
		s.MarkPace(end.Add(step.late), end, at)
		if due {
			s.ProgressTime = &metav1.MicroTime{Time: at}
		}
		c := s.GetCondition(BatchConditionOnTime)
		if c == nil || c.Status != step.status || !strings.Contains(c.Reason+": "+c.Message, step.says) {
			t.Errorf("after %s, late by %s: %+v, want %s %s", step.after, step.late, c, step.status, step.says)
		}
	}
	if s.MarkFailed(now, "StoreAway", "x"); s.GetCondition(BatchConditionOnTime) != nil {
		t.Error("what is over is on time")
	}
}
