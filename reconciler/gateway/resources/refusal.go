package resources

import (
	"fmt"
	"net/http"
	"strconv"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	refusalMessage = "More requests arrive than the Model's replicas can serve now."
	refusalAdvice  = "Retry after the time that Retry-After tells, and double the pause each time you are refused again."
	// grpcContent is how Envoy itself knows the requests that it answers as gRPC.
	grpcContent = `application/grpc(\+.*)?`
	// pauses is the longest pause that callers are told, in seconds.
	pauses = 8
)

// refusals replaces what Envoy says of itself by an answer for whoever is refused:
// JSON, and in a gRPC status' message plain text. Only answers that the gateway makes
// pass here, and of those only limits' have this status; so a Model's own 429 stays
// as it is. The response flag that would tell a limit's answer by name is not set
// yet when Envoy looks here.
func refusals() (*hcmv3.LocalReplyConfig, error) {
	body, err := structpb.NewStruct(map[string]any{
		"status": http.StatusTooManyRequests, "reason": "RateLimited", "message": refusalMessage, "advice": refusalAdvice,
	})
	if err != nil {
		return nil, fmt.Errorf("building the body of refusals: %w", err)
	}
	return &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{{
		Filter:       allOf(tooManyRequests(), contentType(grpcContent)),
		HeadersToAdd: refusalHeaders(),
		BodyFormatOverride: &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{
			TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: refusalMessage + " " + refusalAdvice}},
		}},
	}, {
		Filter:       tooManyRequests(),
		HeadersToAdd: refusalHeaders(),
		BodyFormatOverride: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: body}, ContentType: "application/json",
		},
	}}}, nil
}

// refusalHeaders tell a pause, as Retry-After and in the form of the IETF's draft of
// RateLimit headers: nothing is left of the Model's quota, and there is some again after
// so many seconds. Envoy's own x-ratelimit headers would tell of one bucket of one pod,
// in answers that aren't refused too, and hold back clients that go by them for no reason.
//
// A page of any origin may read them and the body: they say nothing of the Model but that
// it is busy. The answer to a request with credentials stays unreadable, for which its
// origin would have to be named. The Model's own answers have what the Model gives them.
func refusalHeaders() []*corev3.HeaderValueOption {
	header := func(key, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: key, Value: value},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}
	}
	return []*corev3.HeaderValueOption{
		header("retry-after", pause()),
		header("ratelimit", `"model";r=0;t=`+pause()),
		header("access-control-allow-origin", "*"),
		header("access-control-expose-headers", "Retry-After, RateLimit"),
	}
}

// pause is a number of seconds from 1 to pauses, in the form in which Envoy works it out
// for each refusal: callers who were refused together are not to come back together. It
// goes by the first digit of the request's id, which Envoy draws at random where the
// caller brings none; whoever brings one chooses a pause for himself alone.
func pause() string {
	const digits = "0123456789abcdef"
	expression := strconv.Itoa(pauses)
	for i := pauses - 1; i > 0; i-- {
		expression = fmt.Sprintf("request.id < '%c' ? %d : (%s)", digits[i*len(digits)/pauses], i, expression)
	}
	return "%CEL(" + expression + ")%"
}

func tooManyRequests() *accesslogv3.AccessLogFilter {
	return status(accesslogv3.ComparisonFilter_EQ, http.StatusTooManyRequests, "sluice.refused_status")
}

// status passes answers by their status, which is 0 where there is none. Nothing sets the
// key, which Envoy wants all the same.
func status(by accesslogv3.ComparisonFilter_Op, code uint32, key string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{
		StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: &accesslogv3.ComparisonFilter{
			Op: by, Value: &corev3.RuntimeUInt32{DefaultValue: code, RuntimeKey: key},
		}},
	}}
}

func contentType(pattern string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{
		HeaderFilter: &accesslogv3.HeaderFilter{Header: &routev3.HeaderMatcher{
			Name: "content-type",
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: pattern}},
			}},
		}},
	}}
}
