package capacity

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// noon is when what the tests tell of began.
var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// serving is a replica that took so many seconds to get a node, and so many from there.
func serving(scheduling, starting int) Pod {
	made := -3600
	return Pod{Name: "old", Made: at(made), Scheduled: at(made + scheduling), Since: at(made + scheduling + starting), Ready: true}
}

// starting is one that got a node at once, and what it says.
func starting(made int, says string) Pod {
	p := Pod{Name: "new", Made: at(made), Scheduled: at(made)}
	if says != "" {
		p.Obstacle = &Obstacle{Reason: says, Since: at(made)}
	}
	return p
}

func unscheduled(made int) Pod {
	return Pod{Name: "new", Made: at(made), Obstacle: &Obstacle{Reason: "Unschedulable", Since: at(made)}}
}

func TestMissing(t *testing.T) {
	refused := &Obstacle{Reason: "FailedCreate", Message: "exceeded quota", Since: noon}
	back := starting(-3600, "")
	back.Since = at(50) // it served until then
	placed := unscheduled(0)
	placed.Scheduled, placed.Obstacle = at(300), nil
	for name, test := range map[string]struct {
		desired, ready int32
		pods           []Pod
		refused        *Obstacle
		after          int
		want           int32
		why            string
	}{
		"all are there":                        {2, 2, []Pod{serving(0, 9), serving(0, 9)}, refused, 3000, 0, ""},
		"more than are wanted":                 {1, 2, []Pod{serving(0, 9), serving(0, 9)}, refused, 3000, 0, ""},
		"just asked for":                       {4, 1, []Pod{serving(0, 9)}, nil, 1, 0, ""},
		"a long start is awaited":              {3, 1, []Pod{serving(0, 240), starting(0, ""), starting(0, "")}, nil, 700, 0, ""},
		"but not past the deadline":            {3, 1, []Pod{serving(0, 240), starting(0, ""), starting(0, "")}, nil, 720, 2, "NotReady"},
		"a first start is awaited for longest": {2, 0, []Pod{starting(0, ""), starting(0, "")}, nil, 719, 0, ""},
		"a short one is not":                   {2, 1, []Pod{serving(0, 5), starting(0, "")}, nil, 121, 1, "NotReady"},
		"but a node may have to pull":          {2, 1, []Pod{serving(0, 5), starting(0, "")}, nil, 119, 0, ""},
		"a node is waited for":                 {3, 1, []Pod{serving(0, 5), unscheduled(0), unscheduled(0)}, nil, 29, 0, ""},
		"for a while":                          {3, 1, []Pod{serving(0, 5), unscheduled(0), unscheduled(0)}, nil, 31, 2, "Unschedulable"},
		"for longer where nodes come":          {3, 1, []Pod{serving(90, 5), unscheduled(0), unscheduled(0)}, nil, 269, 0, ""},
		"and longer no more":                   {3, 1, []Pod{serving(90, 5), unscheduled(0), unscheduled(0)}, nil, 271, 2, "Unschedulable"},
		"once there is no room there is none":  {3, 1, []Pod{serving(0, 5), unscheduled(0), unscheduled(100)}, nil, 101, 2, "Unschedulable"},
		"nor for what isn't there yet":         {5, 1, []Pod{serving(0, 5), unscheduled(0)}, nil, 101, 4, "Unschedulable"},
		"what found room may come":             {3, 1, []Pod{serving(0, 5), placed, starting(300, "")}, nil, 301, 0, ""},
		"others start":                         {4, 1, []Pod{serving(0, 5), unscheduled(0), starting(10, ""), starting(10, "")}, nil, 60, 1, "Unschedulable"},
		"a crash is given a chance":            {2, 1, []Pod{serving(0, 200), starting(0, "CrashLoopBackOff")}, nil, 29, 0, ""},
		"and no other":                         {2, 1, []Pod{serving(0, 200), starting(0, "CrashLoopBackOff")}, nil, 31, 1, "CrashLoopBackOff"},
		"what begins after a crash has to be there": {
			3, 1, []Pod{serving(0, 200), starting(0, "CrashLoopBackOff"), starting(40, "")}, nil, 45, 2, "CrashLoopBackOff",
		},
		"a quota":                            {6, 2, []Pod{serving(0, 5), serving(0, 5)}, refused, 31, 4, "FailedCreate"},
		"a quota that may be raised at once": {6, 2, []Pod{serving(0, 5), serving(0, 5)}, refused, 29, 0, ""},
		"what served is given a start":       {2, 1, []Pod{serving(0, 5), back}, nil, 169, 0, ""},
		"one":                                {2, 1, []Pod{serving(0, 5), back}, nil, 171, 1, "NotReady"},
	} {
		t.Run(name, func(t *testing.T) {
			s := Starts{Pods: test.pods, Refused: test.refused, Deadline: 12 * time.Minute}
			r := Replicas{Desired: test.desired, Ready: test.ready}
			got, why := s.Missing(r, Progress{}.Next(r, at(test.after)), at(test.after))
			if got != test.want || why.Reason != test.why {
				t.Errorf("%d are missing: %+v; want %d: %s", got, why, test.want, test.why)
			}
		})
	}
}

