package v1alpha1

import (
	"context"
	"fmt"
	"strings"
	"time"

	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
)

const (
	minTrial        = 10 * time.Second
	maxTrial        = 24 * time.Hour
	minTrialLatency = time.Millisecond
	// minKeptTrial is the shortest trial that can be found to be better.
	minKeptTrial = time.Minute
)

// CheckTrial says why what spec.trial says can't be tried, as far as that shows without the
// rest of the Model; nil where it can, or there is none.
func (m *Model) CheckTrial() *apis.FieldError {
	return m.Spec.Trial.validate().ViaField("spec", "trial")
}

func (t *TrialSpec) validate() *apis.FieldError {
	if t == nil {
		return nil
	}
	errs := t.Autoscaling.validateTried().ViaField("autoscaling").Also(t.Unless.validate().ViaField("unless"), t.validateKeep())
	switch d := t.For.Duration; {
	case d == 0:
		err := apis.ErrMissingField("for")
		err.Details = "say how long it lasts at most, as in 10m"
		errs = errs.Also(err)
	case d < minTrial || d > maxTrial:
		errs = errs.Also(invalid("for", "must be from %s to %s, is %s", minTrial, maxTrial, d))
	}
	if (t.Autoscaling == nil || *t.Autoscaling == AutoscalingSpec{}) && (t.Limit == nil || *t.Limit == LimitSpec{}) {
		errs = errs.Also(invalid(apis.CurrentField, "tries nothing: say which fields of autoscaling or limit have other values meanwhile, "+
			"as in autoscaling: {target: 5}"))
	}
	return errs
}

// validateKeep holds a trial that is to be kept by itself to what that is decided by.
func (t *TrialSpec) validateKeep() *apis.FieldError {
	var errs *apis.FieldError
	switch t.Keep {
	case "":
		return nil
	case TrialKeepIfBetter:
	default:
		return invalid("keep", "must be %s, is %q; leave it out to keep nothing by itself", TrialKeepIfBetter, t.Keep)
	}
	if t.Unless == nil || t.Unless.Latency == nil {
		err := apis.ErrMissingField("unless.latency")
		err.Details = fmt.Sprintf("keep: %s goes by how long requests may take: say that, as in latency: {above: 250ms}, or leave keep out", t.Keep)
		errs = errs.Also(err)
	}
	if d := t.For.Duration; d >= minTrial && d < minKeptTrial {
		errs = errs.Also(invalid("for", "must be at least %s, is %s, as keep is %s: in less nothing is found out; or leave keep out", minKeptTrial, d, t.Keep))
	}
	return errs
}

// validateTried refuses what no revision that runs takes up.
func (a *AutoscalingSpec) validateTried() *apis.FieldError {
	if a == nil {
		return nil
	}
	var errs *apis.FieldError
	if a.InitialReplicas != nil {
		errs = errs.Also(invalid("initialReplicas", "can't be tried: it is for the start of a new revision, and a trial makes none; leave it out"))
	}
	if a.ScaleDownDelay != nil {
		errs = errs.Also(invalid("scaleDownDelay", "can't be tried: Knative's autoscaler takes up another one with a new revision only, "+
			"and a trial makes none; leave it out"))
	}
	return errs
}

func (u *TrialUnless) validate() *apis.FieldError {
	if u == nil {
		return nil
	}
	if u.ErrorPercent == nil && u.Latency == nil {
		return invalid(apis.CurrentField, "sets no bound: set errorPercent or latency, or leave it out")
	}
	var errs *apis.FieldError
	if e := u.ErrorPercent; e != nil && (*e < 1 || *e > 100) {
		errs = errs.Also(invalid("errorPercent", "must be from 1 to 100 percent, is %d", *e))
	}
	return errs.Also(u.Latency.validate().ViaField("latency"))
}

func (l *TrialLatency) validate() *apis.FieldError {
	if l == nil {
		return nil
	}
	var errs *apis.FieldError
	if p := l.Percentile; p != nil && (*p < 1 || *p > 99) {
		errs = errs.Also(invalid("percentile", "must be from 1 to 99, is %d", *p))
	}
	switch d := l.Above.Duration; {
	case d == 0:
		err := apis.ErrMissingField("above")
		err.Details = "say how long a request may take, as in 250ms"
		errs = errs.Also(err)
	case d < minTrialLatency:
		errs = errs.Also(invalid("above", "must be at least %s, is %s", minTrialLatency, d))
	}
	return errs
}

