package v1alpha1

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/kmeta"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingconfig "knative.dev/serving/pkg/apis/config"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/metadata"
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
	annotations := m.AutoscalingAnnotations()
	// Knative checks a PodAutoscaler by its class, which it gives each that says none.
	annotations[autoscaling.ClassAnnotationKey] = m.autoscalerClass(ctx)
	for _, e := range autoscaling.ValidateAnnotations(ctx, config, annotations).WrappedErrors() {
		found := m.locateAutoscaling(e)
		if !slices.ContainsFunc(found.Paths, func(path string) bool { return reported[path] }) {
			errs = errs.Also(found)
		}
	}
	return errs.Also(m.validateAutoscalingKeys(ctx), m.warnOfClass(ctx))
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
		if found.Details == "" && !strings.HasPrefix(e.Message, "expected") {
			found.Details = autoscalingValues[canonicalAutoscalingKey(key)]
		}
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

// validateRevision lets Knative judge the revision that the Model asks for, and the
// annotations that it has but for the autoscaler's.
// Knative defaults before it validates, so this does too: a probe without a
// handler, or a mounted Secret that isn't marked read-only, is fine.
func (m *Model) validateRevision(ctx context.Context) *apis.FieldError {
	revision := m.Spec.RevisionSpec()
	revision.SetDefaults(apis.WithinSpec(ctx))
	template := &servingv1.RevisionTemplateSpec{Spec: revision}
	template.Annotations = kmeta.UnionMaps(metadata.ForReplicas(m).Annotations, m.AutoscalingAnnotations())
	ofInit := initErrors(ctx, template)
	var errs *apis.FieldError
	for _, e := range template.Validate(ctx).WrappedErrors() {
		switch {
		case about(e, AutoscalingPrefix): // validateAutoscaling has them, with where they come from
		case about(e, "metadata."):
			errs = errs.Also(locateAnnotation(e))
		default:
			errs = errs.Also(locateRevision(ctx, e, ofInit[e.Error()]))
		}
	}
	return errs.Also(
		m.Spec.validateTimeouts(*revision.TimeoutSeconds).ViaField("spec"),
		m.Spec.validateNamedOnce().ViaField("spec"),
		m.Spec.validateSidecars().ViaField("spec"),
		m.Spec.validateContainers().ViaField("spec"),
		m.Spec.validateStartupProbe().ViaField("spec"),
		m.validateProgressDeadline(),
	)
}

func about(e *apis.FieldError, part string) bool {
	return slices.ContainsFunc(e.Paths, func(path string) bool { return strings.Contains(path, part) })
}

// locateAnnotation writes a path as Models' authors do, and adds what Knative leaves out.
func locateAnnotation(e *apis.FieldError) *apis.FieldError {
	found := &apis.FieldError{Message: e.Message, Level: e.Level, Details: e.Details}
	for _, path := range e.Paths {
		found.Paths = append(found.Paths, strings.ReplaceAll(path, ".[", "["))
	}
	if about(e, "-resource-") && found.Details == "" {
		found.Details = "give a quantity, as in 100m of CPU or 64Mi of memory"
	}
	return found
}

// maxProgressDeadline is far below what a Deployment's seconds hold.
const maxProgressDeadline = 7 * 24 * time.Hour

// validateProgressDeadline holds the annotation to what Knative takes in a template.
func (m *Model) validateProgressDeadline() *apis.FieldError {
	key, text, ok := serving.ProgressDeadlineAnnotation.Get(m.Annotations)
	if !ok {
		return nil
	}
	if deadline, err := time.ParseDuration(text); err != nil || deadline < time.Second || deadline > maxProgressDeadline || deadline%time.Second != 0 {
		return invalid("metadata.annotations["+key+"]", "must be whole seconds from 1s to %s, as in 20m, is %q", maxProgressDeadline, text)
	}
	return nil
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
	for path, container := range s.containers() {
		variables := map[string]bool{}
		for i, v := range container.Env {
			if variables[v.Name] {
				errs = errs.Also(invalid(fmt.Sprintf("%s.env[%d].name", path, i), "%q is there already; name each variable once", v.Name))
			}
			variables[v.Name] = true
		}
	}
	secrets := map[string]bool{}
	for i, secret := range s.ImagePullSecrets {
		if secrets[secret.Name] {
			errs = errs.Also(invalid(fmt.Sprintf("imagePullSecrets[%d].name", i), "%q is there already; name each Secret once", secret.Name))
		}
		secrets[secret.Name] = true
	}
	return errs
}

// validateSidecars keeps the port to the container that serves.
func (s *ModelSpec) validateSidecars() *apis.FieldError {
	var errs *apis.FieldError
	for i := range s.Sidecars {
		if len(s.Sidecars[i].Ports) > 0 {
			errs = errs.Also(invalid(fmt.Sprintf("sidecars[%d].ports", i), "to Knative the container with a port is the one that serves, "+
				"and that is spec.container: take the ports away, a container can listen without"))
		}
	}
	return errs
}

// containers are all of a Model's, by their paths.
func (s *ModelSpec) containers() map[string]*corev1.Container {
	all := map[string]*corev1.Container{"container": &s.Container}
	for i := range s.Sidecars {
		all[fmt.Sprintf("sidecars[%d]", i)] = &s.Sidecars[i]
	}
	for i := range s.InitContainers {
		all[fmt.Sprintf("initContainers[%d]", i)] = &s.InitContainers[i]
	}
	return all
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