// Where pods come and go without a word, the deadline counts from the last progress.
func TestMissingWithoutProgress(t *testing.T) {
	s, r := Starts{Deadline: 10 * time.Minute}, Replicas{Desired: 5, Ready: 1}
	progress := Progress{}.Next(r, noon)
	next := func(after int) int32 {
		progress = progress.Next(r, at(after))
		missing, why := s.Missing(r, progress, at(after))
		if missing > 0 && !strings.Contains(why.Message, "10m0s") {
			t.Errorf("why is %+v", why)
		}
		return missing
	}
	if got := next(599); got != 0 {
		t.Errorf("%d are missing before the deadline", got)
	}
	if got := next(600); got != 4 {
		t.Errorf("%d are missing at the deadline, want 4", got)
	}
	r.Ready = 2
	if got := next(601); got != 0 {
		t.Errorf("%d are missing after progress", got)
	}
	if got := next(1201); got != 3 {
		t.Errorf("%d are missing another deadline later, want 3", got)
	}
	r.Ready = 5
	next(1202)
	r.Ready = 4
	if got := next(1203); got != 0 {
		t.Errorf("%d are missing of one that has just gone", got)
	}
}

// A replica that ceased to be ready and is again, be it that a container was started again or
// not, doesn't make starts seem long.
func TestQuickest(t *testing.T) {
	restarted := serving(0, 300)
	restarted.Restarted = true
	gone := serving(0, 2)
	gone.Ready = false
	for name, tt := range map[string]struct {
		pods  []Pod
		want  time.Duration
		known bool
	}{
		"nothing is there":             {nil, 0, false},
		"none is ready":                {[]Pod{starting(0, ""), gone}, 0, false},
		"one":                          {[]Pod{serving(2, 7)}, 9 * time.Second, true},
		"several":                      {[]Pod{serving(0, 60), serving(3, 5), serving(0, 61)}, 8 * time.Second, true},
		"a container started again":    {[]Pod{restarted}, 0, false},
		"so did most":                  {[]Pod{restarted, restarted, serving(0, 5)}, 5 * time.Second, true},
		"ready again an hour later":    {[]Pod{serving(0, 3600)}, 0, false},
		"so are most":                  {[]Pod{serving(0, 400), serving(0, 500), serving(0, 5)}, 5 * time.Second, true},
		"just within the deadline":     {[]Pod{serving(0, 720)}, 720 * time.Second, true},
		"nothing but what isn't ready": {[]Pod{gone, serving(1, 8)}, 9 * time.Second, true},
	} {
		took, known := Starts{Pods: tt.pods, Deadline: 720 * time.Second}.Quickest()
		if took != tt.want || known != tt.known {
			t.Errorf("%s: %s, known: %t, want %s", name, took, known, tt.want)
		}
	}
}

