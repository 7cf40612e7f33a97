package main

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// served are requests of one replica, one each 10 ms from a time on, numbered from nth.
func served(replica string, from time.Time, nth, n int, took time.Duration) platform.Answers {
	var out platform.Answers
	for i := range n {
		out = append(out, platform.Served{
			Answer:  load.Answer{Due: from.Add(time.Duration(i) * 10 * time.Millisecond), Latency: took, Status: http.StatusOK},
			Replica: replica, Nth: nth + i,
		})
	}
	return out
}

func TestSplit(t *testing.T) {
	began := time.Now()
	const quick, slow = time.Millisecond, 90 * time.Millisecond
	second := began.Add(time.Second)
	all := slices.Concat(
		served("old", began, 1, 600, quick),
		served("a", began.Add(500*time.Millisecond), 1, 400, slow),
		served("b", second, 1, 400, slow),
	)
	got, err := split(all, map[string]bool{"old": true}, 2)
	if err != nil {
		t.Fatal(err)
	}
	// The first ones of b end 1 s + 199 × 10 ms + 90 ms after the beginning: 3.08 s.
	if len(got.fresh) != 400 || len(got.steady) != 400-259+400-209 || got.slower(got.beside) != 90 {
		t.Errorf("%d fresh, %d steady, %v times slower; beside them %d", len(got.fresh), len(got.steady), got.slower(got.beside), len(got.beside))
	}
	if n := len(got.beside); n != 3080/10-500/10+1 {
		t.Errorf("%d beside", n)
	}
	if _, ok := got.steady.Replicas()["old"]; ok {
		t.Error("the steady state has a replica that isn't new")
	}
}

// What would be judged on too little, or on other replicas, is an error.
func TestSplitWantsAll(t *testing.T) {
	began := time.Now()
	whole := served("a", began, 1, 400, time.Millisecond)
	for name, c := range map[string]struct {
		all      platform.Answers
		replicas int
	}{
		"one never came":      {whole, 2},
		"one too many":        {slices.Concat(whole, served("b", began, 1, 400, time.Millisecond)), 1},
		"some were lost":      {whole[1:], 1},
		"no steady state":     {whole[:first+10], 1},
		"first ones too few":  {whole[:first-1], 1},
		"nothing":             {nil, 1},
		"not from the outset": {served("a", began, 100, 400, time.Millisecond), 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := split(c.all, nil, c.replicas); err == nil {
				t.Errorf("took it: %d fresh, %d steady", len(got.fresh), len(got.steady))
			}
		})
	}
}

func TestTiming(t *testing.T) {
	const header = "queue;dur=0.006, compile;dur=3.150, infer;dur=0.789"
	for name, want := range map[string]time.Duration{"queue": 6 * time.Microsecond, "compile": 3150 * time.Microsecond, "infer": 789 * time.Microsecond} {
		if got, err := timing(header, name); err != nil || got != want {
			t.Errorf("%s took %v, %v; want %v", name, got, err, want)
		}
	}
	for _, bad := range []string{"", "compile", "compile;dur=long", "recompile;dur=1"} {
		if got, err := timing(bad, "compile"); err == nil {
			t.Errorf("%q tells %v", bad, got)
		}
	}
}

func TestReadWoken(t *testing.T) {
	answer := func(status int, nth string) load.Answer {
		return load.Answer{Status: status, Latency: 3 * time.Second, Header: http.Header{
			"Ranker-Replica": {"a"}, "Ranker-Served": {nth}, "Server-Timing": {"queue;dur=0, compile;dur=2000.0, infer;dur=1"},
		}}
	}
	got, err := readWoken(answer(http.StatusOK, "1"))
	if err != nil || got.coldStart() != time.Second || got.Replica != "a" {
		t.Errorf("%+v, %v; want a cold start of 1 s", got, err)
	}
	for _, bad := range []load.Answer{answer(http.StatusServiceUnavailable, "1"), answer(http.StatusOK, "2"), {}} {
		if _, err := readWoken(bad); err == nil {
			t.Errorf("%+v woke a replica", bad)
		}
	}
}

func TestAllowance(t *testing.T) {
	for _, c := range []struct{ start, warmUp, want float64 }{{1, 2, 0.25}, {1, 9, 0.5}, {0.7, 0.1, 0.25}} {
		if got := allowance(c.start, c.warmUp); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("after %v + %v s: %v, want %v", c.start, c.warmUp, got, c.want)
		}
	}
}

func TestUnmoved(t *testing.T) {
	began := time.Now()
	old, fresh := "m-00001-deployment-a", "m-00002-deployment-b"
	before, after := served(old, began, 1, 10, 1), served(fresh, began.Add(time.Second), 1, 10, 1)
	for name, c := range map[string]struct {
		all   platform.Answers
		moved bool
	}{
		"all are":         {slices.Concat(before, after), true},
		"the old goes on": {slices.Concat(before, after, served(old, began.Add(time.Second), 11, 1, 1)), false},
		"nothing came":    {before, false},
	} {
		if got := unmoved(c.all, "m-00002", began.Add(500*time.Millisecond)); (got == "") != c.moved {
			t.Errorf("%s: %q", name, got)
		}
	}
	if of("m-0000", old) || !of("m-00001", old) {
		t.Error("a replica is taken for another revision's")
	}
}

