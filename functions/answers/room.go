package answers

import (
	"context"
	"io"
	"sync"
)

// Room is what bodies are read into. Those of fewer bytes than small are held as they come; of
// others a few at a time: so what is held doesn't come to the number of requests times the bound
// of an answer.
type Room struct {
	small int64
	large chan struct{}
	// each is how many of the large ones may be one owner's.
	each int

	mu sync.Mutex
	// lanes are those of owners that have a large one, or wait for room.
	lanes map[string]*lane
}

// lane is what an owner may have of the room.
type lane struct {
	places chan struct{}
	users  int
}

// NewRoom is one for so many at a time of those that aren't small, and so many of one owner.
func NewRoom(small int64, largeAtOnce, each int) *Room {
	return &Room{small: small, large: make(chan struct{}, largeAtOnce), each: each, lanes: map[string]*lane{}}
}

// Read reads a body for an owner, up to a byte more than the bound, once there is room for it. That
// is taken until release, which is nil where none was, is called; more than once does no harm.
func (r *Room) Read(ctx context.Context, owner string, from io.Reader, bound int64) (body []byte, release func(), err error) {
	begin, err := io.ReadAll(io.LimitReader(from, r.small))
	if err != nil || int64(len(begin)) < r.small {
		return begin, nil, err
	}
	if release, err = r.take(ctx, owner); err != nil {
		return nil, nil, err
	}
	rest, err := io.ReadAll(io.LimitReader(from, max(0, bound+1-r.small)))
	return append(begin, rest...), release, err
}

// take waits for a place of the owner's first: who has all of his keeps none of the others' waiting.
func (r *Room) take(ctx context.Context, owner string) (release func(), err error) {
	own := r.enter(owner)
	select {
	case own.places <- struct{}{}:
	case <-ctx.Done():
		r.leave(owner)
		return nil, ctx.Err()
	}
	select {
	case r.large <- struct{}{}:
	case <-ctx.Done():
		<-own.places
		r.leave(owner)
		return nil, ctx.Err()
	}
	return sync.OnceFunc(func() { <-r.large; <-own.places; r.leave(owner) }), nil
}

func (r *Room) enter(owner string) *lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	own, ok := r.lanes[owner]
	if !ok {
		own = &lane{places: make(chan struct{}, r.each)}
		r.lanes[owner] = own
	}
	own.users++
	return own
}

func (r *Room) leave(owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := r.lanes[owner]
	if own.users--; own.users == 0 {
		delete(r.lanes, owner)
	}
}
