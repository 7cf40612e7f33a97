package simulation

import (
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"pgregory.net/rapid"
)

func quiet(time.Duration) float64 { return 0 }

// one is a course of one run of 2,400 requests, which take a replica four minutes.
func one(deadline, start time.Duration, there int32) course {
	return course{
		runs: []contender{{requests: 2400, deadline: deadline, workers: 2}}, perReplica: 10, demand: quiet,
		there: there, most: 20, start: start, seed: 1, length: 10 * time.Minute,
	}
}

// TestDeadlines shows that runs are over by their deadlines, with few more replica-seconds
// than it takes. Its table is in the log.
func TestDeadlines(t *testing.T) {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "deadline\tstart\tthere\tover\treplicas\treplica-seconds\tleast\t\tcalls\t")
	for _, deadline := range []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute} {
		for _, start := range []time.Duration{time.Second, 3 * time.Second, 6 * time.Second} {
			for _, there := range []int32{0, 1} {
				c := one(deadline, start, there)
				o := race(c)
				least, _, ok := c.least()
				if !ok {
					t.Fatalf("%s can't be met", deadline)
				}
				if o.over[0] == 0 || o.over[0] > deadline {
					t.Errorf("%s, start %s, %d there: over after %s", deadline, start, there, o.over[0])
				}
				if o.seconds > 1.2*least {
					t.Errorf("%s, start %s, %d there: %.0f replica-seconds, want 1.2 times %.0f at most", deadline, start, there, o.seconds, least)
				}
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%.0f\t%.0f\t%.2f\t%d\t\n", deadline, start, there, o.over[0], o.peak, o.seconds, least, o.seconds/least, o.changes)
			}
		}
	}
	_ = w.Flush()
	t.Logf("2,400 requests of a Model of 10/s a replica\n%s", text.String())
}

// Whatever the run, the Model and the hitches are: a deadline that leaves a quarter to spare
// is met, with few more replica-seconds than it takes and a start or two, and never more
// replicas than there may be.
func TestDeadlinesAreMet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := course{
			perReplica: rapid.Float64Range(2, 50).Draw(t, "q"), demand: quiet, there: rapid.Int32Range(0, 2).Draw(t, "there"),
			most:  rapid.Int32Range(1, 20).Draw(t, "most"),
			start: time.Duration(rapid.IntRange(1, 15).Draw(t, "start")) * time.Second,
			hitch: rapid.Float64Range(0, .05).Draw(t, "hitch"), seed: rapid.Uint64().Draw(t, "seed"),
		}
		c.there = min(c.there, c.most)
		r := contender{
			deadline: time.Duration(rapid.IntRange(60, 400).Draw(t, "deadline")) * time.Second, workers: rapid.IntRange(1, 4).Draw(t, "workers"),
			maxReplicas: rapid.SampledFrom([]int32{0, 0, 1, 3, 7}).Draw(t, "maxReplicas"),
		}
		r.requests = int64(rapid.Float64Range(.1, 12).Draw(t, "replicas") * c.perReplica * r.deadline.Seconds())
		c.runs, c.length = []contender{r}, r.deadline+30*time.Second
		most := c.most
		if r.maxReplicas > 0 {
			most = min(most, r.maxReplicas)
		}
		o := race(c)
		if o.peak > max(most, c.there) {
			t.Fatalf("%d replicas, of %d that there may be", o.peak, most)
		}
		least, n, _ := c.least()
		c.runs[0].deadline = r.deadline*3/4 - 5*time.Second - c.start/2
		if _, _, ok := c.least(); !ok {
			return
		}
		if o.over[0] == 0 || o.over[0] > r.deadline {
			t.Fatalf("over after %s, want %s: %d replicas, at least %d", o.over[0], r.deadline, o.peak, n)
		}
		if spent := 1.2*least + 2*(c.start.Seconds()+8)*float64(1+n)/2; o.seconds > spent {
			t.Fatalf("%.0f replica-seconds, want %.0f: %d replicas, at least %d for %.0f", o.seconds, spent, o.peak, n, least)
		}
		if o.changes > 12 {
			t.Fatalf("other replicas were called for %d times", o.changes)
		}
	})
}

