package v1alpha1

import (
	"context"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	validationutil "k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
)

const (
	minRatePerReplica  = "0.00001"
	maxRatePerReplica  = "1000000"
	maxBurst           = time.Minute
	maxHeadroomPercent = 1000
)

// Validate implements apis.Validatable. Every error names its field and says what
// would be right; what would work but can't be meant is a warning. Container, pod
// and timeouts go by Knative's own rules, with the features and defaults of the
// cluster that the context carries (see serving/pkg/apis/config).
func (m *Model) Validate(ctx context.Context) *apis.FieldError {
	// What was accepted once must stay deletable, and its status writable, even if
	// Knative's configuration has become stricter since.
	if apis.IsInStatusUpdate(ctx) || m.DeletionTimestamp != nil {
		return nil
	}
	return m.validateName().Also(
		m.validateMetadata(ctx),
		m.validateAutoscaling(ctx),
		m.Spec.Limit.validate().ViaField("spec", "limit"),
		m.validateQueue(ctx),
		m.validateTrial(ctx),
		m.validateObjective(),
		m.Spec.Rollout.validate().ViaField("spec", "rollout"),
		m.validateTraffic(),
		m.Spec.SplitBy.validate().ViaField("spec", "splitBy"),
		m.validateRevision(ctx),
		m.validateWarmUp(ctx),
		m.validateCaps(ctx),
		m.warnOfContradictions(ctx),
		m.warnOfChanges(ctx),
		m.warnOfRollout(ctx),
	)
}

// SupportedVerbs says when the webhook is asked: not on a deletion, which must work
// while the webhook doesn't.
func (*Model) SupportedVerbs() []admissionregistrationv1.OperationType {
	return []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update}
}

// SupportedSubResources says of which parts the webhook is asked: of the Model and its
// scale, not of its status, which the controller writes and a webhook could only hold up.
func (*Model) SupportedSubResources() []string { return []string{"", "/" + ScaleSubresource} }

// validateName holds the name to what every object made from it can bear: the
// Knative Service, its revisions, and the first label of the Model's host.
func (m *Model) validateName() *apis.FieldError {
	field, name, prefix := "metadata.name", m.Name, false
	if name == "" && m.GenerateName != "" {
		field, name, prefix = "metadata.generateName", m.GenerateName, true
	}
	var errs *apis.FieldError
	for _, problem := range validation.NameIsDNS1035Label(name, prefix) {
		errs = errs.Also(invalid(field, "the name is the first label of the Model's host and %q can't be that: %s", name, problem))
	}
	return errs
}

// longestGenerated is a name as long as Kubernetes makes it of a generateName: what comes
// before its five random characters is cut where the whole would be longer than a label.
func longestGenerated(generateName string) string {
	const random = "xxxxx"
	return generateName[:min(len(generateName), validationutil.DNS1035LabelMaxLength-len(random))] + random
}

func (l *LimitSpec) validate() *apis.FieldError {
	errs := l.validateRate()
	if b := l.Burst; b != nil && (b.Duration <= 0 || b.Duration > maxBurst) {
		errs = errs.Also(invalid("burst", "must be above 0s and at most %s, is %s", maxBurst, b.Duration))
	}
	if h := l.HeadroomPercent; h != nil && (*h < 0 || *h > maxHeadroomPercent) {
		errs = errs.Also(invalid("headroomPercent", "must be from 0 to %d, is %d", maxHeadroomPercent, *h))
	}
	switch l.Policy {
	case "", PolicyDemand, PolicyReady:
	default:
		errs = errs.Also(invalid("policy", "must be %s or %s, is %q", PolicyDemand, PolicyReady, l.Policy))
	}
	return errs
}

func (l *LimitSpec) validateRate() *apis.FieldError {
	const field = "requestsPerSecondPerReplica"
	q := l.RequestsPerSecondPerReplica
	if q == nil {
		err := apis.ErrMissingField(field)
		err.Details = "say how many requests per second one warm replica serves within its latency goal; " +
			"with autoscaling.metric rps it defaults to autoscaling.target"
		return err
	}
	if q.Cmp(resource.MustParse(minRatePerReplica)) < 0 || q.Cmp(resource.MustParse(maxRatePerReplica)) > 0 {
		return invalid(field, "must be from %s to %s requests per second, is %s", minRatePerReplica, maxRatePerReplica, decimal(*q))
	}
	return nil
}

// validate checks each field by itself. What Knative checks of their combination,
// and of annotations, is added by validateAutoscaling.
func (a *AutoscalingSpec) validate() *apis.FieldError {
	errs := atLeast("minReplicas", a.MinReplicas, 0).Also(
		atLeast("maxReplicas", a.MaxReplicas, 0),
		atLeast("initialReplicas", a.InitialReplicas, 0),
		atLeast("target", a.Target, 1),
		atLeast("targetBurstCapacity", a.TargetBurstCapacity, -1),
		within("window", a.Window, autoscaling.WindowMin),
		within("scaleDownDelay", a.ScaleDownDelay, 0),
		within("scaleToZeroRetention", a.ScaleToZeroRetention, 0),
	)
	if u := a.TargetUtilization; u != nil && (*u < 1 || *u > 100) {
		errs = errs.Also(invalid("targetUtilization", "must be from 1 to 100 percent, is %d", *u))
	}
	switch a.Metric {
	case "", MetricConcurrency, MetricRPS:
	default:
		errs = errs.Also(invalid("metric", "must be %s or %s, is %q; other metrics can be given by annotation %s",
			MetricConcurrency, MetricRPS, a.Metric, autoscaling.MetricAnnotationKey))
	}
	return errs.Also(a.validateBounds())
}

func (a *AutoscalingSpec) validateBounds() *apis.FieldError {
	if a.MaxReplicas == nil || *a.MaxReplicas <= 0 {
		return nil
	}
	var errs *apis.FieldError
	if a.MinReplicas != nil && *a.MinReplicas > *a.MaxReplicas {
		errs = errs.Also(invalid("minReplicas", "is %d, must not be above maxReplicas, which is %d", *a.MinReplicas, *a.MaxReplicas))
	}
	if a.InitialReplicas != nil && *a.InitialReplicas > *a.MaxReplicas {
		errs = errs.Also(invalid("initialReplicas", "is %d, must not be above maxReplicas, which is %d", *a.InitialReplicas, *a.MaxReplicas))
	}
	return errs
}

func atLeast(field string, value *int32, least int32) *apis.FieldError {
	if value == nil || *value >= least {
		return nil
	}
	return invalid(field, "must be at least %d, is %d", least, *value)
}

// within holds a duration to Knative's longest one, and to whole seconds, which
// is all that its annotations express.
func within(field string, value *metav1.Duration, least time.Duration) *apis.FieldError {
	if value == nil {
		return nil
	}
	if d := value.Duration; d < least || d > autoscaling.WindowMax || d%time.Second != 0 {
		return invalid(field, "must be whole seconds from %s to %s, is %s", least, autoscaling.WindowMax, d)
	}
	return nil
}

func invalid(field, format string, args ...any) *apis.FieldError {
	return &apis.FieldError{Message: fmt.Sprintf("invalid value: "+format, args...), Paths: []string{field}}
}
