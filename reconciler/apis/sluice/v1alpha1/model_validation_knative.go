package v1alpha1

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingconfig "knative.dev/serving/pkg/apis/config"
)

// validateAutoscaling checks spec.autoscaling, then lets Knative check the
// annotations that will reach the revision, wherever each of them comes from.
func (m *Model) validateAutoscaling(ctx context.Context) *apis.FieldError {
	errs := m.Spec.Autoscaling.validate().ViaField("spec", "autoscaling")
	reported := map[string]bool{}
	for _, e := range errs.WrappedErrors() {
		for _, path := range e.Paths {
			reported[path] = true
		}
	}
	config := servingconfig.FromContextOrDefaults(ctx).Autoscaler
	for _, e := range autoscaling.ValidateAnnotations(ctx, config, m.AutoscalingAnnotations()).WrappedErrors() {
		found := m.locateAutoscaling(e)
		if !slices.ContainsFunc(found.Paths, func(path string) bool { return reported[path] }) {
			errs = errs.Also(found)
		}
	}
	return errs
}

// locateAutoscaling tells a Model's author where the annotation that Knative
// complains of comes from: an annotation of the Model or a field of its spec.
// Knative puts some of its explanations behind the key in the path.
func (m *Model) locateAutoscaling(e *apis.FieldError) *apis.FieldError {
	found := &apis.FieldError{Message: e.Message, Level: e.Level, Details: e.Details}
	for _, path := range e.Paths {
		key, remark := path, ""
		if end := strings.IndexAny(path, " ="); end >= 0 {
			key, remark = path[:end], strings.TrimSpace(path[end:])
		}
		if remark != "" {
			found.Details = strings.TrimSpace(found.Details + " " + strings.TrimPrefix(remark, "="))
		}
		found.Paths = append(found.Paths, m.autoscalingPath(key))
	}
	return found
}

func (m *Model) autoscalingPath(key string) string {
	spellings := []string{key}
	for _, keys := range autoscalingSpellings {
		if slices.Contains(keys, key) {
			spellings = keys
		}
	}
	for _, spelling := range spellings {
		if _, ok := m.Annotations[spelling]; ok {
			return "metadata.annotations[" + spelling + "]"
		}
	}
	for _, f := range autoscalingFields {
		if f.keys.Key() == key {
			return "spec.autoscaling." + f.path
		}
	}
	return "metadata.annotations[" + key + "]"
}

// validateRevision lets Knative judge the revision that the Model asks for.
// Knative defaults before it validates, so this does too: a probe without a
// handler, or a mounted Secret that isn't marked read-only, is fine.
func (m *Model) validateRevision(ctx context.Context) *apis.FieldError {
	revision := m.Spec.RevisionSpec()
	revision.SetDefaults(apis.WithinSpec(ctx))
	var errs *apis.FieldError
	for _, e := range revision.Validate(apis.WithinSpec(ctx)).WrappedErrors() {
		errs = errs.Also(locateRevision(e))
	}
	return errs.Also(
		m.Spec.validateTimeouts(*revision.TimeoutSeconds).ViaField("spec"),
		m.Spec.validateNamedOnce().ViaField("spec"),
		m.Spec.validateStartupProbe().ViaField("spec"),
	)
}

// validateStartupProbe wants a port. Knative sets the model's in its other probes; in
// this one the API server refuses the Deployment, over and over, without a word in the
// revision's status. A port's name is none, as Knative gives it another.
func (s *ModelSpec) validateStartupProbe() *apis.FieldError {
	probe := s.Container.StartupProbe
	if probe == nil || probe.Exec != nil || probePort(probe) > 0 {
		return nil
	}
	return invalid("container.startupProbe", "names no port by its number; the model's is %d", s.ModelPort())
}

