package v1alpha1

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	imagename "github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"knative.dev/pkg/apis"
)

// validateContainers checks all of a Model's.
func (s *ModelSpec) validateContainers() *apis.FieldError {
	var errs *apis.FieldError
	containers := s.containers()
	for _, path := range slices.Sorted(maps.Keys(containers)) {
		errs = errs.Also(validateContainer(*containers[path]).ViaField(path))
	}
	return errs
}

// validateContainer checks what Knative leaves to Kubernetes, whose API server then
// refuses the revision's Deployment, or whose kubelet its pods, over and over.
func validateContainer(c corev1.Container) *apis.FieldError {
	errs := validateImage(c.Image).Also(
		validateResourceAmounts(c.Resources).ViaField("resources"),
		validateVariables(c.Env).ViaField("env"),
		validateProbeNumbers("livenessProbe", c.LivenessProbe),
		validateProbeNumbers("readinessProbe", c.ReadinessProbe),
		validateProbeNumbers("startupProbe", c.StartupProbe),
		validateUser(c.SecurityContext).ViaField("securityContext"),
		warnOfCommand(c.Command),
	)
	if c.Name != "" {
		for _, problem := range validation.IsDNS1123Label(c.Name) {
			errs = errs.Also(invalid("name", "%q can't be the name of a container: %s; a Model's needs none", c.Name, problem))
		}
	}
	switch c.ImagePullPolicy {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		errs = errs.Also(invalid("imagePullPolicy", "must be %s, %s or %s, is %q", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever, c.ImagePullPolicy))
	}
	return errs
}

// unparsedImage begins what Knative says of what can't be an image. It leaves out why.
const unparsedImage = "Failed to parse image reference"

var fullDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// validateImage wants what Knative does, and says how what can't be an image came to be
// none.
func validateImage(image string) *apis.FieldError {
	if image == "" {
		return nil // Knative says so
	}
	_, err := imagename.ParseReference(image, imagename.WeakValidation)
	scheme, rest, hasScheme := strings.Cut(image, "://")
	repository, digest, hasDigest := strings.Cut(image, "@")
	switch {
	case hasScheme && scheme == "ko":
		return invalid("image", "%q is a Go package and no image yet; ko apply builds it, kubectl apply doesn't: "+
			"apply the manifest by ko apply -f, or by ko resolve -f … | kubectl apply -f -", image)
	case hasScheme:
		return invalid("image", "%q begins with a scheme; leave it out: %s", image, rest)
	case err == nil:
		return nil
	case strings.ContainsAny(image, " \t\r\n"):
		return invalid("image", "%q holds white space; take it away", image)
	case hasDigest && !fullDigest.MatchString(digest):
		return invalid("image", "%q ends in no digest, which is sha256: and 64 hexadecimal digits; crane digest prints an image's", image)
	case repository != strings.ToLower(repository):
		return invalid("image", "%q can't name an image: but for a tag, names are in lower case, as in %s", image, strings.ToLower(image))
	}
	return invalid("image", "%q can't name an image, which is as in registry.example.com/ranker:1: %v", image, err)
}

const (
	// leastMemory is below what any container can start with. It is there for those who
	// mean mebibytes.
	leastMemory = "1Mi"
	// manyCPUs are more than a node has, and what is written by who means thousandths.
	manyCPUs = "256"
)

// validateResourceAmounts goes by Kubernetes' rules: a request is within its limit, and
// what can't be shared is whole, and limited to what is requested.
func validateResourceAmounts(r corev1.ResourceRequirements) *apis.FieldError {
	errs := validateAmounts("requests", r.Requests).Also(validateAmounts("limits", r.Limits))
	for _, name := range slices.Sorted(maps.Keys(r.Requests)) {
		request := r.Requests[name]
		limit, limited := r.Limits[name]
		switch {
		case !limited && indivisible(name):
			errs = errs.Also(invalid(fmt.Sprintf("limits[%s]", name), "is not set, and has to be where it is requested, as it can't be shared: %s", &request))
		case limited && indivisible(name) && limit.Cmp(request) != 0:
			errs = errs.Also(invalid(fmt.Sprintf("requests[%s]", name), "is %s and must be the limit, which is %s, as it can't be shared; leave it out", &request, &limit))
		case limited && limit.Cmp(request) < 0:
			errs = errs.Also(invalid(fmt.Sprintf("limits[%s]", name), "is %s and must be at least what is requested, which is %s", &limit, &request))
		}
	}
	return errs
}

func validateAmounts(field string, list corev1.ResourceList) *apis.FieldError {
	var errs *apis.FieldError
	for _, name := range slices.Sorted(maps.Keys(list)) {
		errs = errs.Also(validateAmount(fmt.Sprintf("%s[%s]", field, name), name, list[name]))
	}
	return errs
}

