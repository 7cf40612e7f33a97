package v1alpha1

import (
	"context"
	"fmt"
	"net/textproto"
	"net/url"
	"strings"
	"time"
	"unicode"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
)

const (
	// MaxBatchName leaves room in a host name's 63 characters for what a pod of a run is
	// named, "<name>-work-<shard>", as Kubernetes does with CronJobs.
	MaxBatchName     = 52
	maxBatchWorkers  = 100
	maxBatchRows     = 10_000
	maxBatchAttempts = 100
	maxBatchHeaders  = 8 << 10
	minBatchTimeout  = 100 * time.Millisecond
	maxBatchTimeout  = time.Hour
	minBatchDelay    = 10 * time.Millisecond
	maxBatchDelay    = time.Hour
	minBatchDeadline = time.Second
	// longestBatch bounds times that count in days.
	longestBatch = 10 * 365 * 24 * time.Hour
	// leastBatchMemory is what a pod of a run needs for what it holds at a time.
	leastBatchMemory = "64Mi"
	// leastBatchDisk is what one needs on its own disk for answers until they are put.
	leastBatchDisk = "128Mi"
)

// givenHeaders are those that the connection, or who asks, decides about.
var givenHeaders = map[string]bool{
	"Connection": true, "Content-Length": true, "Host": true, "Keep-Alive": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true, "Expect": true, "Idempotency-Key": true, "Sluice-Batch": true,
}

// Validate implements apis.Validatable. Every error names its field and says what would be
// right. What needs the cluster to tell, the Batch's status says.
func (b *Batch) Validate(ctx context.Context) *apis.FieldError {
	// What was accepted once must stay deletable, and its status writable.
	if apis.IsInStatusUpdate(ctx) || b.DeletionTimestamp != nil {
		return nil
	}
	s := &b.Spec
	if before, ok := apis.GetBaseline(ctx).(*Batch); ok && apis.IsInUpdate(ctx) && before.Status.HasBegun() {
		// What can't change was accepted, and must not hold up what can.
		return s.validateUnchanged(&before.Spec).Also(s.validateBounds(), before.warnOfEnd(s)).ViaField("spec")
	}
	return b.validateName().Also(s.validateModel().Also(
		s.Input.validate().ViaField("input"),
		s.Format.validate().ViaField("format"),
		s.validateItems(),
		s.Request.validate().ViaField("request"),
		s.warnOfPath(),
		s.Output.validate().ViaField("output"),
		s.validateApart(),
		s.Retry.validate().ViaField("retry"),
		s.validateBounds(),
		s.validatePods(),
	).ViaField("spec"))
}

// SupportedVerbs says when the webhook is asked: not on a deletion, which must work
// while the webhook doesn't.
func (*Batch) SupportedVerbs() []admissionregistrationv1.OperationType {
	return []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update}
}

// SupportedSubResources says of which parts the webhook is asked: of the Batch, not of
// its status.
func (*Batch) SupportedSubResources() []string { return []string{""} }

// validateName holds the name to what Jobs, their pods and labels bear.
func (b *Batch) validateName() *apis.FieldError {
	field, name, prefix := "metadata.name", b.Name, false
	most := MaxBatchName
	if name == "" && b.GenerateName != "" {
		field, name, prefix = "metadata.generateName", b.GenerateName, true
		most -= len(longestGenerated(""))
	}
	var errs *apis.FieldError
	for _, problem := range validation.NameIsDNSLabel(name, prefix) {
		errs = errs.Also(invalid(field, "the name is part of those of the run's pods, and %q can't be: %s", name, problem))
	}
	if len(name) > most {
		errs = errs.Also(invalid(field, "must be at most %d characters long, %q has %d", most, name, len(name)))
	}
	return errs
}

func (s *BatchSpec) validateModel() *apis.FieldError { return validateModelName(s.Model, "Batch") }

// validateModelName checks the name of the Model that an object of a kind has asked, of its own
// namespace.
func validateModelName(model, kind string) *apis.FieldError {
	namespace, name, qualified := strings.Cut(model, "/")
	host, _, dotted := strings.Cut(model, ".")
	switch {
	case model == "":
		err := apis.ErrMissingField("model")
		err.Details = fmt.Sprintf("name the Model, of the %s's own namespace, that is to be asked", kind)
		return err
	case strings.Contains(model, "://"):
		return invalid("model", "is the name of a Model of the %s's own namespace, and %q is a URL; give the name alone", kind, model)
	case qualified:
		return invalid("model", "is the name of a Model of the %s's own namespace: give %q alone, and create the %s in namespace %q if the Model is there", kind, name, kind, namespace)
	case dotted:
		return invalid("model", "is the name of a Model of the %s's own namespace, and %q is a host; give the name alone, as in %q", kind, model, host)
	}
	var errs *apis.FieldError
	for _, problem := range validation.NameIsDNS1035Label(model, false) {
		errs = errs.Also(invalid("model", "%q can't be the name of a Model: %s", model, problem))
	}
	return errs
}

