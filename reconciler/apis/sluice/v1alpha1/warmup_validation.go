package v1alpha1

import (
	"context"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/client-go/util/jsonpath"
	"knative.dev/pkg/apis"
	servingconfig "knative.dev/serving/pkg/apis/config"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

const (
	maxWarmUpTimeout     = time.Hour
	maxWarmUpConcurrency = 64
	maxWarmUpRepeat      = 100_000
	maxWarmUpHeaders     = 8 << 10
	pathWarmUp           = "spec.warmUp"
	// reservedVolumePrefix begins the names of the volumes that Sluice adds.
	reservedVolumePrefix = "sluice-"
)

var (
	methodName    = regexp.MustCompile(`^[A-Z]{1,20}$`)
	grpcMethod    = regexp.MustCompile(`^[A-Za-z_][\w.]*/[A-Za-z_]\w*$`)
	headerName    = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	imageByDigest = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}$`)
)

// ownHeaders are those that the connection, the body or the marker decides about.
var ownHeaders = map[string]bool{
	"Connection": true, "Content-Length": true, "Host": true, "Keep-Alive": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true, "Grpc-Timeout": true, textproto.CanonicalMIMEHeaderKey(warmup.MarkerHeader): true,
}

// validateWarmUp checks spec.warmUp by itself, then against the rest of the Model
// and what Knative allows in this cluster.
func (m *Model) validateWarmUp(ctx context.Context) *apis.FieldError {
	w := m.Spec.WarmUp
	if w == nil {
		return nil
	}
	errs := w.validate().ViaField("spec", "warmUp").Also(
		m.validateWarmUpContainer(),
		m.warnOfWarmUpTimeout(ctx),
		m.warnOfSilentProbes(),
	)
	if servingconfig.FromContextOrDefaults(ctx).Features.MultiContainerProbing != servingconfig.Enabled {
		err := invalid(pathWarmUp, "this cluster's Knative doesn't probe more than one container of a pod, so a replica can't be held back")
		err.Details = "have the cluster's operator set multi-container-probing: enabled in ConfigMap " + servingconfig.FeaturesConfigName
		errs = errs.Also(err)
	}
	return errs
}

func (w *WarmUpSpec) validate() *apis.FieldError {
	errs := unsetOr("concurrency", w.Concurrency, 1, maxWarmUpConcurrency).Also(
		unsetOr("repeat", w.Repeat, 1, maxWarmUpRepeat))
	if t := w.Timeout; t != nil && (t.Duration < time.Second || t.Duration > maxWarmUpTimeout || t.Duration%time.Millisecond != 0) {
		errs = errs.Also(invalid("timeout", "must be whole milliseconds from 1s to %s, is %s", maxWarmUpTimeout, t.Duration))
	}
	switch w.OnFailure {
	case "", WarmUpBlock, WarmUpServe:
	default:
		errs = errs.Also(invalid("onFailure", "must be %s or %s, is %q", WarmUpBlock, WarmUpServe, w.OnFailure))
	}
	return errs.Also(w.validateEnd(), w.validateRequests(), w.validateCorpus())
}

// validateEnd makes sure that there is an end to what is replayed.
func (w *WarmUpSpec) validateEnd() *apis.FieldError {
	something := len(w.Requests) > 0 || w.Corpus != nil
	stable := w.Until != nil && w.Until.Stable != nil
	switch {
	case something && w.Repeat == 0 && !stable:
		err := apis.ErrMissingOneOf("repeat", "until.stable")
		err.Details = "say when the replica is warm: after a number of rounds, or once its latency falls no more"
		return err
	case !something && (w.Repeat != 0 || w.Until != nil):
		err := apis.ErrMissingOneOf("corpus", "requests")
		err.Details = "say what is to be repeated; a replica that shall only wait until its model listens has neither repeat nor until"
		return err
	case w.Until != nil && !stable:
		return apis.ErrMissingField("until.stable")
	case !stable:
		return nil
	}
	return unsetOr("window", w.Until.Stable.Window, 5, 100).Also(
		unsetOr("tolerance", w.Until.Stable.Tolerance, 1, 50)).ViaField("until", "stable")
}

func (w *WarmUpSpec) validateRequests() *apis.FieldError {
	if n := len(w.Requests); n > warmup.MaxRequests {
		err := invalid("requests", "must be at most %d, are %d", warmup.MaxRequests, n)
		err.Details = "put more of them in a corpus"
		return err
	}
	var errs *apis.FieldError
	bodies := 0
	for i := range w.Requests {
		errs = errs.Also(w.Requests[i].validate().ViaFieldIndex("requests", i))
		bodies += len(w.Requests[i].Body) + len(w.Requests[i].BodyBytes)
	}
	if bodies > warmup.MaxBodies {
		errs = errs.Also(WarmUpBodiesTooLarge(bodies))
	}
	return errs
}

// WarmUpBodiesTooLarge refuses bodies of so many bytes together.
func WarmUpBodiesTooLarge(size int) *apis.FieldError {
	err := invalid("requests", "the bodies are %d bytes together, must be at most %d", size, warmup.MaxBodies)
	err.Details = "put them in a corpus"
	return err
}

func (w *WarmUpSpec) validateCorpus() *apis.FieldError {
	switch {
	case w.Corpus == nil:
		return nil
	case len(w.Requests) > 0:
		return apis.ErrMultipleOneOf("corpus", "requests")
	case !imageByDigest.MatchString(w.Corpus.Image):
		err := invalid("corpus.image", "must name an artifact by its digest, as in registry.example.com/corpus@sha256:…, is %q", w.Corpus.Image)
		err.Details = "a tag could name another artifact for the next replica; crane digest prints what it names now"
		return err
	}
	return nil
}

func (r *WarmUpRequest) validate() *apis.FieldError {
	errs := r.validateCall().Also(validateWarmUpHeaders(r.Headers), r.validateBody(), r.Expect.validate(r.GRPC != "").ViaField("expect"))
	if len(r.Name) > 63 {
		errs = errs.Also(invalid("name", "must be at most 63 characters, is %d", len(r.Name)))
	}
	return errs
}

func (r *WarmUpRequest) validateCall() *apis.FieldError {
	switch {
	case r.Path != "" && r.GRPC != "":
		return apis.ErrMultipleOneOf("grpc", "path")
	case r.Path == "" && r.GRPC == "":
		return apis.ErrMissingOneOf("grpc", "path")
	case r.GRPC != "" && r.Method != "":
		return apis.ErrMultipleOneOf("grpc", "method")
	case r.GRPC != "" && !grpcMethod.MatchString(r.GRPC):
		return invalid("grpc", "must be as in package.Service/Method, is %q", r.GRPC)
	case r.GRPC != "":
		return nil
	}
	var errs *apis.FieldError
	if _, err := url.ParseRequestURI(r.Path); err != nil || !strings.HasPrefix(r.Path, "/") || strings.ContainsAny(r.Path, " #") {
		errs = invalid("path", "must be a path that begins with /, with or without a query, is %q", r.Path)
	}
	if r.Method != "" && (!methodName.MatchString(r.Method) || r.Method == http.MethodConnect) {
		errs = errs.Also(invalid("method", "must be an HTTP method in capital letters, other than CONNECT, is %q", r.Method))
	}
	return errs
}

func validateWarmUpHeaders(headers map[string]string) *apis.FieldError {
	var errs *apis.FieldError
	size := 0
	for name, value := range headers {
		size += len(name) + len(value)
		switch {
		case !headerName.MatchString(name):
			errs = errs.Also(invalid("headers", "%q can't be the name of a header", name))
		case ownHeaders[textproto.CanonicalMIMEHeaderKey(name)]:
			errs = errs.Also(invalid("headers["+name+"]", "is set by the connection, the body or Sluice itself; leave it out"))
		case strings.ContainsAny(value, "\r\n\x00"):
			errs = errs.Also(invalid("headers["+name+"]", "must be one line"))
		}
	}
	if size > maxWarmUpHeaders {
		errs = errs.Also(invalid("headers", "must be at most %d bytes together, are %d", maxWarmUpHeaders, size))
	}
	return errs
}

func (r *WarmUpRequest) validateBody() *apis.FieldError {
	var sources []string
	if r.Body != "" {
		sources = append(sources, "body")
	}
	if len(r.BodyBytes) > 0 {
		sources = append(sources, "bodyBytes")
	}
	if r.BodyFrom != nil {
		sources = append(sources, "bodyFrom")
	}
	if len(sources) > 1 {
		return apis.ErrMultipleOneOf(sources...)
	}
	if r.BodyFrom == nil {
		return nil
	}
	ref := r.BodyFrom.ConfigMapKeyRef
	if ref == nil {
		return apis.ErrMissingField("bodyFrom.configMapKeyRef")
	}
	var errs *apis.FieldError
	for _, problem := range validation.NameIsDNSSubdomain(ref.Name, false) {
		errs = errs.Also(invalid("name", "%q can't be the name of a ConfigMap: %s", ref.Name, problem))
	}
	if ref.Key == "" {
		errs = errs.Also(apis.ErrMissingField("key"))
	}
	return errs.ViaField("bodyFrom", "configMapKeyRef")
}

func (e *WarmUpExpectation) validate(grpc bool) *apis.FieldError { //nolint:revive // the kind of the request, not a switch
	if e == nil {
		return nil
	}
	var errs *apis.FieldError
	least, most := int32(200), int32(599)
	if grpc {
		least, most = 0, 16
	}
	if e.Status != nil {
		errs = between("status", *e.Status, least, most)
	}
	if e.Body != "" && len(e.BodyBytes) > 0 {
		errs = errs.Also(apis.ErrMultipleOneOf("body", "bodyBytes"))
	}
	switch {
	case e.JSON == nil:
	case grpc:
		errs = errs.Also(invalid("json", "an answer of gRPC is no JSON; compare bodyBytes"))
	default:
		if err := jsonpath.New("").Parse(e.JSON.Path); err != nil || !strings.Contains(e.JSON.Path, "{") {
			errs = errs.Also(invalid("json.path", "must be a JSONPath as in {.outputs[0].name}, is %q", e.JSON.Path))
		}
	}
	return errs
}

// validateWarmUpContainer checks that the container beside the model finds its
// place.
func (m *Model) validateWarmUpContainer() *apis.FieldError {
	var errs *apis.FieldError
	if m.Spec.ModelPort() == warmup.Port {
		errs = errs.Also(invalid("spec.container.ports", "%d is the port of the container that warms the model up; use another one", warmup.Port))
	}
	for path, c := range m.Spec.containers() {
		if c.Name == warmup.ContainerName {
			errs = errs.Also(invalid("spec."+path+".name", "%q is the container that warms the model up; name this one otherwise", c.Name))
		}
		for field, probe := range map[string]*corev1.Probe{
			"readinessProbe": c.ReadinessProbe, "livenessProbe": c.LivenessProbe, "startupProbe": c.StartupProbe,
		} {
			if probePort(probe) == warmup.Port {
				errs = errs.Also(invalid("spec."+path+"."+field, "%d is the port of the container that warms the model up; probe the model's own", warmup.Port))
			}
		}
	}
	for i, v := range m.Spec.Volumes {
		if strings.HasPrefix(v.Name, reservedVolumePrefix) {
			errs = errs.Also(invalid(fmt.Sprintf("spec.volumes[%d].name", i), "names that begin with %s are Sluice's own", reservedVolumePrefix))
		}
	}
	for i, r := range m.Spec.WarmUp.Requests {
		if r.GRPC != "" && !m.Spec.SpeaksH2C() {
			err := invalid(fmt.Sprintf("%s.requests[%d].grpc", pathWarmUp, i), "gRPC needs HTTP/2")
			err.Details = "name the container's port h2c"
			errs = errs.Also(err)
		}
	}
	return errs
}

// ModelPort is the port that the model listens on.
func (s *ModelSpec) ModelPort() int32 { return PortOf(&s.Container) }

// PortOf is the port at which a container that serves listens.
func PortOf(c *corev1.Container) int32 {
	if ports := c.Ports; len(ports) > 0 && ports[0].ContainerPort != 0 {
		return ports[0].ContainerPort
	}
	return defaultModelPort
}

// defaultModelPort is Knative's, in variable PORT.
const defaultModelPort = 8080

// SpeaksH2C tells whether the model speaks HTTP/2 without TLS.
func (s *ModelSpec) SpeaksH2C() bool {
	return len(s.Container.Ports) > 0 && s.Container.Ports[0].Name == "h2c"
}

func probePort(p *corev1.Probe) int32 {
	switch {
	case p == nil:
		return 0
	case p.HTTPGet != nil:
		return p.HTTPGet.Port.IntVal
	case p.TCPSocket != nil:
		return p.TCPSocket.Port.IntVal
	case p.GRPC != nil:
		return p.GRPC.Port
	}
	return 0
}

func unsetOr(field string, value, least, most int32) *apis.FieldError {
	if value == 0 {
		return nil
	}
	return between(field, value, least, most)
}

func between(field string, value, least, most int32) *apis.FieldError {
	if value >= least && value <= most {
		return nil
	}
	return invalid(field, "must be from %d to %d, is %d", least, most, value)
}
