package main

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/openloop"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestFlags(t *testing.T) {
	needed := []string{"-streams", "s", "-ranker", "r", "-kubeconfig", "k"}
	for _, c := range []struct {
		arguments []string
		want      string
	}{
		{needed, ""},
		{append(slices.Clone(needed), "-only", "beside,many", "-items", "1000000", "-name", "batch-soak"), ""},
		{append(slices.Clone(needed), "-only", "few"), `no part is called "few"`},
		{append(slices.Clone(needed), "-items", "10"), "-items"},
		{needed[2:], "-streams is required"},
		{append(slices.Clone(needed[:2]), needed[4:]...), "-ranker is required"},
	} {
		_, err := parse(c.arguments)
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: error %v, want %q", c.arguments, err, c.want)
		}
	}
}

// Each level has as many turns beside a batch as without, on both sides of the middle.
func TestTurnsAreFair(t *testing.T) {
	turns := map[bool]map[float64][]int{true: {}, false: {}}
	n := 0
	for i, p := range phases {
		if i > 0 && p.beside == phases[i-1].beside {
			t.Errorf("phases %d and %d aren't in alternation", i-1, i)
		}
		for _, level := range p.levels {
			turns[p.beside][level] = append(turns[p.beside][level], n)
			n++
		}
	}
	for _, beside := range []bool{true, false} {
		for _, level := range levels {
			if at := turns[beside][level]; len(at) != 2 || at[0]+at[1] != n-1 {
				t.Errorf("at %g, beside a batch %t: turns %v of %d", level, beside, at, n)
			}
		}
	}
}

// What goes before ends where what counts begins, and never goes up at once beside a batch.
func TestLead(t *testing.T) {
	for _, c := range []struct {
		from, to float64
		beside   bool
		lasts    time.Duration
		begins   float64
	}{
		{0.3, 0.9, false, settle, 0.9},
		{0.9, 0.9, true, settle, 0.9},
		{0.3, 0.6, true, rises + settle, 0.3},
		{0.6, 0.3, true, falls, 0.3},
	} {
		got := lead(c.from, c.to, c.beside)
		limit := float64(busy.perReplica)
		if end := got[len(got)-1].To; got.Duration() != c.lasts || got[0].From != c.begins*limit || end != c.to*limit {
			t.Errorf("from %g to %g, beside a batch %t: %+v", c.from, c.to, c.beside, got)
		}
	}
}

// counted are the counters of a second of so many requests, of which so many carry the mark,
// and so many are refused.
func counted(before platform.Counts, offered, marked, refused float64) platform.Counts {
	return platform.Counts{At: before.At.Add(time.Second), Offered: before.Offered + offered, Marked: before.Marked + marked, Refused: before.Refused + refused}
}

func TestWhatOthersTake(t *testing.T) {
	first := platform.Counts{At: start, Offered: 100, Marked: 50, Refused: 5}
	online := &openloop.Callers{}
	for i := range 120 {
		status := http.StatusOK
		if i%60 == 0 {
			status = http.StatusTooManyRequests
		}
		online.Note(load.Answer{Due: start.Add(time.Duration(i) * time.Second / 120), Status: status})
	}
	for _, c := range []struct {
		name                     string
		offered, marked, refused float64
		want                     float64
	}{
		{"nothing", 120, 0, 2, 0},
		{"a batch", 320, 200, 2, 200},
		{"a batch, of which some is refused", 320, 200, 12, 190},
		{"others, who carry no mark", 200, 0, 12, 70},
	} {
		if got := taken(first, counted(first, c.offered, c.marked, c.refused), online); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %g/s, want %g/s", c.name, got, c.want)
		}
	}
}

// ticks are counters of a batch and callers that come to rates, in steps of 100 ms.
func ticks(rate func(at float64) float64) (seen []platform.Counts) {
	total := 0.0
	for i := -30; i <= 120; i++ {
		seen = append(seen, platform.Counts{At: start.Add(time.Duration(i) * 100 * time.Millisecond), Offered: total})
		total += rate(float64(i)/10) / 10
	}
	return seen
}

func TestJudgeStep(t *testing.T) {
	for _, c := range []struct {
		name                string
		rate                func(at float64) float64
		most, over, yielded float64
	}{
		{"always within", func(float64) float64 { return 400 }, 400, 0, 0},
		{"over for two seconds", func(at float64) float64 {
			if at >= 0 && at < 2 {
				return 600
			}
			return 390
		}, 600, 390, 1.9},
		{"again, later", func(at float64) float64 {
			if at >= 0 && at < 1 || at >= 4 && at < 5 {
				return 500
			}
			return 400
		}, 500, 200, 4.9},
	} {
		got := judgeStep(ticks(c.rate), start, 400)
		if math.Abs(got.most-c.most) > 1 || math.Abs(got.over-c.over) > 25 || math.Abs(got.yielded.Seconds()-c.yielded) > 0.25 {
			t.Errorf("%s: %+v, want at most %g/s, %g over, within it after %g s", c.name, got, c.most, c.over, c.yielded)
		}
	}
}

