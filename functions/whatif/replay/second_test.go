package replay

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Seconds that are taken at once, and replicas that are taken together, come to the same as
// steps and replicas one by one: replica-seconds within 0.5 %, requests in flight within 2 %, and for
// each replica a step more or less of what comes in a second, and of itself one decision of the
// autoscaler; what is
// refused and lost within 0.1 % of what comes, and the same peak but for one.
func TestAtOnceIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		annotations := map[string]string{
			"window":                rapid.SampledFrom([]string{"6s", "20s", "60s"}).Draw(t, "window"),
			"target":                rapid.SampledFrom([]string{"2", "4", "8"}).Draw(t, "target"),
			"metric":                rapid.SampledFrom([]string{"concurrency", "concurrency", "rps"}).Draw(t, "metric"),
			"target-burst-capacity": rapid.SampledFrom([]string{"-1", "0", "20", "211"}).Draw(t, "burst"),
		}
		if annotations["metric"] == "rps" {
			annotations["target"] += "0"
		}
		s := setupOf(annotations)
		s.Replica.Latency = time.Duration(rapid.SampledFrom([]int{30, 50, 100, 400, 1300}).Draw(t, "latency")) * time.Millisecond
		s.Replica.Parallel = math.Max(1, 50*s.Replica.Latency.Seconds())
		if rapid.Bool().Draw(t, "bounded") {
			s.Replica.Concurrency = math.Ceil(s.Replica.Parallel)
			n := int64(s.Replica.Concurrency)
			s.Model.Spec.ContainerConcurrency = &n
		}
		step := func(of string) time.Duration { return time.Duration(rapid.IntRange(0, PerSecond-1).Draw(t, of)) * Step }
		s.Phases, s.Entries = Phases{Report: step("report"), Scrape: step("scrape"), Clock: step("clock")}, rapid.IntRange(1, 2).Draw(t, "entries")
		starts := rapid.SliceOfN(rapid.IntRange(10, 200), 1, 8).Draw(t, "starts")
		drawn := 0
		s.Start = func() time.Duration {
			drawn++
			return time.Duration(starts[drawn%len(starts)]) * Step
		}
		var demand []Steps
		for range rapid.IntRange(1, 6).Draw(t, "spells") {
			most := rapid.SampledFrom([]int{0, 1, 3, 10, 20}).Draw(t, "requests in a step, at most")
			for range rapid.IntRange(1, 90).Draw(t, "seconds") {
				var steps Steps
				if most > 0 {
					for i := range steps {
						steps[i] = float64((i*7 + len(demand)*3) % (most + 1))
					}
				}
				demand = append(demand, steps)
			}
		}
		load, ready := float64(rapid.IntRange(0, 90).Draw(t, "load")), rapid.Int32Range(0, 3).Draw(t, "ready")
		load = math.Min(load, 50*float64(ready))
		results := make([]*World, 2)
		for i := range results {
			drawn = 0
			s.Fine = i == 1
			w := newWorld(t, s)
			w.Settle(load, ready)
			for j := range demand {
				w.Second(&demand[j])
			}
			if err := w.Conserved(); err != nil {
				t.Fatal(err)
			}
			results[i] = w
		}
		a, b := results[0], results[1]
		near := func(what string, x, y, most float64) {
			if math.Abs(x-y) > most {
				t.Fatalf("%s: %g at once, %g step by step", what, x, y)
			}
		}
		near("replica-seconds", a.usage.ReplicaSeconds, b.usage.ReplicaSeconds, .005*b.usage.ReplicaSeconds+TickEvery.Seconds()*float64(b.usage.Peak))
		near("ready seconds", a.usage.ReadySeconds, b.usage.ReadySeconds, .005*b.usage.ReadySeconds+TickEvery.Seconds()*float64(b.usage.Peak))
		busiest := 0.0
		for _, steps := range demand {
			sum := 0.0
			for _, n := range steps {
				sum += n
			}
			busiest = max(busiest, sum)
		}
		near("request-seconds", a.Flow().InFlight, b.Flow().InFlight, .02*b.Flow().InFlight+busiest*Step.Seconds()*float64(b.usage.Peak)+1e-6)
		near("admitted", a.Flow().Admitted, b.Flow().Admitted, .001*b.Flow().Offered)
		near("lost", a.Lost(), b.Lost(), .001*b.Flow().Offered)
		near("peak", float64(a.usage.Peak), float64(b.usage.Peak), 1)
	})
}
