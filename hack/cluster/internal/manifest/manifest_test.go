package manifest

import (
	"strings"
	"testing"
)

const sample = `# a comment before the first document
apiVersion: apps/v1
kind: Deployment
metadata:
  name: activator
  namespace: knative-serving
  labels: {app.kubernetes.io/version: devel}
spec:
  replicas: 3
  template:
    metadata:
      labels: {app.kubernetes.io/version: devel, app: activator}
    spec:
      containers:
      - name: activator
        image: a@sha256:0
        resources:
          requests: {cpu: 300m, memory: 60Mi}
          limits: {cpu: 1000m, memory: 600Mi}
        readinessProbe:
          httpGet: {port: 8012}
          initialDelaySeconds: 20
---
---
apiVersion: v1
kind: ConfigMap
metadata: {name: config-features, namespace: knative-serving}
data:
  _example: |
    not: changed
---
kind: HorizontalPodAutoscaler
metadata: {name: activator}
---
kind: Namespace
metadata: {name: knative-serving}
---
kind: CustomResourceDefinition
metadata: {name: routes.serving.knative.dev}
---
kind: ValidatingWebhookConfiguration
metadata: {name: config.webhook.serving.knative.dev}
`

func TestRewrite(t *testing.T) {
	objects, err := Parse([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	objects = Rewrite(objects,
		WithoutKinds("HorizontalPodAutoscaler"),
		ModestRequests("15m", "32Mi"),
		PromptReadiness,
		OneReplica,
		Version("0.50.0"),
		ConfigData("knative-serving", "config-features", map[string]string{"multi-container-probing": "enabled"}),
	)
	content, err := Format(objects)
	if err != nil {
		t.Fatal(err)
	}
	out := string(content)
	for _, want := range []string{"cpu: 15m", "memory: 32Mi", "memory: 600Mi", "replicas: 1", "periodSeconds: 2",
		"app.kubernetes.io/version: 0.50.0", "multi-container-probing: enabled", "not: changed"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
	for _, gone := range []string{"300m", "1000m", "initialDelaySeconds", "devel", "HorizontalPodAutoscaler"} {
		if strings.Contains(out, gone) {
			t.Errorf("%q is still there", gone)
		}
	}
}

func TestSplit(t *testing.T) {
	objects, err := Parse([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	p := Split(objects)
	if len(p.Definitions) != 1 || len(p.Ground) != 3 || len(p.Workloads) != 2 {
		t.Fatalf("got %d, %d, %d objects", len(p.Definitions), len(p.Ground), len(p.Workloads))
	}
	if p.Ground[0].Kind() != "Namespace" {
		t.Errorf("the ground starts with a %s", p.Ground[0].Kind())
	}
}
