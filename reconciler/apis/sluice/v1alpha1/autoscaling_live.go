package v1alpha1

import (
	"slices"
	"strconv"
	"time"

	"knative.dev/pkg/kmap"
	"knative.dev/serving/pkg/apis/autoscaling"
)

// liveness says of one of Knative's annotations whether its own autoscaler, class kpa, takes
// up another value on a revision that is there.
type liveness struct {
	// keys are its spellings, today's first.
	keys kmap.KeyPriority
	// settled is why another value does nothing on a revision that is there; "" of one that
	// is live.
	settled string
	// once is true of what is over as soon as a revision has started: none that runs lacks it.
	once bool
	// same tells whether two values, "" for none, mean the same; nil where the text counts.
	same func(a, b string) bool
}

// autoscalingLiveness has all of Knative's, as read in serving v0.50.0. A PodAutoscaler has
// its revision's annotations at once; what its reconciler makes of them anew each time is
// live: the Decider's spec (pkg/reconciler/autoscaling/kpa/resources, MakeDecider), the
// Metric's (pkg/reconciler/autoscaling/resources, MakeMetric), the bounds and the last
// replica's time (pkg/reconciler/autoscaling/kpa, scaler.scale). A metric's removal isn't
// taken up, which is why a Model's revisions always have one.
var autoscalingLiveness = []liveness{
	{keys: autoscaling.ActivationScale},
	{keys: autoscaling.MaxScaleAnnotation},
	{keys: autoscaling.MetricAnnotation},
	{keys: autoscaling.MinScaleAnnotation},
	{keys: autoscaling.PanicThresholdPercentageAnnotation},
	{keys: autoscaling.PanicWindowPercentageAnnotation},
	{keys: autoscaling.ScaleToZeroPodRetentionPeriodAnnotation},
	{keys: autoscaling.TargetAnnotation},
	{keys: autoscaling.TargetBurstCapacityAnnotation},
	{keys: autoscaling.TargetUtilizationPercentageAnnotation},
	{keys: autoscaling.WindowAnnotation},
	{
		// Each class has a controller, which leaves what it made of a PodAutoscaler that has
		// become another's.
		keys: autoscaling.ClassAnnotation, settled: "the autoscaler that a revision was made for keeps it",
	},
	{
		// pkg/reconciler/autoscaling/kpa: not once the scale target is initialized.
		keys: autoscaling.InitialScaleAnnotation, settled: "it is how many replicas a revision starts with", once: true,
	},
	{
		// pkg/autoscaler/metrics, newCollection: the kind of its buckets.
		keys: autoscaling.MetricAggregationAlgorithmAnnotation, settled: "the autoscaler gathers a revision's demand in one way from its start",
		same: func(a, b string) bool { return weighs(a) == weighs(b) },
	},
	{
		// pkg/autoscaler/scaling, New: the window over which scales are held, which Update
		// leaves as it is.
		keys: autoscaling.ScaleDownDelayAnnotation, settled: "the autoscaler holds a revision's scale for a time that is fixed at its start",
		same: sameTime,
	},
}

// weighs tells whether an algorithm weighs what is newer more than what is older.
func weighs(algorithm string) bool {
	return algorithm == autoscaling.MetricAggregationAlgorithmWeightedExponential ||
		algorithm == autoscaling.MetricAggregationAlgorithmWeightedExponentialAlt
}

// sameTime is true of 1m and 60s. None is the cluster's, which may be any.
func sameTime(a, b string) bool {
	one, err := time.ParseDuration(a)
	other, failed := time.ParseDuration(b)
	if err != nil || failed != nil {
		return a == b
	}
	return one == other
}

// livenessOf finds an annotation in whatever spelling. One that this version of Knative
// doesn't know is handed on as if it were live.
func livenessOf(key string) liveness {
	for _, l := range autoscalingLiveness {
		if slices.Contains(l.keys, key) {
			return l
		}
	}
	return liveness{keys: kmap.KeyPriority{key}}
}

// AutoscalingSettled is why another value of an autoscaling annotation does nothing on a
// revision that is there; "" where it takes effect.
func AutoscalingSettled(key string) string { return livenessOf(key).settled }

// LiveAutoscaling are the annotations of which another value takes effect on revisions that
// are there, in today's spelling, sorted.
func LiveAutoscaling() []string {
	var live []string
	for _, l := range autoscalingLiveness {
		if l.settled == "" {
			live = append(live, l.keys.Key())
		}
	}
	slices.Sort(live)
	return live
}

// means tells whether two values of an annotation, "" for none, mean the same.
func (l liveness) means(a, b string) bool {
	if l.same != nil {
		return l.same(a, b)
	}
	return a == b
}

// AwaitsRevision are the fields and annotations of the Model that a revision, by the
// annotations that it was made with, doesn't go by and can't take up: sorted, none where it
// goes by all of them. The class of what names none is unnamed, "" for Knative's own.
//
// What only Knative's own autoscaler knows doesn't count for a revision of another class, nor
// for a Model of another: until its class is settled, nothing else is.
func (m *Model) AwaitsRevision(made map[string]string, unnamed string) []string {
	wanted := m.AutoscalingAnnotationsBy(unnamed)
	has, asked := AutoscalerClass(made, unnamed), AutoscalerClass(wanted, unnamed)
	if has != asked {
		return []string{m.autoscalingPath(autoscaling.ClassAnnotationKey)}
	}
	if has != autoscaling.KPA {
		return nil
	}
	var fields []string
	for _, l := range autoscalingLiveness {
		_, value, _ := l.keys.Get(made)
		if l.settled == "" || l.once || l.keys.Key() == autoscaling.ClassAnnotationKey || l.means(value, wanted[l.keys.Key()]) {
			continue
		}
		fields = append(fields, m.autoscalingPath(l.keys.Key()))
	}
	slices.Sort(fields)
	return fields
}

// quoted is a value in words; "" is none.
func quoted(value string) string {
	if value == "" {
		return "unset"
	}
	return strconv.Quote(value)
}
