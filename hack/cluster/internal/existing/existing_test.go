package existing

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// cluster answers kubectl's arguments from a table; what isn't in it is absent.
func cluster(objects map[string]string) Getter {
	return func(_ context.Context, args ...string) ([]byte, error) {
		key := args[0]
		if key == "get" {
			key = args[1] + " " + args[4] + "/" + args[2]
		}
		if answer, ok := objects[key]; ok {
			return []byte(answer), nil
		}
		return nil, errors.New("NotFound")
	}
}

func complete() map[string]string {
	return map[string]string{
		"version":                               `{"serverVersion":{"gitVersion":"v1.36.3"}}`,
		"deployment knative-serving/controller": `{"metadata":{"labels":{"app.kubernetes.io/version":"0.50.0"}}}`,
		"deployment knative-eventing/eventing-controller":  `{"metadata":{"labels":{"app.kubernetes.io/version":"1.21.0"}}}`,
		"deployment knative-eventing/mt-broker-controller": `{}`,
		"deployment knative-eventing/imc-controller":       `{}`,
		"configmap knative-serving/config-domain":          `{"data":{"_example":"…","models.example.com":""}}`,
		"configmap knative-eventing/config-features":       `{"data":{"authentication-oidc":"enabled"}}`,
		"configmap knative-serving/config-features":        `{"data":{"multi-container-probing":"enabled"}}`,
		"configmap knative-serving/config-network":         `{"data":{"mesh-compatibility-mode":"disabled"}}`,
		"configmap knative-serving/config-deployment":      `{"data":{"queue-sidecar-image":"r:5000/sluice/queue-proxy@sha256:d1"}}`,
		"deployment sluice-system/webhook":                 `{"spec":{"replicas":1},"status":{"readyReplicas":1}}`,
		"deployment sluice-system/limiter":                 `{"spec":{"replicas":2},"status":{"readyReplicas":2}}`,
		"deployment sluice-system/controller":              `{"spec":{"replicas":1},"status":{"readyReplicas":1}}`,
		"deployment sluice-gateways/shared":                `{"spec":{"replicas":1},"status":{"readyReplicas":1}}`,
		"deployment istio-system/istiod": `{"spec":{"template":{"spec":{"containers":[{"image":"r/pilot:1.28.0",
			"env":[{"name":"PILOT_FILTER_GATEWAY_CLUSTER_CONFIG","value":"true"},{"name":"PILOT_SCOPE_GATEWAY_TO_NAMESPACE","value":"true"},
			{"name":"PILOT_DEBOUNCE_MAX","value":"500ms"}]}]}}}}`,
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name   string
		change func(map[string]string)
		// missing and advice are the subjects that are found wanting.
		missing, advice []string
	}{
		{name: "all there", change: func(map[string]string) {}},
		{
			name: "old and without probing",
			change: func(o map[string]string) {
				o["version"] = `{"serverVersion":{"gitVersion":"v1.29.1"}}`
				o["deployment knative-serving/controller"] = `{"metadata":{"labels":{"app.kubernetes.io/version":"1.14.0"}}}`
				o["configmap knative-serving/config-features"] = `{"data":{}}`
			},
			missing: []string{"Kubernetes", "Knative Serving", "multi-container-probing"},
		},
		{
			name: "no Eventing, no Istio",
			change: func(o map[string]string) {
				for key := range o {
					if strings.Contains(key, "eventing") || strings.Contains(key, "istio") {
						delete(o, key)
					}
				}
			},
			missing: []string{"Knative Eventing", "MTChannelBasedBroker with InMemoryChannel", "Istio"},
			advice:  []string{"authentication-oidc"},
		},
		{
			name: "Knative as it comes",
			change: func(o map[string]string) {
				o["configmap knative-serving/config-deployment"] = `{"data":{"queue-sidecar-image":"gcr.io/knative-releases/knative.dev/serving/cmd/queue@sha256:d1"}}`
				o["configmap knative-serving/config-network"] = `{"data":{"ingress-class":"istio.ingress.networking.knative.dev"}}`
			},
			advice: []string{"mesh-compatibility-mode", "queue-proxy"},
		},
		{
			name:    "another Broker alone",
			change:  func(o map[string]string) { delete(o, "deployment knative-eventing/imc-controller") },
			missing: []string{"MTChannelBasedBroker with InMemoryChannel"},
		},
		{
			name: "no domain but a tenant's",
			change: func(o map[string]string) {
				o["configmap knative-serving/config-domain"] = `{"data":{"_example":"…","svc.cluster.local":"","acme.example.com":"selector:\n  sluice.dev/tenant: acme\n"}}`
			},
			advice: []string{"config-domain"},
		},
		{
			name: "istiod as it comes",
			change: func(o map[string]string) {
				o["deployment istio-system/istiod"] = `{"spec":{"template":{"spec":{"containers":[{"image":"r/pilot:1.28.0"}]}}}}`
			},
			advice: []string{"istiod PILOT_FILTER_GATEWAY_CLUSTER_CONFIG", "istiod PILOT_SCOPE_GATEWAY_TO_NAMESPACE", "istiod PILOT_DEBOUNCE_MAX"},
		},
		{
			name: "no Sluice yet",
			change: func(o map[string]string) {
				for key := range o {
					if strings.Contains(key, " sluice-") {
						delete(o, key)
					}
				}
			},
			advice: []string{"Sluice"},
		},
		{
			name: "a limiter that isn't ready",
			change: func(o map[string]string) {
				o["deployment sluice-system/limiter"] = `{"spec":{"replicas":1},"status":{}}`
			},
			advice: []string{"Sluice"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			objects := complete()
			tt.change(objects)
			findings, err := Check(context.Background(), cluster(objects))
			if err != nil {
				t.Fatal(err)
			}
			var missing, advice []string
			for _, f := range findings {
				switch {
				case f.Satisfied:
					continue
				case f.Required:
					missing = append(missing, f.Subject)
				default:
					advice = append(advice, f.Subject)
				}
				if f.Remedy == "" {
					t.Errorf("%s has no remedy", f.Subject)
				}
			}
			if strings.Join(missing, ";") != strings.Join(tt.missing, ";") || strings.Join(advice, ";") != strings.Join(tt.advice, ";") {
				t.Errorf("missing %q, advice %q; want %q, %q", missing, advice, tt.missing, tt.advice)
			}
		})
	}
}