func TestRolloutIsJudgedByWhenRequestsWereSent(t *testing.T) {
	began := time.Now()
	r := rollout{ledger: &platform.Ledger{}, began: began.Add(time.Second), ended: began.Add(2 * time.Second), revision: "m-00002"}
	if _, err := r.judge(load.Second{}); err == nil {
		t.Error("judged without an answer")
	}
	for i := range 300 {
		replica := "m-00001-deployment-a"
		if i >= 150 {
			replica = "m-00002-deployment-b"
		}
		r.ledger.Note(load.Answer{
			Due: began.Add(time.Duration(i) * 10 * time.Millisecond), Latency: time.Millisecond, Status: http.StatusOK,
			Header: http.Header{"Ranker-Replica": {replica}, "Ranker-Served": {fmt.Sprint(i + 1)}},
		})
	}
	got, err := r.judge(load.Second{Limited: 1, Failed: 2, Errored: 3, Dropped: 4})
	if err != nil || len(got.before) != 100 || len(got.during) != 100 || got.fresh != 150 || !slices.Equal(got.took, []float64{1}) || got.lost != 10 {
		t.Errorf("%d before, %d during, %d of the new, %d lost in %v; %v", len(got.before), len(got.during), got.fresh, got.lost, got.took, err)
	}
}

func TestLoggedEarly(t *testing.T) {
	log := `{"level":"INFO","msg":"serving","requests":7}
{"level":"ERROR","msg":"served before the warm-up ended","requests":1}
no JSON
{"level":"ERROR","msg":"served before the warm-up ended","requests":3}
`
	if got := loggedEarly([]byte(log)); got != 3 {
		t.Errorf("%d early, want 3", got)
	}
	if got := loggedEarly(nil); got != 0 {
		t.Errorf("%d early of nothing", got)
	}
}

func TestLiving(t *testing.T) {
	pod := func(ready corev1.ConditionStatus) corev1.Pod {
		return corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}}}
	}
	ending := pod(corev1.ConditionTrue)
	ending.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	alive, ready := living([]corev1.Pod{pod(corev1.ConditionTrue), pod(corev1.ConditionFalse), ending})
	if len(alive) != 2 || ready != 1 {
		t.Errorf("%d alive, %d ready; want 2 and 1", len(alive), ready)
	}
}

func TestImageIsMeasuredPulledAndUnpacked(t *testing.T) {
	image, err := random.Image(10_000, 2)
	if err != nil {
		t.Fatal(err)
	}
	size, err := measureImage(image)
	if err != nil || size.unpacked < 20_000 || size.pulled < 20_000 {
		t.Errorf("%+v, %v; want two layers of 10 kB", size, err)
	}
}

func newBench() *bench {
	return &bench{Progress: command.Progress{Out: &bytes.Buffer{}}, report: report.New("warmup", time.Now())}
}

func TestVerdicts(t *testing.T) {
	began := time.Now()
	answers := func(took time.Duration) platform.Answers { return served("a", began, 1, 100, took) }
	with := func(fresh, steady time.Duration) *phases {
		return &phases{fresh: answers(fresh), steady: answers(steady), beside: answers(steady)}
	}
	from := func(start, warmUp float64) *arrivals {
		return &arrivals{starts: []float64{start}, warmUps: []float64{warmUp}, firsts: []float64{start + warmUp}, phases: *with(1, 1)}
	}
	rolled := func(lost, early int, during time.Duration) rolledOut {
		return rolledOut{offered: 100, lost: lost, took: []float64{1}, early: early, before: answers(100), during: answers(during)}
	}
	for name, c := range map[string]struct {
		report func(*bench)
		// want counts the bounds that are held, and those that are missed.
		want [2]int
	}{
		"cold starts as the plain ones": {func(b *bench) {
			b.reportCold(map[string][]float64{"plain": {1, 1}, "without": {1.04, 1.04}, "empty": {1.09, 1.09}})
		}, [2]int{2, 0}},
		"slower cold starts": {func(b *bench) {
			b.reportCold(map[string][]float64{"plain": {1, 1}, "without": {1.06, 1.06}, "empty": {1.11, 1.11}})
		}, [2]int{0, 2}},
		"no cold starts":  {func(b *bench) { b.reportCold(nil) }, [2]int{0, 2}},
		"prompt":          {func(b *bench) { b.reportZero(variants[0], from(0.8, 0), from(1, 0.1)) }, [2]int{1, 0}},
		"late":            {func(b *bench) { b.reportZero(variants[0], from(0.8, 0), from(1.1, 0.1)) }, [2]int{0, 1}},
		"warm":            {func(b *bench) { b.reportScale(variants[0], with(1000, 100), with(110, 100)) }, [2]int{1, 0}},
		"not warm":        {func(b *bench) { b.reportScale(variants[1], with(1000, 100), with(111, 100)) }, [2]int{0, 1}},
		"smooth":          {func(b *bench) { b.reportRollout(variants[0], rolled(0, 0, 120)) }, [2]int{3, 0}},
		"rough":           {func(b *bench) { b.reportRollout(variants[0], rolled(1, 1, 121)) }, [2]int{0, 3}},
		"slow but smooth": {func(b *bench) { b.reportRollout(variants[1], rolled(0, 0, 500)) }, [2]int{2, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			c.report(b)
			if got := [2]int{b.report.Held, b.report.Missed}; got != c.want {
				t.Errorf("held and missed %v, want %v", got, c.want)
			}
		})
	}
}
