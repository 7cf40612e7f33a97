package stores

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
)

// Proxy leads to a store over an address of its own, from which the store can be away while
// others go on using it: then connections break, and none is accepted.
type Proxy struct {
	to      string
	address string

	mu       sync.Mutex
	listener net.Listener
	open     map[net.Conn]bool
	serving  sync.WaitGroup
}

// NewProxy leads to an address.
func NewProxy(ctx context.Context, to string) (*Proxy, error) {
	return NewProxyAt(ctx, "127.0.0.1:0", to)
}

// NewProxyAt leads from an address, which a store may tell its clients, to another one.
func NewProxyAt(ctx context.Context, at, to string) (*Proxy, error) {
	p := &Proxy{to: to, address: at, open: map[net.Conn]bool{}}
	return p, p.Back(ctx)
}

// Address is where the store is, as host:port.
func (p *Proxy) Address() string { return p.address }

// Away breaks all connections, and refuses new ones from now on.
func (p *Proxy) Away() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	for connection := range p.open {
		_ = connection.Close()
	}
	p.mu.Unlock()
	p.serving.Wait()
}

// Back has the store be there again, at the same address.
func (p *Proxy) Back(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.address)
	if err != nil {
		return fmt.Errorf("listening in the store's place: %w", err)
	}
	p.listener, p.address = listener, listener.Addr().String()
	p.serving.Go(func() { p.accept(ctx, listener) })
	return nil
}

func (p *Proxy) accept(ctx context.Context, listener net.Listener) {
	for {
		from, err := listener.Accept()
		if err != nil {
			return
		}
		p.serving.Go(func() { p.lead(ctx, listener, from) })
	}
}

func (p *Proxy) lead(ctx context.Context, of net.Listener, from net.Conn) {
	to, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.to)
	if err != nil {
		_ = from.Close()
		return
	}
	if !p.keep(of, from, to) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { copyAll(to, from) })
	both.Go(func() { copyAll(from, to) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, from)
	delete(p.open, to)
}

// keep takes up a pair of connections, unless the store is away by now.
func (p *Proxy) keep(of net.Listener, pair ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, connection := range pair {
		if p.listener != of {
			_ = connection.Close()
			continue
		}
		p.open[connection] = true
	}
	return p.listener == of
}

// copyAll copies until either side ends, and then ends both.
func copyAll(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
	_ = from.Close()
}