// validateTrial checks what a Model tries: by itself, and as the Model is meanwhile.
func (m *Model) validateTrial(ctx context.Context) *apis.FieldError {
	if m.Spec.Trial == nil {
		return nil
	}
	if before, ok := apis.GetBaseline(ctx).(*Model); ok && before.Status.Trial.IsOver(m.Spec.Trial) {
		return m.CheckTrial() // it stays in the spec, and doesn't begin again
	}
	return m.CheckTrial().Also(
		m.validateTrialAlone(ctx),
		m.validateTriedMetric(ctx),
		m.validateUnless(ctx),
		m.validateWhileTried(ctx),
	)
}

// validateTrialAlone refuses a trial in place of one that runs: what the second is compared
// with would not be what the Model says.
func (m *Model) validateTrialAlone(ctx context.Context) *apis.FieldError {
	before, ok := apis.GetBaseline(ctx).(*Model)
	if !ok || !apis.IsInUpdate(ctx) || !before.Status.Trial.Runs(before.Spec.Trial) || before.Status.Trial.IsOf(m.Spec.Trial) {
		return nil
	}
	until := "it is over"
	if end := before.Status.Trial.EndTime; end != nil {
		until = end.UTC().Format(time.RFC3339)
	}
	return invalid("spec.trial", "another trial runs, and one can't be tried within another: take spec.trial away first, which ends it, or wait until %s", until)
}

// validateTriedMetric refuses a metric where it would mean nothing to the autoscaler.
func (m *Model) validateTriedMetric(ctx context.Context) *apis.FieldError {
	tried, class := m.Spec.Trial.Autoscaling, m.autoscalerClass(ctx)
	if tried == nil || tried.Metric == "" || class == autoscaling.KPA {
		return nil
	}
	return invalid("spec.trial.autoscaling.metric", "means nothing to the autoscaler's class %s: leave it out, or try the annotation %s "+
		"on the Model", class, autoscaling.MetricAnnotationKey)
}

// validateUnless holds bounds to what can be watched, and passed.
func (m *Model) validateUnless(ctx context.Context) *apis.FieldError {
	unless := m.Spec.Trial.Unless
	if unless == nil {
		return nil
	}
	var errs *apis.FieldError
	if m.Tried().Spec.Limit.RequestsPerSecondPerReplica == nil {
		errs = errs.Also(invalid("spec.trial.unless", "is watched with the Model's limit, and it has none: set %s", pathRate))
	}
	revision := m.Spec.RevisionSpec()
	revision.SetDefaults(apis.WithinSpec(ctx))
	longest := time.Duration(*revision.TimeoutSeconds) * time.Second
	if l := unless.Latency; l != nil && longest > 0 && l.Above.Duration >= longest {
		errs = errs.Also(invalid("spec.trial.unless.latency.above", "must be below timeoutSeconds, which is %s and ends each request, is %s",
			longest, l.Above.Duration))
	}
	return errs
}

// validateWhileTried holds the Model with what it tries to all that it is held to itself,
// and says what is new of that.
func (m *Model) validateWhileTried(ctx context.Context) *apis.FieldError {
	var errs *apis.FieldError
	for _, e := range refusedAnew(m.Tried().validateTunable(ctx), m.validateTunable(ctx)) {
		errs = errs.Also(m.locateTried(e))
	}
	return errs
}

// validateTunable checks what can be tried.
func (m *Model) validateTunable(ctx context.Context) *apis.FieldError {
	return m.validateAutoscaling(ctx).Also(
		m.Spec.Limit.validate().ViaField("spec", "limit"),
		m.validateQueue(ctx),
		m.warnOfContradictions(ctx),
	)
}

// locateTried says where in spec.trial an error of the Model as it is meanwhile comes from.
// Where it is about what isn't tried, that stands in the message.
func (m *Model) locateTried(e *apis.FieldError) *apis.FieldError {
	found := &apis.FieldError{Message: e.Message, Details: e.Details, Level: e.Level}
	tried := false
	for _, path := range e.Paths {
		if m.Spec.Trial.tries(path) {
			path, tried = "spec.trial."+strings.TrimPrefix(path, "spec."), true
		}
		found.Paths = append(found.Paths, path)
	}
	if !tried {
		found.Message = fmt.Sprintf("%s (of %s, while the trial runs)", e.Message, strings.Join(e.Paths, ", "))
		found.Paths = []string{"spec.trial"}
	}
	return found
}

// tries tells whether a field of the Model's spec has another value meanwhile.
func (t *TrialSpec) tries(path string) bool {
	parts := strings.Split(path, ".")
	if len(parts) < 3 || parts[0] != "spec" {
		return false
	}
	_, tried := t.values()[parts[1]][parts[2]]
	return tried
}
