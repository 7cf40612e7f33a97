package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/batch/output"
	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/functions/limit/slack"
)

// function leases what it is told to, of what is wanted.
type function struct {
	mu    sync.Mutex
	rate  float64
	away  bool
	last  credits.Ask
	count int64
}

func (f *function) lease(_ context.Context, ask credits.Ask) (credits.Lease, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ask.Check(); err != nil || f.away {
		return credits.Lease{}, errors.Join(err, errors.New("away"))
	}
	f.last = ask
	f.count++
	return credits.Lease{Number: f.count, Rate: min(f.rate, ask.Wanted), Burst: 1, DurationSeconds: 3}, nil
}

func (f *function) set(rate float64, away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate, f.away = rate, away
}

func leases(f *function, address, token string) *Leases {
	described := &task.Task{Namespace: "team", Name: "nightly", UID: "u-1", Credits: address}
	described.SetDefaults()
	gate := NewLeases(described, 3, "nightly-3", token, func() Progress {
		return Progress{Knows: true, Tally: output.Tally{Succeeded: 5, Failed: 1}, InFlight: 2, Requests: 9, Items: 4}
	})
	gate.Log = slog.New(slog.DiscardHandler)
	if f != nil {
		gate.lease = f.lease
	}
	return gate
}

// ended returns a context, and what ends it and lets those who go by it do so.
func ended(t *testing.T) (context.Context, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	return ctx, func() {
		cancel()
		time.Sleep(time.Second)
	}
}

// A worker sends by its leases, and nothing once there are none.
func TestLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &function{rate: 40}
		gate := leases(f, "", "")
		ctx, end := ended(t)
		defer end()
		go gate.Run(ctx)
		var entered atomic.Int64
		for range 32 {
			go func() {
				for {
					leave, err := gate.Enter(ctx)
					if err != nil {
						return
					}
					entered.Add(1)
					time.Sleep(10 * time.Millisecond)
					leave(Answer{Status: http.StatusOK}, 10*time.Millisecond)
				}
			}()
		}
		during := func(d time.Duration) int64 {
			before := entered.Load()
			time.Sleep(d)
			return entered.Load() - before
		}
		// From here on it knows how long answers take, and nothing is looked at in the moment of an ask.
		time.Sleep(credits.AskEvery + credits.AskEvery/4)
		if n := during(10 * time.Second); n < 395 || n > 401 {
			t.Errorf("%d have entered in 10 s, of 40 a second", n)
		}
		ask := f.last
		want := credits.Ask{
			Namespace: "team", Batch: "nightly", UID: "u-1", Shard: 3, Worker: "nightly-3", Wanted: ask.Wanted, Lease: f.count - 1,
			Knows: true, InFlight: 2, Succeeded: 5, Failed: 1, Requests: 9, Items: 4,
		}
		if ask != want {
			t.Errorf("it asked %+v, want %+v", ask, want)
		}
		if ask.Wanted < 300 {
			t.Errorf("with answers in 10 ms it wanted %g a second", ask.Wanted)
		}
		f.set(0, false)
		time.Sleep(3 * credits.AskEvery / 2)
		// What it had a credit for before, it may still do.
		if n := during(time.Minute); n > 1 {
			t.Errorf("%d have entered by leases of nothing", n)
		}
		f.set(40, false)
		time.Sleep(3 * credits.AskEvery / 2)
		// What it has goes on for as long as it was leased for.
		f.set(40, true)
		if n := during(credits.Longest); n < 80 {
			t.Errorf("%d have entered by the last lease", n)
		}
		if n := during(time.Minute); n != 0 {
			t.Errorf("%d have entered after it", n)
		}
	})
}