func TestEffects(t *testing.T) {
	e := &effects{seen: make([]bool, 4)}
	line := func(item, status int, id string) string {
		return fmt.Sprintf(`{"item":%d,"status":%d,"response":{"id":%q}}`+"\n", item, status, id)
	}
	for _, content := range []string{line(0, 200, "item-0") + line(1, 200, "item-0"), line(2, 400, ""), line(2, 200, "item-2")} {
		if err := e.add([]byte(content), ranked); err != nil {
			t.Fatal(err)
		}
	}
	if e.records != 4 || e.doubled != 1 || e.odd != 2 || e.missing() != 1 {
		t.Errorf("%d records, %d doubled, %d odd, %d missing", e.records, e.doubled, e.odd, e.missing())
	}
	for _, bad := range []string{line(4, 200, "item-4"), "no record\n"} {
		if err := e.add([]byte(bad), ranked); err == nil {
			t.Errorf("%s is taken for a record of one of four items", bad)
		}
	}
}

func TestItemsOfTheRanker(t *testing.T) {
	b := &bench{options: options{request: "../../images/ranker/testdata/request.json"}}
	line, err := b.prediction()
	if err != nil {
		t.Fatal(err)
	}
	if got := line(7); !strings.HasPrefix(got, `{"id":"item-7","inputs":[{"name":"candidates","datatype":"FP32","shape":[1,30],"data":[[13.66,`) || strings.Contains(got, "\n") {
		t.Errorf("an item is %s", got)
	}
}

// A worker's memory is that of the benchmark's own, and of no other process.
func TestWorkerMemory(t *testing.T) {
	proc := fstest.MapFS{}
	process := func(pid, name, variable, status string) {
		for file, content := range map[string]string{"comm": name + "\n", "environ": "A=b\x00" + variable + "\x00", "status": status} {
			proc[pid+"/"+file] = &fstest.MapFile{Data: []byte(content)}
		}
	}
	process("1", "batch-worker", `SLUICE_BATCH={"namespace":"bench-batch"}`, "VmPeak:\t 9 kB\nVmHWM:\t   2048 kB\n")
	process("2", "batch-worker", `SLUICE_BATCH={"namespace":"other"}`, "VmHWM:\t 4096 kB\n")
	process("3", "another", `SLUICE_BATCH={"namespace":"bench-batch"}`, "VmHWM:\t 4096 kB\n")
	process("4", "batch-worker", `SLUICE_BATCH={"namespace":"bench-batch"}`, "")
	if got := workerMemory(proc); !slices.Equal(got, []float64{2 << 20}) {
		t.Errorf("held %v, want 2 MiB", got)
	}
}

// Workers without credits ask as fast as they are answered, and have nothing to do with others
// once they are stopped.
func TestCrew(t *testing.T) {
	for _, by := range []gate{byLatency, byNothing} {
		t.Run(string(by), func(t *testing.T) {
			var asked, marked atomic.Int64
			enough := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Host != "busy.test" || r.URL.String() != busy.path() {
					marked.Add(1)
				}
				if asked.Add(1) == 200 {
					close(enough)
				}
				w.WriteHeader(http.StatusAccepted)
			}))
			defer server.Close()
			c, err := newCrew(platform.Endpoint{Address: server.Listener.Addr().String(), Host: "busy.test"}, busy.path())
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			stop, err := c.start(t.Context(), by)
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-enough:
			case <-time.After(time.Minute):
				t.Errorf("asked %d times within a minute", asked.Load())
			}
			if err := stop(); err != nil || marked.Load() > 0 {
				t.Errorf("error %v, %d requests to somewhere else", err, marked.Load())
			}
		})
	}
}

