package v1alpha1

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"knative.dev/pkg/apis"
)

// Of a lower objective no error rate is six times what it leaves room for, by which alerts go;
// a higher one leaves room for less than an error a day at one request a second, of which no
// rate can be told.
const (
	minObjectivePercent = "90"
	maxObjectivePercent = "99.999"
)

// latencyBounds are those of the histogram of Models' requests, of which each threshold has to
// be one: between them requests aren't counted.
var latencyBounds = []time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, time.Minute,
}

// LatencyBounds are the thresholds that a latency objective may have, the shortest first.
func LatencyBounds() []time.Duration { return slices.Clone(latencyBounds) }

// CheckObjective says why what spec.objective says can't be held to; nil where it can, or
// there is none.
func (m *Model) CheckObjective() *apis.FieldError {
	return m.Spec.Objective.validate().ViaField("spec", "objective")
}

// validateObjective checks an objective by itself, and with what ends each request.
func (m *Model) validateObjective() *apis.FieldError {
	errs := m.CheckObjective()
	if errs != nil || m.Spec.Objective == nil || m.Spec.Objective.Latency == nil || m.Spec.TimeoutSeconds == nil {
		return errs
	}
	longest := time.Duration(*m.Spec.TimeoutSeconds) * time.Second
	if d := m.Spec.Objective.Latency.Threshold.Duration; longest > 0 && d > longest {
		return invalid("spec.objective.latency.threshold", "must not be above timeoutSeconds, which is %s and ends each request, is %s", longest, d)
	}
	return nil
}

func (o *ObjectiveSpec) validate() *apis.FieldError {
	if o == nil {
		return nil
	}
	if o.Availability == nil && o.Latency == nil {
		return invalid(apis.CurrentField, "promises nothing: set availability or latency, or leave it out")
	}
	return validatePercent("availability", o.Availability).Also(o.Latency.validate().ViaField("latency"))
}

func validatePercent(field string, percent *resource.Quantity) *apis.FieldError {
	if percent == nil || percent.Cmp(resource.MustParse(minObjectivePercent)) >= 0 && percent.Cmp(resource.MustParse(maxObjectivePercent)) <= 0 {
		return nil
	}
	remedy := ""
	if share := percent.AsApproximateFloat64(); share > 0 && share < 1 {
		remedy = "; it is no share: write 99.9, not 0.999"
	}
	return invalid(field, "must be from %s to %s percent, is %s%s", minObjectivePercent, maxObjectivePercent, decimal(*percent), remedy)
}

func (l *ObjectiveLatency) validate() *apis.FieldError {
	if l == nil {
		return nil
	}
	errs := validatePercent("percent", l.Percent)
	if l.Percent == nil {
		err := apis.ErrMissingField("percent")
		err.Details = "say how many in a hundred requests are to be answered in that time, as in 99"
		errs = errs.Also(err)
	}
	switch d := l.Threshold.Duration; {
	case d == 0:
		err := apis.ErrMissingField("threshold")
		err.Details = "say in what time a request is to be answered, as in 250ms"
		errs = errs.Also(err)
	case !slices.Contains(latencyBounds, d):
		errs = errs.Also(invalid("threshold", "must be a time by which requests are counted: %s; is %s", nearest(d), d))
	}
	return errs
}

// nearest names the two bounds that a time is between, or the one that it is beyond.
func nearest(d time.Duration) string {
	i, _ := slices.BinarySearch(latencyBounds, d)
	switch i {
	case 0:
		return fmt.Sprintf("%s is the shortest", latencyBounds[0])
	case len(latencyBounds):
		return fmt.Sprintf("%s is the longest", latencyBounds[i-1])
	}
	return fmt.Sprintf("%s or %s", latencyBounds[i-1], latencyBounds[i])
}
