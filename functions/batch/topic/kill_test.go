package topic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/functions/batch/worker"
)

// life is one of a worker's: it ends after some steps, each a request that it sends to a
// broker or to the Model, or just after one, before the answer is there. From then on
// nothing that it does has an effect.
type life struct {
	end  context.CancelFunc
	left atomic.Int64
	over atomic.Bool
	// pause is the step at which it stands still until resume: so it comes back when others
	// have done its work.
	pause  int64
	resume <-chan struct{}

	mu   sync.Mutex
	open []net.Conn
}

// errKilled is what a dead worker is told, which goes on no more.
var errKilled = task.Final("Killed", errors.New("killed"))

func (l *life) step() error {
	left := l.left.Add(-1)
	if left == 0 {
		l.over.Store(true)
		l.end()
		l.mu.Lock()
		for _, connection := range l.open {
			_ = connection.Close()
		}
		l.mu.Unlock()
	}
	if l.over.Load() {
		return errKilled
	}
	if left == l.pause && l.resume != nil {
		<-l.resume
	}
	return nil
}

// dial leads to a broker as long as it lives.
func (l *life) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if l.over.Load() {
		return nil, errKilled
	}
	connection, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, connection)
	if l.over.Load() {
		_ = connection.Close()
	}
	return mortal{connection, l}, nil
}

// mortal is a connection of one life.
type mortal struct {
	net.Conn

	life *life
}

// Write sends a request: it may end before, and after.
func (m mortal) Write(request []byte) (int, error) {
	if err := m.life.step(); err != nil {
		return 0, err
	}
	n, err := m.Conn.Write(request)
	if err != nil {
		return n, err
	}
	return n, m.life.step()
}

// fickle is a Model that fails what it answers another time: so no two workers of a part
// have the same failures.
type fickle struct {
	*life

	mu     sync.Mutex
	random *rand.Rand
}

