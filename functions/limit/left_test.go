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
		"a need of nonsense": {true, "batch", `{"models":["team/m"],"needs":{"team/m":[{"requestsPerSecond":5,"seconds":60},{"requestsPerSecond":-1,"seconds":60}]}}`, http.StatusBadRequest, "needs[team/m][1]: requestsPerSecond is -1, want 0 or more"},
		"a need of no end":   {true, "batch", `{"models":["team/m"],"needs":{"team/m":[{"requestsPerSecond":1e300,"seconds":1e300}]}}`, http.StatusBadRequest, "needs[team/m][0]: requestsPerSecond and seconds come to +Inf requests"},
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
