package resources

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	statsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// demandLoggers returns the counters of an entry: requests offered, counted as
// they arrive, those of them that the limiter refused and, where a mark has a bucket, those
// that carry it; our own prober's are none of these. Their tags are the entry and the
// VirtualService; nothing that a client controls, or it could make counters without end.
func demandLoggers(gw Gateway, entry gateway.Entry) ([]*accesslogv3.AccessLog, error) {
	clients := notPath(gateway.ProbePrefix(gw.ProbePath))
	var loggers []*accesslogv3.AccessLog
	for _, c := range []struct {
		metric string
		at     bool
		filter *accesslogv3.AccessLogFilter
	}{
		{gateway.OfferedMetric, true, allOf(logType(datav3.AccessLogType_DownstreamStart), clients)},
		// Elsewhere the mark says nothing: what carries it is demand like any other.
		{gateway.MarkedMetric, entry == gateway.Local, allOf(logType(datav3.AccessLogType_DownstreamStart), clients, marked())},
		{gateway.RefusedMetric, true, allOf(logType(datav3.AccessLogType_DownstreamEnd), limited(), clients)},
	} {
		if !c.at {
			continue
		}
		logger, err := counter(c.metric, entry, c.filter)
		if err != nil {
			return nil, err
		}
		loggers = append(loggers, logger)
	}
	return loggers, nil
}

func allOf(filters ...*accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{
		AndFilter: &accesslogv3.AndFilter{Filters: filters},
	}}
}

// marked passes what carries the mark, whatever it says.
func marked() *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{
		HeaderFilter: &accesslogv3.HeaderFilter{Header: &routev3.HeaderMatcher{
			Name:                 gateway.MarkHeader,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}},
	}}
}

// limited passes what a rate limit refused.
func limited() *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
		ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"RL"}},
	}}
}

func notPath(prefix string) *accesslogv3.AccessLogFilter {
	return notHeader(":path", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}})
}

func notHost(host string) *accesslogv3.AccessLogFilter {
	return notHeader(":authority", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: host}})
}

// notHeader passes what has a header that isn't so.
func notHeader(name string, so *matcherv3.StringMatcher) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{
		HeaderFilter: &accesslogv3.HeaderFilter{Header: &routev3.HeaderMatcher{
			Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: so}, InvertMatch: true,
		}},
	}}
}

func logType(kind datav3.AccessLogType) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_LogTypeFilter{
		LogTypeFilter: &accesslogv3.LogTypeFilter{Types: []datav3.AccessLogType{kind}},
	}}
}

// counter logs into a counter; the pod shows it as envoy_<metric>.
func counter(metric string, entry gateway.Entry, filter *accesslogv3.AccessLogFilter) (*accesslogv3.AccessLog, error) {
	return statsLogger(metric, filter, &statsv3.Config{Counters: []*statsv3.Config_Counter{one(metric, entry)}})
}

// one is added to a counter for each request.
func one(metric string, entry gateway.Entry) *statsv3.Config_Counter {
	return &statsv3.Config_Counter{Stat: stat(metric, entry), ValueFixed: wrapperspb.UInt64(1)}
}

// stat is a metric of an entry, by the VirtualService of the request's route.
func stat(metric string, entry gateway.Entry) *statsv3.Config_Stat {
	_, name := gateway.Scoped(metric)
	return &statsv3.Config_Stat{Name: name, Tags: []*statsv3.Config_Tag{
		{Name: gateway.EntryTag, ValueFormat: entry.Name},
		{Name: gateway.RouteTag, ValueFormat: "%METADATA(ROUTE:istio:config)%"},
	}}
}

// statsLogger logs what passes a filter into metrics, the first of which names it.
func statsLogger(metric string, filter *accesslogv3.AccessLogFilter, config *statsv3.Config) (*accesslogv3.AccessLog, error) {
	// Its successor, stats_scope, is unknown to the istiod and Envoy of today's
	// Istio releases; istiod drops a patch with a field it doesn't know.
	config.StatPrefix, _ = gateway.Scoped(metric) //nolint:staticcheck // see above
	return logTo(metric, filter, config)
}

// logTo is what logs what passes a filter.
func logTo(name string, filter *accesslogv3.AccessLogFilter, config validatable) (*accesslogv3.AccessLog, error) {
	packed, err := pack(name, config)
	if err != nil {
		return nil, err
	}
	return &accesslogv3.AccessLog{Name: name, Filter: filter, ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: packed}}, nil
}
