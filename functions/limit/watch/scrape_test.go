package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/functions/limit/bounds"
	"sluice.dev/sluice/reconciler/apis/gateway"
)

// envoy is a gateway pod that shows what it was recorded to show.
func envoy(t *testing.T, answer func(filter string) (int, string)) string {
	t.Helper()
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stats/prometheus" {
			t.Errorf("asked at %s", r.URL)
		}
		status, text := answer(r.URL.Query().Get("filter"))
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, text)
	}))
	t.Cleanup(pod.Close)
	return pod.URL
}

// What Envoy 1.40 shows with our loggers, of requests at two entries: 20 at once, 10 after 300 ms
// and 5 errors at http, one at local.
func TestScrape(t *testing.T) {
	shown, err := os.ReadFile("testdata/envoy.txt")
	if err != nil {
		t.Fatal(err)
	}
	counted := func(slow float64, above time.Duration) bounds.Counts {
		return bounds.Counts{Completed: 36, Errors: 5, Timed: 36, Slow: slow, Above: above}
	}
	const bound = 250 * time.Millisecond
	for name, tt := range map[string]struct {
		text string
		slow time.Duration
		want bounds.Counts
	}{
		"as Envoy shows it":     {string(shown), bound, counted(10, bound)},
		"as a proxy of Istio's": {strings.ReplaceAll(string(shown), "envoy_istio_", "istio_"), bound, counted(10, bound)},
		"what is slower":        {string(shown), 400 * time.Millisecond, counted(0, 400*time.Millisecond)},
		"within a bucket":       {string(shown), 300 * time.Millisecond, counted(1, 320*time.Millisecond)},
		"without a bound":       {string(shown), 0, bounds.Counts{Completed: 36, Errors: 5}},
		"nothing yet":           {"", bound, bounds.Counts{}},
	} {
		t.Run(name, func(t *testing.T) {
			address := envoy(t, func(string) (int, string) { return http.StatusOK, tt.text })
			got := scrape(t.Context(), http.DefaultClient, address, map[string]time.Duration{"team.m": tt.slow, "team.none": tt.slow})
			if want := map[string]bounds.Reading{"team.m": {Counts: tt.want}, "team.none": {}}; !maps.Equal(got, want) {
				t.Errorf("scrape() = %+v, want %+v", got, want)
			}
		})
	}
}

// Envoy looks for the expression in its own names.
func TestFilter(t *testing.T) {
	const at = "istio.sluice_completed.entry.http.route./apis/networking.istio.io/v1/namespaces/sluice-gateways/virtual-service/"
	filter := regexp.MustCompile(filterOf([]string{"team.m", "team.n"}))
	for name, want := range map[string]bool{
		at + "team.m": true, at + "team.n": true,
		strings.Replace(at, "completed", "errors", 1) + "team.m":                true,
		strings.Replace(at, "completed", "duration_milliseconds", 1) + "team.n": true,
		at + "team.m2": false, at + "team-m": false, at + "other-team.m": false,
		strings.Replace(at, "completed", "offered", 1) + "team.m": false,
	} {
		if got := filter.MatchString(name); got != want {
			t.Errorf("%s asks for %s: %t, want %t", filter, name, got, want)
		}
	}
}

// A question is of bounded length, however many are asked about.
func TestManyAreAskedAboutInTurn(t *testing.T) {
	longest := strings.Repeat("n", 63) + "." + strings.Repeat("m", 60)
	slow := map[string]time.Duration{}
	for i := range 2*namesAtOnce + 1 {
		slow[fmt.Sprintf("%s%03d", longest, i)] = time.Second
	}
	questions := 0
	address := envoy(t, func(filter string) (int, string) {
		if questions++; len(filter) > 8<<10 {
			t.Errorf("a question of %d bytes", len(filter))
		}
		return http.StatusOK, ""
	})
	got := scrape(t.Context(), http.DefaultClient, address, slow)
	if err := reading(got).err(); err != nil || questions != 3 || len(got) != len(slow) {
		t.Errorf("%d questions, %d answers, %v; want 3 of all %d", questions, len(got), err, len(slow))
	}
}

// slowly answers each question after a time of its own, unless that is more than it has.
type slowly []time.Duration

func (s *slowly) RoundTrip(r *http.Request) (*http.Response, error) {
	after := (*s)[0]
	*s = (*s)[1:]
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(after):
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	}
}

// Each question has its own time, and what one takes too long for is read of no others.
func TestEachQuestionHasItsTime(t *testing.T) {
	const quick, late = answerWithin - time.Millisecond, answerWithin + time.Millisecond
	for name, tt := range map[string]struct {
		after []time.Duration
		// unread are the questions that fail, and took the time of all.
		unread []int
		took   time.Duration
	}{
		"all in time":          {[]time.Duration{quick, quick, quick}, nil, 3 * quick},
		"the second doesn't":   {[]time.Duration{quick, late, quick}, []int{1}, 2*quick + answerWithin},
		"too many to wait for": {[]time.Duration{late, late, late, late, late, quick, quick}, []int{0, 1, 2, 3, 4, 5, 6}, allWithin},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow, began := map[string]time.Duration{}, time.Now()
				for i := range len(tt.after) * namesAtOnce {
					slow[fmt.Sprintf("team.m%04d", i)] = time.Second
				}
				pod := slowly(tt.after)
				got := scrape(t.Context(), &http.Client{Transport: &pod}, "http://pod", slow)
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %s, want %s", took, tt.took)
				}
				for i := range len(slow) {
					reading, ok := got[fmt.Sprintf("team.m%04d", i)]
					if want := slices.Contains(tt.unread, i/namesAtOnce); !ok || (reading.Err != nil) != want {
						t.Errorf("question %d: %+v, want an error: %t", i/namesAtOnce, reading, want)
					}
				}
			})
		})
	}
}

// What can't be read is an error, and never no requests.
func TestScrapeThatFails(t *testing.T) {
	line := func(labels, value string) string {
		return fmt.Sprintf("# TYPE %[1]s counter\n%[1]s{%[2]s} %[3]s\n", "envoy_"+gateway.CompletedMetric, labels, value)
	}
	for name, tt := range map[string]struct {
		status int
		text   string
	}{
		"refused":             {http.StatusServiceUnavailable, ""},
		"no number":           {http.StatusOK, line(`entry="http"`, "x")},
		"broken off":          {http.StatusOK, `envoy_istio_sluice_completed{entry="http`},
		"shown by two names":  {http.StatusOK, line(`a="b"`, "1") + strings.ReplaceAll(line(`a="b"`, "1"), "envoy_", "")},
		"more than is read":   {http.StatusOK, strings.Repeat("#\n", answerBytes/2+1)},
		"no metrics but HTML": {http.StatusOK, "<html>"},
	} {
		t.Run(name, func(t *testing.T) {
			address := envoy(t, func(string) (int, string) { return tt.status, tt.text })
			if got := scrape(t.Context(), http.DefaultClient, address, map[string]time.Duration{"team.m": time.Second}); got["team.m"].Err == nil {
				t.Errorf("scrape() = %+v, want an error", got)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	address := envoy(t, func(string) (int, string) { return http.StatusOK, "" })
	if got := scrape(ctx, http.DefaultClient, address, map[string]time.Duration{"team.m": time.Second}); !errors.Is(got["team.m"].Err, context.Canceled) {
		t.Errorf("scrape() = %+v, want %v", got, context.Canceled)
	}
}