func (f *fickle) Ask(_ context.Context, question worker.Question) worker.Answer {
	if f.step() != nil {
		return worker.Answer{Problem: "killed"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.random.IntN(3) == 0 {
		return worker.Answer{Status: http.StatusBadRequest, Body: []byte("no")}
	}
	return worker.Answer{Status: http.StatusOK, Body: []byte(question.Key[len("u-1-"):])}
}

// open lets everything through.
type open struct{}

func (open) Enter(ctx context.Context) (func(worker.Answer, time.Duration), error) {
	return func(worker.Answer, time.Duration) {}, ctx.Err()
}

// schedule is when a worker's lives end; the last one doesn't.
type schedule struct {
	lives []int64
	pause int64
	seed  uint64
}

// most is how many steps a life has that ends; a worker that isn't killed takes about so many.
const most = 160

func drawSchedule(t *rapid.T) schedule {
	return schedule{
		lives: rapid.SliceOfN(rapid.Int64Range(1, most), 0, 4).Draw(t, "lives"),
		pause: rapid.Int64Range(-most, most).Draw(t, "pause"),
		seed:  rapid.Uint64().Draw(t, "seed"),
	}
}

// run is a batch that workers are killed at.
type run struct {
	task   *task.Task
	folder string
	shard  int
	// first is closed once the first worker of the shard is done, which is nobody's to fence
	// for ever: others begin anew only then.
	first chan struct{}
}

// survive runs a worker through its lives, and returns what the last one says.
func (r run) survive(s schedule, isFirst bool) (output.Tally, error) {
	random := rand.New(rand.NewPCG(s.seed, 0))
	for i := 0; ; i++ {
		ctx, cancel := context.WithCancel(context.Background())
		l := &life{end: cancel, pause: s.pause}
		if !isFirst {
			l.resume = r.first
		}
		if l.left.Store(1 << 40); i < len(s.lives) {
			l.left.Store(s.lives[i])
		} else {
			l.pause = 1<<40 - s.pause
		}
		tally, err := r.live(ctx, l, random)
		cancel()
		reason := &task.ReasonedError{}
		told := errors.As(err, &reason)
		killed := told && reason.Reason == "Killed" || errors.Is(err, context.Canceled)
		fenced := told && reason.Reason == task.Interrupted && !reason.Final
		switch {
		case l.over.Load() && err == nil:
			// It was killed after the last thing that it had to do.
		case l.over.Load() && !fenced && !killed:
			return tally, fmt.Errorf("killed, it says: %w", err)
		case l.over.Load():
		case fenced && !isFirst:
			<-r.first
		case fenced:
		default:
			return tally, err
		}
	}
}

func (r run) live(ctx context.Context, l *life, random *rand.Rand) (output.Tally, error) {
	return r.work(ctx, l.dial, &fickle{life: l, random: random})
}

func (r run) work(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), asker worker.Asker) (output.Tally, error) {
	// Who is dead waits for nothing.
	options := append(slices.Clone(quick), kgo.Dialer(dial), kgo.WithContext(ctx))
	from, err := openInput(r.task, options...)
	if err != nil {
		return output.Tally{}, err
	}
	defer from.Close()
	to, err := openOutput(r.task, options...)
	if err != nil {
		return output.Tally{}, err
	}
	defer to.Close()
	// One that stands still with a transaction open is soon in nobody's way.
	to.within = 5 * time.Second
	p, err := worker.Plan(ctx, r.task, from, to)
	if err != nil || r.shard >= len(p.Shards) {
		return output.Tally{}, err
	}
	w := &worker.Worker{Task: r.task, Source: from, Output: to, Asker: asker, Gate: open{}, Folder: r.folder}
	return w.Run(ctx, p, r.shard)
}

// Whenever workers are killed, and however many work on one shard at once, one of them
// coming back when the others are done: whoever reads what is committed sees one record of
// each item, and each one that has failed once more among the errors.
func oneRecordOfEachItem(t *testing.T, brokers []string, create func(topics ...string)) {
	client := asking(t, brokers)
	number := 0
	rapid.Check(t, func(rt *rapid.T) {
		number++
		r := run{task: described(brokers...), folder: t.TempDir()}
		named := func(what string) string { return fmt.Sprintf("%s-%s-%d", what, unique, number) }
		r.task.Input.Kafka.Topic, r.task.Output.Kafka.Topic, r.task.Output.Kafka.ErrorTopic = named("rows"), named("scores"), named("errors")
		r.task.Bounds.PartItems = rapid.Int64Range(1, 5).Draw(rt, "part")
		r.task.Bounds.Concurrency = rapid.IntRange(1, 4).Draw(rt, "concurrency")
		r.task.Bounds.Shards = rapid.IntRange(1, 2).Draw(rt, "shards")
		create(r.task.Input.Kafka.Topic, r.task.Output.Kafka.Topic, r.task.Output.Kafka.ErrorTopic)
		var records []*kgo.Record
		for range rapid.IntRange(0, 20).Draw(rt, "items") {
			records = append(records, &kgo.Record{Topic: r.task.Input.Kafka.Topic, Partition: rapid.Int32Range(0, 1).Draw(rt, "partition"), Value: []byte("1")})
		}
		if len(records) > 0 {
			produced(rt, client, records...)
		}
		const each = 2
		tallies, errs := [2 * each]output.Tally{}, [2 * each]error{}
		var workers sync.WaitGroup
		for shard := range r.task.Bounds.Shards {
			r := r
			r.shard, r.first = shard, make(chan struct{})
			for i := range each {
				s := drawSchedule(rt)
				workers.Go(func() {
					if i == 0 {
						defer close(r.first)
					}
					tallies[shard*each+i], errs[shard*each+i] = r.survive(s, i == 0)
				})
			}
		}
		workers.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			rt.Fatal(err)
		}
		for shard := range 2 {
			if tallies[shard*each] != tallies[shard*each+1] {
				rt.Fatalf("of shard %d workers say %+v", shard, tallies[shard*each:(shard+1)*each])
			}
		}
		checkRecords(rt, client, r.task, len(records), tallies[0].Plus(tallies[each]))
	})
}

// walked is a batch of a few items, whose one worker takes the steps that a test walks through.
func walked(t *testing.T, client *kgo.Client, brokers []string, create func(topics ...string), name string) run {
	t.Helper()
	r := run{task: described(brokers...), folder: t.TempDir(), first: make(chan struct{})}
	named := func(what string) string { return fmt.Sprintf("%s-%s-%s", what, unique, name) }
	r.task.Input.Kafka.Topic, r.task.Output.Kafka.Topic, r.task.Output.Kafka.ErrorTopic = named("rows"), named("scores"), named("errors")
	r.task.Bounds.PartItems, r.task.Bounds.Shards, r.task.Bounds.Concurrency = 2, 1, 2
	create(r.task.Input.Kafka.Topic, r.task.Output.Kafka.Topic, r.task.Output.Kafka.ErrorTopic)
	for range walkedItems {
		produced(t, client, &kgo.Record{Topic: r.task.Input.Kafka.Topic, Value: []byte("1")})
	}
	return r
}

const walkedItems = 3

