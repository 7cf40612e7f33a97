package v1alpha1

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"knative.dev/pkg/apis"
	servingconfig "knative.dev/serving/pkg/apis/config"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

// initErrors are the errors about init containers, which Knative reports as if they were
// about the others: those that go with them.
func initErrors(ctx context.Context, template *servingv1.RevisionTemplateSpec) map[string]bool {
	if len(template.Spec.InitContainers) == 0 {
		return nil
	}
	errs := map[string]bool{}
	for _, e := range template.Validate(ctx).WrappedErrors() {
		errs[e.Error()] = true
	}
	without := template.DeepCopy()
	without.Spec.InitContainers = nil
	for _, e := range without.Validate(ctx).WrappedErrors() {
		delete(errs, e.Error())
	}
	return errs
}

var indexedContainer = regexp.MustCompile(`^containers\[(\d+|\*)\]`)

// locateRevision takes an error about the spec of a template to the Model's.
func locateRevision(ctx context.Context, e *apis.FieldError, initial bool) *apis.FieldError {
	if isInsecureDefault(e) || e.Message == unparsedImage {
		return nil // see there: one isn't passed on, and validateImage says the other
	}
	found := &apis.FieldError{Message: e.Message, Level: e.Level, Details: e.Details}
	for _, path := range e.Paths {
		path = strings.TrimPrefix(path, "spec.")
		if at := indexedContainer.FindStringSubmatch(path); at != nil {
			path = containerPath(at[1], initial) + path[len(at[0]):]
		}
		found.Paths = append(found.Paths, "spec."+path)
	}
	feature := ""
	if len(e.Paths) == 0 {
		path, of := unlocated(e.Message)
		found.Paths, feature = []string{path}, of
	} else if e.Message == disallowed {
		feature = featureOf(found.Paths)
	}
	if found.Details == "" {
		found.Details = remedy(ctx, found.Paths, feature)
	}
	if found.Details == "" {
		found.Details = advice(found)
	}
	return found
}

// containerPath is that of a container of the template, by its index there.
func containerPath(index string, initial bool) string {
	i, err := strconv.Atoi(index)
	switch {
	case initial:
		return "initContainers[" + index + "]"
	case err != nil || i == 0:
		return "container"
	}
	return fmt.Sprintf("sidecars[%d]", i-1)
}

const (
	// disallowed is what Knative says of each field that it doesn't let through.
	disallowed = "must not set the field(s)"

	featureMultiContainer        = "multi-container"
	featureMultiContainerProbing = "multi-container-probing"
	featureVolumeWrite           = "kubernetes.podspec-persistent-volume-write"
)

// unlocated is what is switched off where Knative says so and names no field, by its words.
func unlocated(message string) (path, feature string) {
	for _, of := range []struct{ words, path, feature string }{
		{"multi-container is off", "spec.sidecars", featureMultiContainer},
		{"init-containers is off", "spec.initContainers", servingconfig.FeaturePodSpecInitContainers},
		{"Volume Mount Propagation", "spec.container.volumeMounts", servingconfig.FeaturePodSpecVolumesMountPropagation},
		{"Persistent volume claim", "spec.volumes", servingconfig.FeaturePodSpecPVClaim},
		{"Persistent volume write", "spec.volumes", featureVolumeWrite},
		{"EmptyDir volume", "spec.volumes", servingconfig.FeaturePodSpecEmptyDir},
		{"HostPath volume", "spec.volumes", servingconfig.FeaturePodSpecHostPath},
		{"CSI volume", "spec.volumes", servingconfig.FeaturePodSpecVolumesCSI},
		{"Ephemeral volume", "spec.volumes", servingconfig.FeaturePodSpecVolumesEphemeral},
		{"Image volume", "spec.volumes", servingconfig.FeaturePodSpecVolumesImage},
	} {
		if strings.Contains(message, of.words) {
			return of.path, of.feature
		}
	}
	return "spec", ""
}

