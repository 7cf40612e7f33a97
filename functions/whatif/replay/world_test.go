package replay

import (
	"maps"
	"math"
	"math/big"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// modelOf has annotations of Knative's, without their prefix.
func modelOf(annotations map[string]string) *v1alpha1.Model {
	rate := resource.MustParse("50")
	m := &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ranker", Annotations: map[string]string{}},
		Spec:       v1alpha1.ModelSpec{Container: corev1.Container{Image: "ranker"}, Limit: v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate}},
	}
	for key, value := range annotations {
		m.Annotations[v1alpha1.AutoscalingPrefix+key] = value
	}
	return m
}

// setupOf is a Model whose replicas serve 50 requests a second, each in 100 ms.
func setupOf(annotations map[string]string) Setup {
	return Setup{
		Model: modelOf(annotations), Burst: v1alpha1.DefaultBurst,
		Rule:    RuleOf(capacity.Rule{PerReplica: big.NewRat(50, 1), Policy: v1alpha1.PolicyDemand, Headroom: big.NewRat(1, 1)}),
		Replica: Replica{Latency: 100 * time.Millisecond, Parallel: 5, Concurrency: math.Inf(1)},
		Start:   func() time.Duration { return 3 * time.Second },
		Timeout: 5 * time.Minute,
	}
}

