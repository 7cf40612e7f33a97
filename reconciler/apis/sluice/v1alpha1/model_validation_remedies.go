package v1alpha1

import (
	"strings"

	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingconfig "knative.dev/serving/pkg/apis/config"
)

// insecureDefault begins what Knative warns of where a container says nothing of its
// rights. It is about what Kubernetes and Knative will do some day and not about the
// Model, of which nothing is wrong, so it isn't passed on.
const insecureDefault = "Kubernetes default value is insecure"

func isInsecureDefault(e *apis.FieldError) bool {
	return e.Level == apis.WarningLevel && strings.HasPrefix(e.Message, insecureDefault)
}

const inConfigDefaults = " in ConfigMap " + servingconfig.DefaultsConfigName + " of Knative Serving's namespace"

// advice is what is to be done about an error of Knative's that says no more than what
// is wrong, at a field of the Model; "" where its message says it.
func advice(e *apis.FieldError) string {
	for _, r := range remedies {
		if strings.Contains(e.Message, r.message) && r.at(e.Paths) {
			return r.says
		}
	}
	return ""
}

// remedies are tried in order. A path that ends in a dot and a word is any that ends so.
var remedies = []knativeRemedy{
	{"expected", "spec.timeoutSeconds", "the most is max-revision-timeout-seconds" + inConfigDefaults + "; have the cluster's operator raise it, " +
		"and the activator's terminationGracePeriodSeconds with it, or answer sooner: idleTimeoutSeconds doesn't end a request that sends something now and then"},
	{"expected", "spec.responseStartTimeoutSeconds", "it can't be above timeoutSeconds, whose most is max-revision-timeout-seconds" + inConfigDefaults},
	{"expected", "spec.idleTimeoutSeconds", "it can't be above timeoutSeconds, whose most is max-revision-timeout-seconds" + inConfigDefaults},
	{"expected", "spec.containerConcurrency", "0 is no bound; the most is container-concurrency-max-limit" + inConfigDefaults},
	{"missing field", ".image", "name the image that serves the model, as in registry.example.com/ranker:1"},
	{"missing field", "spec.container", "say which image serves the model, as in spec.container.image"},
	{"missing field", ".mountPath", "say where the container is to find the volume, as in /weights"},
	{"missing field", ".name", "give it a name"},
	{`"PORT" is a reserved environment variable`, ".name", "Knative sets it to the model's port: leave it out, and say another port in spec.container.ports"},
	{"is a reserved environment variable", ".name", "Knative sets it itself: leave it out"},
	{"is a reserved container name", ".name", "leave it out, or choose another"},
	{"not mounted", ".name", "mount it in spec.container.volumeMounts, or take it out of spec.volumes"},
	{"duplicate volume name", ".name", "name each volume once"},
	{"has no matching volume", ".name", "add a volume of this name to spec.volumes, or correct the name"},
	{"is a reserved path", ".mountPath", "mount it below another path, as in /models"},
	{"must be unique", ".mountPath", "mount one volume at each path"},
	{"invalid value", ".mountPath", "it must begin with /"},
	{"invalid value", ".protocol", "requests come by TCP: leave it out"},
	{"invalid value", ".port", "give the number of the model's port, or leave it out, which is the same"},
	{"invalid value", ".terminationMessagePolicy", "it must be File or FallbackToLogsOnError"},
	{"invalid value", ".medium", `it must be empty or "Memory"`},
	{"expected exactly one, got neither", "", "say which of them"},
	{"expected exactly one, got both", "", "remove all but one"},
	{"failureThreshold is disallowed", ".failureThreshold", "set periodSeconds, at least to 1, or leave both out"},
	{"timeoutSeconds is disallowed", ".timeoutSeconds", "set periodSeconds, at least to 1, or leave both out"},
	{"must not set the field(s)", "", "Knative lets no container have it: leave it out"},
}

// knativeRemedy is what is to be done about errors whose message holds a text, at a path,
// or at one that ends so; "" for any.
type knativeRemedy struct{ message, path, says string }

func (r knativeRemedy) at(paths []string) bool {
	if r.path == "" {
		return true
	}
	for _, path := range paths {
		if path == r.path || strings.HasPrefix(r.path, ".") && strings.HasSuffix(path, r.path) {
			return true
		}
	}
	return false
}

// autoscalingValues are what Knative takes in its annotations, by today's spelling.
var autoscalingValues = map[string]string{
	autoscaling.ClassAnnotationKey:                    "must be " + autoscaling.KPA + ", which is what runs where it is unset, or " + autoscaling.HPA,
	autoscaling.MinScaleAnnotationKey:                 "must be a whole number, at least 0",
	autoscaling.MaxScaleAnnotationKey:                 "must be a whole number, 0 for no bound",
	autoscaling.InitialScaleAnnotationKey:             "must be a whole number, at least 1, or 0 where allow-zero-initial-scale is true in ConfigMap config-autoscaler",
	autoscaling.ActivationScaleKey:                    "must be a whole number, at least 2, within min-scale and max-scale",
	autoscaling.MetricAnnotationKey:                   "must be concurrency or rps; with class " + autoscaling.HPA + " cpu, memory or the name of a metric of one's own",
	autoscaling.TargetAnnotationKey:                   "must be a number, at least 0.01",
	autoscaling.TargetUtilizationPercentageKey:        "must be a number of percent from 1 to 100",
	autoscaling.TargetBurstCapacityKey:                "must be a number of requests, or -1 for any",
	autoscaling.WindowAnnotationKey:                   "must be whole seconds from 6s to 1h, as in 60s",
	autoscaling.ScaleDownDelayAnnotationKey:           "must be whole seconds from 0s to 1h, as in 5m",
	autoscaling.ScaleToZeroPodRetentionPeriodKey:      "must be a time from 0s to 1h, as in 5m",
	autoscaling.PanicWindowPercentageAnnotationKey:    "must be a number of percent of the window, from 1 to 100",
	autoscaling.PanicThresholdPercentageAnnotationKey: "must be a number of percent of the target, from 110 to 1000",
	autoscaling.MetricAggregationAlgorithmKey:         "must be linear or weighted-exponential",
}
