package warmup

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// model is one whose time is that of the test: it listens by sockets of its own, and
// answers each request after a while.
type model struct {
	mu      sync.Mutex
	sockets []uint64
	// unready is what each probe says, by its name, until it passes, and slow how long it
	// takes to say so.
	unready  map[string]error
	slow     time.Duration
	asked    int
	latency  func(n int) time.Duration
	answer   func(n int) error
	inFlight int
	most     int
	closed   int
}

func (m *model) Sockets() ([]uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.sockets), nil
}

func (m *model) listen(sockets ...uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sockets = sockets
}

func (m *model) Call(ctx context.Context, _ *warmup.Request) error {
	m.mu.Lock()
	n := m.asked
	m.asked++
	m.inFlight++
	m.most = max(m.most, m.inFlight)
	latency, answer := m.latency, m.answer
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.inFlight--
		m.mu.Unlock()
	}()
	if latency != nil {
		if err := sleep(ctx, latency(n)); err != nil {
			return &unexpectedError{answer: "no answer: " + err.Error(), passing: true}
		}
	}
	if answer != nil {
		return answer(n)
	}
	return nil
}

func (m *model) Ask(ctx context.Context, probe *warmup.Probe) error {
	if err := sleep(ctx, m.slow); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unready[probe.Name]
}

// passes has a probe pass.
func (m *model) passes(probe string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.unready, probe)
}

func (m *model) Close() { m.closed++ }

func (m *model) requests() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

// start runs an Engine until the test ends.
func start(t *testing.T, plan warmup.Plan, m *model) *Engine {
	t.Helper()
	plan.Model.Port = 8080
	plan.Concurrency = max(1, plan.Concurrency)
	if plan.TimeoutMilliseconds == 0 {
		plan.TimeoutMilliseconds = time.Minute.Milliseconds()
	}
	e := New(&plan)
	e.Model, e.Sockets, e.Log = m, m.Sockets, slog.New(slog.DiscardHandler)
	e.Marker = Marker{File: filepath.Join(t.TempDir(), "state", "verdict.json"), BootID: "/proc/sys/kernel/random/boot_id"}
	run(t, e)
	return e
}

func run(t *testing.T, e *Engine) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}

func request(path string) warmup.Request { return warmup.Request{Method: "POST", Path: path} }

// in runs a test whose clock stands still until all wait.
func in(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

func wantState(t *testing.T, e *Engine, want warmup.State, reason string) {
	t.Helper()
	synctest.Wait()
	e.Ready() // somebody asks now and then, and is how a restart is noticed
	synctest.Wait()
	if got := e.Status(); got.State != want || !strings.Contains(got.Reason, reason) {
		t.Errorf("%+v, want %s because of %q", got, want, reason)
	}
	if got := e.Ready(); got != want.Serves() {
		t.Errorf("ready is %t in state %s", got, want)
	}
}

func TestReplaysAndIsWarm(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{latency: func(n int) time.Duration { return time.Duration(10/(n+1)) * time.Second / 10 }}
		e := start(t, warmup.Plan{Requests: []warmup.Request{request("/a"), request("/b")}, Repeat: 3}, m)
		wantState(t, e, warmup.Waiting, "doesn't listen at port 8080")
		m.listen(7)
		time.Sleep(2 * eager)
		wantState(t, e, warmup.Warming, "")
		time.Sleep(time.Minute)
		wantState(t, e, warmup.Warm, "")
		got := e.Status()
		if got.Requests != 6 || got.Rounds != 3 || got.Starts != 1 || got.FirstMilliseconds != 1000 || got.LastMilliseconds != 150 {
			t.Errorf("%+v", got)
		}
		if m.closed == 0 {
			t.Error("connections are kept, before which a model may wait")
		}
	})
}

