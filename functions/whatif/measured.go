package whatif

import (
	"fmt"
	"math"
	"time"

	"sluice.dev/sluice/functions/whatif/replay"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// DefaultLatency is how long a replica works on a request where that isn't known, unless
	// one that serves what the Model says takes longer for each.
	DefaultLatency = 100 * time.Millisecond
	// DefaultColdStart is how long a replica takes to start where that isn't known.
	DefaultColdStart = 5 * time.Second
	// mostStarts bounds the cold starts that are drawn from, and longestTime each time.
	mostStarts  = 10_000
	longestTime = time.Hour
	// longestLatency is Knative's longest timeout. Each group of replicas of a replay has room
	// for what ends in each step of it.
	longestLatency = 10 * time.Minute
)

// Measured is what is known of a Model's replicas. What is zero has a default, which the
// answer names.
type Measured struct {
	// Latency is how long a replica works on a request, on average, while nothing waits.
	Latency time.Duration `json:"latency,omitempty"`
	// TailLatency is that of the goal's percentile; Latency where it is 0.
	TailLatency time.Duration `json:"tailLatency,omitempty"`
	// Parallel is how many requests a replica really works on at once, whatever is let
	// through to it; what the Model's rate says where it is 0.
	Parallel float64 `json:"parallel,omitempty"`
	// ColdStarts are the times that replicas took from when they were asked for until they
	// were ready; each start takes one of them, by chance.
	ColdStarts []time.Duration `json:"coldStarts,omitempty"`
	// WarmUp is what a warm-up adds to each.
	WarmUp time.Duration `json:"warmUp,omitempty"`
}

func (m Measured) check() error {
	for name, c := range map[string]struct{ is, most time.Duration }{
		"latency": {m.Latency, longestLatency}, "tailLatency": {m.TailLatency, longestLatency}, "warmUp": {m.WarmUp, longestTime},
	} {
		if c.is < 0 || c.is > c.most {
			return fmt.Errorf("measured.%s is %s: give 0s to %s", name, c.is, c.most)
		}
	}
	if m.Parallel < 0 || math.IsNaN(m.Parallel) || m.Parallel > 1e6 {
		return fmt.Errorf("measured.parallel is %g: give 0 to 1000000 requests", m.Parallel)
	}
	if len(m.ColdStarts) > mostStarts {
		return fmt.Errorf("measured.coldStarts has %d: give at most %d", len(m.ColdStarts), mostStarts)
	}
	for i, d := range m.ColdStarts {
		if d < 0 || d > longestTime {
			return fmt.Errorf("measured.coldStarts[%d] is %s: give 0s to %s", i, d, longestTime)
		}
	}
	if m.TailLatency > 0 && m.TailLatency < m.Latency {
		return fmt.Errorf("measured.tailLatency is %s, below measured.latency, %s: give the latency of the goal's percentile", m.TailLatency, m.Latency)
	}
	return nil
}

// of is what is gone by where so many requests per second of each replica, and
// what of it was assumed.
func (m Measured) of(perReplica float64) (known Measured, assumed []string) {
	if m.Latency == 0 {
		m.Latency = max(DefaultLatency, time.Duration(min(float64(longestLatency), float64(time.Second)/perReplica)))
		assumed = append(assumed, fmt.Sprintf("a request takes %s of a replica's time", m.Latency))
	}
	if m.TailLatency == 0 {
		m.TailLatency = m.Latency
	}
	if m.Parallel == 0 {
		m.Parallel = max(1, perReplica*m.Latency.Seconds())
		assumed = append(assumed, fmt.Sprintf("a replica works on %.3g requests at once, by its %g requests per second", m.Parallel, perReplica))
	}
	if len(m.ColdStarts) == 0 {
		m.ColdStarts = []time.Duration{DefaultColdStart}
		assumed = append(assumed, fmt.Sprintf("a replica takes %s to start", DefaultColdStart+m.WarmUp))
	}
	return m, assumed
}

// replica is what one of a Model's is like.
func (m Measured) replica(model *v1alpha1.Model) replay.Replica {
	r := replay.Replica{Latency: m.Latency, Parallel: m.Parallel, Concurrency: math.Inf(1)}
	if n := model.Spec.ContainerConcurrency; n != nil && *n > 0 {
		r.Concurrency = float64(*n)
	}
	return r
}

// Goal is a latency that requests should keep.
type Goal struct {
	// Percentile of the requests of a second should be answered Within; 0 is the 99th.
	Percentile float64       `json:"percentile,omitempty"`
	Within     time.Duration `json:"within,omitempty"`
}

// defaultPercentile is a goal's where it names none.
const defaultPercentile = 99

func (g Goal) check() error {
	if g.Percentile < 0 || g.Percentile >= 100 || math.IsNaN(g.Percentile) {
		return fmt.Errorf("goal.percentile is %g: give more than 0 and less than 100", g.Percentile)
	}
	if g.Within < 0 || g.Within > longestTime {
		return fmt.Errorf("goal.within is %s: give 0s to %s", g.Within, longestTime)
	}
	return nil
}

// slowShare is the part of a second's requests that may take longer.
func (g Goal) slowShare() float64 {
	if g.Percentile == 0 {
		return 1 - defaultPercentile/100.
	}
	return 1 - g.Percentile/100
}
