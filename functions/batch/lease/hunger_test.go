package lease

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/functions/limit/slack"
)

// watched is a Function of one run, a second at a time, with what the limiter is asked.
type watched struct {
	*Function
	clock *clocktesting.FakeClock
	runs  []Run
	asked slack.Question
	// left is what there is, away whether the limiter is.
	left float64
	away bool
}

func watch(t *testing.T, run Run) *watched {
	t.Helper()
	w := &watched{runs: []Run{run}}
	w.Function, w.clock = newFunction()
	w.Runs = func() ([]Run, error) { return w.runs, nil }
	w.Function.Left = func(_ context.Context, q slack.Question) (map[string]slack.Slack, error) {
		if w.away {
			return nil, errors.New("away")
		}
		w.asked = q
		return map[string]slack.Slack{"team/ranker": {Rate: w.left, Expires: w.clock.Now().Add(4 * time.Second)}}, nil
	}
	return w
}

// pass lets so many seconds pass, in which a worker of some name asks, or none.
func (w *watched) pass(t *testing.T, seconds int, worker string) {
	t.Helper()
	for range seconds {
		w.clock.Step(time.Second)
		w.asked = slack.Question{}
		if err := w.fetch(t.Context()); (err != nil) != w.away {
			t.Fatal(err)
		}
		if worker != "" && len(w.runs) > 0 {
			if _, err := w.lease("team/ranker", ask(worker)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// holds tells whether the limiter was told to hold a replica.
func (w *watched) holds() bool {
	return slices.Contains(w.asked.Models, "team/ranker") && !slices.Contains(w.asked.Idle, "team/ranker")
}

// What a run holds stays while its only worker is started again, and goes at once when it is
// suspended, deleted or over, and a minute after nobody asks any more.
func TestReplicasStayWhileAWorkerRestarts(t *testing.T) {
	for _, deadline := range []time.Duration{0, time.Hour} {
		run := Run{UID: "b-1", Model: "team/ranker", Items: 1e6, PerRequest: 1}
		if deadline > 0 {
			run.End = began.Add(deadline)
		}
		w := watch(t, run)
		w.left = 30
		w.pass(t, 10, "w-0")
		for _, gap := range []int{5, 15, 40, 58} {
			for second := range gap {
				if w.pass(t, 1, ""); !w.holds() || (deadline > 0) != (len(w.asked.Needs["team/ranker"]) == 1) {
					t.Fatalf("deadline %s: %d s after the last ask the limiter is asked %+v", deadline, second+1, w.asked)
				}
			}
			w.pass(t, 3, "w-1")
		}
		w.pass(t, 62, "")
		if w.holds() || len(w.asked.Needs) > 0 {
			t.Errorf("deadline %s: a minute after the last ask the limiter is asked %+v", deadline, w.asked)
		}
		for _, silent := range []int{0, 30} { // suspended, deleted or over, while its worker asks, or long after
			w.runs = []Run{run}
			w.pass(t, 5, "w-2")
			w.pass(t, silent, "")
			w.runs = nil
			if w.pass(t, 1, ""); len(w.asked.Models) != 1 || w.holds() || len(w.asked.Needs) > 0 {
				t.Errorf("deadline %s: of a run that doesn't go on, silent for %d s, the limiter is asked %+v", deadline, silent, w.asked)
			}
			if w.pass(t, 15, ""); len(w.asked.Models) > 0 {
				t.Errorf("deadline %s: it is asked %+v still", deadline, w.asked)
			}
		}
	}
}

// A run that has asked for an hour and not had any credit holds no replica, an hour in each
// two, until it has some; and says so all the while.
func TestARunWithoutCreditHoldsNone(t *testing.T) {
	const hour = int(time.Hour / time.Second)
	run := Run{UID: "b-1", Model: "team/ranker", Items: 1e6, PerRequest: 1, End: began.Add(100 * time.Hour)}
	type look struct {
		seconds        int
		do             func(*watched)
		holds, starves bool
	}
	silent := func(w *watched) { w.left = 0 }
	for name, looks := range map[string][]look{
		"nothing is left":                 {{hour - 5, silent, true, false}, {10, nil, false, true}, {hour - 10, nil, false, true}, {10, nil, true, true}, {hour, nil, false, true}, {hour, nil, true, true}},
		"something is, after a while":     {{hour + 5, silent, false, true}, {3, func(w *watched) { w.left = .1 }, true, false}, {10, silent, true, false}, {hour, nil, false, true}},
		"something is, now and then":      {{hour - 5, silent, true, false}, {3, func(w *watched) { w.left = 5 }, true, false}, {hour - 5, silent, true, false}},
		"the limiter is away":             {{hour / 2, silent, true, false}, {2 * hour, func(w *watched) { w.away = true }, false, false}, {hour/2 - 10, func(w *watched) { w.away = false }, true, false}, {20, nil, false, true}},
		"its status says so":              {{10, func(w *watched) { w.left, w.runs[0].Starves = 0, began }, false, true}, {hour, nil, true, true}},
		"its status has for an hour":      {{10, func(w *watched) { w.left, w.runs[0].Starves = 0, began.Add(-time.Hour) }, true, true}, {hour, nil, false, true}},
		"its status does, and there is":   {{10, func(w *watched) { w.left, w.runs[0].Starves = 5, began }, true, false}},
		"it was suspended":                {{hour + 5, silent, false, true}, {3, func(w *watched) { w.runs = nil }, false, false}, {5, func(w *watched) { w.runs = []Run{run} }, true, false}},
		"its worker is started each time": {{hour / 2, silent, true, false}, {hour/2 + 5, nil, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t, run)
			for i, look := range looks {
				if look.do != nil {
					look.do(w)
				}
				w.pass(t, look.seconds, "w-"+string(rune('0'+i)))
				if got := w.Progress("b-1", task.Seen{}).Starves; w.holds() != look.holds || got != look.starves {
					t.Fatalf("after look %d: holds %t, want %t; starves %t, want %t: %+v", i+1, w.holds(), look.holds, got, look.starves, w.asked)
				}
				if len(w.asked.Needs) > 0 != look.holds {
					t.Fatalf("after look %d: holds %t, and needs %+v", i+1, look.holds, w.asked.Needs)
				}
				if !w.away && len(w.runs) > 0 && !slices.Contains(w.asked.Models, "team/ranker") {
					t.Fatalf("after look %d nobody asks what is left", i+1)
				}
			}
			w.runs = nil
			if w.pass(t, 1, ""); len(w.hunger) != 0 {
				t.Errorf("of what is over it is known %v", w.hunger)
			}
		})
	}
}