// A run without a deadline takes what is there, and one replica; one that is suspended calls
// for none, nor does one that is over.
func TestRunsThatCallForNone(t *testing.T) {
	for name, tt := range map[string]struct {
		run     contender
		there   int32
		peak    int32
		called  int32
		isnt    bool // over
		seconds time.Duration
	}{
		"no deadline, from zero":       {contender{requests: 200, workers: 2}, 0, 1, 0, false, time.Minute},
		"no deadline, three are there": {contender{requests: 1 << 40, workers: 2}, 3, 3, 1, true, time.Minute},
		"suspended":                    {contender{requests: 2400, workers: 2, deadline: time.Minute, suspended: 20 * time.Second}, 1, 7, 0, true, 40 * time.Second},
		"over":                         {contender{requests: 2400, workers: 2, deadline: time.Minute}, 1, 7, 0, false, 90 * time.Second},
		"its deadline is":              {contender{requests: 1 << 40, workers: 2, deadline: 30 * time.Second}, 1, 20, 0, true, 50 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			c := one(0, 3*time.Second, tt.there)
			c.runs, c.length = []contender{tt.run}, tt.seconds
			if tt.there > 1 {
				c.demand = func(time.Duration) float64 { return 25 }
			}
			o := race(c)
			if o.peak > tt.peak || o.called != tt.called || (o.over[0] == 0) != tt.isnt {
				t.Errorf("%d replicas, %d called for in the end, over after %s; want %d, %d", o.peak, o.called, o.over[0], tt.peak, tt.called)
			}
		})
	}
}

// While one worker has ended its shard or failed, and the next waits for its turn or a node,
// replicas stay.
func TestReplicasStayWithoutWorkers(t *testing.T) {
	for name, tt := range map[string]struct {
		deadline time.Duration
		away     func(at time.Duration) bool
	}{
		"between shards":       {2 * time.Minute, func(at time.Duration) bool { return at%(20*time.Second) > 16*time.Second }},
		"a Job's back-off":     {3 * time.Minute, func(at time.Duration) bool { return at > 20*time.Second && at < 33*time.Second }},
		"twice that":           {3 * time.Minute, func(at time.Duration) bool { return at > 20*time.Second && at < 45*time.Second }},
		"again and again":      {3 * time.Minute, func(at time.Duration) bool { return at%(40*time.Second) > 25*time.Second }},
		"for most of a minute": {3 * time.Minute, func(at time.Duration) bool { return at > 20*time.Second && at < 70*time.Second }},
	} {
		c := one(tt.deadline, 3*time.Second, 1)
		c.away = tt.away
		o := race(c)
		if o.over[0] == 0 || o.over[0] > tt.deadline || o.changes > 5 || o.falls > 0 {
			t.Errorf("%s: over after %s, and other replicas were called for %d times, %d times fewer", name, o.over[0], o.changes, o.falls)
		}
	}
}

// Two runs that end at different times are both over in time.
func TestDeadlinesOfTwo(t *testing.T) {
	c := one(time.Minute, 3*time.Second, 1)
	c.runs[0].requests = 1200
	c.runs = append(c.runs, contender{requests: 3600, deadline: 3 * time.Minute, workers: 2})
	o := race(c)
	for i, r := range c.runs {
		if o.over[i] == 0 || o.over[i] > r.deadline {
			t.Errorf("the run of %s is over after %s", r.deadline, o.over[i])
		}
	}
	if least := 4800 / c.perReplica; o.seconds > 1.25*least {
		t.Errorf("%.0f replica-seconds for work of %.0f", o.seconds, least)
	}
}

// Beside an online demand that moves, and another run that would take all it can get, a
// deadline is met.
func TestDeadlineBesideOthers(t *testing.T) {
	c := one(2*time.Minute, 3*time.Second, 2)
	c.runs = append(c.runs, contender{requests: 1 << 40, workers: 4})
	c.demand = func(at time.Duration) float64 {
		if at%(40*time.Second) < 20*time.Second {
			return 12
		}
		return 18
	}
	o := race(c)
	if o.over[0] == 0 || o.over[0] > 2*time.Minute {
		t.Errorf("over after %s", o.over[0])
	}
	if o.peak > 9 || o.changes > 6 {
		t.Errorf("%d replicas, and other ones called for %d times", o.peak, o.changes)
	}
	// One that may cause only so many doesn't have more made.
	c.runs[0].maxReplicas = 3
	if o = race(c); o.peak > 3 {
		t.Errorf("%d replicas for a run that may cause 3", o.peak)
	}
}
