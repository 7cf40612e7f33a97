package limit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
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

// shown is what a pod shows of the requests at two of its entries.
func shown(http, local int) string {
	line := "envoy_istio_sluice_offered{entry=%q,route=\"" + gateway.VirtualServiceMetadata("team.m") + "\"} %d\n"
	return "# TYPE envoy_istio_sluice_offered counter\n" + fmt.Sprintf(line, "http", http) + fmt.Sprintf(line, "local", local)
}

func TestDemand(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	pods := []Pod{
		{Gateway: gateway.Shared, Name: "a", IP: "a"}, {Gateway: gateway.Shared, Name: "b", IP: "b"},
		{Gateway: gateway.Shared, Name: "c", IP: "c"}, {Gateway: "tenant-blue", Name: "d", IP: "d"},
	}
	woken := 0
	o := NewOffered(func() []Pod { return pods }, clock, zap.NewNop().Sugar(), func() { woken++ })

	steps := []struct {
		name  string
		pods  counters
		want  []float64
		wakes int
	}{
		{"what was counted before is not demand", counters{"a": shown(100, 0), "b": shown(50, 0)}, []float64{0, 0, 0}, 0},
		{"both pods count, the first poll by half", counters{"a": shown(160, 0), "b": shown(90, 0)}, []float64{50, 0, 0}, 1},
		{"it settles", counters{"a": shown(220, 0), "b": shown(130, 0)}, []float64{75, 0, 0}, 2},
		{"another entry wakes", counters{"a": shown(220, 40), "b": shown(130, 0)}, []float64{37.5, 0, 20}, 3},
		{"a counter that was reset is no demand", counters{"a": shown(0, 0), "b": shown(130, 0)}, []float64{18.75, 0, 10}, 3},
		{"a pod without an answer neither", counters{"b": shown(130, 0)}, []float64{9.375, 0, 5}, 3},
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
	if got := o.At(gateway.Shared, "team.other"); slices.Max(got) != 0 {
		t.Errorf("demand of a model that nobody called: %v", got)
	}
}

// What arrives at one gateway is not demand at another.
func TestDemandByGateway(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	pods := []Pod{{Gateway: gateway.Shared, Name: "a", IP: "a"}, {Gateway: "tenant-blue", Name: "b", IP: "b"}}
	o := NewOffered(func() []Pod { return pods }, clock, zap.NewNop().Sugar(), func() {})
	for _, step := range []counters{{"a": shown(100, 0), "b": shown(0, 7)}, {"a": shown(120, 0), "b": shown(0, 17)}, {"a": shown(160, 0)}} {
		o.fetch = step.fetch
		clock.Step(time.Second)
		o.poll(t.Context())
	}
	for name, want := range map[string][]float64{gateway.Shared: {25, 0, 0}, "tenant-blue": {0, 0, 2.5}, "tenant-red": {0, 0, 0}} {
		if got := o.At(name, "team.m"); !slices.Equal(got, want) {
			t.Errorf("demand at %s = %v, want %v", name, got, want)
		}
	}
}
