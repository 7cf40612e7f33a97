package slack

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func fleet() Fleet {
	return Fleet{PerReplica: 10, Serves: 10, Start: 10 * time.Second, Most: 20}
}

func need(t interface{ Fatal(...any) }, requests float64, left time.Duration, maxReplicas int32) Need {
	n, ok := NeedOf(requests, left, maxReplicas)
	if !ok {
		t.Fatal("nothing is needed")
	}
	return n
}

func TestCall(t *testing.T) {
	const soon, later = 100 * time.Second, 1000 * time.Second
	for name, tt := range map[string]struct {
		before int32
		change func(*Fleet)
		needs  []Need
		want   int32
	}{
		"nothing is needed":                     {0, func(*Fleet) {}, nil, 0},
		"nor is any more":                       {7, func(*Fleet) {}, nil, 0},
		"what is there does":                    {0, func(*Fleet) {}, []Need{need(t, 800, soon, 0)}, 1},
		"it doesn't, and others take a while":   {0, func(*Fleet) {}, []Need{need(t, 2000, soon, 0)}, 3},
		"from zero":                             {0, func(f *Fleet) { f.Serves = 0 }, []Need{need(t, 2000, soon, 0)}, 3},
		"beside an online demand":               {0, func(f *Fleet) { f.Serves, f.Demand = 20, 12 }, []Need{need(t, 2000, soon, 0)}, 4},
		"within maxReplicas":                    {0, func(f *Fleet) { f.Most = 2 }, []Need{need(t, 2000, soon, 0)}, 2},
		"within its own":                        {0, func(*Fleet) {}, []Need{need(t, 2000, soon, 2)}, 2},
		"its own is for it alone":               {0, func(*Fleet) {}, []Need{need(t, 2000, soon, 2), need(t, 20000, later, 0)}, 3},
		"both together":                         {0, func(*Fleet) {}, []Need{need(t, 2000, soon, 0), need(t, 20000, later, 0)}, 5},
		"others would come too late":            {0, func(*Fleet) {}, []Need{need(t, 2000, 14*time.Second, 0)}, 1},
		"others would be of use for too short":  {0, func(*Fleet) {}, []Need{need(t, 2000, 25*time.Second, 0)}, 1},
		"or for half of what they take":         {0, func(f *Fleet) { f.Start = time.Minute }, []Need{need(t, 2000, 100*time.Second, 0)}, 1},
		"just for long enough":                  {0, func(*Fleet) {}, []Need{need(t, 2000, 26*time.Second, 0)}, 19},
		"of some it is too late":                {0, func(*Fleet) {}, []Need{need(t, 2000, 14*time.Second, 0), need(t, 20000, later, 0)}, 4},
		"those on their way do":                 {3, func(*Fleet) {}, []Need{need(t, 2000, soon, 0)}, 3},
		"more is there than it takes":           {1, func(f *Fleet) { f.Serves = 50 }, []Need{need(t, 2000, soon, 0)}, 3},
		"it can't be met with all there may be": {0, func(*Fleet) {}, []Need{need(t, 1e9, soon, 0)}, 20},
	} {
		t.Run(name, func(t *testing.T) {
			f := fleet()
			tt.change(&f)
			if got := Usual.Call(Called{Replicas: tt.before, raised: read}, f, tt.needs, read); got.Replicas != tt.want {
				t.Errorf("%d are called for, want %d", got.Replicas, tt.want)
			}
		})
	}
}

// Fewer are called for once they have done for a while, and none that are more than there
// may be now.
func TestCallFalls(t *testing.T) {
	f := fleet()
	f.Serves = 40
	c := Usual.Call(Called{Replicas: 4}, f, []Need{need(t, 1000, time.Minute*2, 0)}, read)
	for _, step := range []struct {
		after    time.Duration
		requests float64
		want     int32
	}{{30 * time.Second, 1000, 4}, {59 * time.Second, 4000, 4}, {70 * time.Second, 1000, 4}, {129 * time.Second, 1000, 4}, {131 * time.Second, 1000, 2}} {
		if c = Usual.Call(c, f, []Need{need(t, step.requests, 2*time.Minute, 0)}, read.Add(step.after)); c.Replicas != step.want {
			t.Errorf("after %s %d are called for, want %d", step.after, c.Replicas, step.want)
		}
	}
	f.Most = 2
	if c = Usual.Call(Called{Replicas: 4}, f, []Need{need(t, 4000, 2*time.Minute, 0)}, read); c.Replicas != 2 {
		t.Errorf("%d are called for, and 2 there may be", c.Replicas)
	}
}

