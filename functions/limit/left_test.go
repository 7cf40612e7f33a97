package limit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/functions/callers"
	"sluice.dev/sluice/functions/limit/slack"
	listers "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

func TestLeftHandler(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	f := New()
	f.Clock = clocktesting.NewFakeClock(now)
	known := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	for _, name := range []string{"m", "full", "old"} {
		if err := known.Add(rateLimit(name)); err != nil {
			t.Fatal(err)
		}
	}
	f.Caches.RateLimits = listers.NewRateLimitLister(known)
	f.batches.tell(map[string]slack.Slack{
		"team/m": {Rate: 12.5, Expires: now.Add(3 * time.Second)}, "team/old": {Rate: 9, Expires: now}, "team/full": {Expires: now.Add(time.Second)},
	})
	many := `{"models":[` + strings.Repeat(`"team/m",`, slack.MostModels) + `"team/m"]}`
	for name, tt := range map[string]struct {
		leads bool
		from  string
		asks  string
		code  int
		want  string
	}{
		"what is left":       {true, "batch", `{"models":["team/m","team/full","team/old","team/nobody"]}`, http.StatusOK, `{"models":{"team/m":{"requestsPerSecond":12.5,"seconds":3}}}`},
		"with needs":         {true, "batch", `{"models":["team/m"],"needs":{"team/m":[{"requestsPerSecond":5,"seconds":60,"maxReplicas":3}]}}`, http.StatusOK, `{"models":{"team/m":{"requestsPerSecond":12.5,"seconds":3}}}`},
		"of nothing":         {true, "batch", `{}`, http.StatusOK, `{"models":{}}`},
		"a stranger":         {true, "", `{"models":["team/m"]}`, http.StatusUnauthorized, "unknown caller: who are you"},
		"nobody can be told": {true, "later", `{"models":["team/m"]}`, http.StatusServiceUnavailable, "no keys yet"},
		"another one leads":  {false, "batch", `{"models":["team/m"]}`, http.StatusServiceUnavailable, ErrStandby.Error()},
		"no namespace":       {true, "batch", `{"models":["m"]}`, http.StatusBadRequest, `models[0] is "m", want namespace/name`},
		"no JSON":            {true, "batch", `team/m`, http.StatusBadRequest, "reading the question: "},
		"too many":           {true, "batch", many, http.StatusBadRequest, fmt.Sprintf("models has %d entries, want %d at most", slack.MostModels+1, slack.MostModels)},
		"more than is read":  {true, "batch", `{"models":["` + strings.Repeat("x", maxQuestion), http.StatusBadRequest, "reading the question: "},
	} {
		t.Run(name, func(t *testing.T) {
			f.leads.Store(tt.leads)
			r := httptest.NewRequest(http.MethodPost, slack.Path, strings.NewReader(tt.asks))
			r.Header.Set("From", tt.from)
			w := httptest.NewRecorder()
			f.LeftHandler(func(r *http.Request) error {
				switch r.Header.Get("From") {
				case "":
					return fmt.Errorf("%w: who are you", callers.ErrUnknown)
				case "later":
					return errors.New("no keys yet")
				}
				return nil
			}).ServeHTTP(w, r)
			if w.Code != tt.code || !strings.HasPrefix(w.Body.String(), tt.want) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.code, tt.want)
			}
		})
	}
}

// Whoever asks goes by what is left no longer than the limiter does.
func TestLeftOnItsWay(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	s := slack.Slack{Rate: 7, Expires: now.Add(4 * time.Second)}
	written, err := json.Marshal(s.Told(now.Add(time.Second)))
	if err != nil {
		t.Fatal(err)
	}
	var left slack.Left
	if err := json.Unmarshal(written, &left); err != nil {
		t.Fatal(err)
	}
	if got := left.Since(now.Add(500 * time.Millisecond)); got.Rate != 7 || !got.Expires.Equal(now.Add(3500*time.Millisecond)) {
		t.Errorf("asked half a second before it was told, it is %+v", got)
	}
}

// What is wrong with one need is no reason to leave others without, be they of the same Model;
// and it is told once in a while, however often it comes.
func TestABadNeedIsLeftOut(t *testing.T) {
	good := slack.Need{RequestsPerSecond: 5, Seconds: 60, MaxReplicas: 3}
	for name, bad := range map[string]string{
		"nonsense":  `{"requestsPerSecond":-1,"seconds":60}`,
		"no end":    `{"requestsPerSecond":1e300,"seconds":1e300}`,
		"no time":   `{"requestsPerSecond":1}`,
		"less than": `{"requestsPerSecond":1,"seconds":1,"maxReplicas":-1}`,
	} {
		t.Run(name, func(t *testing.T) {
			f, now := New(), clocktesting.NewFakeClock(time.Unix(2_000_000_000, 0))
			f.Clock = now
			f.leads.Store(true)
			core, logged := observer.New(zap.InfoLevel)
			f.Log = zap.New(core).Sugar()
			known := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
			for _, name := range []string{"m", "other"} {
				if err := known.Add(rateLimit(name)); err != nil {
					t.Fatal(err)
				}
			}
			f.Caches.RateLimits = listers.NewRateLimitLister(known)
			const fine = `{"requestsPerSecond":5,"seconds":60,"maxReplicas":3}`
			handler := f.LeftHandler(func(*http.Request) error { return nil })
			for range 2 * int(badNeedsEvery/time.Second) {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, slack.Path, strings.NewReader(
					`{"models":["team/m","team/other"],"needs":{"team/m":[`+bad+`,`+fine+`],"team/other":[`+fine+`,`+bad+`,`+bad+`]}}`)))
				if w.Code != http.StatusOK {
					t.Fatalf("%d %s", w.Code, w.Body)
				}
				for _, k := range []string{"team/m", "team/other"} {
					if got := f.batches.needs(k, now.Now()); len(got) != 1 || got[0] != good {
						t.Fatalf("of %s what is needed is %+v, want %+v", k, got, good)
					}
				}
				now.Step(time.Second)
			}
			if n := logged.Len(); n != 2 {
				t.Errorf("it is told %d times in two minutes, want 2: %v", n, logged.All())
			}
			if says := fmt.Sprint(logged.All()[0].ContextMap()); !strings.Contains(says, "needs[team/") || !strings.Contains(says, "needs:3") {
				t.Errorf("it says %s", says)
			}
		})
	}
}
