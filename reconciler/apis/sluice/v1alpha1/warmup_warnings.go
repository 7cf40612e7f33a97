package v1alpha1

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
)

// warnOfWarmUpTimeout warns where a request that wakes the Model may be given up
// before a replica is warm.
func (m *Model) warnOfWarmUpTimeout(ctx context.Context) *apis.FieldError {
	aim, ok := m.aim(ctx)
	timeout := m.Spec.WarmUp.Timeout
	if !ok || timeout == nil || aim.min > 0 || timeout.Seconds() < aim.timeout {
		return nil
	}
	return warning(fmt.Sprintf("a warm-up may take %s, but a request that wakes the Model from zero replicas is given up after "+
		"timeoutSeconds, which is %g; lower the one, raise the other, or keep a replica", timeout.Duration, aim.timeout),
		pathWarmUp+".timeout", m.autoscalingPath(autoscaling.MinScaleAnnotationKey))
}

// warnOfSilentProbes warns of a probe that only the kubelet can run: whether the model has
// loaded by it, the container beside it can't know.
func (m *Model) warnOfSilentProbes() *apis.FieldError {
	if len(m.Spec.WarmUp.Requests) == 0 && m.Spec.WarmUp.Corpus == nil {
		return nil
	}
	var warnings *apis.FieldError
	for _, own := range []struct {
		field string
		probe *corev1.Probe
	}{{"startupProbe", m.Spec.Container.StartupProbe}, {"readinessProbe", m.Spec.Container.ReadinessProbe}} {
		if own.probe != nil && !WarmUpCanAsk(own.field, own.probe) {
			warnings = warnings.Also(warning("the warm-up can't ask this probe, so it begins once the model listens, tries again whatever "+
				"answer it gets until one round was answered right, and its timeout has to do for what is left of loading; "+
				"probe the model by httpGet or grpc, or raise warmUp.timeout", "spec.container."+own.field, pathWarmUp+".timeout"))
		}
	}
	return warnings
}

// WarmUpCanAsk tells whether a probe of the model, by its field, can be asked from beside
// it. A command runs in the model's container, and an address is the node's to reach; but
// of a readinessProbe Knative asks the pod itself, whatever its host.
func WarmUpCanAsk(field string, p *corev1.Probe) bool {
	elsewhere := p.HTTPGet != nil && p.HTTPGet.Host != "" || p.TCPSocket != nil && p.TCPSocket.Host != ""
	return p.Exec == nil && (field == "readinessProbe" || !elsewhere)
}
