package v1alpha1

import (
	"cmp"
	"maps"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/kmap"
	"knative.dev/serving/pkg/apis/autoscaling"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// AutoscalingPrefix begins the key of every annotation by which Knative's
// autoscaler is told something about one revision.
const AutoscalingPrefix = autoscaling.GroupName + "/"

// RevisionSpec is what the Model says in Knative's words: the spec of the revision
// that serves it, with nothing defaulted that Knative defaults on every write.
func (s *ModelSpec) RevisionSpec() servingv1.RevisionSpec {
	copied := s.DeepCopy()
	return servingv1.RevisionSpec{
		PodSpec:                     copied.podSpec(),
		ContainerConcurrency:        copied.ContainerConcurrency,
		TimeoutSeconds:              copied.TimeoutSeconds,
		ResponseStartTimeoutSeconds: copied.ResponseStartTimeoutSeconds,
		IdleTimeoutSeconds:          copied.IdleTimeoutSeconds,
	}
}

// AutoscalingAnnotations is the effective set of autoscaling.knative.dev
// annotations: spec.autoscaling, over which the Model's own annotations win.
// Knative's older spellings (minScale) come out in today's (min-scale). Where requests
// may wait, they do so in the activator.
//
// The metric is written even where it is Knative's default, because taking the
// annotation away from a revision doesn't take effect; but not for an autoscaler
// of another class, to which it would mean something else.
func (m *Model) AutoscalingAnnotations() map[string]string { return m.AutoscalingAnnotationsBy("") }

// AutoscalingAnnotationsBy is that set where what names no class has an autoscaler of
// this one; "" is Knative's own.
func (m *Model) AutoscalingAnnotationsBy(unnamed string) map[string]string {
	out := map[string]string{}
	for _, f := range autoscalingFields {
		if value, ok := f.value(&m.Spec.Autoscaling); ok {
			out[f.keys.Key()] = value
		}
	}
	own := m.ownAutoscalingAnnotations()
	if AutoscalerClass(own, unnamed) != autoscaling.KPA {
		delete(out, autoscaling.MetricAnnotationKey)
	}
	if m.Spec.Limit.Queue != nil && m.Spec.Autoscaling.TargetBurstCapacity == nil {
		out[autoscaling.TargetBurstCapacityKey] = activatorAlways
	}
	maps.Copy(out, own)
	return out
}

// AutoscalerClass is the class of the autoscaler that annotations name, or else unnamed;
// "" is Knative's own.
func AutoscalerClass(annotations map[string]string, unnamed string) string {
	return cmp.Or(annotations[autoscaling.ClassAnnotationKey], unnamed, autoscaling.KPA)
}

// ownAutoscalingAnnotations is the part of the Model's annotations that is meant
// for the autoscaler, in today's spelling. As in Knative, today's spelling wins
// where both are there.
func (m *Model) ownAutoscalingAnnotations() map[string]string {
	own := m.annotationsForAutoscalers()
	for _, keys := range autoscalingSpellings {
		_, value, ok := keys.Get(own)
		for _, key := range keys {
			delete(own, key)
		}
		if ok {
			own[keys.Key()] = value
		}
	}
	return own
}

// ProgressDeadline is what the Model's annotation of Knative's gives a revision to become
// ready; 0 where it has none. Another one makes a revision.
func (m *Model) ProgressDeadline() time.Duration {
	_, text, _ := serving.ProgressDeadlineAnnotation.Get(m.Annotations)
	deadline, err := time.ParseDuration(text)
	if err != nil || deadline < time.Second {
		return 0 // the webhook refuses it
	}
	return min(deadline.Truncate(time.Second), maxProgressDeadline)
}

// autoscalingField ties a field of spec.autoscaling to Knative's annotation.
type autoscalingField struct {
	keys  kmap.KeyPriority
	path  string
	value func(*AutoscalingSpec) (string, bool)
}

var autoscalingFields = []autoscalingField{
	{autoscaling.MinScaleAnnotation, "minReplicas", func(a *AutoscalingSpec) (string, bool) { return formatInt(a.MinReplicas) }},
	{autoscaling.MaxScaleAnnotation, "maxReplicas", func(a *AutoscalingSpec) (string, bool) { return formatInt(a.MaxReplicas) }},
	{autoscaling.InitialScaleAnnotation, "initialReplicas", func(a *AutoscalingSpec) (string, bool) { return formatInt(a.InitialReplicas) }},
	{autoscaling.MetricAnnotation, "metric", func(a *AutoscalingSpec) (string, bool) { return string(a.Metric), a.Metric != "" }},
	{autoscaling.TargetAnnotation, "target", func(a *AutoscalingSpec) (string, bool) { return formatInt(a.Target) }},
	{autoscaling.TargetUtilizationPercentageAnnotation, "targetUtilization", func(a *AutoscalingSpec) (string, bool) { return formatInt(a.TargetUtilization) }},
	{autoscaling.WindowAnnotation, "window", func(a *AutoscalingSpec) (string, bool) { return formatDuration(a.Window) }},
	{autoscaling.ScaleDownDelayAnnotation, "scaleDownDelay", func(a *AutoscalingSpec) (string, bool) { return formatDuration(a.ScaleDownDelay) }},
	{autoscaling.ScaleToZeroPodRetentionPeriodAnnotation, "scaleToZeroRetention", func(a *AutoscalingSpec) (string, bool) { return formatDuration(a.ScaleToZeroRetention) }},
	{autoscaling.TargetBurstCapacityAnnotation, "targetBurstCapacity", func(a *AutoscalingSpec) (string, bool) { return formatInt(a.TargetBurstCapacity) }},
}

// autoscalingSpellings are the annotations that Knative reads under several keys.
var autoscalingSpellings = []kmap.KeyPriority{
	autoscaling.InitialScaleAnnotation,
	autoscaling.MaxScaleAnnotation,
	autoscaling.MetricAggregationAlgorithmAnnotation,
	autoscaling.MinScaleAnnotation,
	autoscaling.PanicThresholdPercentageAnnotation,
	autoscaling.PanicWindowPercentageAnnotation,
	autoscaling.ScaleDownDelayAnnotation,
	autoscaling.ScaleToZeroPodRetentionPeriodAnnotation,
	autoscaling.TargetBurstCapacityAnnotation,
	autoscaling.TargetUtilizationPercentageAnnotation,
}

func formatInt(v *int32) (string, bool) {
	if v == nil {
		return "", false
	}
	return strconv.FormatInt(int64(*v), 10), true
}

func formatDuration(v *metav1.Duration) (string, bool) {
	if v == nil {
		return "", false
	}
	return v.Duration.String(), true
}