func (f *BatchFormat) validate() *apis.FieldError {
	var errs *apis.FieldError
	switch f.Type {
	case "", FormatLines, FormatObjects, FormatRows:
	default:
		errs = invalid("type", "must be %s, %s or %s, is %q", FormatLines, FormatObjects, FormatRows, f.Type)
	}
	switch {
	case f.Rows == nil:
	case f.Type != FormatRows:
		errs = errs.Also(invalid("rows", "is for type %s alone; set that, or leave rows out", FormatRows))
	default:
		errs = errs.Also(between("rows", *f.Rows, 1, maxBatchRows))
	}
	return errs
}

func (r *BatchRequest) validate() *apis.FieldError {
	return validateRequestPath(r.Path).Also(validateRequestHeaders(r.Headers), durationBetween("timeout", r.Timeout, minBatchTimeout, maxBatchTimeout))
}

func validateRequestPath(path string) *apis.FieldError {
	_, err := url.ParseRequestURI(path)
	before, _, _ := strings.Cut(path, "?")
	switch {
	case path == "":
		missing := apis.ErrMissingField("path")
		missing.Details = "say which path of the Model is asked, as in /v2/models/ranker/infer"
		return missing
	case strings.Contains(before, "://"):
		return invalid("path", "must be a path of the Model's, as in /v2/models/ranker/infer, and %q is a URL", path)
	case err != nil || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " #"):
		return invalid("path", "must be a path that begins with /, with or without a query, is %q", path)
	}
	return nil
}

func validateRequestHeaders(headers map[string]string) *apis.FieldError {
	var errs *apis.FieldError
	size, names := 0, map[string]string{}
	for name, value := range headers {
		size += len(name) + len(value)
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		path := "headers[" + name + "]"
		switch other, twice := names[canonical]; {
		case !headerName.MatchString(name):
			errs = errs.Also(invalid("headers", "%q can't be the name of a header", name))
		case twice:
			errs = errs.Also(invalid("headers", "%q and %q are one header; leave one of them out", min(name, other), max(name, other)))
		case givenHeaders[canonical]:
			errs = errs.Also(invalid(path, "is set by the connection, or by Sluice itself; leave it out"))
		case strings.ContainsFunc(value, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }):
			errs = errs.Also(invalid(path, "must be one line, without control characters"))
		case canonical == "Authorization":
			errs = errs.Also(warning("whoever may read the object may read this, too", path))
		}
		names[canonical] = name
	}
	if size > maxBatchHeaders {
		errs = errs.Also(invalid("headers", "must be at most %d bytes together, are %d", maxBatchHeaders, size))
	}
	return errs
}

// warnOfPath warns where rows are sent to what doesn't take them.
func (s *BatchSpec) warnOfPath() *apis.FieldError {
	path, _, _ := strings.Cut(s.Request.Path, "?")
	if s.Format.Type != FormatRows || path == "" || strings.HasSuffix(path, "/infer") {
		return nil
	}
	return warning("rows are asked by the Open Inference Protocol v2, whose paths are as in /v2/models/ranker/infer", "request.path")
}

func (r *BatchRetry) validate() *apis.FieldError {
	var errs *apis.FieldError
	if r.Attempts != nil {
		errs = between("attempts", *r.Attempts, 1, maxBatchAttempts)
	}
	errs = errs.Also(durationBetween("delay", r.Delay, minBatchDelay, maxBatchDelay), durationBetween("maxDelay", r.MaxDelay, minBatchDelay, maxBatchDelay))
	if errs == nil && r.Delay != nil && r.MaxDelay != nil && r.Delay.Duration > r.MaxDelay.Duration {
		errs = invalid("delay", "is %s, must not be above maxDelay, which is %s", r.Delay.Duration, r.MaxDelay.Duration)
	}
	return errs
}

