package resources

import (
	"fmt"
	"net/http"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

const (
	// mostOfPath, mostOfAgent and mostOfHeader bound, in bytes, what a line repeats of a request.
	mostOfPath, mostOfAgent, mostOfHeader = 256, 128, 64
	// million is what a share is told in parts of.
	million = 1_000_000
)

// accessLoggers returns what writes an entry's log: one line of JSON for each request of
// clients, as it ends. docs/gateway-log.schema.json says what a line has, and a test holds it to that.
//
// Where only a share of what went well is to be logged, two loggers divide the requests
// between them, and each line tells its logger's share. Of what a client sends, a line has the method,
// the path without its query, the user agent and ids, each cut: nothing in which
// credentials belong.
func accessLoggers(gw Gateway, entry gateway.Entry) ([]*accesslogv3.AccessLog, error) {
	if gw.AccessLog == nil {
		return nil, nil
	}
	of := requests(gw)
	if gw.AccessLog.SuccessSample >= 1 {
		return loggers(gw, entry, logger{name: "sluice.log", filter: of, sample: 1})
	}
	whole := logger{name: "sluice.log.failures", filter: append(of, failed()), sample: 1}
	if gw.AccessLog.SuccessSample <= 0 {
		return loggers(gw, entry, whole)
	}
	well, err := wentWell()
	if err != nil {
		return nil, err
	}
	share := logger{
		name: "sluice.log.successes", sample: gw.AccessLog.SuccessSample,
		filter: append(requests(gw), well, sampled("sluice.access_log.successes", gw.AccessLog.SuccessSample)),
	}
	return loggers(gw, entry, whole, share)
}

// logger writes a line for what passes all of its filters.
type logger struct {
	name   string
	filter []*accesslogv3.AccessLogFilter
	// sample is the share of such requests that it logs.
	sample float64
}

func loggers(gw Gateway, entry gateway.Entry, of ...logger) ([]*accesslogv3.AccessLog, error) {
	var all []*accesslogv3.AccessLog
	for _, l := range of {
		format, err := lineFormat(gw, entry, l.sample)
		if err != nil {
			return nil, err
		}
		log, err := logTo(l.name, allOf(l.filter...), &streamv3.StdoutAccessLog{AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: format}})
		if err != nil {
			return nil, err
		}
		all = append(all, log)
	}
	return all, nil
}

// lineFormat is a line. Envoy writes numbers as such, what isn't there as null, and what is no
// UTF-8 escaped.
func lineFormat(gw Gateway, entry gateway.Entry, sample float64) (*corev3.SubstitutionFormatString, error) {
	line, err := structpb.NewStruct(map[string]any{
		"time":    "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
		"gateway": gw.Name, "pod": "%ENVIRONMENT(POD_NAME)%", "entry": entry.Name,
		"route": "%ROUTE_NAME%", "cluster": "%UPSTREAM_CLUSTER_RAW%", "upstream": "%UPSTREAM_HOST%",
		"limit": "%CEL(" + limitOutcome() + ")%",
		"code":  "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "details": "%RESPONSE_CODE_DETAILS%",
		"method": headerValue(":method", 16), "path": fmt.Sprintf("%%PATH(NQ:PATH):%d%%", mostOfPath), "protocol": "%PROTOCOL%",
		"user_agent": headerValue("user-agent", mostOfAgent), "request_id": headerValue("x-request-id", mostOfHeader),
		"traceparent": headerValue("traceparent", mostOfHeader), "batch": fmt.Sprintf("%%TYPED_CEL(%q in request.headers)%%", gateway.MarkHeader),
		"duration_ms": "%DURATION%", "upstream_ms": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:ms)%", "first_byte_ms": "%RESPONSE_DURATION%",
		"bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%",
		"sample": sample,
	})
	if err != nil {
		return nil, fmt.Errorf("building a line of the log: %w", err)
	}
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: line}}, nil
}

// limitOutcome says what limits made of a request: "refused", "admitted", or "none" where the gateway
// answers by its routes alone.
func limitOutcome() string {
	return fmt.Sprintf(`response.code_details == %q ? "refused" : (response.code_details in ["route_not_found", %q] ? "none" : "admitted")`,
		limitedDetail, directDetail)
}

func headerValue(name string, most int) string { return fmt.Sprintf("%%REQ(%s):%d%%", name, most) }

// requests passes clients' requests as they end, once each: neither our own prober's nor a
// pod's startup probe.
func requests(gw Gateway) []*accesslogv3.AccessLogFilter {
	return []*accesslogv3.AccessLogFilter{
		logType(datav3.AccessLogType_DownstreamEnd), notPath(gateway.ProbePrefix(gw.ProbePath)), notHost(startupHost(gw)),
	}
}

// failed passes what isn't wentWell: answers of 400 and above, no answer, and whatever Envoy
// has a flag for, such as an answer that broke off.
func failed() *accesslogv3.AccessLogFilter {
	return anyOf(
		status(accesslogv3.ComparisonFilter_GE, http.StatusBadRequest, "sluice.log.failed_from"),
		status(accesslogv3.ComparisonFilter_LE, http.StatusContinue-1, "sluice.log.failed_to"),
		&accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{}}},
	)
}

// wentWell passes what failed doesn't.
func wentWell() (*accesslogv3.AccessLogFilter, error) {
	return celFilter(fmt.Sprintf("response.flags == 0 && response.code >= %d && response.code < %d", http.StatusContinue, http.StatusBadRequest))
}

// sampled passes a share of what it is asked of.
func sampled(key string, share float64) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_RuntimeFilter{RuntimeFilter: &accesslogv3.RuntimeFilter{
		RuntimeKey:               key,
		PercentSampled:           &typev3.FractionalPercent{Numerator: uint32(share * million), Denominator: typev3.FractionalPercent_MILLION},
		UseIndependentRandomness: true, // a caller could choose a request id
	}}}
}

func anyOf(filters ...*accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{
		OrFilter: &accesslogv3.OrFilter{Filters: filters},
	}}
}