func newWorld(t interface{ Fatal(...any) }, s Setup) *World {
	w, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// pass lets seconds of an even demand pass, in requests per second.
func (w *World) pass(seconds int, rate float64) {
	var steps Steps
	for i := range steps {
		steps[i] = rate / float64(PerSecond)
	}
	for range seconds {
		w.Second(&steps)
	}
}

// gone is how many seconds without demand it takes until no replica is left, at most so many.
func (w *World) gone(most int) int {
	for s := range most {
		if all, _ := w.replicas.count(w.now); all == 0 {
			return s
		}
		w.pass(1, 0)
	}
	return most
}

// A Model without demand goes to none once its window is over, and as its settings say; the
// first request brings back as many as they say, and is answered when these have started.
func TestToNoneAndBack(t *testing.T) {
	for name, c := range map[string]struct {
		annotations map[string]string
		least, most int
		back        int32
	}{
		"as it comes":           {nil, 60, 66, 1},
		"a short window":        {map[string]string{"window": "10s"}, 10, 16, 1},
		"a retention":           {map[string]string{"window": "10s", "scale-to-zero-pod-retention-period": "2m"}, 130, 136, 1},
		"no activator till now": {map[string]string{"window": "10s", "target-burst-capacity": "0"}, 40, 46, 1},
		"a delay":               {map[string]string{"window": "10s", "scale-down-delay": "30s"}, 36, 46, 1},
		"an activation scale":   {map[string]string{"window": "10s", "activation-scale": "3"}, 40, 46, 3},
		"a minimum":             {map[string]string{"window": "10s", "min-scale": "1"}, 600, 600, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setupOf(c.annotations))
			w.Settle(20, 1)
			w.pass(30, 20)
			if got := w.gone(600); got < c.least || got > c.most {
				t.Errorf("no replica was left after %d s, want %d to %d", got, c.least, c.most)
			}
			w.pass(120, 0)
			before := w.Usage()
			w.Step(1)
			if got := w.scaler.applied; got != c.back {
				t.Errorf("the first request starts %d replicas, want %d", got, c.back)
			}
			if want := 1 - int(min(1, w.Min())); w.Usage().Wakes-before.Wakes != want {
				t.Errorf("%d cold starts, want %d", w.Usage().Wakes-before.Wakes, want)
			}
			done := w.replicas.done
			for range 5 * PerSecond {
				w.Step(0)
			}
			if w.replicas.done-done < 1-1e-6 {
				t.Errorf("%g of the request was answered after 5 s", w.replicas.done-done)
			}
			if err := w.Conserved(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Each setting shows by what it does to a rise of the demand and a fall, or to the quiet after.
func TestEachSettingShows(t *testing.T) {
	usage := func(annotations map[string]string) (all, quiet float64) {
		w := newWorld(t, setupOf(annotations))
		w.Settle(40, 2)
		w.pass(60, 40)
		w.pass(90, 300)
		w.pass(300, 20)
		all = w.Usage().ReplicaSeconds
		w.pass(100, 20)
		if err := w.Conserved(); err != nil {
			t.Error(err)
		}
		return all, w.Usage().ReplicaSeconds - all
	}
	// The target is what a replica has in flight at what it serves.
	base := map[string]string{"target": "5", "target-utilization-percentage": "70", "window": "30s"}
	was, wasQuiet := usage(base)
	for name, c := range map[string]struct {
		key, value string
		quiet      bool
		more       bool
	}{
		"a lower target":            {"target", "1", true, true},
		"a lower utilisation":       {"target-utilization-percentage", "20", true, true},
		"a minimum":                 {"min-scale", "6", true, true},
		"an activation scale":       {"activation-scale", "12", true, true},
		"requests per second":       {"metric", "rps", true, true},
		"a maximum":                 {"max-scale", "3", false, false},
		"a longer window":           {"window", "2m", false, true},
		"a delay":                   {"scale-down-delay", "2m", false, true},
		"no panic":                  {"panic-threshold-percentage", "1000", false, false},
		"a long panic window":       {"panic-window-percentage", "100", false, false},
		"recent seconds weigh more": {"metric-aggregation-algorithm", "weighted-exponential", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			annotations := map[string]string{c.key: c.value}
			for key, value := range base {
				if _, ok := annotations[key]; !ok {
					annotations[key] = value
				}
			}
			got, quiet := usage(annotations)
			before := was
			if c.quiet {
				got, before = quiet, wasQuiet
			}
			if c.more && got < before+1 || !c.more && got > before-1 {
				t.Errorf("%g replica-seconds, and %g before", got, before)
			}
		})
	}
}

// A World that is tuned comes to be as one that was always so, as Knative's revisions do: by
// all settings but those that are settled in the beginning, which stay.
func TestTune(t *testing.T) {
	base := map[string]string{"target": "5", "target-utilization-percentage": "70", "window": "30s", "min-scale": "1"}
	with := func(changes map[string]string) map[string]string {
		all := maps.Clone(base)
		maps.Copy(all, changes)
		return all
	}
	// A rise and a fall, long after the tuning.
	usage := func(w *World) float64 {
		w.pass(200, 40)
		before := w.Usage().ReplicaSeconds
		w.pass(60, 300)
		w.pass(120, 20)
		if err := w.Conserved(); err != nil {
			t.Error(err)
		}
		return w.Usage().ReplicaSeconds - before
	}
	for name, c := range map[string]struct {
		changes map[string]string
		stays   bool
	}{
		"target":        {changes: map[string]string{"target": "2"}},
		"utilization":   {changes: map[string]string{"target-utilization-percentage": "30"}},
		"minimum":       {changes: map[string]string{"min-scale": "6"}},
		"maximum":       {changes: map[string]string{"max-scale": "3"}},
		"activation":    {changes: map[string]string{"activation-scale": "8"}},
		"metric":        {changes: map[string]string{"metric": "rps", "target": "20"}},
		"longer window": {changes: map[string]string{"window": "2m"}},
		"panic window":  {changes: map[string]string{"panic-window-percentage": "100"}},
		"threshold":     {changes: map[string]string{"panic-threshold-percentage": "1000"}},
		"burst":         {changes: map[string]string{"target-burst-capacity": "-1"}},
		"delay":         {changes: map[string]string{"scale-down-delay": "2m"}, stays: true},
		"aggregation":   {changes: map[string]string{"metric-aggregation-algorithm": "weighted-exponential"}, stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := setupOf(with(c.changes))
			tuned, always, never := newWorld(t, setupOf(base)), newWorld(t, s), newWorld(t, setupOf(base))
			for _, w := range []*World{tuned, always, never} {
				w.Settle(40, 2)
				w.pass(10, 40)
			}
			tuned.Tune(s.Model, s.Rule, s.Burst)
			want, got := usage(always), usage(tuned)
			if c.stays {
				want = usage(never)
			}
			if math.Abs(got-want) > 1e-6*want {
				t.Errorf("%g replica-seconds, want %g", got, want)
			}
		})
	}
}

// The bounds and the limit are other ones at once, or as soon as Envoy gets them.
func TestTuneIsAtOnce(t *testing.T) {
	w := newWorld(t, setupOf(map[string]string{"max-scale": "2"}))
	w.Settle(80, 2)
	w.pass(10, 300)
	limited := w.gateway.rate
	s := setupOf(map[string]string{"max-scale": "9", "min-scale": "4"})
	w.Tune(s.Model, s.Rule, s.Burst)
	if w.scaler.applied < 4 {
		t.Errorf("%d replicas are asked for, want 4 at least", w.scaler.applied)
	}
	for range int(Lag/Step) + 1 {
		w.Step(15)
	}
	if w.gateway.rate <= limited {
		t.Errorf("%g a second are admitted, and %g were before", w.gateway.rate, limited)
	}
}

// The activator is in the path for as long as there isn't room for the burst that is to be.
func TestBurstCapacityShows(t *testing.T) {
	for tbc, want := range map[string]bool{"-1": true, "0": false, "4": false, "400": true} {
		w := newWorld(t, setupOf(map[string]string{"target-burst-capacity": tbc, "target": "5"}))
		w.Settle(60, 2)
		w.pass(30, 60)
		if w.scaler.activator != want {
			t.Errorf("target-burst-capacity %s: the activator is in the path: %t, want %t", tbc, w.scaler.activator, want)
		}
	}
}

// A request that waits longer than it may fails, and so does one that finds queues full.
func TestWaitingIsBounded(t *testing.T) {
	s := setupOf(map[string]string{"max-scale": "1"})
	s.Timeout, s.Start = 2*time.Second, func() time.Duration { return time.Minute }
	failed := 0.
	s.Failed = func(came, now time.Duration, n float64) {
		if waited := now - came; waited <= s.Timeout || waited > s.Timeout+Step {
			t.Errorf("failed after %s, want %s", waited, s.Timeout)
		}
		failed += n
	}
	w := newWorld(t, s)
	w.pass(30, 10)
	if failed < 10*27 || math.Abs(failed-w.Lost()) > 1e-6 {
		t.Errorf("%g failed, %g are lost", failed, w.Lost())
	}
	s = setupOf(map[string]string{"max-scale": "1"})
	s.Rule, s.Replica.Concurrency, s.Replica.Parallel = Rule{}, 5, 5
	w = newWorld(t, s)
	w.Settle(40, 1)
	w.pass(300, 500)
	if inside := w.replicas.inside(); inside > activatorQueue+11*5+1 || w.Lost() < 1e4 {
		t.Errorf("%g wait, %g were lost", inside, w.Lost())
	}
	if err := w.Conserved(); err != nil {
		t.Error(err)
	}
}

// A replica that takes less than a step for a request serves as many as it should, with as
// many in flight as come in the time that one takes.
func TestShortRequests(t *testing.T) {
	for _, latency := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 70 * time.Millisecond, 130 * time.Millisecond} {
		s := setupOf(map[string]string{"min-scale": "1", "max-scale": "1"})
		s.Rule, s.Replica.Latency, s.Replica.Parallel = Rule{}, latency, 4
		serves := 4 / latency.Seconds()
		w := newWorld(t, s)
		w.Settle(serves/2, 1)
		w.pass(20, serves/2)
		if got, want := w.replicas.inFlight(), 2.; math.Abs(got-want) > .01*want {
			t.Errorf("%s: %g in flight, want %g", latency, got, want)
		}
		before := w.replicas.done
		w.pass(20, 2*serves)
		if got := (w.replicas.done - before) / 20; math.Abs(got-serves) > .05*serves {
			t.Errorf("%s: %g a second are served, want %g", latency, got, serves)
		}
	}
}

// Replicas that take too long are given up, however many they are, and come all the same.
func TestMissing(t *testing.T) {
	for _, n := range []string{"3", "3000"} {
		s := setupOf(map[string]string{"min-scale": n})
		s.Start = func() time.Duration { return 11 * time.Minute }
		w := newWorld(t, s)
		w.Settle(20, 1)
		w.pass(60, 20)
		if got := w.State(); got.Missing != 0 {
			t.Errorf("of %s, %d are missing after a minute", n, got.Missing)
		}
		w.pass(580, 20)
		if got := w.State(); got.Missing != got.Desired-got.Ready || got.Missing == 0 {
			t.Errorf("of %s, %d are missing at the deadline, want %d", n, got.Missing, got.Desired-got.Ready)
		}
		w.pass(60, 20)
		if got := w.State(); got.Missing != 0 || got.Ready != w.Min() {
			t.Errorf("of %s, %d are missing, and %d ready, once they have come", n, got.Missing, got.Ready)
		}
	}
}

// What comes to one of two entries has a part of the limit there, and more of it once it is seen to
// need more: of a demand that jumps some is refused at first.
func TestEntries(t *testing.T) {
	refused := func(entries int) (first, then float64) {
		s := setupOf(map[string]string{"min-scale": "2", "max-scale": "2"})
		s.Entries = entries
		w := newWorld(t, s)
		w.Settle(20, 2)
		w.pass(20, 20)
		w.pass(5, 90)
		first = w.Flow().Offered - w.Flow().Admitted
		w.pass(20, 90)
		return first, w.Flow().Offered - w.Flow().Admitted - first
	}
	oneFirst, oneThen := refused(1)
	first, then := refused(2)
	if first <= oneFirst || then > oneThen+1e-6 {
		t.Errorf("%.1f requests are refused of a jump, then %.1f; at a gateway with one entry %.1f and %.1f", first, then, oneFirst, oneThen)
	}
}

// Another burst alone is enforced, too.
func TestTuneBurst(t *testing.T) {
	s := setupOf(map[string]string{"min-scale": "2", "max-scale": "2"})
	w := newWorld(t, s)
	w.Settle(20, 2)
	w.pass(5, 20)
	before := w.gateway.bucket.MaxTokens
	w.Tune(s.Model, s.Rule, 10*s.Burst)
	w.pass(2, 20)
	if got := w.gateway.bucket.MaxTokens; got < 9*before {
		t.Errorf("the bucket holds %d requests, %d before", got, before)
	}
}
