package receiver

import (
	"fmt"
	"sync"
)

// shares bound what is under way for one addressee, so that the events of one can't take all the
// room of a door.
type shares struct {
	// events and bytes are the most that one may have.
	events int
	bytes  int64

	mu sync.Mutex
	// taken are those of addressees that have any.
	taken map[string]share
}

type share struct {
	events int
	bytes  int64
}

func newShares(b Bounds) *shares {
	parts := max(b.Shares, 1)
	return &shares{events: max(b.AtOnce/parts, 1), bytes: max(b.Held/int64(parts), b.Bytes), taken: map[string]share{}}
}

// take returns what gives back the room for an event of a size, or why there is none.
func (s *shares) take(of Addressee, size int64) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.taken[of.Key]
	switch {
	case now.events >= s.events:
		return nil, fmt.Errorf("%d events of %s are under way already", s.events, of.Name)
	case now.bytes+size > s.bytes:
		return nil, fmt.Errorf("events of %s of %d bytes are under way already", of.Name, now.bytes)
	}
	s.taken[of.Key] = share{now.events + 1, now.bytes + size}
	return func() { s.leave(of.Key, size) }, nil
}

func (s *shares) leave(key string, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.taken[key]
	left.events, left.bytes = left.events-1, left.bytes-size
	if s.taken[key] = left; left.events == 0 {
		delete(s.taken, key)
	}
}
