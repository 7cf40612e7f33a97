package progress

import (
	"slices"
	"time"
)

const (
	// mostShards of a batch are known: no plan has more.
	mostShards = 1_000
	// heardFor is how long what a worker said last is the present: as long as its lease may
	// last.
	heardFor = 3 * time.Second
	// workFor is for how long a batch is at work of which nobody says anything: one worker may
	// have failed, and the next wait for its turn to be made, or for room on a node.
	workFor = time.Minute
	// mostPerItem requests an item are believed: as often an item is asked where a batch says
	// nothing else. What a worker says of itself may be anything.
	mostPerItem = 5
	// mostItems of a shard are believed: those of all shards can be added up.
	mostItems = 1e12
)

// Tally counts items that have a result.
type Tally struct{ Succeeded, Failed int64 }

// Items are all of them.
func (t Tally) Items() int64 { return t.Succeeded + t.Failed }

// Said is what a worker says.
type Said struct {
	// Worker is its name: another one begins to count anew.
	Worker string
	Shard  int32
	// Tally is of the items of its shard, those of earlier workers too that are in the output,
	// once it knows that: it has looked there.
	Tally Tally
	Knows bool
	// InFlight are its requests that wait for their answers.
	InFlight int64
	// Requests are those that it alone was answered, Items what these settled.
	Requests, Items int64
}

// Far is how far a batch is.
type Far struct {
	// Shards are those of which something is known, by number: the most that a worker said of
	// each. What a killed worker had asked and not yet put in the output is asked again: it
	// counts all the same, and isn't counted twice.
	Shards map[int32]Tally
	// Again is how many items of these are being asked again, of all that workers have told here.
	Again int64
	// Whole is true where of each shard that has begun it is known how many of its items have a
	// result that still stands: Stands are those of all. What killed workers told elsewhere,
	// to one before, is not among them.
	Whole  bool
	Stands int64
	// Failing are the items that have failed of the shards whose workers say something, by
	// number. Those of others may be asked again.
	Failing map[int32]int64
	// Works is true as long as some worker has said something within the last minute.
	Works bool
	// Heard is true as long as some worker says something. What follows is 0 where none does.
	Heard    bool
	InFlight int64
	// Requests and Items are how many are answered per second.
	Requests, Items float64
	// PerItem is how many requests an item has taken on average, within what is believed, and 0
	// while that isn't known.
	PerItem float64
}

// AskedAgain is how many items are being asked again of so many that are known to have had a
// result: where all is known, those of which none stands, whoever was told of it.
func (f Far) AskedAgain(done int64) int64 {
	if f.Whole {
		return max(0, done-f.Stands)
	}
	return f.Again
}

// Book has what is known of batches, by their UIDs.
type Book struct{ runs map[string]*run }

type run struct {
	shards map[int32]*shard
	// begun are the shards that have had a worker, as others than workers see it.
	begun   []int32
	counter counter
	heard   time.Time
}

type shard struct {
	last Said
	// most is the greatest of its tallies.
	most Tally
	at   time.Time
	// ended is true once it is complete: last has what is in the output.
	ended bool
}

// stands is how many of its items have a result that stands; false while that isn't known.
// Until a worker has looked into the output, it may say less.
func (s *shard) stands() (int64, bool) {
	return s.last.Tally.Items(), s.ended || s.last.Knows || s.last.Requests > 0
}

// New returns a Book that knows nothing.
func New() *Book { return &Book{runs: map[string]*run{}} }

// Note takes in what a worker of a batch says at a time.
func (b *Book) Note(batch string, said Said, now time.Time) {
	if said.Shard < 0 || said.Shard >= mostShards {
		return
	}
	r := b.run(batch)
	if now.Sub(r.heard) >= heardFor {
		r.counter.pause()
	}
	s := r.shard(said.Shard)
	requests, items := int64(0), int64(0) // of another worker it isn't known since when
	if s.last.Worker == said.Worker && len(r.counter.marks) > 0 {
		requests, items = max(0, said.Requests-s.last.Requests), max(0, said.Items-s.last.Items)
	}
	r.counter.add(requests, items, now)
	if s.ended {
		said.Tally = s.last.Tally
	}
	if said.Tally.Items() >= s.most.Items() {
		s.most = said.Tally
	}
	s.last, s.at, r.heard = said, now, now
}

// See takes in what others than workers know of a batch: what the workers of complete shards
// have ended with, which is what is in the output, and which shards have begun.
func (b *Book) See(batch string, ended map[int32]Tally, begun []int32) {
	r := b.run(batch)
	for n, tally := range ended {
		if n < 0 || n >= mostShards || min(tally.Succeeded, tally.Failed) < 0 || max(tally.Succeeded, tally.Failed) > mostItems {
			continue
		}
		s := r.shard(n)
		s.ended, s.last.Tally, s.most = true, tally, tally
	}
	r.begun = begun
}

func (b *Book) run(batch string) *run {
	if b.runs[batch] == nil {
		b.runs[batch] = &run{shards: map[int32]*shard{}}
	}
	return b.runs[batch]
}

func (r *run) shard(n int32) *shard {
	if r.shards[n] == nil {
		r.shards[n] = &shard{}
	}
	return r.shards[n]
}

// Keep forgets all batches but those that still are.
func (b *Book) Keep(is func(batch string) bool) {
	for batch := range b.runs {
		if !is(batch) {
			delete(b.runs, batch)
		}
	}
}

// Of is how far a batch is at a time.
func (b *Book) Of(batch string, now time.Time) Far {
	far, r := Far{Shards: map[int32]Tally{}, Failing: map[int32]int64{}}, b.runs[batch]
	if r == nil {
		return far
	}
	far.Heard, far.Works = now.Sub(r.heard) < heardFor, now.Sub(r.heard) < workFor
	for n, s := range r.shards {
		far.Shards[n] = s.most
		if stands, known := s.stands(); known {
			far.Again += max(0, s.most.Items()-stands)
			far.Stands += stands
		}
		if now.Sub(s.at) < heardFor {
			far.InFlight += s.last.InFlight
			far.Failing[n] = s.last.Tally.Failed
		}
	}
	far.Whole = len(r.begun) > 0 && !slices.ContainsFunc(r.begun, func(n int32) bool {
		s := r.shards[n]
		if s == nil {
			return true
		}
		_, known := s.stands()
		return !known
	})
	if far.Heard {
		far.Requests, far.Items = r.counter.rate()
	}
	if c := r.counter.now; c.items > 0 {
		far.PerItem = min(max(0, float64(c.requests)/float64(c.items)), mostPerItem)
	}
	return far
}
