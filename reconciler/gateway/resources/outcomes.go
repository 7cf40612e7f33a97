package resources

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	statsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// outcomeLoggers returns what an entry counts of requests as they end: those that were let
// through, how long they took, and those of them that were answered with a status of 500 or above,
// by whomever. Our own prober's are none of these.
//
// They are there for a Model from its first request on, be it tried or not: a listener that
// changed for a trial would drain its connections. Each entry that a Model had requests at
// costs a pod of two threads some 9 kB for as long as the pod lives, most of it the histogram, and a thousand
// of these 0.8 % of a core, by which Envoy adds up what its threads saw (Envoy 1.40).
func outcomeLoggers(gw Gateway, entry gateway.Entry) ([]*accesslogv3.AccessLog, error) {
	ended, clients := logType(datav3.AccessLogType_DownstreamEnd), notPath(gateway.ProbePrefix(gw.ProbePath))
	answers, err := single()
	if err != nil {
		return nil, err
	}
	completed, err := statsLogger(gateway.CompletedMetric, allOf(ended, clients, noUpgrade(), answers), &statsv3.Config{
		Counters: []*statsv3.Config_Counter{one(gateway.CompletedMetric, entry)},
		Histograms: []*statsv3.Config_Histogram{{
			Stat: stat(gateway.DurationMetric, entry), Unit: statsv3.Config_Histogram_Milliseconds, ValueFormat: "%DURATION%",
		}},
	})
	if err != nil {
		return nil, err
	}
	failed, err := counter(gateway.ErrorsMetric, entry, allOf(ended, serverError(), clients, answers))
	if err != nil {
		return nil, err
	}
	return []*accesslogv3.AccessLog{completed, failed}, nil
}

// endLoggers returns the counters of an entry that count each of clients' requests once, as it ends:
// by where it led and what became of it. They are what usage rests on, so between them they
// leave nothing out, and their sum is the number of lines that the log has of the same requests.
func endLoggers(gw Gateway, entry gateway.Entry) ([]*accesslogv3.AccessLog, error) {
	unlimited, err := celFilter(fmt.Sprintf("response.code_details != %q", limitedDetail))
	if err != nil {
		return nil, err
	}
	from := func(code uint32, key string) *accesslogv3.AccessLogFilter {
		return status(accesslogv3.ComparisonFilter_GE, code, key)
	}
	to := func(code uint32, key string) *accesslogv3.AccessLogFilter {
		return status(accesslogv3.ComparisonFilter_LE, code, key)
	}
	var all []*accesslogv3.AccessLog
	// A request meets all of these filters as it ends, and passes one. Each looks at its status first, which costs
	// the least.
	for _, of := range []struct {
		outcome gateway.Outcome
		filter  []*accesslogv3.AccessLogFilter
	}{
		{gateway.OutcomeOK, []*accesslogv3.AccessLogFilter{from(http.StatusContinue, "sluice.ok_from"), to(http.StatusBadRequest-1, "sluice.ok_to")}},
		{gateway.OutcomeClientError, []*accesslogv3.AccessLogFilter{
			from(http.StatusBadRequest, "sluice.client_error_from"), to(http.StatusInternalServerError-1, "sluice.client_error_to"), unlimited,
		}},
		{gateway.OutcomeServerError, []*accesslogv3.AccessLogFilter{serverError()}},
		{gateway.OutcomeRefused, []*accesslogv3.AccessLogFilter{limited()}},
		{gateway.OutcomeLeft, []*accesslogv3.AccessLogFilter{to(http.StatusContinue-1, "sluice.left_to")}},
	} {
		count := one(gateway.EndedMetric, entry)
		count.Stat.Tags = append(count.Stat.Tags,
			&statsv3.Config_Tag{Name: gateway.ClusterTag, ValueFormat: "%UPSTREAM_CLUSTER_RAW%"},
			&statsv3.Config_Tag{Name: gateway.OutcomeTag, ValueFormat: string(of.outcome)})
		logger, err := statsLogger(gateway.EndedMetric, allOf(append(of.filter, requests(gw)...)...), &statsv3.Config{Counters: []*statsv3.Config_Counter{count}})
		if err != nil {
			return nil, err
		}
		all = append(all, logger)
	}
	return all, nil
}

