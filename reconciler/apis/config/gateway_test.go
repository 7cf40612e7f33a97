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
	}})
	want := &Gateway{
		Replicas: 2, CPUUtilization: 50, CPURequest: resource.MustParse("100m"), MemoryRequest: resource.MustParse("128Mi"),
		MemoryLimit: resource.MustParse("256Mi"), DrainDuration: 90 * time.Second, MaxConnectionDuration: 30 * time.Second,
		LimitSlots: 8, AccessLog: AccessLogOff, SuccessSample: 0.25,
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
		"a misspelt key":        {map[string]string{"replica": "2"}, `unknown keys ["replica"]`},
		"no replicas":           {map[string]string{"replicas": "0"}, "replicas is 0"},
		"no CPU to use":         {map[string]string{"target-cpu-utilization": "0"}, "target-cpu-utilization is 0"},
		"text for a number":     {map[string]string{"replicas": "two"}, "replicas"},
		"text for a quantity":   {map[string]string{"cpu-request": "a lot"}, "cpu-request"},
		"nothing of a quantity": {map[string]string{"memory-request": "0"}, "memory-request is 0"},
		"a limit too low":       {map[string]string{"memory-limit": "1Mi"}, "memory-limit is 1Mi"},
		"too short a drain":     {map[string]string{"drain-duration": "1s"}, "drain-duration is 1s"},
		"no time to connect":    {map[string]string{"max-connection-duration": "0s"}, "max-connection-duration is 0s"},
		"no slots":              {map[string]string{"limit-slots": "0"}, "limit-slots is 0, must be from 1 to 16"},
		"too many slots":        {map[string]string{"limit-slots": "17"}, "limit-slots is 17"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewGatewayFromConfigMap(&corev1.ConfigMap{Data: test.data})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), GatewayName) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
