package v1alpha1

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/rickb777/date/period"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/expression"
)

const (
	// maxTriggerName leaves room for the hash in the names of the Batches that are started.
	maxTriggerName    = MaxBatchName
	maxTriggerTimeout = 10 * time.Minute
	maxEventType      = 256
)

// triggerMethods are those that a request may have.
var triggerMethods = []string{http.MethodPost, http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete}

// Validate implements apis.Validatable. Every error names its field and says what would be
// right. What needs the cluster to tell, the status says.
func (t *InferenceTrigger) Validate(ctx context.Context) *apis.FieldError {
	// What was accepted once must stay deletable, and its status writable.
	if apis.IsInStatusUpdate(ctx) || t.DeletionTimestamp != nil {
		return nil
	}
	s := &t.Spec
	errs := s.validateBroker().Also(
		s.validateFilters(ctx),
		s.validateEffect(),
		s.Delivery.Validate(withDeliveryFeatures(ctx)).ViaField("delivery"),
		s.validateDeliveryTimeout(),
	)
	if before, ok := apis.GetBaseline(ctx).(*InferenceTrigger); ok && apis.IsInUpdate(ctx) && before.Spec.Broker != s.Broker {
		errs = errs.Also(invalid("broker", "can't change, is %q and was %q; create another InferenceTrigger for the other Broker, and delete this one", s.Broker, before.Spec.Broker))
	}
	return t.validateName().Also(withRemedies(errs.ViaField("spec")))
}

// SupportedVerbs says when the webhook is asked: not on a deletion, which must work
// while the webhook doesn't.
func (*InferenceTrigger) SupportedVerbs() []admissionregistrationv1.OperationType {
	return []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update}
}

// SupportedSubResources says of which parts the webhook is asked: not of its status.
func (*InferenceTrigger) SupportedSubResources() []string { return []string{""} }

// validateName holds the name to what Batches that are started can be called by.
func (t *InferenceTrigger) validateName() *apis.FieldError {
	field, name, prefix, most := "metadata.name", t.Name, false, maxTriggerName
	if name == "" && t.GenerateName != "" {
		field, name, prefix = "metadata.generateName", t.GenerateName, true
		most -= len(longestGenerated(""))
	}
	var errs *apis.FieldError
	for _, problem := range validation.NameIsDNSLabel(name, prefix) {
		errs = errs.Also(invalid(field, "the name is part of those of what is made for it, and %q can't be: %s", name, problem))
	}
	if len(name) > most {
		errs = errs.Also(invalid(field, "must be at most %d characters long, %q has %d", most, name, len(name)))
	}
	return errs
}

func (s *InferenceTriggerSpec) validateBroker() *apis.FieldError {
	namespace, name, qualified := strings.Cut(s.Broker, "/")
	switch {
	case s.Broker == "":
		err := apis.ErrMissingField("broker")
		err.Details = "name the Broker, of the InferenceTrigger's own namespace, whose events are taken"
		return err
	case qualified:
		return invalid("broker", "is the name of a Broker of the InferenceTrigger's own namespace: give %q alone, and create the InferenceTrigger in namespace %q if the Broker is there", name, namespace)
	}
	var errs *apis.FieldError
	for _, problem := range validation.NameIsDNSSubdomain(s.Broker, false) {
		errs = errs.Also(invalid("broker", "%q can't be the name of a Broker: %s", s.Broker, problem))
	}
	return errs
}

// validateEffect wants one thing to become of an event.
func (s *InferenceTriggerSpec) validateEffect() *apis.FieldError {
	errs := exactlyOne("say what becomes of an event: a request to the Model, or a Batch",
		map[string]bool{"request": s.Request != nil, "batch": s.Batch != nil})
	if s.Request != nil {
		errs = errs.Also(validateModelName(s.Model, "InferenceTrigger"), s.Request.validate().ViaField("request"))
		if s.Reply != nil {
			errs = errs.Also(s.Reply.validate().ViaField("reply"))
		}
	}
	if s.Batch != nil && s.Request == nil {
		if s.Model != "" {
			errs = errs.Also(invalid("model", "is for request alone; name the Model in batch.template.spec.model"))
		}
		if s.Reply != nil {
			errs = errs.Also(invalid("reply", "is for request alone; leave it out, a Batch tells of itself in its status"))
		}
		errs = errs.Also(s.Batch.Template.Spec.validateTemplate().ViaField("batch", "template", "spec"))
	}
	return errs
}

func (r *TriggerRequest) validate() *apis.FieldError {
	errs := durationBetween("timeout", r.Timeout, minBatchTimeout, maxTriggerTimeout)
	if r.Method != "" {
		errs = errs.Also(validateText("method", r.Method))
		if !expression.Has(r.Method) {
			errs = errs.Also(validateMethod(r.Method))
		}
	}
	errs = errs.Also(validateText("path", r.Path))
	switch {
	case !expression.Has(r.Path):
		errs = errs.Also(validateRequestPath(r.Path))
	case !strings.HasPrefix(r.Path, "/") && !strings.HasPrefix(r.Path, "${"):
		errs = errs.Also(invalid("path", "must be a path that begins with /, or with an expression that comes to one, is %q", r.Path))
	}
	constant := map[string]string{}
	for name, value := range r.Headers {
		errs = errs.Also(validateText("headers["+name+"]", value))
		if constant[name] = value; expression.Has(value) {
			constant[name] = ""
		}
	}
	errs = errs.Also(validateRequestHeaders(constant))
	if r.Body == nil {
		return errs
	}
	if looksBare(*r.Body) {
		return errs.Also(bare("body", *r.Body))
	}
	template, err := expression.Compile(*r.Body)
	if err == nil {
		err = template.CheckBody()
	}
	if err != nil {
		errs = errs.Also(invalid("body", "%v", err))
	}
	return errs
}