// podFeatures are Knative's switches for fields of the pod, by the first part of their path.
var podFeatures = map[string]string{
	"affinity":                  servingconfig.FeaturePodSpecAffinity,
	"dnsConfig":                 servingconfig.FeaturePodSpecDNSConfig,
	"dnsPolicy":                 servingconfig.FeaturePodSpecDNSPolicy,
	"hostAliases":               servingconfig.FeaturePodSpecHostAliases,
	"hostIPC":                   servingconfig.FeaturePodSpecHostIPC,
	"hostNetwork":               servingconfig.FeaturePodSpecHostNetwork,
	"hostPID":                   servingconfig.FeaturePodSpecHostPID,
	"initContainers":            servingconfig.FeaturePodSpecInitContainers,
	"nodeSelector":              servingconfig.FeaturePodSpecNodeSelector,
	"priorityClassName":         servingconfig.FeaturePodSpecPriorityClassName,
	"runtimeClassName":          servingconfig.FeaturePodSpecRuntimeClassName,
	"schedulerName":             servingconfig.FeaturePodSpecSchedulerName,
	"securityContext":           servingconfig.FeaturePodSpecSecurityContext,
	"shareProcessNamespace":     servingconfig.FeaturePodSpecShareProcessNamespace,
	"tolerations":               servingconfig.FeaturePodSpecTolerations,
	"topologySpreadConstraints": servingconfig.FeaturePodSpecTopologySpreadConstraints,
}

// innerFeatures are those for fields below them, by the last part.
var innerFeatures = map[string]string{
	"add":                   servingconfig.FeatureContainerSpecAddCapabilities,
	"fieldRef":              servingconfig.FeaturePodSpecFieldRef,
	"resourceFieldRef":      servingconfig.FeaturePodSpecFieldRef,
	"mountPropagation":      servingconfig.FeaturePodSpecVolumesMountPropagation,
	"persistentVolumeClaim": servingconfig.FeaturePodSpecPVClaim,
	"emptyDir":              servingconfig.FeaturePodSpecEmptyDir,
	"hostPath":              servingconfig.FeaturePodSpecHostPath,
	"csi":                   servingconfig.FeaturePodSpecVolumesCSI,
	"ephemeral":             servingconfig.FeaturePodSpecVolumesEphemeral,
	"image":                 servingconfig.FeaturePodSpecVolumesImage,
}

// featureOf is Knative's switch for the first field that has one; "" for none.
func featureOf(paths []string) string {
	for _, path := range paths {
		parts := strings.Split(strings.TrimPrefix(path, "spec."), ".")
		first, _, _ := strings.Cut(parts[0], "[")
		if feature, ok := innerFeatures[parts[len(parts)-1]]; ok {
			return feature
		}
		if feature, ok := podFeatures[first]; ok {
			return feature
		}
		if first == "sidecars" && len(parts) > 1 && strings.HasSuffix(parts[1], "Probe") {
			return featureMultiContainerProbing
		}
	}
	return ""
}

// remedy says by what a refused field is allowed, where it can be.
func remedy(ctx context.Context, paths []string, feature string) string {
	if feature != "" && off(servingconfig.FromContextOrDefaults(ctx).Features, feature) {
		return "Knative allows it where the cluster's operator has set " + feature + ": enabled in ConfigMap " + servingconfig.FeaturesConfigName
	}
	switch field := strings.TrimPrefix(strings.Join(paths, ""), "spec."); {
	case field == "resourceClaims" || strings.HasSuffix(field, ".resources.claims"):
		return "this version of Knative hands no claims on to pods, whatever its features; ask for devices in container.resources.limits"
	case field == "automountServiceAccountToken":
		return "Knative lets it be set to false only"
	}
	return ""
}

// off tells whether a feature isn't enabled. Which field of Features it is, Knative's own
// reading of it shows.
func off(features *servingconfig.Features, feature string) bool {
	marked, err := servingconfig.NewFeaturesConfigFromMap(map[string]string{feature: string(servingconfig.Allowed)})
	if err != nil {
		return true
	}
	of, in := reflect.ValueOf(marked).Elem(), reflect.ValueOf(features).Elem()
	for i := range of.NumField() {
		if of.Field(i).Interface() == servingconfig.Allowed {
			return in.Field(i).Interface() != servingconfig.Enabled
		}
	}
	return true
}