// Whatever the needs and the demand, what is called for leaves what it takes, within its
// bounds; one less wouldn't do; and neither more that is needed nor more demand calls for
// less.
func TestCallIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := drawRule(t)
		f := Fleet{
			PerReplica: rapid.Float64Range(.01, 100).Draw(t, "q"), Most: rapid.Int32Range(1, 100).Draw(t, "most"),
			Start: time.Duration(rapid.IntRange(1, 60).Draw(t, "start")) * time.Second,
		}
		f.Serves = f.PerReplica * float64(rapid.Int32Range(0, 20).Draw(t, "there"))
		f.Demand = f.PerReplica * rapid.Float64Range(0, 5).Draw(t, "demand")
		var needs []Need
		for range rapid.IntRange(1, 4).Draw(t, "batches") {
			left := time.Duration(rapid.IntRange(1, 3600).Draw(t, "left")) * time.Second
			needs = append(needs, need(t, rapid.Float64Range(1, 20).Draw(t, "replicas")*f.PerReplica*left.Seconds(), left, rapid.SampledFrom([]int32{0, 0, 1, 5}).Draw(t, "maxReplicas")))
		}
		got := rule.Call(Called{}, f, needs, read)
		bound := f.Most
		if c := loosest(needs); c > 0 {
			bound = min(bound, c)
		}
		if got.Replicas < 1 || got.Replicas > bound {
			t.Fatalf("%d are called for, of %d that there may be", got.Replicas, bound)
		}
		left := func(n int32) float64 {
			return (1 - rule.Reserve) * (float64(n)*f.PerReplica - (1+rule.Margin)*f.Demand)
		}
		required := rule.required(f, needs, target{free: early, later: f.Start})
		if tight(needs) == 0 && got.Replicas < bound && left(got.Replicas) < required-1e-2*f.PerReplica {
			t.Fatalf("%d are called for, which leave %g of %g", got.Replicas, left(got.Replicas), required)
		}
		if len(needs) == 1 && got.Replicas > 1 && left(got.Replicas-1) >= required+1e-2*f.PerReplica {
			t.Fatalf("%d are called for, and one less would do", got.Replicas)
		}
		more := func(what string, f Fleet, needs []Need) {
			if other := rule.Call(Called{}, f, needs, read); other.Replicas < got.Replicas {
				t.Fatalf("with more %s %d are called for, not %d", what, other.Replicas, got.Replicas)
			}
		}
		busier := f
		busier.Demand *= 1.5
		if f.Serves == 0 {
			more("demand", busier, needs)
		}
		harder := append([]Need{}, needs...)
		harder[0].RequestsPerSecond *= 1.5
		if f.Serves == 0 {
			more("to do", f, harder)
		}
	})
}

// tight is the least number that any of those may cause; 0 for no bound.
func tight(needs []Need) int32 {
	for _, n := range needs {
		if n.MaxReplicas > 0 {
			return n.MaxReplicas
		}
	}
	return 0
}

// loosest is the greatest number that any of those may cause; 0 for no bound.
func loosest(needs []Need) int32 {
	most := int32(0)
	for _, n := range needs {
		if n.MaxReplicas == 0 {
			return 0
		}
		most = max(most, n.MaxReplicas)
	}
	return most
}