// validateNamedOnce refuses two variables or two pull secrets of one name. Knative
// doesn't, but the API server then refuses the Knative Service, by its schema.
func (s *ModelSpec) validateNamedOnce() *apis.FieldError {
	var errs *apis.FieldError
	variables, secrets := map[string]bool{}, map[string]bool{}
	for i, v := range s.Container.Env {
		if variables[v.Name] {
			errs = errs.Also(invalid(fmt.Sprintf("container.env[%d].name", i), "%q is there already; name each variable once", v.Name))
		}
		variables[v.Name] = true
	}
	for i, secret := range s.ImagePullSecrets {
		if secrets[secret.Name] {
			errs = errs.Also(invalid(fmt.Sprintf("imagePullSecrets[%d].name", i), "%q is there already; name each Secret once", secret.Name))
		}
		secrets[secret.Name] = true
	}
	return errs
}

// locateRevision takes an error about a RevisionSpec to the Model's spec.
func locateRevision(e *apis.FieldError) *apis.FieldError {
	found := &apis.FieldError{Message: e.Message, Level: e.Level, Details: e.Details}
	for _, path := range e.Paths {
		for _, container := range []string{"containers[0]", "containers[*]"} {
			if rest, ok := strings.CutPrefix(path, container); ok {
				path = "container" + rest
			}
		}
		found.Paths = append(found.Paths, "spec."+path)
	}
	if len(found.Paths) == 0 {
		// Of what a Model can say, Knative names no field for volumes of a kind
		// that is switched off, and only for them.
		found.Paths = []string{"spec.volumes"}
	}
	if found.Details == "" {
		found.Details = featureRemedy(found)
	}
	return found
}

// featureRemedy says which of Knative's switches allows the refused field.
func featureRemedy(e *apis.FieldError) string {
	const disallowed = "must not set the field(s)"
	for _, path := range e.Paths {
		feature, known := features[path[strings.LastIndex(path, ".")+1:]]
		if !known || (e.Message != disallowed && path != "spec.volumes") {
			continue
		}
		return "Knative allows it where the cluster's operator has set " + feature +
			" in ConfigMap " + servingconfig.FeaturesConfigName
	}
	return ""
}

// features are Knative's switches, by the last part of the path of what they allow.
var features = map[string]string{
	"nodeSelector":          servingconfig.FeaturePodSpecNodeSelector,
	"tolerations":           servingconfig.FeaturePodSpecTolerations,
	"fieldRef":              servingconfig.FeaturePodSpecFieldRef,
	"resourceFieldRef":      servingconfig.FeaturePodSpecFieldRef,
	"volumes":               "the kubernetes.podspec-volumes-… feature of that kind",
	"emptyDir":              servingconfig.FeaturePodSpecEmptyDir,
	"persistentVolumeClaim": servingconfig.FeaturePodSpecPVClaim,
	"hostPath":              servingconfig.FeaturePodSpecHostPath,
	"csi":                   servingconfig.FeaturePodSpecVolumesCSI,
	"ephemeral":             servingconfig.FeaturePodSpecVolumesEphemeral,
	"image":                 servingconfig.FeaturePodSpecVolumesImage,
	"add":                   servingconfig.FeatureContainerSpecAddCapabilities,
}

// validateTimeouts adds what Knative leaves unchecked: the two timeouts within a
// request. total is the effective timeoutSeconds.
func (s *ModelSpec) validateTimeouts(total int64) *apis.FieldError {
	var errs *apis.FieldError
	for _, timeout := range []struct {
		field   string
		seconds *int64
	}{
		{"responseStartTimeoutSeconds", s.ResponseStartTimeoutSeconds},
		{"idleTimeoutSeconds", s.IdleTimeoutSeconds},
	} {
		switch {
		case timeout.seconds == nil:
		case *timeout.seconds < 0:
			errs = errs.Also(invalid(timeout.field, "must be at least 0 (no bound), is %d", *timeout.seconds))
		case *timeout.seconds > total:
			errs = errs.Also(invalid(timeout.field, "must not be above timeoutSeconds, which is %d, is %d", total, *timeout.seconds))
		}
	}
	return errs
}