// A worker that is killed at any step, before its request is sent or before the answer is
// there, and begun again.
func killedAtEveryStep(t *testing.T, brokers []string, create func(topics ...string)) {
	client := asking(t, brokers)
	for n := int64(1); ; n++ {
		r := walked(t, client, brokers, create, fmt.Sprint("killed-", n))
		ctx, cancel := context.WithCancel(t.Context())
		l := &life{end: cancel}
		l.left.Store(n)
		tally, err := r.live(ctx, l, rand.New(rand.NewPCG(uint64(n), 0)))
		cancel()
		killed := l.over.Load()
		if killed {
			tally, err = r.survive(schedule{seed: uint64(n)}, true)
		}
		if err != nil {
			t.Fatalf("killed at step %d: %v", n, err)
		}
		checkRecords(t, client, r.task, walkedItems, tally)
		if !killed {
			// It took fewer steps.
			if t.Logf("a worker takes %d steps", n); n < 40 {
				t.Error("that is too few")
			}
			return
		}
	}
}

// unique tells the topics of this run of the tests from those of others.
var unique = fmt.Sprintf("%x", rand.Uint32())

func checkRecords(t fataler, client *kgo.Client, of *task.Task, items int, tally output.Tally) {
	var want output.Tally
	seen := map[int64]bool{}
	var failed []string
	for partition := range int32(2) {
		last := int64(-1)
		for _, kept := range committed(t, client, of.Output.Kafka.Topic, partition) {
			var record output.Record
			if err := json.Unmarshal(kept.Value, &record); err != nil {
				t.Fatal(err)
			}
			if seen[record.Item] || record.Item >= int64(items) {
				t.Fatalf("item %d is there twice, or isn't one", record.Item)
			}
			if record.Item < last {
				t.Fatalf("item %d comes behind item %d", record.Item, last)
			}
			if got := string(record.Response); !record.Failed() && got != fmt.Sprint(record.Item) {
				t.Fatalf("item %d has the answer to item %s", record.Item, got)
			}
			if record.Failed() {
				failed = append(failed, string(kept.Value))
			}
			seen[record.Item], last, want = true, record.Item, want.Count(&record)
		}
	}
	if len(seen) != items {
		t.Fatalf("%d records of %d items", len(seen), items)
	}
	var among []string
	for partition := range int32(2) {
		among = append(among, values(committed(t, client, of.Output.Kafka.ErrorTopic, partition))...)
	}
	slices.Sort(failed)
	slices.Sort(among)
	if diff := cmp.Diff(failed, among, cmpopts.EquateEmpty()); diff != "" {
		t.Fatal("what has failed, and is among the errors (-want, +got):", diff)
	}
	if tally != want {
		t.Fatalf("workers say %+v, there are %+v", tally, want)
	}
}

func TestOneRecordOfEachItem(t *testing.T) {
	t.Parallel()
	c := fake(t)
	client := asking(t, c.ListenAddrs())
	oneRecordOfEachItem(t, c.ListenAddrs(), func(topics ...string) { made(t, client, 2, nil, topics...) })
}

func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	c := fake(t)
	client := asking(t, c.ListenAddrs())
	killedAtEveryStep(t, c.ListenAddrs(), func(topics ...string) { made(t, client, 2, nil, topics...) })
}

// broken is a life whose connection breaks once, after a request is sent.
type broken struct{ left atomic.Int64 }

func (b *broken) dial(ctx context.Context, network, address string) (net.Conn, error) {
	connection, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return breaking{connection, b}, err
}

type breaking struct {
	net.Conn

	life *broken
}

func (b breaking) Write(request []byte) (int, error) {
	n, err := b.Conn.Write(request)
	if b.life.left.Add(-1) == 0 {
		_ = b.Close()
	}
	return n, err
}

// Whichever answer is lost, what is committed is there once, and the worker goes on.
func TestAnswersAreLost(t *testing.T) {
	t.Parallel()
	c := fake(t)
	brokers := c.ListenAddrs()
	client := asking(t, brokers)
	steps := int64(most)
	for n := int64(1); n <= steps; n++ {
		r := walked(t, client, brokers, func(topics ...string) { made(t, client, 2, nil, topics...) }, fmt.Sprint("lost-", n))
		b := &broken{}
		b.left.Store(n)
		tally, err := r.work(t.Context(), b.dial, &fickle{life: &life{}, random: rand.New(rand.NewPCG(uint64(n), 0))})
		if err != nil {
			t.Fatalf("the answer to request %d is lost: %v", n, err)
		}
		checkRecords(t, client, r.task, walkedItems, tally)
		if left := b.left.Load(); left > 0 {
			// It took fewer requests.
			steps = n
		}
	}
	if steps < 20 || steps == most {
		t.Errorf("a worker took %d requests", steps)
	}
}