// validateBounds checks what may change while the run is under way, and how many items may
// fail.
func (s *BatchSpec) validateBounds() *apis.FieldError {
	var errs *apis.FieldError
	if s.Workers != nil && *s.Workers == 0 {
		errs = invalid("workers", "must be from 1 to %d, is 0; set suspend to stop the run", maxBatchWorkers)
	} else if s.Workers != nil {
		errs = between("workers", *s.Workers, 1, maxBatchWorkers)
	}
	if r := s.MaxReplicas; r != nil && *r < 1 {
		errs = errs.Also(invalid("maxReplicas", "must be at least 1, is %d; leave it out for the Model's own bound, or set suspend to cause none", *r))
	}
	if n := s.MaxFailedItems; n != nil && *n < 0 {
		errs = errs.Also(invalid("maxFailedItems", "must be at least 0, is %d; leave it out to have any number fail", *n))
	}
	return errs.Also(
		durationBetween("deadline", s.Deadline, minBatchDeadline, longestBatch),
		durationBetween("ttlAfterFinished", s.TTLAfterFinished, 0, longestBatch),
	)
}

func (s *BatchSpec) validatePods() *apis.FieldError {
	errs := validateResourceAmounts(s.Resources).ViaField("resources")
	for field, list := range map[string]corev1.ResourceList{"requests": s.Resources.Requests, "limits": s.Resources.Limits} {
		for name := range list {
			if indivisible(name) {
				errs = errs.Also(invalid("resources."+field+"["+string(name)+"]", "the run's pods ask the Model and compute nothing; set cpu, memory and ephemeral-storage alone"))
			}
		}
	}
	if len(s.Resources.Claims) > 0 {
		errs = errs.Also(apis.ErrDisallowedFields("resources.claims"))
	}
	if limit, ok := s.Resources.Limits[corev1.ResourceMemory]; ok && limit.Cmp(resource.MustParse(leastBatchMemory)) < 0 {
		errs = errs.Also(invalid("resources.limits[memory]", "must be at least %s, is %s", leastBatchMemory, &limit))
	}
	if limit, ok := s.Resources.Limits[corev1.ResourceEphemeralStorage]; ok && limit.Cmp(resource.MustParse(leastBatchDisk)) < 0 {
		errs = errs.Also(invalid("resources.limits[ephemeral-storage]", "must be at least %s, for answers until they are put, is %s", leastBatchDisk, &limit))
	}
	if s.ServiceAccountName != "" {
		errs = errs.Also(validateReference("serviceAccountName", "ServiceAccount", s.ServiceAccountName))
	}
	return errs
}

// validateUnchanged refuses another run under the same name: what was planned, and is in
// the output, wouldn't be of it.
func (s *BatchSpec) validateUnchanged(before *BatchSpec) *apis.FieldError {
	// Both have today's defaults.
	was, is := &Batch{Spec: *before.DeepCopy()}, &Batch{Spec: *s.DeepCopy()}
	was.SetDefaults(context.Background())
	is.SetDefaults(context.Background())
	then, now := was.Spec.frozen(), is.Spec.frozen()
	var errs *apis.FieldError
	for field, value := range now {
		if !equality.Semantic.DeepEqual(then[field], value) {
			errs = errs.Also(invalid(field, "can't change any more, the run has begun; set it back, or create another Batch, with an output of its own"))
		}
	}
	return errs
}

// frozen are the fields that can't change once the run has begun.
func (s *BatchSpec) frozen() map[string]any {
	return map[string]any{
		"model": s.Model, "input": s.Input, "format": s.Format, "request": s.Request, "output": s.Output,
		"retry": s.Retry, "maxFailedItems": s.MaxFailedItems, "serviceAccountName": s.ServiceAccountName, "resources": s.Resources,
	}
}

// warnOfEnd warns of changes to a run that is over.
func (b *Batch) warnOfEnd(now *BatchSpec) *apis.FieldError {
	if !b.Status.IsFinished() {
		return nil
	}
	was, is := *b.Spec.DeepCopy(), *now.DeepCopy()
	was.TTLAfterFinished, is.TTLAfterFinished = nil, nil
	if equality.Semantic.DeepEqual(was, is) {
		return nil
	}
	return warning("has no effect any more: the run is over; create another Batch, with an output of its own", apis.CurrentField)
}

func durationBetween(field string, value *metav1.Duration, least, most time.Duration) *apis.FieldError {
	if value == nil || (value.Duration >= least && value.Duration <= most) {
		return nil
	}
	return invalid(field, "must be from %s to %s, is %s", least, most, value.Duration)
}

// validateReference checks the name of an object of the Batch's namespace.
func validateReference(field, kind, name string) *apis.FieldError {
	if name == "" {
		return apis.ErrMissingField(field)
	}
	if namespace, alone, found := strings.Cut(name, "/"); found {
		return invalid(field, "names a %s of the Batch's own namespace: give %q alone; what is in namespace %q can't be had from here", kind, alone, namespace)
	}
	if problems := validation.NameIsDNSSubdomain(name, false); len(problems) > 0 {
		return invalid(field, "%q can't be the name of a %s: %s", name, kind, strings.Join(problems, "; "))
	}
	return nil
}
