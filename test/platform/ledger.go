package platform

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"sluice.dev/sluice/test/load"
)

// The headers by which the ranker names the replica that answers, and says how many
// requests that has served, warm-up left out.
const (
	replicaHeader = "Ranker-Replica"
	servedHeader  = "Ranker-Served"
)

// Served is an answer with status 200 and the replica that gave it.
type Served struct {
	load.Answer
	// Replica is the pod's name.
	Replica string
	// Nth of the requests that the replica served, beginning with 1.
	Nth int
}

// ReadServed reads what an answer tells of its replica; false where it isn't one of
// the ranker's with status 200.
func ReadServed(a load.Answer) (Served, bool) {
	if a.Status != http.StatusOK {
		return Served{}, false
	}
	s := Served{Answer: a, Replica: a.Header.Get(replicaHeader)}
	var err error
	s.Nth, err = strconv.Atoi(a.Header.Get(servedHeader))
	s.Header = nil // a load has thousands
	return s, err == nil && s.Nth > 0 && s.Replica != ""
}

// Ledger keeps what replicas served. Its methods may be called concurrently.
type Ledger struct {
	mu     sync.Mutex
	served Answers
}

// Note keeps an answer, if it is one with status 200 that names its replica.
func (l *Ledger) Note(a load.Answer) {
	if s, ok := ReadServed(a); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.served = append(l.served, s)
	}
}

// Answers so far, in the order in which they came.
func (l *Ledger) Answers() Answers {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.served)
}

// Answers are some of those that replicas gave.
type Answers []Served

// Of returns those that keep lets pass.
func (a Answers) Of(keep func(Served) bool) Answers {
	var kept Answers
	for _, s := range a {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// First returns the first n that each replica gave, those of the replicas that were
// there before left out.
func (a Answers) First(n int, before map[string]bool) Answers {
	return a.Of(func(s Served) bool { return s.Nth <= n && !before[s.Replica] })
}

// Replicas counts the answers of each.
func (a Answers) Replicas() map[string]int {
	counts := map[string]int{}
	for _, s := range a {
		counts[s.Replica]++
	}
	return counts
}

// Latency is the one that the part q, 0 to 1, of the answers did not exceed, by
// nearest rank; 0 where there are none.
func (a Answers) Latency(q float64) time.Duration {
	if len(a) == 0 {
		return 0
	}
	took := make([]time.Duration, 0, len(a))
	for _, s := range a {
		took = append(took, s.Latency)
	}
	slices.Sort(took)
	rank := int(math.Ceil(min(1, max(0, q)) * float64(len(took))))
	return took[max(1, rank)-1]
}
