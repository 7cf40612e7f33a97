package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/callers"
	"sluice.dev/sluice/functions/limit/slack"
)

var began = time.Unix(2_000_000_000, 0)

func ask(worker string) credits.Ask {
	return credits.Ask{Namespace: "team", Batch: "nightly", UID: "b-1", Worker: worker, Wanted: 1000}
}

// newFunction is one of which the batch nightly asks the Model ranker.
func newFunction() (*Function, *clocktesting.FakeClock) {
	c := clocktesting.NewFakeClock(began)
	return newFunctionBy(c), c
}

func newFunctionBy(c clock.WithTicker) *Function {
	f := New(c, zap.NewNop().Sugar())
	f.Model = func(namespace, batch string, uid types.UID) (string, error) {
		if namespace != "team" || batch != "nightly" || uid != "b-1" {
			return "", fmt.Errorf("there is no batch %s/%s", namespace, batch)
		}
		return "team/ranker", nil
	}
	f.Runs = func() ([]Run, error) { return []Run{{UID: "b-1", Model: "team/ranker", Items: 1000}}, nil }
	return f
}

// pod is what tells callers: by the worker's name in the header.
func pod(r *http.Request) (callers.Caller, error) {
	switch name := r.Header.Get("From"); name {
	case "":
		return callers.Caller{}, callers.ErrUnknown
	case "later":
		return callers.Caller{}, errors.New("no keys yet")
	default:
		namespace, name, _ := strings.Cut(name, "/")
		return callers.Caller{Namespace: namespace, ServiceAccount: "default", Pod: name}, nil
	}
}

func sends(t *testing.T, f *Function, from string, ask any) (*httptest.ResponseRecorder, credits.Lease) {
	t.Helper()
	body, err := json.Marshal(ask)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, credits.Path, bytes.NewReader(body))
	r.Header.Set("From", from)
	w := httptest.NewRecorder()
	f.Handler(pod).ServeHTTP(w, r)
	var lease credits.Lease
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), &lease); err != nil {
			t.Fatal(err)
		}
	}
	return w, lease
}

// A run that has just been planned has replicas called for before its workers ask, and holds one
// where it has no deadline; that ends if they don't come.
func TestPlannedRunIsAwaited(t *testing.T) {
	for _, end := range []time.Time{{}, began.Add(time.Hour)} {
		f, c := newFunction()
		f.Runs = func() ([]Run, error) {
			return []Run{{UID: "b-1", Model: "team/ranker", Items: 1000, PerRequest: 1, Planned: began, End: end}}, nil
		}
		var asked []slack.Question
		f.Left = func(_ context.Context, q slack.Question) (map[string]slack.Slack, error) {
			asked = append(asked, q)
			return nil, nil
		}
		for range 3 {
			if err := f.fetch(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.Step(beginWithin)
		}
		if len(asked) != 2 {
			t.Fatalf("%v: asked %+v, want it twice", end, asked)
		}
		if q := asked[0]; !slices.Equal(q.Models, []string{"team/ranker"}) || len(q.Idle) > 0 || (len(q.Needs["team/ranker"]) == 1) == end.IsZero() {
			t.Errorf("%v: asked %+v when it was planned", end, q)
		}
		if q := asked[1]; !slices.Equal(q.Idle, []string{"team/ranker"}) || len(q.Needs) > 0 {
			t.Errorf("%v: asked %+v a minute later", end, q)
		}
	}
}

func TestHandler(t *testing.T) {
	other, stranger := ask("w-0"), ask("w-0")
	other.UID = "b-0"
	stranger.Worker = "no name"
	for name, tt := range map[string]struct {
		from  string
		ask   any
		code  int
		again bool
	}{
		"a worker":                      {"team/w-0", ask("w-0"), http.StatusOK, false},
		"no token":                      {"", ask("w-0"), http.StatusUnauthorized, false},
		"nobody can be told":            {"later", ask("w-0"), http.StatusServiceUnavailable, true},
		"another pod":                   {"team/w-1", ask("w-0"), http.StatusForbidden, false},
		"a pod of another namespace":    {"other/w-0", ask("w-0"), http.StatusForbidden, false},
		"an earlier batch of that name": {"team/w-0", other, http.StatusNotFound, false},
		"no name":                       {"team/w-0", stranger, http.StatusBadRequest, false},
		"no ask":                        {"team/w-0", "ask", http.StatusBadRequest, false},
		"more than is read":             {"team/w-0", map[string]string{"worker": strings.Repeat("x", maxAsk)}, http.StatusBadRequest, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newFunction()
			w, _ := sends(t, f, tt.from, tt.ask)
			if w.Code != tt.code || (w.Header().Get("Retry-After") != "") != tt.again {
				t.Errorf("%d, %q, again %q; want %d, %t", w.Code, w.Body, w.Header().Get("Retry-After"), tt.code, tt.again)
			}
		})
	}
	f, _ := newFunction()
	for range cap(f.underWay) {
		f.underWay <- struct{}{}
	}
	if w, _ := sends(t, f, "team/w-0", ask("w-0")); w.Code != http.StatusServiceUnavailable {
		t.Errorf("as many as may are answered: %d", w.Code)
	}
}