// streamed are the types of content by which an answer is a stream: how long one takes says
// nothing of how long a caller waits.
func streamed() []string { return []string{"text/event-stream", "application/x-ndjson"} }

// single passes requests of one answer that was somebody's to give: no stream, nothing that
// a limit refused, and nothing that the gateway answers by its routes alone. A caller who
// leaves before an answer has begun gets none, which passes too; so it asks for nothing that
// such a request lacks, as its status.
func single() (*accesslogv3.AccessLogFilter, error) {
	streams := make([]string, 0, len(streamed()))
	for _, content := range streamed() {
		streams = append(streams, fmt.Sprintf(`response.headers["content-type"].startsWith(%q)`, content))
	}
	return celFilter(fmt.Sprintf(
		`!(response.code_details in [%q, %q]) && !("content-type" in response.headers && (%s))`, limitedDetail, directDetail, strings.Join(streams, " || "),
	))
}

// What Envoy calls an answer by a limit, and one by a route alone.
const (
	limitedDetail = "local_rate_limited"
	directDetail  = "direct_response"
)

// celFilter passes what an expression of CEL is true of.
func celFilter(of string) (*accesslogv3.AccessLogFilter, error) {
	config, err := anypb.New(&celv3.ExpressionFilter{Expression: of})
	if err != nil {
		return nil, fmt.Errorf("packing the filter %s: %w", of, err)
	}
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name:       "envoy.access_loggers.extension_filters.cel",
			ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: config},
		},
	}}, nil
}

// noUpgrade passes what doesn't go on in another protocol, as a WebSocket does. It asks for what
// is below that status or above, and not for what differs: an Envoy or istiod too old to know NE reads it as EQ.
func noUpgrade() *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{
		OrFilter: &accesslogv3.OrFilter{Filters: []*accesslogv3.AccessLogFilter{
			status(accesslogv3.ComparisonFilter_LE, http.StatusSwitchingProtocols-1, "sluice.below_upgrade_status"),
			status(accesslogv3.ComparisonFilter_GE, http.StatusSwitchingProtocols+1, "sluice.above_upgrade_status"),
		}},
	}}
}

// serverError passes what is answered with a status of 500 or above.
func serverError() *accesslogv3.AccessLogFilter {
	return status(accesslogv3.ComparisonFilter_GE, http.StatusInternalServerError, "sluice.error_status")
}

const (
	// bucketsAnnotation tells Envoy, as it starts, by which buckets it shows histograms.
	bucketsAnnotation = "sidecar.istio.io/statsHistogramBuckets"
	// flushAnnotation tells it how often it adds to them what its threads saw.
	flushAnnotation = "sidecar.istio.io/statsFlushInterval"
	// flushEvery is how far histograms may be behind: as far as those who read them.
	flushEvery = "1s"
)

// histograms returns the annotations by which pods show durations. Without them, as in pods
// of an Istio that doesn't know them, Envoy shows coarser ones and five seconds late.
func histograms() map[string]string {
	scope, name := gateway.Scoped(gateway.DurationMetric)
	buckets, err := json.Marshal(map[string][]float64{scope + "." + name: durationBuckets()})
	if err != nil {
		panic(err) // numbers can always be written
	}
	return map[string]string{bucketsAnnotation: string(buckets), flushAnnotation: flushEvery}
}

// durationBuckets are the bounds of a duration's buckets, in milliseconds: up to 10 each of
// them, since Envoy counts whole ones, and from there on up to 1000 s the preferred numbers of
// ISO 3 (R'20), of which each is at most 15 % above the one before.
func durationBuckets() []float64 {
	var bounds []float64
	for ms := 1; ms < 10; ms++ {
		bounds = append(bounds, float64(ms))
	}
	for decade := 10.0; decade < 1e6; decade *= 10 {
		for _, preferred := range []float64{100, 110, 125, 140, 160, 180, 200, 220, 250, 280, 320, 360, 400, 450, 500, 560, 630, 710, 800, 900} {
			bounds = append(bounds, preferred*decade/100)
		}
	}
	return append(bounds, 1e6)
}