// A model that listens gets no request before all of its own probes pass, whatever the
// timeout of the warm-up, and however slowly they answer.
func TestWaitsForProbes(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7}, slow: 2 * time.Second, unready: map[string]error{
			"startupProbe": errors.New("loading weights"), "readinessProbe": errors.New("compiling"),
		}}
		own := []warmup.Probe{{Name: "startupProbe", TimeoutSeconds: 3}, {Name: "readinessProbe", TimeoutSeconds: 3}}
		e := start(t, warmup.Plan{Model: warmup.Target{Probes: own, Conclusive: true}, Requests: []warmup.Request{request("/")}, Repeat: 1}, m)
		time.Sleep(2 * time.Minute)
		wantState(t, e, warmup.Waiting, "the model isn't ready by its startupProbe: loading weights")
		m.passes("startupProbe")
		time.Sleep(10 * time.Second)
		wantState(t, e, warmup.Waiting, "the model isn't ready by its readinessProbe: compiling")
		if m.requests() > 0 {
			t.Errorf("%d requests to a model that isn't ready", m.requests())
		}
		m.passes("readinessProbe")
		time.Sleep(10 * time.Second)
		wantState(t, e, warmup.Warm, "")
	})
}

// A probe that isn't answered in time doesn't pass.
func TestProbesAreBounded(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7}, slow: 2 * time.Second}
		e := start(t, warmup.Plan{Model: warmup.Target{Probes: []warmup.Probe{{Name: "startupProbe", TimeoutSeconds: 1}}}}, m)
		time.Sleep(time.Minute)
		wantState(t, e, warmup.Waiting, "by its startupProbe: "+context.DeadlineExceeded.Error())
	})
}

func TestNothingToReplay(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7}}
		wantState(t, start(t, warmup.Plan{}, m), warmup.Warm, "")
	})
}

func TestLevelsOff(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7}, latency: func(n int) time.Duration {
			return 5*time.Millisecond + 500*time.Millisecond>>min(n/4, 30)
		}}
		e := start(t, warmup.Plan{Requests: []warmup.Request{request("/")}, Stable: &warmup.Stable{Window: 10, Tolerance: 10}}, m)
		time.Sleep(time.Minute)
		wantState(t, e, warmup.Warm, "")
		if got := e.Status(); got.Rounds < 30 || got.Rounds > 80 || got.LastMilliseconds > 6 {
			t.Errorf("%+v", got)
		}
	})
}

func TestConcurrencyIsKept(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7}, latency: func(int) time.Duration { return time.Millisecond }}
		requests := slices.Repeat([]warmup.Request{request("/")}, 100)
		e := start(t, warmup.Plan{Requests: requests, Repeat: 1, Concurrency: 8}, m)
		time.Sleep(time.Second)
		wantState(t, e, warmup.Warm, "")
		if m.most != 8 {
			t.Errorf("%d at once, want 8", m.most)
		}
	})
}

// Never past the timeout, whatever the model does.
func TestTimeout(t *testing.T) {
	t.Parallel()
	falling := func(n int) time.Duration { return time.Second * 100 / time.Duration(100+20*n) }
	for name, tt := range map[string]struct {
		model  *model
		plan   warmup.Plan
		reason string
	}{
		"hangs": {
			&model{latency: func(int) time.Duration { return time.Hour }}, warmup.Plan{Repeat: 1},
			"not warm within 10s, after 0 rounds: POST /: no answer",
		},
		"fails on": {
			&model{answer: func(int) error { return &unexpectedError{answer: "503 instead of 2xx", passing: true} }}, warmup.Plan{Repeat: 1},
			"after 0 rounds: POST /: 503 instead of 2xx",
		},
		"never levels off": {
			&model{latency: falling}, warmup.Plan{Stable: &warmup.Stable{Window: 5, Tolerance: 1}},
			"over the last 5 the latency may have fallen by",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T) {
				tt.model.sockets = []uint64{7}
				tt.plan.Requests, tt.plan.TimeoutMilliseconds = []warmup.Request{request("/")}, 10_000
				e := start(t, tt.plan, tt.model)
				time.Sleep(10*time.Second - time.Millisecond)
				wantState(t, e, warmup.Warming, "")
				time.Sleep(2 * time.Millisecond)
				wantState(t, e, warmup.Failed, tt.reason)
				asked := tt.model.requests()
				time.Sleep(retryAfter - time.Second)
				if tt.model.requests() != asked {
					t.Error("goes on after the timeout")
				}
			})
		})
	}
}

// Where no request failed there is none to blame.
func TestTimeoutWithAllAnswered(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7}, answer: func(int) error { time.Sleep(2 * time.Second); return nil }}
		e := start(t, warmup.Plan{Requests: []warmup.Request{request("/")}, Repeat: 100, TimeoutMilliseconds: 3000}, m)
		time.Sleep(5 * time.Second)
		if got, want := e.Status().Reason, "not warm within 3s, after 1 rounds"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// Of a model that says when it has loaded, a wrong answer is final.