func validateAmount(field string, name corev1.ResourceName, q resource.Quantity) *apis.FieldError {
	bytes := name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage
	whole := resource.NewQuantity(q.Value(), q.Format)
	parted := q.Cmp(*whole) != 0
	switch {
	case q.Sign() < 0:
		return invalid(field, "must be at least 0, is %s", &q)
	case bytes && parted:
		return invalid(field, "must be whole bytes, is %s, which is less than one or a part of one; %si is mebibytes", &q, strings.Replace(q.String(), "m", "M", 1))
	case name == corev1.ResourceMemory && q.Sign() > 0 && q.Cmp(resource.MustParse(leastMemory)) < 0:
		return invalid(field, "is %s, which is bytes; must be at least %s, as in %sMi", &q, leastMemory, &q)
	case indivisible(name) && parted:
		return invalid(field, "must be a whole number, is %s: it can't be shared", &q)
	case indivisible(name) && !strings.Contains(string(name), "/"):
		return invalid(field, "there is no such resource; there are cpu, memory, ephemeral-storage, and those of devices, as in nvidia.com/gpu")
	case name == corev1.ResourceCPU && q.Cmp(resource.MustParse(manyCPUs)) > 0:
		return warning(fmt.Sprintf("is %s CPUs, which no node is likely to have; %sm is thousandths", &q, &q), field)
	}
	return nil
}

// indivisible are devices and whatever else Kubernetes doesn't share among pods.
func indivisible(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return false
	}
	return !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func validateVariables(env []corev1.EnvVar) *apis.FieldError {
	var errs *apis.FieldError
	for i, v := range env {
		if strings.Contains(v.Name, "=") {
			errs = errs.Also(invalid("name", `%q holds a "="; put what is behind it into value`, v.Name).ViaIndex(i))
		} else if v.Name != "" && strings.ContainsAny(v.Name, " \t\n") {
			errs = errs.Also(invalid("name", "%q holds white space, which no name can", v.Name).ViaIndex(i))
		}
		if v.Value != "" && v.ValueFrom != nil {
			errs = errs.Also(apis.ErrMultipleOneOf("value", "valueFrom").ViaIndex(i))
		}
	}
	return errs
}

// validateProbeNumbers wants of a probe what Kubernetes does. It takes 0 for a default.
func validateProbeNumbers(field string, p *corev1.Probe) *apis.FieldError {
	if p == nil {
		return nil
	}
	errs := atLeast("initialDelaySeconds", &p.InitialDelaySeconds, 0).Also(
		atLeast("timeoutSeconds", &p.TimeoutSeconds, 0),
		atLeast("periodSeconds", &p.PeriodSeconds, 0),
		atLeast("failureThreshold", &p.FailureThreshold, 0),
		atLeast("successThreshold", &p.SuccessThreshold, 0),
	)
	if field == "readinessProbe" {
		errs = nil // Knative checks these
	} else if p.SuccessThreshold > 1 {
		errs = errs.Also(invalid("successThreshold", "must be 1 of this probe, is %d; only a readinessProbe can want more", p.SuccessThreshold))
	}
	if get := p.HTTPGet; get != nil {
		switch scheme := get.Scheme; {
		case scheme != "" && scheme != corev1.URISchemeHTTP && scheme != corev1.URISchemeHTTPS:
			errs = errs.Also(invalid("httpGet.scheme", "must be %s or %s, is %q", corev1.URISchemeHTTP, corev1.URISchemeHTTPS, scheme))
		case get.Path != "" && !strings.HasPrefix(get.Path, "/"):
			errs = errs.Also(invalid("httpGet.path", "must begin with /, is %q", get.Path))
		}
	}
	if port := probePort(p); port < 0 || port > 65535 {
		errs = errs.Also(invalid(apis.CurrentField, "its port must be from 1 to 65535, is %d; without one it is the model's", port))
	}
	if p.Exec != nil && len(p.Exec.Command) == 0 {
		errs = errs.Also(invalid("exec.command", "is empty; say what is to be run"))
	}
	return errs.ViaField(field)
}

func validateUser(sc *corev1.SecurityContext) *apis.FieldError {
	if sc != nil && sc.RunAsNonRoot != nil && *sc.RunAsNonRoot && sc.RunAsUser != nil && *sc.RunAsUser == 0 {
		return invalid("runAsUser", "is 0, which is root, where runAsNonRoot is true; choose another user, or unset one of them")
	}
	return nil
}

// warnOfCommand warns of a line where words are wanted: no shell takes it apart.
func warnOfCommand(command []string) *apis.FieldError {
	if len(command) == 1 && strings.Contains(strings.TrimSpace(command[0]), " ") {
		return warning(fmt.Sprintf("%q is looked for as a file of that whole name: no shell takes it apart; give each word an item of its own, as in %q",
			command[0], strings.Fields(command[0])), "command")
	}
	return nil
}
