package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// heldFor bounds how long a request is held at a trap.
const heldFor = 30 * time.Second

// stretch is how far an object has been put.
type stretch string

const (
	// arriving is when the store has had nothing of it, halfway when it has had half of it,
	// stored when it has all of it and nobody was told.
	arriving stretch = "about to be put"
	halfway  stretch = "half put"
	stored   stretch = "put, and nobody told"
)

// interceptor stands before a store, and holds objects that are put. It passes on all else, the
// Host that requests are signed with too.
type interceptor struct {
	proxy *httputil.ReverseProxy

	mu    sync.Mutex
	traps []*trap
	// kept is when the store first said that it has an object, by key.
	kept map[string]time.Time
}

// trap holds the first object whose key ends in what it is set for.
type trap struct {
	key string
	at  stretch
	// sprung is closed once an object is held, which it is until release.
	sprung, released chan struct{}
	holding, letting sync.Once
	// broken is set before it is released: nothing more comes of the object.
	broken bool
}

// newInterceptor stands before the store at a URL.
func newInterceptor(store string) (*interceptor, error) {
	to, err := url.Parse(store)
	if err != nil {
		return nil, fmt.Errorf("reading the store's URL: %w", err)
	}
	i := &interceptor{kept: map[string]time.Time{}}
	i.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
			r.Out.Host = r.In.Host
		},
		// That those end who put something is what this is for.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method != http.MethodPut || r.StatusCode >= http.StatusMultipleChoices {
				return nil
			}
			i.keep(r.Request.URL.Path)
			if t := trapOf(r.Request.Context()); t != nil && t.at == stored {
				t.hold(r.Request.Context())
			}
			return nil
		},
	}
	return i, nil
}

// set sets a trap.
func (i *interceptor) set(key string, at stretch) *trap {
	t := &trap{key: key, at: at, sprung: make(chan struct{}), released: make(chan struct{})}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.traps = append(i.traps, t)
	return t
}

// take is the trap that an object falls into; each holds one.
func (i *interceptor) take(key string) *trap {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n, t := range i.traps {
		if strings.HasSuffix(key, t.key) {
			i.traps = append(i.traps[:n], i.traps[n+1:]...)
			return t
		}
	}
	return nil
}

func (i *interceptor) keep(key string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.kept[key].IsZero() {
		i.kept[key] = time.Now()
	}
}

// since is when the store first said that it has the object whose key ends so; zero while it
// hasn't.
func (i *interceptor) since(key string) time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	for kept, at := range i.kept {
		if strings.HasSuffix(kept, key) {
			return at
		}
	}
	return time.Time{}
}

// ServeHTTP implements http.Handler.
func (i *interceptor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		if t := i.take(r.URL.Path); t != nil {
			r = r.WithContext(withTrap(r.Context(), t))
			if t.at != stored {
				bytes := int64(0)
				if t.at == halfway {
					bytes = r.ContentLength / 2
				}
				r.Body = &trapped{ReadCloser: r.Body, trap: t, ctx: r.Context(), left: bytes}
			}
		}
	}
	i.proxy.ServeHTTP(w, r)
}

// hold holds whoever calls it until it is released, its request ends, or it was long enough.
func (t *trap) hold(ctx context.Context) {
	t.holding.Do(func() { close(t.sprung) })
	timer := time.NewTimer(heldFor)
	defer timer.Stop()
	select {
	case <-t.released:
	case <-ctx.Done():
	case <-timer.C:
	}
}

// wait waits until an object is held.
func (t *trap) wait(ctx context.Context) error {
	select {
	case <-t.sprung:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s to be %s: %w", t.key, t.at, ctx.Err())
	}
}

// cut lets go of the object's connections: whoever put it has ended, and what he had sent
// before may lie in buffers still.
func (t *trap) cut() {
	t.letting.Do(func() {
		t.broken = true
		close(t.released)
	})
}

// isCut tells whether nothing more is to come of it.
func (t *trap) isCut() bool {
	select {
	case <-t.released:
		return t.broken
	default:
		return false
	}
}

// release lets the object go. It may be called again.
func (t *trap) release() { t.letting.Do(func() { close(t.released) }) }

// trapped is a body of which so much is read before it is held.
type trapped struct {
	io.ReadCloser

	trap *trap
	ctx  context.Context //nolint:containedctx // the request's, as long as its body
	left int64
}

func (b *trapped) Read(into []byte) (int, error) {
	if b.left == 0 {
		b.trap.hold(b.ctx)
		b.left = -1
	}
	if b.trap.isCut() {
		return 0, io.ErrUnexpectedEOF
	}
	if b.left > 0 {
		into = into[:min(int64(len(into)), b.left)]
	}
	n, err := b.ReadCloser.Read(into)
	if b.left > 0 {
		b.left -= int64(n)
	}
	return n, err //nolint:wrapcheck // a Reader's
}

type trapKey struct{}

func withTrap(ctx context.Context, t *trap) context.Context {
	return context.WithValue(ctx, trapKey{}, t)
}

func trapOf(ctx context.Context) *trap {
	t, _ := ctx.Value(trapKey{}).(*trap)
	return t
}