// Another number of replicas isn't called for by a demand that moves a little.
func TestCallDoesNotSwing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, requests, changes := fleet(), rapid.Float64Range(2000, 20000).Draw(t, "requests"), 0
		c, left := Called{}, 600.0
		for i := 0; requests > 0 && left > 1; i++ {
			f.Demand = 5 + rapid.Float64Range(-.5, .5).Draw(t, "demand")
			before := c.Replicas
			c = Usual.Call(c, f, []Need{need(t, requests, time.Duration(left*float64(time.Second)), 0)}, read.Add(time.Duration(i)*time.Second))
			if c.Replicas != before {
				changes++
			}
			if i%15 == 10 {
				f.Serves = float64(max(1, c.Replicas)) * f.PerReplica
			}
			requests, left = requests-.95*(f.Serves-f.Demand), left-1
		}
		if requests > 0 || changes > 6 {
			t.Fatalf("%g requests are left in the end, and another number was called for %d times", requests, changes)
		}
	})
}

// A run that is late calls for no more towards its end: neither for more than do its work in
// the least time in which another replica is of use, nor for any other from then on.
func TestCallDoesNotExplode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := fleet()
		f.Most, f.Serves = math.MaxInt32, f.PerReplica*float64(rapid.Int32Range(0, 5).Draw(t, "there"))
		f.Start = time.Duration(rapid.IntRange(1, 90).Draw(t, "start")) * time.Second
		left := rapid.IntRange(20, 600).Draw(t, "deadline")
		requests := rapid.Float64Range(1, 10).Draw(t, "replicas") * (f.Serves + f.PerReplica) * float64(left)
		worth := max(useful, f.Start/2).Seconds()
		most := 1 + f.Serves/f.PerReplica + requests/worth/f.PerReplica/(1-Usual.Reserve)
		c := Called{}
		for i := 0; left > 0 && requests > 0; i++ {
			before := c.Replicas
			n := need(t, requests, time.Duration(left)*time.Second, 0)
			c = Usual.Call(c, f, []Need{n}, read.Add(time.Duration(i)*time.Second))
			if float64(c.Replicas) > most {
				t.Fatalf("%d are called for %d s before the deadline, with %g requests left", c.Replicas, left, requests)
			}
			if use := .9*n.Seconds - 3 - f.Start.Seconds(); use < worth-1e-9 && float64(c.Replicas) > max(1, float64(before), math.Ceil(f.Serves/f.PerReplica)) {
				t.Fatalf("%d are called for, no longer %d, that would be of use for %g s", c.Replicas, before, use)
			}
			requests, left = requests-.9*f.Serves, left-1
		}
	})
}

func TestNeed(t *testing.T) {
	n := need(t, 600, time.Minute, 3)
	if n.RequestsPerSecond != 10 || n.Seconds != 60 || n.MaxReplicas != 3 {
		t.Errorf("600 requests in a minute are %+v", n)
	}
	if rate := n.Rate(); math.Abs(rate-600/(60*.9-3)) > 1e-9 {
		t.Errorf("they are to be answered at %g a second", rate)
	}
	if later, ok := n.After(30 * time.Second); !ok || math.Abs(later.RequestsPerSecond-20) > 1e-9 || later.Seconds != 30 {
		t.Errorf("half a minute later they are %+v", later)
	}
	if late, ok := n.After(59 * time.Second); !ok || late.Rate() != 600 {
		t.Errorf("a second before they are %+v, at %g a second", late, late.Rate())
	}
	for _, d := range []time.Duration{time.Minute, time.Hour} {
		if gone, ok := n.After(d); ok {
			t.Errorf("%s later they are %+v", d, gone)
		}
	}
	for field, bad := range map[string]Need{
		"requestsPerSecond": {RequestsPerSecond: math.NaN(), Seconds: 1},
		"seconds":           {RequestsPerSecond: 1},
		"maxReplicas":       {RequestsPerSecond: 1, Seconds: 1, MaxReplicas: -1},
	} {
		if err := bad.Check(); err == nil || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	many := Question{Needs: map[string][]Need{"team/m": make([]Need, MostNeeds+1)}}
	for i := range many.Needs["team/m"] {
		many.Needs["team/m"][i] = n
	}
	if err := many.Check(); err == nil || !strings.HasPrefix(err.Error(), "needs has more than 10000") {
		t.Error(err)
	}
}