func validateMethod(method string) *apis.FieldError {
	if slices.Contains(triggerMethods, method) {
		return nil
	}
	if upper := strings.ToUpper(method); slices.Contains(triggerMethods, upper) {
		return invalid("method", "must be in capitals: %s", upper)
	}
	return invalid("method", "must be one of %s, is %q", strings.Join(triggerMethods, ", "), method)
}

// validateText compiles the expressions of a text, which come to one.
func validateText(field, text string) *apis.FieldError {
	if looksBare(text) {
		return bare(field, text)
	}
	template, err := expression.Compile(text)
	if err == nil {
		err = template.CheckText()
	}
	if err != nil {
		return invalid(field, "%v", err)
	}
	return nil
}

// looksBare tells whether a text is an expression that lacks what it is marked by.
func looksBare(text string) bool {
	return !expression.Has(text) && (strings.HasPrefix(text, "event.") || strings.HasPrefix(text, "event["))
}

func bare(field, text string) *apis.FieldError {
	return invalid(field, "is the text %q itself; write ${%s} to have the expression evaluated", text, text)
}

func (r *TriggerReply) validate() *apis.FieldError {
	var errs *apis.FieldError
	switch r.To {
	case "", ReplyToBroker, ReplyToNone:
		if r.Sink != nil && r.To != "" {
			errs = invalid("sink", "is for to: %s alone, which is %s; set that, or leave sink out", ReplyToSink, r.To)
		}
	case ReplyToSink:
		if r.Sink == nil {
			errs = apis.ErrMissingField("sink")
			errs.Details = "say whom replies are delivered to, by ref or by uri; or choose " + string(ReplyToBroker) + " for to"
		}
	default:
		errs = invalid("to", "must be %s, %s or %s, is %q", ReplyToBroker, ReplyToSink, ReplyToNone, r.To)
	}
	if r.Sink != nil {
		errs = errs.Also(r.Sink.Validate(context.Background()).ViaField("sink"))
	}
	switch {
	case r.Type != "" && r.To == ReplyToNone:
		errs = errs.Also(invalid("type", "is that of the reply, and to is %s; leave it out", ReplyToNone))
	case len(r.Type) > maxEventType || strings.ContainsFunc(r.Type, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }):
		errs = errs.Also(invalid("type", "must be at most %d bytes long, without spaces, as in %s", maxEventType, InferenceCompletedType))
	case expression.Has(r.Type):
		errs = errs.Also(invalid("type", "is the same for all replies, so that Triggers can filter by it; leave the expression out"))
	}
	return errs
}

// validateDeliveryTimeout has the Broker wait for as long as the Model may take: else it would
// deliver again what is being worked on.
func (s *InferenceTriggerSpec) validateDeliveryTimeout() *apis.FieldError {
	if s.Delivery == nil || s.Delivery.Timeout == nil || s.Request == nil || s.Request.Timeout == nil {
		return nil
	}
	within, err := period.Parse(*s.Delivery.Timeout)
	if err != nil {
		return nil //nolint:nilerr // Knative's own check tells of it
	}
	if bound, _ := within.Duration(); bound > 0 && bound <= s.Request.Timeout.Duration {
		return invalid("delivery.timeout", "is %s, and must be above request.timeout, which is %s: the Broker would deliver again what the Model is still asked; raise it, or leave it out",
			*s.Delivery.Timeout, s.Request.Timeout.Duration)
	}
	return nil
}

// TakesData tells whether a request of a method has the event's data for its body, where it says
// no other.
func TakesData(method string) bool { return method != http.MethodGet && method != http.MethodDelete }

// Check returns what is wrong with a request that expressions have come to, by its field.
func (r *TriggerRequest) Check() error {
	errs := validateMethod(r.Method).Also(validateRequestPath(r.Path), validateRequestHeaders(r.Headers).Filter(apis.ErrorLevel))
	path, _, _ := strings.Cut(r.Path, "?")
	if decoded, err := url.PathUnescape(path); err == nil && slices.ContainsFunc(strings.Split(decoded, "/"), onlyDots) {
		errs = errs.Also(invalid("path", "has a part that is only dots, is %q", r.Path))
	}
	if errs == nil {
		return nil
	}
	return errs.ViaField("request")
}

// onlyDots tells whether a part of a path leads nowhere or upwards. Servers that know parameters of
// a part, which come behind a ;, take them off before they look.
func onlyDots(part string) bool {
	name, _, _ := strings.Cut(part, ";")
	return name == "." || name == ".."
}
