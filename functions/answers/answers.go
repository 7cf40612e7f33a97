// Package answers is how functions ask a Model over HTTP, and what they hold of its answers: as
// it gave them, from nowhere else than they asked, and within bounds for all of them together.
package answers

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// dialWithin bounds the way to the gateway.
const dialWithin = 5 * time.Second

// Client asks Models. It keeps so many idle connections to each, and so many together; 0 is any
// number of these.
func Client(each, together int) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialWithin}).DialContext,
			MaxIdleConnsPerHost: each, MaxIdleConns: together, IdleConnTimeout: 30 * time.Second,
			// An answer is taken as the Model gives it to those who don't ask for another.
			DisableCompression: true,
		},
		// Where else a request should go isn't the Model's to say.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Room is what bodies are read into. Those of fewer bytes than small are held as they come; of
// others a few at a time: so what is held doesn't come to the number of requests times the bound
// of an answer.
type Room struct {
	small int64
	large chan struct{}
}

// NewRoom is one for so many at a time of those that aren't small.
func NewRoom(small int64, largeAtOnce int) *Room {
	return &Room{small: small, large: make(chan struct{}, largeAtOnce)}
}

// Read reads a body, up to a byte more than the bound, once there is room for it. That is taken
// until release, which is nil where none was, is called; more than once does no harm.
func (r *Room) Read(ctx context.Context, from io.Reader, bound int64) (body []byte, release func(), err error) {
	begin, err := io.ReadAll(io.LimitReader(from, r.small))
	if err != nil || int64(len(begin)) < r.small {
		return begin, nil, err
	}
	select {
	case r.large <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	rest, err := io.ReadAll(io.LimitReader(from, max(0, bound+1-r.small)))
	return append(begin, rest...), sync.OnceFunc(func() { <-r.large }), err
}

// Undialled is the error of a request that was never sent, as nobody could be reached; false of
// any other.
func Undialled(err error) (*net.OpError, bool) {
	dial := &net.OpError{}
	return dial, errors.As(err, &dial) && dial.Op == "dial"
}
