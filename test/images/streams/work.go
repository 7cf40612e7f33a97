package main

import (
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"
)

// workLasts is how long a piece of work takes where it isn't said.
const workLasts = 200 * time.Millisecond

// shift counts the work that was done.
type shift struct {
	mu sync.Mutex
	// Done pieces, and the Most that were under way at the same time.
	done, underWay, most int
}

// work takes an event, or whatever is sent, and answers without a body once it is done
// with it.
func (s *shift) work(w http.ResponseWriter, r *http.Request) {
	lasts, ok := seconds(w, r)
	if !ok {
		return
	}
	if lasts == 0 {
		lasts = workLasts
	}
	s.mu.Lock()
	s.underWay++
	s.most = max(s.most, s.underWay)
	s.mu.Unlock()
	_, err := io.Copy(io.Discard, r.Body)
	time.Sleep(lasts)
	s.mu.Lock()
	s.underWay--
	if err == nil {
		s.done++
	}
	s.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
}

// worked tells what was done.
func (s *shift) worked(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]int{"done": s.done, "most": s.most}) // an error is the client's
}
