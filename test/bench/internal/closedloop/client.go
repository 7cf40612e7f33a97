// Package closedloop asks a server on this machine as fast as it answers: each
// connection sends its next request when it has the last one's answer. That is how
// to compare two ways to the same server, on latency with one connection and on
// throughput with many; what users wait for is open-loop, test/load.
//
// It speaks HTTP/1.1 on bare connections, without net/http's goroutines, so that
// little of what is measured is the client's own. It dials loopback only.
package closedloop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"sluice.dev/sluice/test/load"
)

// answerWithin bounds one request, its connection included.
const answerWithin = 15 * time.Second

// Connection is one kept-alive connection. It isn't for concurrent use.
type Connection struct {
	target  load.Target
	request []byte
	conn    net.Conn
	reader  *bufio.Reader
}

// Open prepares a connection to a loopback target; the first request dials it.
func Open(target load.Target) (*Connection, error) {
	if _, err := load.LoopbackAddress(target.Address); err != nil {
		return nil, err
	}
	if target.Roots != nil {
		return nil, errors.New("only plain HTTP is spoken here")
	}
	request, err := onTheWire(target)
	if err != nil {
		return nil, err
	}
	return &Connection{target: target, request: request}, nil
}

// onTheWire is the request as it is sent.
func onTheWire(target load.Target) ([]byte, error) {
	path, err := url.ParseRequestURI(target.Path)
	if err != nil {
		return nil, fmt.Errorf("parsing the target's path: %w", err)
	}
	header := target.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("User-Agent", "sluice-bench")
	request := &http.Request{
		Method: target.Method, URL: path, Host: target.Host, Header: header,
		Body: io.NopCloser(bytes.NewReader(target.Body)), ContentLength: int64(len(target.Body)),
	}
	if len(target.Body) == 0 {
		request.Body = nil
	}
	var wire bytes.Buffer
	if err := request.Write(&wire); err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	return wire.Bytes(), nil
}

// Ask sends the request and reads the whole answer. It returns the status and how
// long that took: with a new connection, where the server ended the last one, as a
// client would have to wait for it too.
func (c *Connection) Ask(ctx context.Context) (int, time.Duration, error) {
	start := time.Now()
	status, err := c.ask(ctx, start.Add(answerWithin))
	if err != nil {
		c.Close()
		return 0, 0, fmt.Errorf("asking %s for %s: %w", c.target.Address, c.target.Host, err)
	}
	return status, time.Since(start), nil
}

func (c *Connection) ask(ctx context.Context, deadline time.Time) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if c.conn == nil {
		dialer := net.Dialer{Deadline: deadline}
		conn, err := dialer.DialContext(ctx, "tcp", c.target.Address)
		if err != nil {
			return 0, err
		}
		c.conn, c.reader = conn, bufio.NewReader(conn)
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return 0, err
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, fmt.Errorf("reading the answer with status %d: %w", response.StatusCode, err)
	}
	if response.Close {
		c.Close()
	}
	return response.StatusCode, nil
}

// Close ends the connection; another Ask would make a new one.
func (c *Connection) Close() {
	if c.conn != nil {
		_ = c.conn.Close() // its answers were read whole
		c.conn = nil
	}
}

// Pool is connections to one target. It isn't for concurrent use.
type Pool struct {
	connections []*Connection
	// next is the connection whose turn it is.
	next int
}

// OpenPool prepares n connections to a target.
func OpenPool(target load.Target, n int) (*Pool, error) {
	pool := &Pool{}
	for range n {
		connection, err := Open(target)
		if err != nil {
			return nil, err
		}
		pool.connections = append(pool.connections, connection)
	}
	return pool, nil
}

// Close ends all connections.
func (p *Pool) Close() {
	for _, connection := range p.connections {
		connection.Close()
	}
}

// InTurn sends n requests one after the other, each on the next connection, and
// returns how long each took, in seconds. Any answer but 200 is an error: it would
// be another way through the server.
func (p *Pool) InTurn(ctx context.Context, n int) ([]float64, error) {
	took := make([]float64, 0, n)
	for range n {
		latency, err := p.connections[p.next].served(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, latency.Seconds())
		p.next = (p.next + 1) % len(p.connections)
	}
	return took, nil
}

// Saturate keeps every connection busy for a time and returns the answers per
// second. Any answer but 200 is an error.
func (p *Pool) Saturate(ctx context.Context, lasts time.Duration) (float64, error) {
	start := time.Now()
	counts, failures := make([]int, len(p.connections)), make([]error, len(p.connections))
	var busy sync.WaitGroup
	for i, connection := range p.connections {
		busy.Go(func() {
			for time.Since(start) < lasts && failures[i] == nil {
				_, failures[i] = connection.served(ctx)
				counts[i]++
			}
		})
	}
	busy.Wait()
	total := 0
	for _, count := range counts {
		total += count
	}
	return float64(total) / time.Since(start).Seconds(), errors.Join(failures...)
}

// served asks, and takes any answer but 200 for an error.
func (c *Connection) served(ctx context.Context) (time.Duration, error) {
	status, took, err := c.Ask(ctx)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s answered %d", c.target.Host, status)
	}
	return took, err
}
