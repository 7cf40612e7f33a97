package platform

import (
	"maps"
	"net/http"
	"strconv"
	"testing"
	"time"

	"sluice.dev/sluice/test/load"
)

func answered(replica string, nth int, took time.Duration) load.Answer {
	return load.Answer{Status: http.StatusOK, Latency: took, Header: http.Header{
		replicaHeader: {replica}, servedHeader: {strconv.Itoa(nth)},
	}}
}

func TestLedgerKeepsWhatReplicasServed(t *testing.T) {
	var l Ledger
	refused, nameless := answered("a", 9, 1), answered("", 9, 1)
	refused.Status = http.StatusTooManyRequests
	uncounted := answered("a", 9, 1)
	uncounted.Header.Set(servedHeader, "many")
	for _, a := range []load.Answer{
		answered("a", 2, 1), refused, answered("b", 1, 1), nameless, answered("a", 1, 1), uncounted, {}, answered("a", 3, 1),
	} {
		l.Note(a)
	}
	all := l.Answers()
	if got, want := all.Replicas(), map[string]int{"a": 3, "b": 1}; !maps.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
	// By the replicas' own count, in whatever order the answers came.
	if got, want := all.First(2, nil).Replicas(), map[string]int{"a": 2, "b": 1}; !maps.Equal(got, want) {
		t.Errorf("first two %v, want %v", got, want)
	}
	if got, want := all.First(2, map[string]bool{"a": true}).Replicas(), map[string]int{"b": 1}; !maps.Equal(got, want) {
		t.Errorf("first two of new replicas %v, want %v", got, want)
	}
}

func TestLatency(t *testing.T) {
	var l Ledger
	for i := 200; i > 0; i-- {
		l.Note(answered("a", i, time.Duration(i)))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 100, 0.99: 198, 1: 200} {
		if got := l.Answers().Latency(q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := (Answers)(nil).Latency(0.5); got != 0 {
		t.Errorf("nothing took %v", got)
	}
}
