package v1alpha1

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"knative.dev/pkg/apis"
	"knative.dev/pkg/kmap"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingconfig "knative.dev/serving/pkg/apis/config"

	"sluice.dev/sluice/reconciler/apis/spelling"
)

// AutoscalerServed tells whether this cluster has an autoscaler of a class of Knative's.
type AutoscalerServed func(ctx context.Context, class string) (bool, error)

type autoscalerServedKey struct{}

// WithAutoscalerServed lets Model.Validate see which autoscalers there are.
func WithAutoscalerServed(ctx context.Context, served AutoscalerServed) context.Context {
	return context.WithValue(ctx, autoscalerServedKey{}, served)
}

// autoscalerClass is that of the autoscaler that will run.
func (m *Model) autoscalerClass(ctx context.Context) string {
	return AutoscalerClass(m.AutoscalingAnnotations(), servingconfig.FromContextOrDefaults(ctx).Autoscaler.PodAutoscalerClass)
}

// autoscalingKeys are all by which Knative's autoscalers are told something.
var autoscalingKeys = append([]kmap.KeyPriority{
	autoscaling.ActivationScale,
	autoscaling.ClassAnnotation,
	autoscaling.MetricAnnotation,
	autoscaling.TargetAnnotation,
	autoscaling.WindowAnnotation,
}, autoscalingSpellings...)

// canonicalAutoscalingKey is a key of Knative's in today's spelling; "" of one that it
// doesn't know.
func canonicalAutoscalingKey(key string) string {
	for _, keys := range autoscalingKeys {
		if slices.Contains(keys, key) {
			return keys.Key()
		}
	}
	return ""
}

// validateAutoscalingKeys refuses an annotation that nobody knows and that is nearly one
// of Knative's, and warns of any other: a later Knative may know it. What autoscalers of
// other classes know is theirs.
func (m *Model) validateAutoscalingKeys(ctx context.Context) *apis.FieldError {
	if class := m.autoscalerClass(ctx); class != autoscaling.KPA && class != autoscaling.HPA {
		return nil
	}
	names := make([]string, 0, len(autoscalingKeys))
	for _, keys := range autoscalingKeys {
		names = append(names, strings.TrimPrefix(keys.Key(), AutoscalingPrefix))
	}
	var errs *apis.FieldError
	for _, key := range slices.Sorted(maps.Keys(m.Annotations)) {
		name, ours := strings.CutPrefix(key, AutoscalingPrefix)
		if !ours || canonicalAutoscalingKey(key) != "" {
			continue
		}
		path := "metadata.annotations[" + key + "]"
		if meant := spelling.Nearest(name, names); meant != "" {
			errs = errs.Also(invalid(path, "Knative knows no such annotation; did you mean %s%s?", AutoscalingPrefix, meant))
			continue
		}
		errs = errs.Also(warning(fmt.Sprintf("this version of Knative knows no such annotation, so it does nothing; those it knows are %s: %s",
			AutoscalingPrefix+"…", strings.Join(names, ", ")), path))
	}
	return errs
}

// warnOfClass warns of a class of autoscaler that nobody may serve: replicas would never
// come, or never change.
func (m *Model) warnOfClass(ctx context.Context) *apis.FieldError {
	key := autoscaling.ClassAnnotationKey
	class := m.Annotations[key]
	path := "metadata.annotations[" + key + "]"
	switch class {
	case "", autoscaling.KPA:
		return nil
	case autoscaling.HPA:
		served, ok := ctx.Value(autoscalerServedKey{}).(AutoscalerServed)
		if !ok {
			return nil
		}
		if there, err := served(ctx, class); err == nil && !there {
			return warning("this cluster has no autoscaler of this class, and without one the Model never becomes ready: "+
				"have the cluster's operator install Knative's autoscaler-hpa, or take the annotation away", path)
		}
		return nil
	}
	if strings.HasSuffix(class, ".knative.dev") {
		return nil // refused
	}
	return warning(fmt.Sprintf("%q is no class of Knative's: unless this cluster has an autoscaler of that class, the Model never becomes "+
		"ready; Knative's are %s, which is what runs without the annotation, and %s", class, autoscaling.KPA, autoscaling.HPA), path)
}