// No more are under way than may be, whatever is leased.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := leases(&function{rate: 1e5}, "", "")
		ctx, end := ended(t)
		defer end()
		go gate.Run(ctx)
		var inFlight, most atomic.Int64
		for range 100 {
			go func() {
				for {
					leave, err := gate.Enter(ctx)
					if err != nil {
						return
					}
					most.Store(max(most.Load(), inFlight.Add(1)))
					time.Sleep(10 * time.Millisecond)
					inFlight.Add(-1)
					leave(Answer{Status: http.StatusServiceUnavailable}, 10*time.Millisecond)
				}
			}()
		}
		time.Sleep(10 * time.Second)
		if n := most.Load(); n > firstInFlight {
			t.Errorf("%d were under way of a Model that answers 503", n)
		}
		if n := inFlight.Load(); n > 1 {
			t.Errorf("%d are under way in the end", n)
		}
	})
}

// A worker whose requests waited for a Model that was away wants as much as before once that is
// back: so it is not for how long they waited that it has to wait again.
func TestWantsAfterModelWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &function{rate: 400}
		gate := leases(f, "", "")
		ctx, end := ended(t)
		defer end()
		go gate.Run(ctx)
		began := time.Now()
		// The answers come just before it asks again.
		away, back := began.Add(10*time.Second), began.Add(25*time.Second-credits.AskEvery/10)
		for range 32 {
			go func() {
				for {
					leave, err := gate.Enter(ctx)
					if err != nil {
						return
					}
					asked, status := time.Now(), http.StatusOK
					if asked.After(away) && asked.Before(back) {
						time.Sleep(back.Sub(asked))
						status = http.StatusServiceUnavailable
					}
					time.Sleep(50 * time.Millisecond)
					leave(Answer{Status: status}, time.Since(asked))
				}
			}()
		}
		time.Sleep(time.Until(back) + 2*credits.AskEvery + credits.AskEvery/4)
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.last.Wanted < 100 {
			t.Errorf("it wants %g a second of a Model that answers in 50 ms again", f.last.Wanted)
		}
	})
}

// What a worker that is done had leased is another's at once.
func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const model = "team/ranker"
		ledger := credits.NewLedger(time.Now())
		time.Sleep(credits.Longest)
		ledger.Offer(map[string]slack.Slack{model: {Rate: 100, Expires: time.Now().Add(time.Hour)}})
		var gates [2]*Leases
		for i := range gates {
			gates[i] = leases(nil, "", "")
			gates[i].ask.Worker, gates[i].took = fmt.Sprint("nightly-", i), 0.01
			gates[i].lease = func(_ context.Context, ask credits.Ask) (credits.Lease, error) {
				return ledger.Lease(model, ask, time.Now())
			}
		}
		rate := func(of int) float64 {
			t.Helper()
			if err := gates[of].renew(t.Context()); err != nil {
				t.Fatal(err)
			}
			return gates[of].bucket.Rate(time.Now())
		}
		for range 3 {
			rate(0)
			rate(1)
		}
		if one, other := rate(0), rate(1); one != 50 || other != 50 {
			t.Fatalf("two that want all have %g and %g", one, other)
		}
		gates[0].Release(t.Context())
		if got := rate(1); got != 100 {
			t.Errorf("once the other one is done, one has %g", got)
		}
		if got := rate(0); got != 0 {
			t.Errorf("one that is done has %g", got)
		}
	})
}

func TestLessor(t *testing.T) {
	f := &function{rate: 7}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ask credits.Ask
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/leases" || r.Header.Get("Authorization") != "Bearer who asks" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		lease, err := f.lease(r.Context(), ask)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(lease)
	}))
	defer server.Close()
	token := filepath.Join(t.TempDir(), task.TokenFile)
	gate := leases(nil, server.URL, token)
	if lease, err := gate.lease(t.Context(), gate.next()); err == nil {
		t.Errorf("leased %+v without a token", lease)
	}
	if err := os.WriteFile(token, []byte("who asks\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if lease, err := gate.lease(t.Context(), gate.next()); err != nil || lease.Rate != 7 || lease.Number != 1 {
		t.Errorf("leased %+v, %v", lease, err)
	}
	f.set(7, true)
	if lease, err := gate.lease(t.Context(), gate.next()); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable: away") {
		t.Errorf("leased %+v, %v", lease, err)
	}
}
