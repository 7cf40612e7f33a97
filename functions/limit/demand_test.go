package limit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/zap"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// counters are what gateway pods show, as Envoy writes it.
type counters map[string]string

func (c counters) fetch(_ context.Context, ip string) (map[string]*dto.MetricFamily, error) {
	text, ok := c[ip]
	if !ok {
		return nil, errors.New("no answer")
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(strings.NewReader(text))
}

func shown(http, local int) string {
	line := "envoy_istio_sluice_offered{entry=%q,route=\"" + gateway.VirtualServiceMetadata("team.m") + "\"} %d\n"
	return "# TYPE envoy_istio_sluice_offered counter\n" + fmt.Sprintf(line, "http", http) + fmt.Sprintf(line, "local", local)
}

func TestDemand(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	pods := counters{"a": shown(100, 0), "b": shown(50, 0)}
	woken := 0
	o := NewOffered(func() []Pod { return []Pod{{Name: "a", IP: "a"}, {Name: "b", IP: "b"}, {Name: "c", IP: "c"}} },
		clock, zap.NewNop().Sugar(), func() { woken++ })
	o.fetch = pods.fetch

	steps := []struct {
		name  string
		pods  counters
		want  []float64
		wakes int
	}{
		{"what was counted before is not demand", counters{"a": shown(100, 0), "b": shown(50, 0)}, []float64{0, 0}, 0},
		{"both pods count, the first poll by half", counters{"a": shown(160, 0), "b": shown(90, 0)}, []float64{50, 0}, 1},
		{"it settles", counters{"a": shown(220, 0), "b": shown(130, 0)}, []float64{75, 0}, 1},
		{"another entry wakes", counters{"a": shown(220, 40), "b": shown(130, 0)}, []float64{37.5, 20}, 2},
		{"a counter that was reset is no demand", counters{"a": shown(0, 0), "b": shown(130, 0)}, []float64{18.75, 10}, 2},
		{"a pod without an answer neither", counters{"b": shown(130, 0)}, []float64{9.375, 5}, 2},
	}
	for _, step := range steps {
		o.fetch = step.pods.fetch
		clock.Step(time.Second)
		o.poll(t.Context())
		got := o.At(gateway.Shared, "team.m")
		for i := range step.want {
			if math.Abs(got[i]-step.want[i]) > 1e-9 {
				t.Errorf("%s: demand %v, want %v", step.name, got, step.want)
			}
		}
		if woken != step.wakes {
			t.Errorf("%s: woke %d times, want %d", step.name, woken, step.wakes)
		}
	}
	if got := o.At(gateway.Shared, "team.other"); got[0] != 0 || got[1] != 0 {
		t.Errorf("demand of a model that nobody called: %v", got)
	}
}

func TestAskTwiceWhenTheFirstIsLetThrough(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.Host != "limits.test" || r.Header.Get(gateway.SlotHeader) != "3" {
			t.Errorf("asked %s for slot %q", r.Host, r.Header.Get(gateway.SlotHeader))
		}
		if asked > 1 {
			w.Header().Set(gateway.GenerationHeader, "abc")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer server.Close()
	var port uint32
	if _, err := fmt.Sscanf(server.URL, "http://127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	at := place{pod: "a", entry: gateway.Entry{Name: "test", Port: port}, slot: 3}
	got, err := askOver(server.Client())(t.Context(), "127.0.0.1", "limits.test", at)
	if err != nil || got != "abc" || asked != 2 {
		t.Errorf("askOver() = %q, %v after %d questions", got, err, asked)
	}
}