func TestRemediesWarn(t *testing.T) {
	for _, check := range []func(context.Context, Getter) Finding{checkProbing, checkQueueProxy} {
		if f := check(context.Background(), cluster(nil)); !strings.Contains(f.String(), "roll") {
			t.Errorf("the remedy rolls every service and must say so: %s", f)
		}
	}
}

func TestCheckFailsWithoutACluster(t *testing.T) {
	if _, err := Check(context.Background(), cluster(nil)); err == nil {
		t.Error("no error though nothing answers")
	}
}

// What is there and doesn't work is told from what isn't there.
func TestSluiceIsToldOf(t *testing.T) {
	for says, change := range map[string]func(map[string]string){
		"installed and healthy: ready are webhook 1/1, limiter 2/2, controller 1/1, shared 1/1": func(map[string]string) {},
		"not installed": func(o map[string]string) {
			for _, part := range sluices {
				delete(o, "deployment "+part.namespace+"/"+part.name)
			}
		},
		"not healthy: limiter 1/2 ready, shared missing": func(o map[string]string) {
			o["deployment sluice-system/limiter"] = `{"spec":{"replicas":2},"status":{"readyReplicas":1}}`
			delete(o, "deployment sluice-gateways/shared")
		},
		"not healthy: webhook 0/1 ready, limiter 0/1 ready, controller 0/1 ready, shared 0/1 ready": func(o map[string]string) {
			for _, part := range sluices {
				o["deployment "+part.namespace+"/"+part.name] = `{"spec":{"replicas":1}}`
			}
		},
	} {
		objects := complete()
		change(objects)
		if f := checkSluice(context.Background(), cluster(objects)); !strings.Contains(f.Seen, says) || f.Required {
			t.Errorf("%s, want %q", f, says)
		}
	}
}