func TestWrongAnswerFailsAtOnce(t *testing.T) {
	t.Parallel()
	for policy, want := range map[bool]warmup.State{false: warmup.Failed, true: warmup.ServingCold} {
		in(t, func(t *testing.T) {
			m := &model{sockets: []uint64{7}, answer: func(n int) error {
				if n == 1 {
					return &unexpectedError{answer: "404 instead of 2xx"}
				}
				return nil
			}}
			e := start(t, warmup.Plan{
				Model: warmup.Target{Conclusive: true}, Requests: []warmup.Request{request("/a"), request("/b")}, Repeat: 9, ServeCold: policy,
			}, m)
			wantState(t, e, want, "POST /b: 404 instead of 2xx")
			if m.requests() != 2 {
				t.Errorf("%d requests, want none after the failure", m.requests())
			}
		})
	}
}

// Of one that can't say so, wrong answers are taken for those of a model that is loading,
// until it has answered a whole round.
func TestWrongAnswersWhileItMayBeLoading(t *testing.T) {
	t.Parallel()
	wrong := &unexpectedError{answer: "404 instead of 2xx: no such model"}
	for name, tt := range map[string]struct {
		answer func(n int) error
		state  warmup.State
		reason string
		// requests are at most so many.
		requests int
	}{
		// Requests that need no model are answered while it loads.
		"loads": {func(n int) error {
			if n < 20 && n%2 == 1 {
				return wrong
			}
			return nil
		}, warmup.Warm, "", 20 + 2*9},
		"is wrong once it has loaded": {func(n int) error {
			if n < 20 && n%2 == 1 || n == 23 {
				return wrong
			}
			return nil
		}, warmup.Failed, "POST /b: 404 instead of 2xx: no such model", 24},
		"is wrong": {func(n int) error {
			if n%2 == 1 {
				return wrong
			}
			return nil
		}, warmup.Failed, "not warm within 1m0s, after 0 rounds: POST /b: 404 instead of 2xx: no such model", 2 * 70},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T) {
				m := &model{sockets: []uint64{7}, answer: tt.answer}
				e := start(t, warmup.Plan{Requests: []warmup.Request{request("/a"), request("/b")}, Repeat: 9}, m)
				wantState(t, e, warmup.Warming, "404 instead of 2xx")
				time.Sleep(2 * time.Minute)
				wantState(t, e, tt.state, tt.reason)
				if m.requests() > tt.requests {
					t.Errorf("%d requests, want at most %d", m.requests(), tt.requests)
				}
			})
		})
	}
}

// What no model can mend is final all the same.
func TestBrokenPlanFailsAtOnce(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7}, answer: func(int) error { return errors.New("body of POST /: no such file") }}
		wantState(t, start(t, warmup.Plan{Requests: []warmup.Request{request("/")}, Repeat: 1}, m), warmup.Failed, "no such file")
	})
}

// A model that isn't ready yet, though it listens, is tried again.
func TestTriesAgain(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7}, answer: func(n int) error {
			if n < 5 {
				return &unexpectedError{answer: "503", passing: true}
			}
			return nil
		}}
		e := start(t, warmup.Plan{Requests: []warmup.Request{request("/")}, Repeat: 2}, m)
		time.Sleep(10 * time.Second)
		wantState(t, e, warmup.Warm, "")
		if got := m.requests(); got != 7 {
			t.Errorf("%d requests, want 5 that failed and 2", got)
		}
	})
}

// A model that starts anew is warmed up anew, before the replica serves.
func TestRestartOfTheModel(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7}, latency: func(int) time.Duration { return time.Second }}
		e := start(t, warmup.Plan{Requests: []warmup.Request{request("/")}, Repeat: 1}, m)
		time.Sleep(2 * time.Second)
		wantState(t, e, warmup.Warm, "")
		m.listen()
		wantState(t, e, warmup.Waiting, "")
		m.listen(8)
		time.Sleep(2 * patient)
		wantState(t, e, warmup.Warming, "")
		time.Sleep(2 * time.Second)
		wantState(t, e, warmup.Warm, "")
		m.listen(9) // not seen in between
		wantState(t, e, warmup.Warming, "")
		time.Sleep(2 * time.Second)
		wantState(t, e, warmup.Warm, "")
		if got := e.Status().Starts; got != 3 {
			t.Errorf("%d starts, want 3", got)
		}
	})
}

