package load

import (
	"bytes"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

var allKinds = []Connection{KeepAlive, HTTP2, Fresh}

// arrivals counts, at the server, requests by protocol and connections.
type arrivals struct {
	mu       sync.Mutex
	requests map[string]int
	peers    map[string]map[string]bool
	wrong    string
}

func newArrivals() *arrivals {
	return &arrivals{requests: map[string]int{}, peers: map[string]map[string]bool{}}
}

// ServeHTTP counts a request; one that ends its connection by itself counts apart.
func (a *arrivals) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kind := r.Proto
	if r.Close {
		kind += ", once"
	}
	if a.peers[kind] == nil {
		a.peers[kind] = map[string]bool{}
	}
	a.requests[kind]++
	a.peers[kind][r.RemoteAddr] = true
	if r.TLS != nil && r.TLS.ServerName != r.Host {
		a.wrong = r.TLS.ServerName
	}
}

// serveAll starts a server of HTTP/1.1 and HTTP/2, and returns a plan of 300
// requests over all kinds of connection, six lanes.
func serveAll(t *testing.T, start func(*httptest.Server)) (*arrivals, Plan) {
	t.Helper()
	seen := newArrivals()
	server := httptest.NewUnstartedServer(seen)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	start(server)
	t.Cleanup(server.Close)
	plan := serve(t, nil)
	plan.Target.Address, plan.Target.Host = server.Listener.Addr().String(), "example.com"
	plan.Schedule = Schedule{Hold(600, 500*time.Millisecond)}
	plan.Connections, plan.Lanes, plan.Bounds.InFlight = allKinds, 6, 300
	if server.TLS != nil {
		plan.Target.Roots = x509.NewCertPool()
		plan.Target.Roots.AddCert(server.Certificate())
	}
	return seen, plan
}

func TestKindsOfConnectionTakeTurns(t *testing.T) {
	for name, start := range map[string]func(*httptest.Server){
		"plain": func(s *httptest.Server) {
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetHTTP1(true)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
		},
		"TLS": func(s *httptest.Server) {
			s.EnableHTTP2 = true
			s.StartTLS()
		},
	} {
		seen, plan := serveAll(t, start)
		report := offer(t, plan)
		for _, kind := range allKinds {
			if got := report.Connections[kind]; got.Offered != 100 || got.Admitted != 100 || got.P99 <= 0 {
				t.Errorf("%s, %s: %+v, want 100 admitted; errors %q", name, kind, got, report.Errors)
			}
		}
		if report.Total.Repeated > 0 {
			t.Errorf("%s: %d repeated", name, report.Total.Repeated)
		}
		for kind, want := range map[string]struct{ least, most int }{
			// A lane has more than one where requests overlap.
			"HTTP/1.1": {2, 99}, "HTTP/2.0": {2, 99}, "HTTP/1.1, once": {100, 100},
		} {
			if n := len(seen.peers[kind]); seen.requests[kind] != 100 || n < want.least || n > want.most {
				t.Errorf("%s, %s: %d requests over %d connections, want 100 over %+v", name, kind, seen.requests[kind], n, want)
			}
		}
		if seen.wrong != "" {
			t.Errorf("%s: server name %q", name, seen.wrong)
		}
	}
}

func TestOtherCertificatesAndProtocolsAreErrors(t *testing.T) {
	_, plan := serveAll(t, (*httptest.Server).StartTLS)
	report := offer(t, plan)
	if got := report.Connections[HTTP2]; got.Errored != 100 {
		t.Errorf("HTTP/2 from a server that hasn't it: %+v, errors %q", got, report.Errors)
	}
	plan.Target.Roots = x509.NewCertPool()
	if report := offer(t, plan); report.Total.Errored != 300 || !strings.Contains(strings.Join(report.Errors, " "), "certificate") {
		t.Errorf("unknown certificate: %+v, errors %q", report.Total, report.Errors)
	}
}

// A server that answers one request a connection and closes it at the second makes
// the client repeat what may be repeated. None of that may go unseen.
func TestRepeatsOfHTTP1AreCounted(t *testing.T) {
	var mu sync.Mutex
	known := map[string]bool{}
	plan := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		second := known[r.RemoteAddr]
		known[r.RemoteAddr] = true
		mu.Unlock()
		if second {
			if connection, _, err := w.(http.Hijacker).Hijack(); err == nil {
				connection.Close()
			}
		}
	})
	plan.Schedule = Schedule{Hold(40, 500*time.Millisecond)}
	plan.Target.Method, plan.Target.Body = http.MethodGet, nil
	// Of 20 requests in turn, the first is first on its connection, and every other
	// one is written on one that has answered before; some may overlap.
	if total := offer(t, plan).Total; total.Admitted != 20 || total.Repeated < 1 || total.Repeated > 19 {
		t.Errorf("GET: %+v, want all admitted, about 19 repeated", total)
	}
	plan.Target.Method, plan.Target.Body = http.MethodPost, []byte("{}")
	if total := offer(t, plan).Total; total.Repeated != 0 || total.Errored < 1 || total.Errored > 10 {
		t.Errorf("POST: %+v, want about 10 errored, none repeated", total)
	}
}

func TestRepeatsOfHTTP2AreCounted(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go refuseEveryOther(listener)
	plan := serve(t, nil)
	plan.Target.Address, plan.Connections = listener.Addr().String(), []Connection{HTTP2}
	plan.Schedule = Schedule{Hold(40, 500*time.Millisecond)}
	total := offer(t, plan).Total
	if total.Admitted != 20 || total.Repeated < 20 {
		t.Errorf("%+v, want 20 admitted, each repeated once on average", total)
	}
}

// refuseEveryOther serves HTTP/2: of a connection's streams, every other one is
// refused, and the rest answered with 200.
func refuseEveryOther(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			refuseOn(connection)
		}()
	}
}

func refuseOn(connection net.Conn) {
	if _, err := io.CopyN(io.Discard, connection, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(connection, connection)
	var ok bytes.Buffer
	_ = hpack.NewEncoder(&ok).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	err := framer.WriteSettings()
	for refuse := true; err == nil; {
		var frame http2.Frame
		if frame, err = framer.ReadFrame(); err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = framer.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			if refuse {
				err = framer.WriteRSTStream(frame.StreamID, http2.ErrCodeRefusedStream)
			} else {
				// The index of ":status: 200" is static, so no state is left over.
				err = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: frame.StreamID, BlockFragment: ok.Bytes(), EndHeaders: true, EndStream: true})
			}
			refuse = !refuse
		}
	}
}
