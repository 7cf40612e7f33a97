package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

func TestGatewayFromConfigMap(t *testing.T) {
	got, err := NewGatewayFromConfigMap(&corev1.ConfigMap{Data: map[string]string{"_example": "replicas: 7"}})
	if err != nil || !equality.Semantic.DeepEqual(got, DefaultGateway()) {
		t.Errorf("of an empty one: %v, %+v", err, got)
	}
	got, err = NewGatewayFromConfigMap(&corev1.ConfigMap{Data: map[string]string{
		"replicas": "2", "target-cpu-utilization": "50", "cpu-request": "100m", "memory-request": "128Mi", "memory-limit": "256Mi",
		"drain-duration": "90s", "max-connection-duration": "30s", "limit-slots": "8",
		"access-log": "off", "access-log-success-sample": "0.25",
		"trace-endpoint": "collector-gateway.sluice-system.svc:4317", "trace-sample": "0.05",
	}})
	want := &Gateway{
		Replicas: 2, CPUUtilization: 50, CPURequest: resource.MustParse("100m"), MemoryRequest: resource.MustParse("128Mi"),
		MemoryLimit: resource.MustParse("256Mi"), DrainDuration: 90 * time.Second, MaxConnectionDuration: 30 * time.Second,
		LimitSlots: 8, AccessLog: AccessLogOff, SuccessSample: 0.25,
		TraceEndpoint: "collector-gateway.sluice-system.svc:4317", TraceSample: 0.05,
	}
	if err != nil || !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %v, %+v, want %+v", err, got, want)
	}
}

// The example in the manifest shows every key with its default.
func TestGatewayExample(t *testing.T) {
	manifest, err := os.ReadFile("../../../config/core/400-config-gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cm := &corev1.ConfigMap{}
	if err := yaml.Unmarshal(manifest, cm); err != nil {
		t.Fatal(err)
	}
	example := map[string]string{}
	if err := yaml.Unmarshal([]byte(cm.Data["_example"]), &example); err != nil {
		t.Fatal(err)
	}
	got, err := NewGatewayFromConfigMap(&corev1.ConfigMap{Data: example})
	if err != nil || !equality.Semantic.DeepEqual(got, DefaultGateway()) {
		t.Errorf("the example says %+v (%v), the defaults are %+v", got, err, DefaultGateway())
	}
	if want := reflect.TypeFor[Gateway]().NumField(); len(example) != want {
		t.Errorf("the example has %d keys, want %d", len(example), want)
	}
}

func TestGatewayRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		data map[string]string
		want string
	}{
		"a misspelt key":              {map[string]string{"replica": "2"}, `unknown keys ["replica"]`},
		"no replicas":                 {map[string]string{"replicas": "0"}, "replicas is 0"},
		"no CPU to use":               {map[string]string{"target-cpu-utilization": "0"}, "target-cpu-utilization is 0"},
		"text for a number":           {map[string]string{"replicas": "two"}, "replicas"},
		"text for a quantity":         {map[string]string{"cpu-request": "a lot"}, "cpu-request"},
		"nothing of a quantity":       {map[string]string{"memory-request": "0"}, "memory-request is 0"},
		"a limit too low":             {map[string]string{"memory-limit": "1Mi"}, "memory-limit is 1Mi"},
		"too short a drain":           {map[string]string{"drain-duration": "1s"}, "drain-duration is 1s"},
		"no time to connect":          {map[string]string{"max-connection-duration": "0s"}, "max-connection-duration is 0s"},
		"no slots":                    {map[string]string{"limit-slots": "0"}, "limit-slots is 0, must be from 1 to 16"},
		"too many slots":              {map[string]string{"limit-slots": "17"}, "limit-slots is 17"},
		"an address without a port":   {map[string]string{"trace-endpoint": "collector"}, `trace-endpoint is "collector": it is no host:port; give`},
		"a URL for an address":        {map[string]string{"trace-endpoint": "http://collector:4317"}, "give the receiver of OTLP over gRPC as host:port"},
		"a port that is none":         {map[string]string{"trace-endpoint": "collector:otlp"}, `port "otlp" is no number from 1 to 65535`},
		"a port beyond all":           {map[string]string{"trace-endpoint": "collector:70000"}, `port "70000"`},
		"no host":                     {map[string]string{"trace-endpoint": ":4317"}, `"" is neither a DNS name nor an IP address`},
		"a host that is no name":      {map[string]string{"trace-endpoint": "my_collector:4317"}, `"my_collector" is neither`},
		"percent for a share":         {map[string]string{"trace-sample": "1%"}, "trace-sample"},
		"more than all":               {map[string]string{"trace-sample": "1.5"}, "trace-sample is 1.5, must be a share of requests from 0.000001 to 1"},
		"less than none":              {map[string]string{"trace-sample": "-0.1"}, "trace-sample is -0.1"},
		"a share that is no number":   {map[string]string{"trace-sample": "NaN"}, "trace-sample is NaN"},
		"finer than Envoy can choose": {map[string]string{"trace-sample": "1e-9"}, "trace-sample is 1e-09"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewGatewayFromConfigMap(&corev1.ConfigMap{Data: test.data})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), GatewayName) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// Envoy is told an address in parts, and a share in millionths.
func TestTracesOfGateways(t *testing.T) {
	for name, tt := range map[string]struct {
		data map[string]string
		want Traces
	}{
		"nowhere":        {nil, Traces{}},
		"a share of 1 %": {map[string]string{"trace-endpoint": "collector:4317"}, Traces{Host: "collector", Port: 4317, Sample: 10_000}},
		"an address":     {map[string]string{"trace-endpoint": "[fd00::1]:4317", "trace-sample": "1"}, Traces{Host: "fd00::1", Port: 4317, Sample: 1_000_000}},
		"next to none":   {map[string]string{"trace-endpoint": "10.0.0.1:1", "trace-sample": "0.000001"}, Traces{Host: "10.0.0.1", Port: 1, Sample: 1}},
		"a third":        {map[string]string{"trace-endpoint": "10.0.0.1:1", "trace-sample": "0.3333333"}, Traces{Host: "10.0.0.1", Port: 1, Sample: 333_333}},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := NewGatewayFromConfigMap(&corev1.ConfigMap{Data: tt.data})
			if err != nil {
				t.Fatal(err)
			}
			if got := g.Traces(); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}
