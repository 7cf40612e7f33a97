package warmup

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/expfmt"
	prommodel "github.com/prometheus/common/model"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{latency: func(int) time.Duration { return 20 * time.Millisecond }}
		e := start(t, warmup.Plan{Requests: []warmup.Request{request("/")}, Repeat: 2}, m)
		get := func(path string) *httptest.ResponseRecorder {
			recorder := httptest.NewRecorder()
			e.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, http.NoBody))
			return recorder
		}
		if got := get(warmup.ReadyPath).Code; got != http.StatusServiceUnavailable {
			t.Errorf("%d before the model listens", got)
		}
		m.listen(7)
		time.Sleep(time.Second)
		if got := get(warmup.ReadyPath).Code; got != http.StatusOK {
			t.Errorf("%d from a warm replica", got)
		}
		var status warmup.Status
		if err := json.NewDecoder(get(warmup.StatusPath).Body).Decode(&status); err != nil || status != e.Status() {
			t.Errorf("%+v, %v; want %+v", status, err, e.Status())
		}
		parser := expfmt.NewTextParser(prommodel.UTF8Validation)
		families, err := parser.TextToMetricFamilies(get(warmup.MetricsPath).Body)
		if err != nil {
			t.Fatal(err)
		}
		if got := families["sluice_warmup_requests"].Metric[0].Gauge.GetValue(); got != 2 {
			t.Errorf("%g requests", got)
		}
		if got := families["sluice_warmup_first_request_seconds"].Metric[0].Gauge.GetValue(); got != 0.02 {
			t.Errorf("first request took %g s", got)
		}
		for _, metric := range families["sluice_warmup_state"].Metric {
			if state := metric.Label[0].GetValue(); (state == string(warmup.Warm)) != (metric.Gauge.GetValue() == 1) {
				t.Errorf("state %s is %g", state, metric.Gauge.GetValue())
			}
		}
	})
}

// Who asks before there is a verdict hears of it as soon as it is there, and isn't kept
// for longer than the activator waits. That a verdict is void is told at once.
func TestAnswersAreHeld(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{latency: func(int) time.Duration { return 100 * time.Millisecond }}
		e := start(t, warmup.Plan{Requests: []warmup.Request{request("/")}, Repeat: 3}, m)
		ask := func(wantCode int, want time.Duration) {
			t.Helper()
			begin, recorder := time.Now(), httptest.NewRecorder()
			e.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, warmup.ReadyPath, http.NoBody))
			if got := time.Since(begin); recorder.Code != wantCode || got != want {
				t.Errorf("%d after %s, want %d after %s", recorder.Code, got, wantCode, want)
			}
		}
		ask(http.StatusServiceUnavailable, holdAnswer)
		time.Sleep(eager / 2)
		m.listen(7)
		time.Sleep(eager / 2)
		synctest.Wait()
		ask(http.StatusServiceUnavailable, holdAnswer)
		ask(http.StatusOK, 300*time.Millisecond-holdAnswer)
		ask(http.StatusOK, 0)
		m.listen(8)
		e.Status() // whoever asks for something else has not told anybody
		ask(http.StatusServiceUnavailable, 0)
		ask(http.StatusServiceUnavailable, holdAnswer)
	})
}

// A verdict that it can't be warmed up is no reason to keep anyone waiting.
func TestFailuresAreNotHeld(t *testing.T) {
	t.Parallel()
	in(t, func(t *testing.T) {
		m := &model{answer: func(int) error { return &unexpectedError{} }}
		e := start(t, warmup.Plan{Model: warmup.Target{Conclusive: true}, Requests: []warmup.Request{request("/")}, Repeat: 3}, m)
		m.listen(7)
		time.Sleep(time.Second)
		begin := time.Now()
		if e.AwaitReady(t.Context(), holdAnswer) || time.Since(begin) != 0 {
			t.Errorf("answered after %s", time.Since(begin))
		}
	})
}
