package warmup

import "time"

const (
	// ContainerName is the container's name in a Model's pods.
	ContainerName = "warm-up"
	// Port is where the container answers. Knative reserves 8012, 8013, 8022, 8112,
	// 9090 and 9091.
	Port = 8098
	// ReadyPath answers 200 once the replica may serve, and 503 before.
	ReadyPath = "/readyz"
	// StatusPath answers with a Status: to the controller and to queue-proxy, each of any
	// version.
	StatusPath = "/status"
	// MetricsPath answers in Prometheus' text format.
	MetricsPath = "/metrics"

	// MarkerHeader is on every request of a warm-up, so that a model can tell it.
	MarkerHeader = "Sluice-Warm-Up"

	// PlanVariable holds the Plan as JSON.
	PlanVariable = "WARM_UP_PLAN"
	// BodiesDir holds the bodies that are too large for the Plan.
	BodiesDir = "/etc/sluice/warm-up"
	// CredentialsDir holds a Docker configuration for each of the pod's image pull
	// secrets: what the artifact is pulled with.
	CredentialsDir = "/etc/sluice/registries"
	// StateDir outlives the container's restarts, not the pod.
	StateDir = "/var/run/sluice/warm-up"

	// MaxBodies bounds the bodies of a plan together: what a ConfigMap holds.
	MaxBodies = 1 << 20
	// MaxRequests bounds the requests of a plan. An artifact may hold more.
	MaxRequests = 100
	// MaxLine bounds one request of an artifact.
	MaxLine = 2 << 20
	// MaxCorpus bounds an artifact, unpacked.
	MaxCorpus = 512 << 20
)

// Plan is a warm-up, resolved: what a replica is warmed up with.
type Plan struct {
	Model    Target    `json:"model"`
	Requests []Request `json:"requests,omitempty"`
	// Corpus names an OCI artifact by digest.
	Corpus string `json:"corpus,omitempty"`
	// Concurrency is how many requests are in flight at once.
	Concurrency int `json:"concurrency"`
	// Repeat is the number of rounds, each of all requests; with Stable, the most.
	Repeat int     `json:"repeat,omitempty"`
	Stable *Stable `json:"stable,omitempty"`
	// TimeoutMilliseconds bound the warm-up from the moment that the model answers.
	TimeoutMilliseconds int64 `json:"timeoutMilliseconds"`
	// ServeCold lets a replica serve that could not be warmed up.
	ServeCold bool `json:"serveCold,omitempty"`
}

// Timeout bounds the warm-up.
func (p *Plan) Timeout() time.Duration {
	return time.Duration(p.TimeoutMilliseconds) * time.Millisecond
}

// Target is the model, on this host.
type Target struct {
	Port int `json:"port"`
	// H2C speaks HTTP/2 without TLS from the first byte.
	H2C bool `json:"h2c,omitempty"`
	// Probes are the model's own, as far as they can be asked from beside it: it is ready
	// for a first request once all of them pass.
	Probes []Probe `json:"probes,omitempty"`
	// Conclusive is true where these say that the model has loaded, and none is missing
	// that might. Where it is false, a model that listens may still be loading, and a wrong
	// answer is final only once a whole round was answered right.
	Conclusive bool `json:"conclusive,omitempty"`
}

// Probe is one of the model's own. Of HTTP and GRPC at most one is there; with neither, it
// passes once the port takes connections.
type Probe struct {
	// Name is the field that it comes from.
	Name string `json:"name"`
	Port int    `json:"port"`
	// TimeoutSeconds bound one answer.
	TimeoutSeconds int        `json:"timeoutSeconds"`
	HTTP           *HTTPProbe `json:"http,omitempty"`
	GRPC           *GRPCProbe `json:"grpc,omitempty"`
}

// Timeout bounds one answer.
func (p *Probe) Timeout() time.Duration { return time.Duration(p.TimeoutSeconds) * time.Second }

// HTTPProbe passes once a GET is answered by a status from 200 to 399.
type HTTPProbe struct {
	Path    string              `json:"path"`
	HTTPS   bool                `json:"https,omitempty"`
	Headers map[string][]string `json:"headers,omitempty"`
}

// GRPCProbe passes once gRPC's health service says that a service is SERVING.
type GRPCProbe struct {
	// Service is empty for the server as a whole.
	Service string `json:"service,omitempty"`
}

// Stable ends a warm-up once the latency falls no more.
type Stable struct {
	// Window is how many rounds are looked at.
	Window int `json:"window"`
	// Tolerance is the fall over the window, in percent of the latency, that is no
	// fall.
	Tolerance int `json:"tolerance"`
}

// Request is one request, in a plan or on a line of an artifact.
type Request struct {
	Name    string            `json:"name,omitempty"`
	Method  string            `json:"method,omitempty"`
	Path    string            `json:"path,omitempty"`
	GRPC    string            `json:"grpc,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// Body is the body as text, BodyBytes in base64, BodyFile a file of BodiesDir,
	// which only a plan may name.
	Body      string  `json:"body,omitempty"`
	BodyBytes []byte  `json:"bodyBytes,omitempty"`
	BodyFile  string  `json:"bodyFile,omitempty"`
	Expect    *Expect `json:"expect,omitempty"`
}

// String names the request to a person.
func (r *Request) String() string {
	call := r.Method + " " + r.Path
	if r.GRPC != "" {
		call = "gRPC " + r.GRPC
	}
	if r.Name != "" {
		return r.Name + " (" + call + ")"
	}
	return call
}

// Expect is the answer that a request has to get.
type Expect struct {
	// Status is an HTTP status, or a gRPC code; 200 to 299, or 0, where unset.
	Status *int32 `json:"status,omitempty"`
	// JSON compares one value of the answer.
	JSON *JSONValue `json:"json,omitempty"`
	// Body compares the whole answer, as text, BodyBytes in base64, BodySHA256 by its
	// digest in hex.
	Body       string `json:"body,omitempty"`
	BodyBytes  []byte `json:"bodyBytes,omitempty"`
	BodySHA256 string `json:"bodySHA256,omitempty"`
}

// JSONValue is a value within an answer.
type JSONValue struct {
	// Path is a JSONPath as kubectl has it, such as {.outputs[0].name}.
	Path string `json:"path"`
	// Value is what the path yields, printed as kubectl prints it.
	Value string `json:"value"`
}
