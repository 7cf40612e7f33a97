package resources

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	statsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"github.com/google/cel-go/cel"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// ended is a request as it ended, as far as filters look at it.
type ended struct {
	code    uint32
	flag    string
	details string
}

// endings are requests of all kinds: each status with each flag.
func endings() []ended {
	all := []ended{{code: 429, flag: "RL", details: "local_rate_limited"}}
	for _, code := range []uint32{0, 100, 101, 200, 204, 301, 399, 400, 404, 428, 429, 430, 499, 500, 503, 599} {
		for _, flag := range []string{"", "DC", "UF"} {
			all = append(all, ended{code: code, flag: flag, details: "via_upstream"})
		}
	}
	return all
}

// passes evaluates a filter as Envoy does. What has to do with requests themselves, or with
// chance, passes.
func passes(t *testing.T, f *accesslogv3.AccessLogFilter, of ended) bool {
	t.Helper()
	among := func(filters []*accesslogv3.AccessLogFilter) func(func(*accesslogv3.AccessLogFilter) bool) bool {
		return func(is func(*accesslogv3.AccessLogFilter) bool) bool { return slices.ContainsFunc(filters, is) }
	}
	switch f := f.FilterSpecifier.(type) {
	case *accesslogv3.AccessLogFilter_AndFilter:
		return !among(f.AndFilter.Filters)(func(one *accesslogv3.AccessLogFilter) bool { return !passes(t, one, of) })
	case *accesslogv3.AccessLogFilter_OrFilter:
		return among(f.OrFilter.Filters)(func(one *accesslogv3.AccessLogFilter) bool { return passes(t, one, of) })
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		value := f.StatusCodeFilter.Comparison.Value.DefaultValue
		if f.StatusCodeFilter.Comparison.Op == accesslogv3.ComparisonFilter_GE {
			return of.code >= value
		}
		return of.code <= value
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		if len(f.ResponseFlagFilter.Flags) == 0 {
			return of.flag != ""
		}
		return slices.Contains(f.ResponseFlagFilter.Flags, of.flag)
	case *accesslogv3.AccessLogFilter_ExtensionFilter:
		config := &celv3.ExpressionFilter{}
		if err := f.ExtensionFilter.GetTypedConfig().UnmarshalTo(config); err != nil {
			t.Fatal(err)
		}
		return evaluated(t, config.Expression, of) == true
	case *accesslogv3.AccessLogFilter_LogTypeFilter, *accesslogv3.AccessLogFilter_HeaderFilter, *accesslogv3.AccessLogFilter_RuntimeFilter:
		return true
	default:
		t.Fatalf("what passes %T?", f)
		return false
	}
}

// evaluated is an expression's value, by Envoy's attributes of a request.
func evaluated(t *testing.T, text string, of ended) any {
	t.Helper()
	env := must[*cel.Env](t)(cel.NewEnv(cel.Variable("response", cel.DynType)))
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		t.Fatal(issues.Err())
	}
	flags := 0
	if of.flag != "" {
		flags = 1
	}
	value, _, err := must[cel.Program](t)(env.Program(ast)).Eval(map[string]any{
		"response": map[string]any{"code_details": of.details, "code": int64(of.code), "flags": int64(flags)},
	})
	if err != nil {
		t.Fatalf("%s of %+v: %v", text, of, err)
	}
	return value.Value()
}

// Each request has one line, or may have one where it went well and only a share is logged.
func TestEachRequestHasOneLine(t *testing.T) {
	for _, share := range []float64{0, 0.25, 1} {
		gw := shared()
		gw.AccessLog.SuccessSample = share
		for _, entry := range gateway.Entries() {
			loggers := must[[]*accesslogv3.AccessLog](t)(accessLoggers(gw, entry))
			for _, of := range endings() {
				var by []string
				for _, l := range loggers {
					if passes(t, l.Filter, of) {
						by = append(by, l.Name)
					}
				}
				well := of.code >= 100 && of.code < 400 && of.flag == ""
				want := 1
				if well && share == 0 {
					want = 0
				}
				if len(by) != want || share == 0.25 && well != slices.Contains(by, "sluice.log.successes") {
					t.Errorf("of %v successes at entry %s, %+v is logged by %v", share, entry.Name, of, by)
				}
			}
		}
	}
	gw := shared()
	gw.AccessLog = nil
	if loggers := must[[]*accesslogv3.AccessLog](t)(accessLoggers(gw, gateway.External)); len(loggers) > 0 {
		t.Errorf("without a log there are %d loggers", len(loggers))
	}
}

// Each request is counted once as it ends.
func TestEachEndIsCountedOnce(t *testing.T) {
	want := func(of ended) gateway.Outcome {
		switch {
		case of.flag == "RL":
			return gateway.OutcomeRefused
		case of.code == 0:
			return gateway.OutcomeLeft
		case of.code < 400:
			return gateway.OutcomeOK
		case of.code < 500:
			return gateway.OutcomeClientError
		default:
			return gateway.OutcomeServerError
		}
	}
	for _, entry := range gateway.Entries() {
		loggers := must[[]*accesslogv3.AccessLog](t)(endLoggers(shared(), entry))
		for _, of := range endings() {
			var as []gateway.Outcome
			for _, l := range loggers {
				if !passes(t, l.Filter, of) {
					continue
				}
				config := &statsv3.Config{}
				if err := l.GetTypedConfig().UnmarshalTo(config); err != nil {
					t.Fatal(err)
				}
				for _, tag := range config.Counters[0].Stat.Tags {
					if tag.Name == gateway.OutcomeTag {
						as = append(as, gateway.Outcome(tag.ValueFormat))
					}
				}
			}
			if !slices.Equal(as, []gateway.Outcome{want(of)}) {
				t.Errorf("%+v is counted as %v, want %s", of, as, want(of))
			}
		}
	}
}

// What limits made of a request is told for each.
func TestLimitOutcome(t *testing.T) {
	for details, want := range map[string]string{
		"local_rate_limited": "refused", "route_not_found": "none", "direct_response": "none",
		"via_upstream": "admitted", "no_healthy_upstream": "admitted", "downstream_remote_disconnect": "admitted",
	} {
		if got := evaluated(t, limitOutcome(), ended{details: details}); got != want {
			t.Errorf("%s: %v, want %s", details, got, want)
		}
	}
}

// A line has what the schema says, and nothing in which credentials belong.
func TestLinesAreAsTheSchemaSays(t *testing.T) {
	text := must[[]byte](t)(os.ReadFile("../../../docs/gateway-log.schema.json"))
	var schema struct {
		Required   []string
		Properties map[string]any
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	for _, l := range must[[]*accesslogv3.AccessLog](t)(accessLoggers(shared(), gateway.Local)) {
		to := &streamv3.StdoutAccessLog{}
		if err := l.GetTypedConfig().UnmarshalTo(to); err != nil {
			t.Fatal(err)
		}
		line := to.GetLogFormat().GetJsonFormat().AsMap()
		has, documented := slices.Sorted(maps.Keys(line)), slices.Sorted(maps.Keys(schema.Properties))
		slices.Sort(schema.Required)
		if !slices.Equal(has, documented) || !slices.Equal(has, schema.Required) {
			t.Errorf("a line has %v, documented are %v, required %v", has, documented, schema.Required)
		}
		if got := fmt.Sprint(line["path"]); got != "%PATH(NQ:PATH):256%" {
			t.Errorf("the path is logged as %s", got)
		}
	}
}
