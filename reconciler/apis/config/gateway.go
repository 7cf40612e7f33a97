package config

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/pkg/configmap"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// GatewayName is the name of the ConfigMap that says how gateways are built.
const GatewayName = "config-gateway"

const (
	gatewayReplicasKey              = "replicas"
	gatewayCPUUtilizationKey        = "target-cpu-utilization"
	gatewayCPURequestKey            = "cpu-request"
	gatewayMemoryRequestKey         = "memory-request"
	gatewayMemoryLimitKey           = "memory-limit"
	gatewayDrainDurationKey         = "drain-duration"
	gatewayMaxConnectionDurationKey = "max-connection-duration"
	gatewayLimitSlotsKey            = "limit-slots"
	gatewayAccessLogKey             = "access-log"
	gatewaySuccessSampleKey         = "access-log-success-sample"
)

// Gateway is the ConfigMap config-gateway: how the shared gateway is built, and
// tenants' own as far as their Tenant doesn't say otherwise. Equality is semantic (k8s.io/apimachinery/pkg/api/equality).
type Gateway struct {
	// Replicas is the number of a gateway's pods, at least one.
	Replicas int32
	// CPUUtilization is the share of the requested CPU, in percent, that the pods
	// of an autoscaled gateway are to use on average.
	CPUUtilization int32
	// CPURequest and MemoryRequest are what each pod asks of its node.
	CPURequest, MemoryRequest resource.Quantity
	// MemoryLimit ends a pod that holds more; at least MemoryRequest.
	MemoryLimit resource.Quantity
	// DrainDuration is how long a pod that is told to go may still serve the
	// requests that it has. It goes earlier when it has no connection left.
	DrainDuration time.Duration
	// MaxConnectionDuration is the age at which a client's connection is ended
	// gracefully, so that pooled connections find new gateway pods.
	MaxConnectionDuration time.Duration
	// LimitSlots is how many slots for limits each entry of a pod has, from 1 to
	// gateway.MaxSlots.
	LimitSlots int32
	// AccessLog is "on" where pods log requests, or "off".
	AccessLog string
	// SuccessSample is the share, from 0 to 1, of the requests that went well that are logged.
	SuccessSample float64
	// TraceEndpoint is the host:port to which gateways send their spans, by OTLP over gRPC;
	// empty for none.
	TraceEndpoint string
	// TraceSample is the share of requests that are traced.
	TraceSample float64
}

// AccessLogOn and AccessLogOff are what access-log can be.
const (
	AccessLogOn  = "on"
	AccessLogOff = "off"
)

// DefaultGateway is what an empty ConfigMap means.
func DefaultGateway() *Gateway {
	return &Gateway{
		Replicas:       1,
		CPUUtilization: 70,
		CPURequest:     resource.MustParse("100m"),
		MemoryRequest:  resource.MustParse("64Mi"),
		MemoryLimit:    resource.MustParse("1Gi"),
		// Knative ends requests after 600 s at the latest
		// (config-defaults, max-revision-timeout-seconds).
		DrainDuration:         10 * time.Minute,
		MaxConnectionDuration: time.Minute,
		LimitSlots:            gateway.DefaultSlots,
		AccessLog:             AccessLogOn,
		SuccessSample:         1,
		TraceSample:           0.01,
	}
}

// NewGatewayFromConfigMap reads config-gateway. Keys that are missing keep their
// default; unknown ones are refused, because a misspelt key would be ignored
// silently; those that begin with "_" are documentation.
func NewGatewayFromConfigMap(cm *corev1.ConfigMap) (*Gateway, error) {
	g := DefaultGateway()
	if err := refuseUnknownKeys(cm.Data, gatewayReplicasKey, gatewayCPUUtilizationKey, gatewayCPURequestKey,
		gatewayMemoryRequestKey, gatewayMemoryLimitKey, gatewayDrainDurationKey, gatewayMaxConnectionDurationKey, gatewayLimitSlotsKey,
		gatewayAccessLogKey, gatewaySuccessSampleKey, gatewayTraceEndpointKey, gatewayTraceSampleKey); err != nil {
		return nil, fmt.Errorf("reading %s: %w", GatewayName, err)
	}
	cpu, memory, limit := &g.CPURequest, &g.MemoryRequest, &g.MemoryLimit
	if err := configmap.Parse(cm.Data,
		configmap.AsInt32(gatewayReplicasKey, &g.Replicas),
		configmap.AsInt32(gatewayCPUUtilizationKey, &g.CPUUtilization),
		configmap.AsQuantity(gatewayCPURequestKey, &cpu),
		configmap.AsQuantity(gatewayMemoryRequestKey, &memory),
		configmap.AsQuantity(gatewayMemoryLimitKey, &limit),
		configmap.AsDuration(gatewayDrainDurationKey, &g.DrainDuration),
		configmap.AsDuration(gatewayMaxConnectionDurationKey, &g.MaxConnectionDuration),
		configmap.AsInt32(gatewayLimitSlotsKey, &g.LimitSlots),
		configmap.AsString(gatewayAccessLogKey, &g.AccessLog),
		configmap.AsFloat64(gatewaySuccessSampleKey, &g.SuccessSample),
		configmap.AsString(gatewayTraceEndpointKey, &g.TraceEndpoint),
		configmap.AsFloat64(gatewayTraceSampleKey, &g.TraceSample),
	); err != nil {
		return nil, fmt.Errorf("reading %s: %w", GatewayName, err)
	}
	g.CPURequest, g.MemoryRequest, g.MemoryLimit = *cpu, *memory, *limit
	if err := g.validate(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", GatewayName, err)
	}
	return g, nil
}