// Whatever pods say, what serves counts, nothing beyond what is desired does, and
// nothing is awaited for longer than the deadline.
func TestMissingIsBounded(t *testing.T) {
	pod := rapid.Custom(func(t *rapid.T) Pod {
		made := rapid.IntRange(-2000, 0).Draw(t, "made")
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return serving(rapid.IntRange(0, 300).Draw(t, "scheduling"), rapid.IntRange(0, 1000).Draw(t, "starting"))
		case 1:
			return unscheduled(made)
		case 2:
			return starting(made, "CrashLoopBackOff")
		}
		return starting(made, "")
	})
	rapid.Check(t, func(t *rapid.T) {
		s := Starts{Pods: rapid.SliceOfN(pod, 0, 8).Draw(t, "pods"), Deadline: time.Duration(rapid.IntRange(1, 1200).Draw(t, "deadline")) * time.Second}
		r := Replicas{Desired: rapid.Int32Range(0, 10).Draw(t, "desired"), Ready: rapid.Int32Range(0, 10).Draw(t, "ready"), Initial: 1}
		progress := Progress{}.Next(r, noon)
		missing, why := s.Missing(r, progress, noon)
		later, _ := s.Missing(r, progress, noon.Add(s.Deadline))
		if missing < 0 || missing > max(0, r.Desired-r.Ready) || later != max(0, r.Desired-r.Ready) {
			t.Fatalf("%d of %+v are missing, %d at the deadline", missing, r, later)
		}
		if (missing > 0) != (why != Obstacle{}) {
			t.Fatalf("%d are missing: %+v", missing, why)
		}
		r.Missing = missing
		if n := demand(10).replicas(r); r.Ready <= r.Desired && r.Ready > 0 && (n < r.Ready || n > r.Desired) {
			t.Fatalf("%d replicas count of %+v", n, r)
		}
		if r.Ready > 0 && r.Ready <= r.Desired {
			r.Missing = later
			if got := demand(10).Admitted(r); r.Desired > r.Ready && got.Cmp(big.NewRat(10*int64(r.Ready), 1)) != 0 {
				t.Fatalf("%s is admitted to %+v", got, r)
			}
		}
	})
}

// Where replicas can't be had, a floor asks for one more than there are, and moves once
// a minute so that whoever makes them tries again; when they come, it asks for all.
func TestFloorAsksForWhatCanBeHad(t *testing.T) {
	rule, floor, seen := demand(10), Floor{}, map[int32]bool{}
	full := Replicas{Desired: 8, Ready: 2, Missing: 6, Max: 20}
	for second := range 300 {
		floor = rule.Floor(floor, full, 80, true, at(second))
		seen[floor.Replicas] = true
		full.Desired = max(3, floor.Replicas) // the autoscaler wants more than is there by itself
		full.Missing = full.Desired - full.Ready
	}
	if len(seen) != 2 || !seen[3] || !seen[4] {
		t.Errorf("floors of %v, want 3 and 4 in turn", seen)
	}
	if floor = rule.Floor(floor, Replicas{Desired: 4, Ready: 2, Max: 20}, 80, true, at(300)); floor.Replicas != 8 {
		t.Errorf("a floor of %d once the others may come, want 8", floor.Replicas)
	}
	if floor = rule.Floor(Floor{}, full, 15, false, at(400)); floor.Replicas != 0 {
		t.Errorf("a floor of %d where nothing is refused", floor.Replicas)
	}
	for second := range 20 {
		floor = rule.Floor(floor, Replicas{Desired: 2, Ready: 1, Missing: 1, Max: 2}, 80, true, at(400+second))
	}
	if floor.Replicas != 2 {
		t.Errorf("a floor of %d at maxReplicas, want 2", floor.Replicas)
	}
}
