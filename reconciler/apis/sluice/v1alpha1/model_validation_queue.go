package v1alpha1

import (
	"context"
	"time"

	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
)

// activatorAlways is the target burst capacity that keeps the activator in the path of
// all requests. It holds up to 10,000 of them for a revision, and gives replicas no more
// than containerConcurrency each; queue-proxy holds ten times containerConcurrency.
const activatorAlways = "-1"

// validateQueue holds a Model whose requests may wait to what makes them wait, and bears
// it: replicas that work on so many at a time, the activator, and timeouts that are longer.
func (m *Model) validateQueue(ctx context.Context) *apis.FieldError {
	queue := m.Spec.Limit.Queue
	if queue == nil {
		return nil
	}
	revision := m.Spec.RevisionSpec()
	revision.SetDefaults(apis.WithinSpec(ctx))
	var errs *apis.FieldError
	if queue.Wait.Duration <= 0 {
		errs = errs.Also(invalid("spec.limit.queue.wait", "must be above 0s, is %s", queue.Wait.Duration))
	}
	if *revision.ContainerConcurrency < 1 {
		errs = errs.Also(invalid("spec.containerConcurrency", "must be at least 1 where spec.limit.queue is set: "+
			"without it, all that wait go to replicas at once"))
	}
	for field, seconds := range map[string]*int64{
		"timeoutSeconds":              revision.TimeoutSeconds,
		"responseStartTimeoutSeconds": revision.ResponseStartTimeoutSeconds,
		"idleTimeoutSeconds":          revision.IdleTimeoutSeconds,
	} {
		if seconds == nil {
			continue
		}
		// 0 is no bound.
		if bound := time.Duration(*seconds) * time.Second; bound > 0 && bound <= queue.Wait.Duration {
			errs = errs.Also(invalid("spec."+field, "is %s and must be above spec.limit.queue.wait, which is %s: "+
				"the time that a request waits counts", bound, queue.Wait.Duration))
		}
	}
	annotations := m.AutoscalingAnnotations()
	if given := annotations[autoscaling.TargetBurstCapacityKey]; given != activatorAlways {
		errs = errs.Also(invalid(m.autoscalingPath(autoscaling.TargetBurstCapacityKey), "must be %s or unset where spec.limit.queue "+
			"is set, is %s: requests wait in the activator", activatorAlways, given))
	}
	if class := m.autoscalerClass(ctx); class != autoscaling.KPA {
		errs = errs.Also(invalid("spec.limit.queue", "needs the autoscaler's class %s, is %s: with others no request passes the activator, "+
			"where they wait", autoscaling.KPA, class))
	}
	return errs
}