// One of several processes that is replaced is no new start.
func TestSeveralSockets(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7, 8}}
		e := start(t, warmup.Plan{Requests: []warmup.Request{request("/")}, Repeat: 1}, m)
		wantState(t, e, warmup.Warm, "")
		m.listen(8, 9)
		wantState(t, e, warmup.Warm, "")
		if m.requests() != 1 {
			t.Error("warmed up again")
		}
	})
}

func TestModelEndsInTheMiddle(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7}}
		m.answer = func(n int) error {
			if n == 0 {
				m.listen()
				return &unexpectedError{answer: "no answer: EOF", passing: true}
			}
			return nil
		}
		e := start(t, warmup.Plan{Requests: []warmup.Request{request("/")}, Repeat: 3}, m)
		wantState(t, e, warmup.Waiting, "doesn't listen")
		m.listen(8)
		time.Sleep(time.Second)
		wantState(t, e, warmup.Warm, "")
		if got := e.Status(); got.Starts != 2 || got.Requests != 3 {
			t.Errorf("%+v, want 3 requests to the second start", got)
		}
	})
}

// A failure is a verdict on one start of the model; the next gets its own.
func TestFailureEndsWithTheModel(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7}, answer: func(n int) error {
			if n == 0 {
				return &unexpectedError{answer: "404"}
			}
			return nil
		}}
		e := start(t, warmup.Plan{Model: warmup.Target{Conclusive: true}, Requests: []warmup.Request{request("/")}, Repeat: 1}, m)
		wantState(t, e, warmup.Failed, "404")
		m.listen(8)
		wantState(t, e, warmup.Warm, "")
	})
}

// This container, restarted in a warm replica, asks nothing.
func TestRestartOfTheContainer(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{sockets: []uint64{7}}
		e := start(t, warmup.Plan{Requests: []warmup.Request{request("/")}, Repeat: 2}, m)
		wantState(t, e, warmup.Warm, "")
		before := e.Status()

		again := New(e.Plan)
		again.Model, again.Sockets, again.Log, again.Marker = m, m.Sockets, e.Log, e.Marker
		run(t, again)
		wantState(t, again, warmup.Warm, "")
		if got := again.Status(); got != before || m.requests() != 2 {
			t.Errorf("%+v after %d requests, want %+v after 2", got, m.requests(), before)
		}
		m.listen(8)
		wantState(t, again, warmup.Warm, "")
		if m.requests() != 4 {
			t.Errorf("%d requests, want another start to be warmed up", m.requests())
		}
	})
}

func TestMarkerOfAnotherBoot(t *testing.T) {
	t.Parallel()
	m := Marker{File: filepath.Join(t.TempDir(), "verdict.json"), BootID: "/proc/sys/kernel/random/boot_id"}
	if err := m.Save([]uint64{7}, warmup.Status{State: warmup.Warm}); err != nil {
		t.Fatal(err)
	}
	if status, ok := m.Load([]uint64{7}); !ok || status.State != warmup.Warm {
		t.Errorf("%+v, %t", status, ok)
	}
	if _, ok := m.Load([]uint64{8}); ok {
		t.Error("another start of the model is warm")
	}
	m.BootID = "/proc/sys/kernel/ostype"
	if _, ok := m.Load([]uint64{7}); ok {
		t.Error("sockets of another boot are known")
	}
}

// What is in the way of a warm-up may go away without the model's doing.
func TestFailureIsTriedAgain(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		broken := true
		m := &model{answer: func(int) error {
			if broken {
				return &unexpectedError{answer: "404 instead of 2xx"}
			}
			return nil
		}}
		e := start(t, warmup.Plan{Model: warmup.Target{Conclusive: true}, Requests: []warmup.Request{request("/")}, Repeat: 3}, m)
		m.listen(7)
		time.Sleep(time.Minute)
		wantState(t, e, warmup.Failed, "404")
		broken = false
		time.Sleep(retryAfter - 2*time.Minute)
		wantState(t, e, warmup.Failed, "404")
		time.Sleep(2 * time.Minute)
		wantState(t, e, warmup.Warm, "")
		time.Sleep(2 * retryAfter)
		if got := e.Status().Starts; got != 2 {
			t.Errorf("warmed up %d times, want 2", got)
		}
	})
}
