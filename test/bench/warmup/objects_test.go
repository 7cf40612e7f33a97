package main

import (
	"context"
	"testing"

	servingconfig "knative.dev/serving/pkg/apis/config"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// probing is a context of a cluster that probes more than one container of a pod.
func probing(t *testing.T) context.Context {
	t.Helper()
	features, err := servingconfig.NewFeaturesConfigFromMap(map[string]string{"multi-container-probing": "enabled"})
	if err != nil {
		t.Fatal(err)
	}
	config := servingconfig.FromContextOrDefaults(t.Context())
	config.Features = features
	return servingconfig.ToContext(t.Context(), config)
}

// What the benchmark creates is what the webhook would take.
func TestModelsAreValid(t *testing.T) {
	b := &bench{options: options{Image: "registry.example.com/ranker"}, prediction: []byte(`{"inputs": []}`)}
	subjects := []subject{plain, without, withEmpty, {name: "cost", changes: []change{warmed, replicas(costReplicas)}}}
	for _, v := range variants {
		subjects = append(subjects, v.subjects()...)
	}
	names := map[string]bool{}
	for _, s := range subjects {
		m := b.model(s)
		m.SetDefaults(t.Context())
		if err := m.Validate(probing(t)); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if names[s.name] {
			t.Errorf("two subjects are called %s", s.name)
		}
		names[s.name] = true
	}
}

// The plain service is what Sluice would make of a Model without warm-up.
func TestPlainServiceIsOnTheSameGateway(t *testing.T) {
	b := &bench{options: options{Image: "registry.example.com/ranker"}}
	m := b.model(plain)
	m.SetDefaults(t.Context())
	s := plainService(m)
	if got := s.Annotations["networking.knative.dev/ingress.class"]; got != sluice.IngressClassName {
		t.Errorf("class %q", got)
	}
	if len(s.Spec.Template.Spec.Containers) != 1 || s.Spec.Template.Annotations["autoscaling.knative.dev/window"] != "6s" {
		t.Errorf("template %+v", s.Spec.Template)
	}
}

func TestParse(t *testing.T) {
	if o, err := parse([]string{"-image", "i", "-kubeconfig", "k", "-only", "cold,cost"}); err != nil || len(o.Only) != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range [][]string{
		{"-kubeconfig", "k"}, {"-image", "i", "-kubeconfig", ""}, {"-image", "i", "-kubeconfig", "k", "-only", "lukewarm"}, {"-image", "i", "-kubeconfig", "k", "more"},
	} {
		if _, err := parse(bad); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}