// Two workers share what is left, for as long as the limiter tells that there is.
func TestLeases(t *testing.T) {
	f, clock := newFunction()
	var asked [][]string
	var fails error
	f.Left = func(_ context.Context, q slack.Question) (map[string]slack.Slack, error) {
		asked = append(asked, q.Models)
		return map[string]slack.Slack{"team/ranker": {Rate: 30, Expires: clock.Now().Add(4 * time.Second)}}, fails
	}
	var rates [2]float64
	second := func() {
		t.Helper()
		if err := f.fetch(t.Context()); (err == nil) != (fails == nil) {
			t.Fatal(err)
		}
		for i := range rates {
			worker := fmt.Sprint("w-", i)
			_, lease := sends(t, f, "team/"+worker, ask(worker))
			rates[i] = lease.Rate
		}
		clock.Step(time.Second)
	}
	second()
	if len(asked) != 0 {
		t.Errorf("the limiter was asked about %v while nobody wanted credits", asked)
	}
	second()
	if rates[0]+rates[1] != 0 {
		t.Errorf("%v leased while leases of an earlier function may last", rates)
	}
	for range 6 {
		second()
	}
	if rates != [2]float64{15, 15} || len(asked[0]) != 1 || asked[0][0] != "team/ranker" {
		t.Errorf("leases of %v, want half of 30 each; asked about %v", rates, asked)
	}
	fails = errors.New("away")
	for range 4 {
		second()
	}
	if rates[0]+rates[1] != 0 {
		t.Errorf("%v leased 4 s after the limiter was heard of", rates)
	}
}

// limiter is one over real HTTP, whose connections are pipes: time is the test's.
func limiter(t *testing.T, handler http.HandlerFunc) *Limiter {
	t.Helper()
	conns := make(chan net.Conn)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(pipes{conns, t.Context().Done()})
	}()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := NewLimiter("http://limiter/", token)
	transport := l.client.Transport.(*http.Transport)
	transport.Proxy, transport.DialContext = nil, func(ctx context.Context, _, _ string) (net.Conn, error) {
		here, there := net.Pipe()
		select {
		case conns <- there:
			return here, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-served
	})
	return l
}

// pipes are a listener that takes what is dialled until it is done.
type pipes struct {
	conns <-chan net.Conn
	done  <-chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// Of the limiter's replicas one knows; the others say so, or say nothing.
func TestLimiter(t *testing.T) {
	for name, tt := range map[string]struct {
		standby, mute int // the next that don't know, and that don't answer after these
		want          bool
		took          time.Duration
	}{
		"it knows":                     {0, 0, true, 0},
		"the last of them knows":       {attempts - 1, 0, true, 0},
		"nobody knows":                 {attempts, 0, false, 0},
		"one is mute":                  {0, 1, true, fetchWithin},
		"one is mute, two don't know":  {2, 1, true, fetchWithin},
		"all are mute: it has an end":  {0, attempts, false, fetchEvery},
		"one doesn't know, all others": {1, attempts - 1, false, (attempts - 1) * fetchWithin},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				l := limiter(t, func(w http.ResponseWriter, r *http.Request) {
					var q slack.Question
					n := int(asked.Add(1))
					switch {
					case r.URL.Path != slack.Path || r.Header.Get("Authorization") != "Bearer secret" || json.NewDecoder(r.Body).Decode(&q) != nil:
						w.WriteHeader(http.StatusUnauthorized)
					case n <= tt.standby:
						w.WriteHeader(http.StatusServiceUnavailable)
					case n <= tt.standby+tt.mute:
						<-r.Context().Done()
					default:
						time.Sleep(fetchWithin / 2)
						_ = json.NewEncoder(w).Encode(slack.Answer{Models: map[string]slack.Left{q.Models[0]: {RequestsPerSecond: 12, Seconds: 3}}})
					}
				})
				before := time.Now()
				left, err := l.Left(t.Context(), slack.Question{Models: []string{"team/ranker"}})
				if !tt.want {
					if took := time.Since(before); err == nil || took != tt.took || asked.Load() != attempts {
						t.Errorf("%d were asked, for %s, want %s: %v, %v", asked.Load(), took, tt.took, left, err)
					}
					return
				}
				// It counts from when the one that answers was asked.
				want := slack.Slack{Rate: 12, Expires: before.Add(tt.took + 3*time.Second)}
				if got := left["team/ranker"]; err != nil || got.Rate != want.Rate || !got.Expires.Equal(want.Expires) {
					t.Errorf("%+v, %v, want %+v", left, err, want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, func(http.ResponseWriter, *http.Request) { t.Error("asked without a token") })
		l.TokenFile += "-gone"
		if _, err := l.Left(t.Context(), slack.Question{}); err == nil {
			t.Error("it has an answer without a token")
		}
	})
}

// Run goes on after a question that got no answer, and asks each second.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFunctionBy(clock.RealClock{})
		var asked []time.Duration
		start := time.Now()
		f.Left = func(context.Context, slack.Question) (map[string]slack.Slack, error) {
			asked = append(asked, time.Since(start))
			if len(asked) == 1 {
				return nil, errors.New("away")
			}
			return nil, nil
		}
		sends(t, f, "team/w-0", ask("w-0"))
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.Run(ctx)
		}()
		time.Sleep(3*fetchEvery + fetchEvery/2)
		end()
		<-ended
		if want := []time.Duration{0, fetchEvery, 2 * fetchEvery, 3 * fetchEvery}; !slices.Equal(asked, want) {
			t.Errorf("asked after %v, want %v", asked, want)
		}
	})
}
