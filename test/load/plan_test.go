package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serve starts a server on loopback and returns a plan of 200 requests within half
// a second to it.
func serve(t testing.TB, handler http.HandlerFunc) Plan {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return Plan{
		Target: Target{
			Address: server.Listener.Addr().String(),
			Host:    "ranker.demo.example.com",
			Method:  http.MethodPost,
			Path:    "/v2/models/ranker/infer",
			Body:    []byte(`{"inputs": []}`),
		},
		Schedule: Schedule{Hold(400, 500*time.Millisecond)},
		Bounds:   Bounds{Requests: 1000, Duration: 10 * time.Second, InFlight: 64},
	}
}

// untilGone answers when the client has gone away, which a server only notices
// after the request's body.
func untilGone(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func offer(t *testing.T, plan Plan) *Report {
	t.Helper()
	report, err := plan.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestRequestsArriveAsGiven(t *testing.T) {
	var wrong atomic.Value
	plan := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := fmt.Sprintf("%s %s%s %s %s", r.Method, r.Host, r.URL.RequestURI(), r.Header.Get("X-Test"), body)
		if got != `POST ranker.demo.example.com/v2/models/ranker/infer?a=1 yes {"inputs": []}` {
			wrong.Store(got)
		}
	})
	plan.Target.Path += "?a=1"
	plan.Target.Header = http.Header{"X-Test": {"yes"}}
	plan.Lanes = 4
	report := offer(t, plan)
	if got := wrong.Load(); got != nil {
		t.Errorf("a request arrived as %q", got)
	}
	total := report.Total
	if total.Offered != 200 || total.Admitted != 200 || report.Codes[200] != 200 {
		t.Errorf("total %+v, codes %v, want 200 offered and admitted", total, report.Codes)
	}
	if total.P50 <= 0 || total.P99 < total.P50 {
		t.Errorf("p50 %v, p99 %v", total.P50, total.P99)
	}
}

func TestAnswersAreToldApart(t *testing.T) {
	var n atomic.Int64
	plan := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusTooManyRequests)
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			connection, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				connection.Close()
			}
		}
	})
	var told sync.Map
	plan.EachAnswer = func(a Answer) {
		if a.Due.IsZero() || a.Latency <= 0 || (a.Status == 0) != (a.Header == nil) {
			t.Errorf("told of %+v", a)
		}
		count, _ := told.LoadOrStore(a.Status, new(atomic.Int64))
		count.(*atomic.Int64).Add(1)
	}
	report := offer(t, plan)
	total := report.Total
	if total.Admitted != 50 || total.Limited != 50 || total.Failed != 50 || total.Errored != 50 {
		t.Errorf("total %+v, want 50 of each kind", total)
	}
	for _, status := range []int{0, http.StatusOK, http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		if count, ok := told.Load(status); !ok || count.(*atomic.Int64).Load() != 50 {
			t.Errorf("told of status %d %v times, want 50", status, count)
		}
	}
	if len(report.Errors) == 0 || len(report.Errors) > maxErrors {
		t.Errorf("errors %q", report.Errors)
	}
}

func TestKeepsConnections(t *testing.T) {
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	plan := serve(t, nil)
	plan.Target.Address = server.Listener.Addr().String()
	plan.Lanes = 8
	offer(t, plan)
	if n := connections.Load(); n < 8 || n > 40 {
		t.Errorf("%d connections for 200 requests in 8 lanes, want about 8", n)
	}
}

// A server that stalls must not slow the clock: requests stay due at their times,
// and those that waited say so.
func TestStallShowsInLatencies(t *testing.T) {
	var once sync.Once
	stalled := make(chan struct{})
	plan := serve(t, func(http.ResponseWriter, *http.Request) {
		once.Do(func() { time.AfterFunc(300*time.Millisecond, func() { close(stalled) }) })
		<-stalled
	})
	plan.Bounds.InFlight = 1000
	report := offer(t, plan)
	total := report.Total
	if total.Offered != 200 || total.Admitted != 200 {
		t.Fatalf("total %+v, want 200 offered and admitted", total)
	}
	if total.P99 < 250*time.Millisecond || total.P50 < 30*time.Millisecond {
		t.Errorf("p50 %v, p99 %v after a stall of 300 ms in 500 ms", total.P50, total.P99)
	}
}

func TestExcessIsDroppedNotQueued(t *testing.T) {
	plan := serve(t, func(http.ResponseWriter, *http.Request) { time.Sleep(800 * time.Millisecond) })
	plan.Bounds.InFlight = 10
	total := offer(t, plan).Total
	if total.Offered != 200 || total.Admitted != 10 || total.Dropped != 190 {
		t.Errorf("total %+v, want 10 admitted and 190 dropped", total)
	}
}

func TestDurationEndsARun(t *testing.T) {
	plan := serve(t, untilGone)
	plan.Bounds.InFlight = 5
	plan.Bounds.Duration = 700 * time.Millisecond
	start := time.Now()
	total := offer(t, plan).Total
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v, bounded to 0.7 s", took)
	}
	if total.Errored != 5 || total.InFlight != 0 {
		t.Errorf("total %+v, want 5 errored, none in flight", total)
	}
}

