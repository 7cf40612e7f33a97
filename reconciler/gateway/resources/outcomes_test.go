package resources

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	statsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/cel-go/cel"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// Every duration's bucket is at most 15 % wide, or a millisecond, and they are as Envoy takes
// them.
func TestDurationBuckets(t *testing.T) {
	bounds := durationBuckets()
	if first, last := bounds[0], bounds[len(bounds)-1]; first != 1 || last != 1e6 {
		t.Errorf("buckets from %g to %g ms, want from 1 ms to 1000 s", first, last)
	}
	for i, bound := range bounds[1:] {
		if before := bounds[i]; bound <= before || bound > max(1.15*before, before+1) {
			t.Errorf("%g ms comes after %g", bound, before)
		}
	}
	annotations := Deployment(shared()).Spec.Template.Annotations
	told := map[string][]float64{}
	if err := json.Unmarshal([]byte(annotations[bucketsAnnotation]), &told); err != nil {
		t.Fatal(err)
	}
	for prefix, buckets := range told {
		if name := strings.Replace(gateway.DurationMetric, "_", ".", 1); !strings.HasPrefix(name, prefix) {
			t.Errorf("the buckets are of %s, want of %s", prefix, name)
		}
		if !slices.Equal(buckets, bounds) {
			t.Errorf("told are %v", buckets)
		}
		settings := &metricsv3.HistogramBucketSettings{
			Match: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}}, Buckets: buckets,
		}
		if err := settings.ValidateAll(); err != nil {
			t.Error(err)
		}
	}
	if len(told) != 1 {
		t.Errorf("told are the buckets of %d metrics, want of one", len(told))
	}
}

// What is counted as it ends is what had an answer of its own, by Envoy's attributes of it.
func TestWhatIsCountedAsItEnds(t *testing.T) {
	counts := expression(t)
	for name, tt := range map[string]struct {
		details string
		headers map[string]string
		want    bool
	}{
		"an answer":                   {"via_upstream", map[string]string{"content-type": "application/json"}, true},
		"one without content":         {"via_upstream", nil, true},
		"an error of the gateway's":   {"no_healthy_upstream", nil, true},
		"a caller who leaves":         {"downstream_remote_disconnect", nil, true},
		"what a limit refused":        {"local_rate_limited", nil, false},
		"a redirect":                  {"direct_response", nil, false},
		"events":                      {"via_upstream", map[string]string{"content-type": "text/event-stream; charset=utf-8"}, false},
		"lines":                       {"via_upstream", map[string]string{"content-type": "application/x-ndjson"}, false},
		"what only begins like lines": {"via_upstream", map[string]string{"content-type": "application/x"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			headers := tt.headers
			if headers == nil {
				headers = map[string]string{}
			}
			got, _, err := counts.Eval(map[string]any{"response": map[string]any{"code_details": tt.details, "headers": headers}})
			if err != nil || got.Value() != tt.want {
				t.Errorf("counted: %v, %v, want %t", got, err, tt.want)
			}
		})
	}
}

// An Envoy that knows no NE, and reads EQ for it, tells an upgrade from the rest as well.
func TestUpgradesArentCountedByAnOldEnvoy(t *testing.T) {
	passes := func(status uint32) bool {
		return slices.ContainsFunc(noUpgrade().GetOrFilter().GetFilters(), func(f *accesslogv3.AccessLogFilter) bool {
			comparison := f.GetStatusCodeFilter().GetComparison()
			switch value := comparison.GetValue().GetDefaultValue(); comparison.GetOp() {
			case accesslogv3.ComparisonFilter_GE:
				return status >= value
			case accesslogv3.ComparisonFilter_LE:
				return status <= value
			default:
				return status == value
			}
		})
	}
	for status, want := range map[uint32]bool{0: true, 100: true, 101: false, 102: true, 200: true, 503: true} {
		if got := passes(status); got != want {
			t.Errorf("status %d is counted: %t, want %t", status, got, want)
		}
	}
}

// expression is the one by which each entry counts what ends, errors among them.
func expression(t *testing.T) cel.Program {
	t.Helper()
	found := map[string]bool{}
	for _, entry := range gateway.Entries() {
		for _, logger := range must[[]*accesslogv3.AccessLog](t)(outcomeLoggers(shared(), entry)) {
			config := &statsv3.Config{}
			if err := logger.GetTypedConfig().UnmarshalTo(config); err != nil {
				t.Fatal(err)
			}
			if timed := len(config.Histograms) == 1; timed != (logger.Name == gateway.CompletedMetric) || len(config.Counters) != 1 {
				t.Errorf("%s counts %d times and has %d histograms", logger.Name, len(config.Counters), len(config.Histograms))
			}
			filters := logger.Filter.GetAndFilter().GetFilters()
			filter := &celv3.ExpressionFilter{}
			if err := filters[len(filters)-1].GetExtensionFilter().GetTypedConfig().UnmarshalTo(filter); err != nil {
				t.Fatal(err)
			}
			found[filter.Expression] = true
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d expressions tell what is counted, want one: %v", len(found), found)
	}
	env := must[*cel.Env](t)(cel.NewEnv(cel.Variable("response", cel.DynType)))
	for text := range found {
		ast, issues := env.Compile(text)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		return must[cel.Program](t)(env.Program(ast))
	}
	return nil
}
