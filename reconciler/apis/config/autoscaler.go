package config

import (
	corev1 "k8s.io/api/core/v1"
	autoscaler "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
)

// AutoscalerName is the name of the ConfigMap, in Knative Serving's namespace, by which
// its autoscaler goes where a revision doesn't say otherwise.
const AutoscalerName = autoscaler.ConfigName

// Autoscaler reads it as get finds it. Where it is missing or can't be read, it goes by
// Knative's defaults, as Knative does where it is missing; Knative's webhook refuses one
// that can't be read.
func Autoscaler(get func(name string) (*corev1.ConfigMap, error)) *autoscalerconfig.Config {
	if found, err := get(AutoscalerName); err == nil {
		if read, err := autoscaler.NewConfigFromConfigMap(found); err == nil {
			return read
		}
	}
	read, err := autoscaler.NewConfigFromMap(nil)
	if err != nil {
		return &autoscalerconfig.Config{} // Knative's own defaults are good
	}
	return read
}