func (g *Gateway) validate() error {
	var errs []error
	for key, number := range map[string]int32{
		gatewayReplicasKey: g.Replicas, gatewayCPUUtilizationKey: g.CPUUtilization,
	} {
		if number < 1 {
			errs = append(errs, fmt.Errorf("%s is %d, must be at least 1", key, number))
		}
	}
	for key, quantity := range map[string]resource.Quantity{
		gatewayCPURequestKey: g.CPURequest, gatewayMemoryRequestKey: g.MemoryRequest,
	} {
		if quantity.Sign() <= 0 {
			errs = append(errs, fmt.Errorf("%s is %s, must be above zero", key, quantity.String()))
		}
	}
	if g.MemoryLimit.Cmp(g.MemoryRequest) < 0 {
		errs = append(errs, fmt.Errorf("%s is %s, must be at least %s, which is %s",
			gatewayMemoryLimitKey, g.MemoryLimit.String(), gatewayMemoryRequestKey, g.MemoryRequest.String()))
	}
	// The pod's agent waits for five seconds before it looks for connections.
	if g.DrainDuration < 10*time.Second || g.DrainDuration > time.Hour || g.DrainDuration%time.Second != 0 {
		errs = append(errs, fmt.Errorf("%s is %s, must be whole seconds from 10s to 1h", gatewayDrainDurationKey, g.DrainDuration))
	}
	if g.MaxConnectionDuration < time.Second || g.MaxConnectionDuration%time.Millisecond != 0 {
		errs = append(errs, fmt.Errorf("%s is %s, must be at least 1s, in whole milliseconds",
			gatewayMaxConnectionDurationKey, g.MaxConnectionDuration))
	}
	if g.LimitSlots < 1 || g.LimitSlots > gateway.MaxSlots {
		errs = append(errs, fmt.Errorf("%s is %d, must be from 1 to %d", gatewayLimitSlotsKey, g.LimitSlots, gateway.MaxSlots))
	}
	if g.AccessLog != AccessLogOn && g.AccessLog != AccessLogOff {
		errs = append(errs, fmt.Errorf("%s is %q, must be %q or %q", gatewayAccessLogKey, g.AccessLog, AccessLogOn, AccessLogOff))
	}
	if math.IsNaN(g.SuccessSample) || g.SuccessSample < 0 || g.SuccessSample > 1 {
		errs = append(errs, fmt.Errorf("%s is %v, must be a share from 0 to 1", gatewaySuccessSampleKey, g.SuccessSample))
	}
	errs = append(errs, g.validateTraces())
	return errors.Join(errs...)
}

// refuseUnknownKeys returns an error that names every key of data that is not
// known and does not begin with "_".
func refuseUnknownKeys(data map[string]string, known ...string) error {
	unknown := sets.New[string]()
	for key := range data {
		if key == "" || key[0] != '_' {
			unknown.Insert(key)
		}
	}
	unknown.Delete(known...)
	if unknown.Len() == 0 {
		return nil
	}
	return fmt.Errorf("unknown keys %q, known are %q", sets.List(unknown), known)
}

type gatewayKey struct{}

// GatewayStore keeps the last valid config-gateway.
type GatewayStore struct{ *configmap.UntypedStore }

// NewGatewayStore returns a store that calls onChange after each change.
func NewGatewayStore(logger configmap.Logger, onChange ...func(name string, value any)) *GatewayStore {
	return &GatewayStore{configmap.NewUntypedStore("gateway", logger,
		configmap.Constructors{GatewayName: NewGatewayFromConfigMap}, onChange...)}
}

// ToContext attaches the present configuration, so that one reconciliation sees
// one version of it.
func (s *GatewayStore) ToContext(ctx context.Context) context.Context {
	g, ok := s.UntypedLoad(GatewayName).(*Gateway)
	if !ok {
		g = DefaultGateway()
	}
	return WithGateway(ctx, g)
}

// WithGateway attaches a configuration.
func WithGateway(ctx context.Context, g *Gateway) context.Context {
	return context.WithValue(ctx, gatewayKey{}, g)
}

// GatewayFromContext returns what ToContext attached, or the defaults.
func GatewayFromContext(ctx context.Context) *Gateway {
	if g, ok := ctx.Value(gatewayKey{}).(*Gateway); ok {
		return g
	}
	return DefaultGateway()
}