// A watch tells of each write; those of Jobs' statuses aren't ours.
func TestWritesAreCounted(t *testing.T) {
	job := func(generation int64) *batchv1.Job {
		return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{UID: "job", Generation: generation}}
	}
	for _, c := range []struct {
		name   string
		count  func(watch.Event, map[types.UID]int64) writes
		events []watch.Event
		want   writes
	}{
		{"a Batch", writesOfBatch, []watch.Event{{Type: watch.Added}, {Type: watch.Modified}, {Type: watch.Modified}, {Type: watch.Deleted}}, writes{batch: 2}},
		{"a Job", writesOfJob, []watch.Event{
			{Type: watch.Added, Object: job(1)}, {Type: watch.Modified, Object: job(1)}, {Type: watch.Modified, Object: job(2)}, {Type: watch.Deleted, Object: job(3)},
		}, writes{jobs: 2}},
		{"a pod", writesOfPod, []watch.Event{{Type: watch.Added, Object: &corev1.Pod{}}, {Type: watch.Modified, Object: &corev1.Pod{}}}, writes{pods: 1}},
	} {
		events := make(chan watch.Event, len(c.events))
		for _, e := range c.events {
			events <- e
		}
		close(events)
		if got := countWrites(events, c.count); got.writes != c.want || got.err != nil {
			t.Errorf("%s: %v, error %v; want %v", c.name, got.writes, got.err, c.want)
		}
	}
	broken := make(chan watch.Event, 1)
	broken <- watch.Event{Type: watch.Error, Object: &metav1.Status{Message: "too old"}}
	close(broken)
	if got := countWrites(broken, writesOfPod); got.err == nil {
		t.Error("a watch that broke is taken for one that told everything")
	}
}

// same has the same answers with a batch as without, and a batch that takes all that is left.
func same() besides {
	got := besides{alone: newColumn(), batch: newColumn(), feedback: newColumn(), free: newColumn(), batchAlone: 390, loadAlone: 400}
	for _, c := range []column{got.alone, got.batch, got.feedback, got.free} {
		for _, level := range levels {
			for i := range 1000 {
				c[level].latencies = append(c[level].latencies, 0.1+float64(i)/1e5)
			}
			c[level].took, c[level].left = []float64{0.95 * 400 * (1 - level)}, []float64{400 * (1 - level)}
		}
	}
	return got
}

func TestBoundsBeside(t *testing.T) {
	for want, spoil := range map[string]func(*besides){
		"":                                    func(*besides) {},
		"p99 at 60 %, beside a batch / alone": func(g *besides) { g.batch[0.6].latencies = slower6(g.batch[0.6].latencies) },
		"p99 at 30 %, beside a batch / alone": func(g *besides) { g.batch[0.3].latencies = nil },
		"used at 90 %":                        func(g *besides) { g.batch[0.9].took[0] = 35.9 },
		"a batch alone / a load alone":        func(g *besides) { g.batchAlone = 359 },
	} {
		b, got := &bench{report: report.New("any", start)}, same()
		spoil(&got)
		b.reportBeside(got)
		var missed []string
		for _, f := range b.report.Figures {
			if f.Verdict == report.Missed {
				missed = append(missed, f.Name)
			}
		}
		if strings.Join(missed, ", ") != want {
			t.Errorf("missed %q, want %q", missed, want)
		}
	}
}

// slower6 are latencies of which two in a hundred are 6 % longer than the longest.
func slower6(of []float64) []float64 {
	out := slices.Clone(of)
	for i := range len(out) / 50 {
		out[i] = 1.06 * out[len(out)-1]
	}
	return out
}

func TestBoundsOfManyItems(t *testing.T) {
	run := func(items int, lasts time.Duration) *bulk {
		b := &v1alpha1.Batch{}
		b.Status.StartTime, b.Status.CompletionTime = &metav1.Time{Time: start}, &metav1.Time{Time: start.Add(lasts)}
		seen := make([]bool, items)
		return &bulk{items: items, batch: b, effects: &effects{seen: seen, records: items}, memory: peaks{30 << 20, 60 << 20}, writes: writes{batch: 12 + int(lasts.Seconds()/5), jobs: 4, pods: 33}}
	}
	for want, spoil := range map[string]func(*bulk){
		"": func(*bulk) {},
		"items without a record, or with more than one": func(r *bulk) { r.records-- },
		"records that are no right answer":              func(r *bulk) { r.odd++ },
		"a worker's memory, at most":                    func(r *bulk) { r.memory.worker = 129 << 20 },
		"pods":                                          func(r *bulk) { r.writes.pods = 100 },
		"the function's memory, many / few":             func(r *bulk) { r.memory.function = 100 << 20 },
		"beyond one each 5s of it":                      func(r *bulk) { r.writes.batch += 100 },
	} {
		b, many := &bench{report: report.New("any", start)}, run(100_000, time.Minute)
		spoil(many)
		b.reportMany(run(fewItems, 20*time.Second), many)
		var missed []string
		for _, f := range b.report.Figures {
			if f.Verdict == report.Missed {
				missed = append(missed, f.Name)
			}
		}
		if strings.Join(missed, ", ") != want {
			t.Errorf("missed %q, want %q", missed, want)
		}
	}
}