func TestRequestTimeout(t *testing.T) {
	plan := serve(t, untilGone)
	plan.Schedule = Schedule{Hold(20, 100*time.Millisecond)}
	plan.RequestTimeout = 50 * time.Millisecond
	if total := offer(t, plan).Total; total.Errored != 2 {
		t.Errorf("total %+v, want 2 errored", total)
	}
}

func TestContextEndsARun(t *testing.T) {
	plan := serve(t, func(http.ResponseWriter, *http.Request) {})
	plan.Schedule = Schedule{Hold(1, 9*time.Second)}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := plan.Run(ctx); err != nil || time.Since(start) > 3*time.Second {
		t.Errorf("error %v after %v, want the run to end with its context", err, time.Since(start))
	}
}

func TestStopLosesNothing(t *testing.T) {
	stop := make(chan struct{})
	var once sync.Once
	plan := serve(t, func(http.ResponseWriter, *http.Request) {
		once.Do(func() { close(stop) })
		time.Sleep(100 * time.Millisecond)
	})
	plan.Schedule, plan.Stop = Schedule{Hold(100, 9*time.Second)}, stop
	total := offer(t, plan).Total
	if total.Offered == 0 || total.Offered > 100 || total.Admitted != total.Offered {
		t.Errorf("total %+v, want a few offered and all of them admitted", total)
	}
}

func TestSecondsAddUp(t *testing.T) {
	plan := serve(t, func(http.ResponseWriter, *http.Request) {})
	plan.Schedule = Schedule{Hold(100, time.Second), Ramp(100, 200, 500*time.Millisecond)}
	var seen []Second
	plan.EachSecond = func(s Second) { seen = append(seen, s) }
	report := offer(t, plan)
	if len(seen) < 2 || len(report.Seconds) != len(seen) || seen[1].Index != 1 {
		t.Fatalf("seconds seen %+v, reported %+v, want 2 of each", seen, report.Seconds)
	}
	// A busy machine is late, and what is late counts when it is offered: never early.
	if n := seen[0].Offered; n == 0 || n > 102 {
		t.Errorf("offered %d in the first second, want 100", n)
	}
	sum := Sum(report.Seconds)
	sum.P50, sum.P99 = report.Total.P50, report.Total.P99
	if sum != report.Total || sum.Offered != 175 {
		t.Errorf("seconds add up to %+v, total %+v, want 175 offered", sum, report.Total)
	}
}

func TestRefusals(t *testing.T) {
	cases := map[string]func(*Plan){
		`loads go to this machine only`:     func(p *Plan) { p.Target.Address = "10.88.0.1:80" },
		`"192.0.2.1:80": loads go`:          func(p *Plan) { p.Target.Address = "192.0.2.1:80" },
		`"0.0.0.0:80": loads go`:            func(p *Plan) { p.Target.Address = "0.0.0.0:80" },
		`"[::]:80": loads go`:               func(p *Plan) { p.Target.Address = "[::]:80" },
		`"localhost:80": want an IP`:        func(p *Plan) { p.Target.Address = "localhost:80" },
		`"127.0.0.1": want an IP`:           func(p *Plan) { p.Target.Address = "127.0.0.1" },
		`no host`:                           func(p *Plan) { p.Target.Host = "" },
		`path "v2"`:                         func(p *Plan) { p.Target.Path = "v2" },
		`bounds: {Requests:0`:               func(p *Plan) { p.Bounds.Requests = 0 },
		`bounds: `:                          func(p *Plan) { p.Bounds.InFlight = 0 },
		`200 requests, more than the bound`: func(p *Plan) { p.Bounds.Requests = 199 },
		`lasts 500ms, more than the bound`:  func(p *Plan) { p.Bounds.Duration = 499 * time.Millisecond },
		`no segment`:                        func(p *Plan) { p.Schedule = nil },
	}
	for text, spoil := range cases {
		var requests atomic.Int64
		plan := serve(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
		spoil(&plan)
		_, err := plan.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want it to contain %q", err, text)
		}
		if n := requests.Load(); n != 0 {
			t.Errorf("%s: %d requests were sent", text, n)
		}
	}
}

func TestLoopbackAddresses(t *testing.T) {
	for _, address := range []string{"127.0.0.1:80", "127.1.0.3:8080", "[::1]:80", "[::ffff:127.0.0.1]:80"} {
		if _, err := LoopbackAddress(address); err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkRequest is what a request costs the client and a trivial server
// together.
func BenchmarkRequest(b *testing.B) {
	plan := serve(b, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	plan.Target.Body = make([]byte, 3000)
	template, err := plan.Target.request()
	if err != nil {
		b.Fatal(err)
	}
	pool := plan.Target.lane(KeepAlive, 4)
	b.ReportAllocs()
	for b.Loop() {
		if got := pool.send(b.Context(), template, plan.Target.Body); got.status != http.StatusOK {
			b.Fatal(got.status, got.err)
		}
	}
}
