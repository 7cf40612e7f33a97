package progress

import "time"

const (
	// mostShards of a batch are known: no plan has more.
	mostShards = 1_000
	// heardFor is how long what a worker said last is the present: as long as its lease may
	// last.
	heardFor = 3 * time.Second
	// workFor is for how long a batch is at work of which nobody says anything: one worker may
	// have ended its shard, and the next be about to start.
	workFor = 10 * time.Second
	// mostPerItem requests an item are believed: as often an item is asked where a batch says
	// nothing else. What a worker says of itself may be anything.
	mostPerItem = 5
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
	// Tally is of the items of its shard, those of earlier workers too that are in the output.
	Tally Tally
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
	// Again is how many items of these are being asked again.
	Again int64
	// Works is true as long as some worker has said something lately.
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

// Book has what is known of batches, by their UIDs.
type Book struct{ runs map[string]*run }

type run struct {
	shards  map[int32]*shard
	counter counter
	heard   time.Time
}

type shard struct {
	last Said
	// most is the greatest of its tallies.
	most Tally
	at   time.Time
}

// New returns a Book that knows nothing.
func New() *Book { return &Book{runs: map[string]*run{}} }

// Note takes in what a worker of a batch says at a time.
func (b *Book) Note(batch string, said Said, now time.Time) {
	if said.Shard < 0 || said.Shard >= mostShards {
		return
	}
	r := b.runs[batch]
	if r == nil {
		r = &run{shards: map[int32]*shard{}}
		b.runs[batch] = r
	}
	if now.Sub(r.heard) >= heardFor {
		r.counter.pause()
	}
	s := r.shards[said.Shard]
	if s == nil {
		s = &shard{}
		r.shards[said.Shard] = s
	}
	requests, items := int64(0), int64(0) // of another worker it isn't known since when
	if s.last.Worker == said.Worker && len(r.counter.marks) > 0 {
		requests, items = max(0, said.Requests-s.last.Requests), max(0, said.Items-s.last.Items)
	}
	r.counter.add(requests, items, now)
	if said.Tally.Items() >= s.most.Items() {
		s.most = said.Tally
	}
	s.last, s.at, r.heard = said, now, now
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
	far, r := Far{Shards: map[int32]Tally{}}, b.runs[batch]
	if r == nil {
		return far
	}
	far.Heard, far.Works = now.Sub(r.heard) < heardFor, now.Sub(r.heard) < workFor
	for n, s := range r.shards {
		far.Shards[n] = s.most
		if s.last.Requests > 0 { // until it asks, it may not know yet what is in the output
			far.Again += max(0, s.most.Items()-s.last.Tally.Items())
		}
		if now.Sub(s.at) < heardFor {
			far.InFlight += s.last.InFlight
		}
	}
	if far.Heard {
		far.Requests, far.Items = r.counter.rate()
	}
	if c := r.counter.now; c.items > 0 {
		far.PerItem = min(max(0, float64(c.requests)/float64(c.items)), mostPerItem)
	}
	return far
}
