package oip

import (
	"net/http"
	"strconv"
	"sync"
)

// warmUpHeader is on requests that warm the model up.
const warmUpHeader = "Sluice-Warm-Up"

// The headers of an answer that name the replica and count the requests that it has
// served, this one included.
const (
	replicaHeader = "Ranker-Replica"
	servedHeader  = "Ranker-Served"
)

// warmth counts requests by whether they warm the model up. One of those that comes
// after another kind says that the other was served too early.
type warmth struct {
	mu     sync.Mutex
	counts warmthCounts
}

type warmthCounts struct {
	WarmUp int `json:"warmUp"` // requests that warm the model up
	Served int `json:"served"` // all others
	Early  int `json:"early"`  // of those, the ones before the end of a warm-up
}

// counted counts a request before it is worked on, unless it is one to crash on.
func (s *Server) counted(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if on := s.config.CrashOn; on != "" && r.Header.Get(on) != "" {
			s.config.Log.Error("crashing, as asked to", "header", on)
			s.config.Crash()
		}
		counts, early := s.warmth.count(r)
		if early {
			s.config.Log.Error("served before the warm-up ended", "requests", counts.Early)
		}
		w.Header().Set(replicaHeader, s.config.Replica)
		w.Header().Set(servedHeader, strconv.Itoa(counts.Served))
		next(w, r)
	}
}

// count returns the counts, and whether they tell of more requests that came too early.
func (w *warmth) count(r *http.Request) (warmthCounts, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Header.Get(warmUpHeader) == "" {
		w.counts.Served++
		return w.counts, false
	}
	w.counts.WarmUp++
	early := w.counts.Served > w.counts.Early
	w.counts.Early = w.counts.Served
	return w.counts, early
}

func (s *Server) told(w http.ResponseWriter, _ *http.Request) {
	s.warmth.mu.Lock()
	counts := s.warmth.counts
	s.warmth.mu.Unlock()
	reply(w, http.StatusOK, counts)
}
