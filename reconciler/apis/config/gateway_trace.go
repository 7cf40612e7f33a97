package config

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	gatewayTraceEndpointKey = "trace-endpoint"
	gatewayTraceSampleKey   = "trace-sample"
)

// millionths is the finest share of requests that Envoy can be told.
const millionths = 1_000_000

// Traces is where gateways send their spans, and which.
type Traces struct {
	// Host and Port are those of a receiver of OTLP over gRPC. No host is nowhere.
	Host string
	Port uint32
	// Sample is how many of a million requests are traced.
	Sample uint32
}

// Traces is what the ConfigMap says of traces.
func (g *Gateway) Traces() Traces {
	host, port, err := hostPort(g.TraceEndpoint)
	if g.TraceEndpoint == "" || err != nil { // refused as the ConfigMap was read
		return Traces{}
	}
	return Traces{Host: host, Port: port, Sample: uint32(g.TraceSample*millionths + 0.5)}
}

func (g *Gateway) validateTraces() error {
	var errs []error
	if g.TraceEndpoint != "" {
		if _, _, err := hostPort(g.TraceEndpoint); err != nil {
			errs = append(errs, fmt.Errorf("%s is %q: %w; give the receiver of OTLP over gRPC as host:port, as collector-gateway.sluice-system.svc:4317, or leave it empty",
				gatewayTraceEndpointKey, g.TraceEndpoint, err))
		}
	}
	// Written so that NaN is refused as well.
	if share := g.TraceSample; !(share == 0 || share >= 1.0/millionths && share <= 1) {
		errs = append(errs, fmt.Errorf("%s is %v, must be a share of requests from 0.000001 to 1, as 0.01 for one of a hundred, or 0",
			gatewayTraceSampleKey, share))
	}
	return errors.Join(errs...)
}

// hostPort takes an address apart, of which Envoy would refuse what isn't one.
func hostPort(address string) (string, uint32, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, errors.New("it is no host:port")
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return "", 0, fmt.Errorf("port %q is no number from 1 to 65535", text)
	}
	if net.ParseIP(host) == nil && len(validation.IsDNS1123Subdomain(host)) > 0 {
		return "", 0, fmt.Errorf("%q is neither a DNS name nor an IP address", host)
	}
	return host, uint32(port), nil
}
