package closedloop

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/test/load"
)

// serve starts a server on loopback and returns a target that names it.
func serve(t *testing.T, handler http.HandlerFunc) load.Target {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return load.Target{
		Address: strings.TrimPrefix(server.URL, "http://"), Host: "model.example.com",
		Method: http.MethodPost, Path: "/v2/infer?trace=1", Header: http.Header{"X-Any": {"some"}}, Body: []byte(`{"a":1}`),
	}
}

func TestTheRequestArrivesWhole(t *testing.T) {
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Host != "model.example.com" || r.URL.String() != "/v2/infer?trace=1" || r.Header.Get("X-Any") != "some" || string(body) != `{"a":1}` {
			t.Errorf("host %s, URL %s, header %v, body %s", r.Host, r.URL, r.Header, body)
		}
		w.WriteHeader(http.StatusAccepted)
	})
	connection, err := Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	for range 3 {
		status, took, err := connection.Ask(t.Context())
		if status != http.StatusAccepted || took <= 0 || err != nil {
			t.Errorf("status %d, took %v, error %v", status, took, err)
		}
	}
}

func TestConnectionsAreKeptUntilTheServerEndsThem(t *testing.T) {
	connections := map[string]int{}
	var asked atomic.Int32
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		connections[r.RemoteAddr]++
		if asked.Add(1)%4 == 0 {
			w.Header().Set("Connection", "close")
		}
	})
	pool, err := OpenPool(target, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if took, err := pool.InTurn(t.Context(), 8); len(took) != 8 || err != nil {
		t.Errorf("took %v, error %v", took, err)
	}
	if len(connections) != 2 {
		t.Errorf("requests by connection %v, want 4 on each of two", connections)
	}
}

func TestInTurnUsesEveryConnection(t *testing.T) {
	connections := map[string]int{}
	pool, err := OpenPool(serve(t, func(_ http.ResponseWriter, r *http.Request) { connections[r.RemoteAddr]++ }), 3)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.InTurn(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	for address, n := range connections {
		if len(connections) != 3 || n != 3 {
			t.Errorf("%s had %d of 9 requests, of %d connections", address, n, len(connections))
		}
	}
}

func TestRefusalsAreErrors(t *testing.T) {
	target := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
	pool, err := OpenPool(target, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.InTurn(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "answered 429") {
		t.Errorf("in turn: error %v", err)
	}
	if _, err := pool.Saturate(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "answered 429") {
		t.Errorf("saturating: error %v", err)
	}
}

func TestSaturateKeepsAllBusy(t *testing.T) {
	var served atomic.Int32
	var together sync.WaitGroup
	together.Add(4)
	pool, err := OpenPool(serve(t, func(http.ResponseWriter, *http.Request) {
		if served.Add(1) <= 4 {
			together.Done()
			together.Wait() // until all four connections have asked
		}
	}), 4)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if rate, err := pool.Saturate(t.Context(), 20*time.Millisecond); err != nil || rate <= 0 || served.Load() < 4 {
		t.Errorf("rate %v, error %v, %d requests", rate, err, served.Load())
	}
}

func TestOnlyLoopbackIsAsked(t *testing.T) {
	for _, address := range []string{"192.0.2.1:80", "localhost:80", "10.88.0.1:80"} {
		if _, err := Open(load.Target{Address: address, Host: "h", Method: http.MethodGet, Path: "/"}); err == nil {
			t.Errorf("%s would be asked", address)
		}
	}
}
