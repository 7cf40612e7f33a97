package v1alpha1

import (
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/kmap"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// AutoscalingPrefix begins the key of every annotation by which Knative's
// autoscaler is told something about one revision.
const AutoscalingPrefix = autoscaling.GroupName + "/"

// RevisionSpec is what the Model says in Knative's words: the spec of the revision
// that serves it, with nothing defaulted that Knative defaults on every write.
// Service links it defaults only when a Service is created: a template written anew
// would differ from the first one, so they are always off.
func (s *ModelSpec) RevisionSpec() servingv1.RevisionSpec {
	copied := s.DeepCopy()
	return servingv1.RevisionSpec{
		PodSpec: corev1.PodSpec{
			Containers:         []corev1.Container{copied.Container},
			Volumes:            copied.Volumes,
			ServiceAccountName: copied.ServiceAccountName,
			ImagePullSecrets:   copied.ImagePullSecrets,
			NodeSelector:       copied.NodeSelector,
			Tolerations:        copied.Tolerations,
			EnableServiceLinks: new(bool),
		},
		ContainerConcurrency:        copied.ContainerConcurrency,
		TimeoutSeconds:              copied.TimeoutSeconds,
		ResponseStartTimeoutSeconds: copied.ResponseStartTimeoutSeconds,
		IdleTimeoutSeconds:          copied.IdleTimeoutSeconds,
	}
}

// AutoscalingAnnotations is the effective set of autoscaling.knative.dev
// annotations: spec.autoscaling, over which the Model's own annotations win.
// Knative's older spellings (minScale) come out in today's (min-scale).
//
// The metric is written even where it is Knative's default, because taking the
// annotation away from a revision doesn't take effect; but not for an autoscaler
// of another class, to which it would mean something else.
func (m *Model) AutoscalingAnnotations() map[string]string {
	out := map[string]string{}
	for _, f := range autoscalingFields {
		if value, ok := f.value(&m.Spec.Autoscaling); ok {
			out[f.keys.Key()] = value
		}
	}
	own := m.ownAutoscalingAnnotations()
	if class := own[autoscaling.ClassAnnotationKey]; class != "" && class != autoscaling.KPA {
		delete(out, autoscaling.MetricAnnotationKey)
	}
	maps.Copy(out, own)
	return out
}

// ownAutoscalingAnnotations is the part of the Model's annotations that is meant
// for the autoscaler, in today's spelling. As in Knative, today's spelling wins
// where both are there.
func (m *Model) ownAutoscalingAnnotations() map[string]string {
	own := map[string]string{}
	for key, value := range m.Annotations {
		if strings.HasPrefix(key, AutoscalingPrefix) {
			own[key] = value
		}
	}
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
