package v1alpha1

import (
	"context"
	"strings"

	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	"knative.dev/pkg/apis"
)

// maxFilters bounds the filters of one InferenceTrigger, nested ones among them, and maxFilterText
// each of their texts: they are evaluated for each event of the Broker.
const maxFilters, maxFilterText = 100, 4 << 10

// validateFilters checks them by Knative's own rules, and within bounds.
func (s *InferenceTriggerSpec) validateFilters(ctx context.Context) *apis.FieldError {
	if s.Filter != nil && len(s.Filter.Attributes) > 0 && len(s.Filters) > 0 {
		return invalid("filter", "has no effect beside filters; write it there, as in filters: [{exact: {type: …}}]")
	}
	if count, longest := measure(s.Filters); count > maxFilters || longest > maxFilterText {
		return invalid("filters", "must be at most %d, of at most %d bytes each, are %d of up to %d; filter by fewer", maxFilters, maxFilterText, count, longest)
	}
	errs := eventingv1.ValidateAttributeFilters(s.Filter).ViaField("filter")
	for i := range s.Filters {
		for _, e := range eventingv1.ValidateSubscriptionAPIFilter(ctx, &s.Filters[i]).WrappedErrors() {
			if len(e.Paths) == 0 { // of several dialects Knative doesn't say where
				e.Paths = []string{apis.CurrentField}
				e.Details = "write each in a filter of its own, which all have to be passed, or join them by all, any or not"
			}
			errs = errs.Also(e.ViaFieldIndex("filters", i))
		}
	}
	if s.Filter != nil {
		for name := range s.Filter.Attributes {
			if name == "data" {
				errs = errs.Also(invalid("filter.attributes[data]", "is no attribute; what an event carries can't be filtered by"))
			}
		}
	}
	return errs
}

func measure(filters []eventingv1.SubscriptionsAPIFilter) (count, longest int) {
	for i := range filters {
		f := &filters[i]
		count, longest = count+1, max(longest, len(f.CESQL))
		for _, values := range []map[string]string{f.Exact, f.Prefix, f.Suffix} {
			for name, value := range values {
				longest = max(longest, len(name)+len(value))
			}
		}
		below := append(append([]eventingv1.SubscriptionsAPIFilter{}, f.All...), f.Any...)
		if f.Not != nil {
			below = append(below, *f.Not)
		}
		n, length := measure(below)
		count, longest = count+n, max(longest, length)
	}
	return count, longest
}

// withDeliveryFeatures leaves what of a delivery takes a feature to Knative, who knows which are
// on: what it refuses, the status says.
func withDeliveryFeatures(ctx context.Context) context.Context {
	return feature.ToContext(ctx, feature.Flags{feature.DeliveryTimeout: feature.Enabled, feature.DeliveryRetryAfter: feature.Enabled})
}

// knativeRemedies are of fields of which Knative says that they are wrong, and not how they would
// be right, by the end of their paths.
var knativeRemedies = map[string]string{
	"backoffDelay":   "write a duration as ISO 8601 has it, as in PT1S for a second",
	"timeout":        "write a duration as ISO 8601 has it, as in PT30S for thirty seconds",
	"retryAfterMax":  "write a duration as ISO 8601 has it, as in PT1M for a minute",
	"backoffPolicy":  "choose exponential or linear",
	"retry":          "write how often an event is delivered again, from 0",
	"format":         "choose json or binary, or leave it out",
	"ref":            "name an object by apiVersion, kind and name, or give a uri alone",
	"uri":            "write a URL as in http://host/path, or a path beside a ref",
	"deadLetterSink": "name an object by ref, or give a uri",
	"sink":           "name an object by ref, or give a uri",
	"kind":           "say of what kind it is, as in Service",
	"apiVersion":     "say of which version, as in serving.knative.dev/v1",
	"name":           "say what it is called",
	"cesql":          "write an expression of CESQL, as in type LIKE 'com.example.%'",
}

// withRemedies adds to errors without one what would be right.
func withRemedies(errs *apis.FieldError) *apis.FieldError {
	var out *apis.FieldError
	for _, e := range errs.WrappedErrors() {
		if e.Details == "" && len(e.Paths) > 0 && !strings.Contains(e.Message, ";") {
			path := e.Paths[0]
			e.Details = knativeRemedies[path[strings.LastIndexByte(path, '.')+1:]]
		}
		out = out.Also(e)
	}
	return out
}
