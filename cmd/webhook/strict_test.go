package main

import (
	"strings"
	"testing"

	"knative.dev/pkg/webhook"
)

// Whatever the client validates, what a kind doesn't have is refused, each with its path; by
// the first webhook that the API server asks, and by the second.
func TestUnknownFields(t *testing.T) {
	const container, limit = `"container": {"image": "registry.example/ranker:1"}`, `"limit": {"requestsPerSecondPerReplica": "50"}`
	ctx := contextWith(t)
	for name, constructor := range map[string]func() webhook.AdmissionController{
		"defaulting": func() webhook.AdmissionController { return admissionOf(ctx, t, newDefaulting) },
		"validation": func() webhook.AdmissionController { return admissionOf(ctx, t, newValidation(servingNamespace)) },
	} {
		admission := constructor()
		for _, c := range []struct{ spec, refused string }{
			{container + ", " + limit, ""},
			{`"container": {"imaeg": "x"}, ` + limit, `unknown field "spec.container.imaeg"`},
			{`"container": {"Image": "x"}, ` + limit, `unknown field "spec.container.Image"`},
			{container + `, "limit": {"requestsPerSecondPerReplica": "50", "brust": "1s"}`, `unknown field "spec.limit.brust"`},
			{container + ", " + limit + `, "sidecars": [{"image": "x", "envs": []}]`, `unknown field "spec.sidecars[0].envs"`},
			{container + ", " + limit + `, "affinity": {"nodeAfinity": {}}`, `unknown field "spec.affinity.nodeAfinity"`},
			{container + ", " + limit + `, "volumes": [{"name": "x", "secret": {"secret": "x"}}]`, `unknown field "spec.volumes[0].secret.secret"`},
			{container + ", " + limit + `, "nodeName": "x"`, `unknown field "spec.nodeName"`},
			{limit + `, "containers": [{"image": "x"}]`, `unknown field "spec.containers" (spec.container is the one that serves`},
			{container + ", " + limit + `, "a": 1, "b": 2`, `unknown field "spec.a"; unknown field "spec.b"`},
			{container + ", " + limit + `, "timeoutSeconds": 1, "timeoutSeconds": 2`, `duplicate field "spec.timeoutSeconds"`},
		} {
			expect(t, name+": "+c.spec, admission.Admit(ctx, request("Model", "", modelWith(c.spec))), c.refused)
		}
		beside := strings.Replace(modelWith(container+", "+limit), `"spec"`, `"specs": {}, "spec"`, 1)
		expect(t, name+": beside spec", admission.Admit(ctx, request("Model", "", beside)), `unknown field "specs"`)
		tenant := `{"apiVersion": "sluice.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": "acme"}, "spec": {"namespaces": {"names": ["search"]}, "limits": {"model": 3}}}`
		expect(t, name+": Tenant", admission.Admit(ctx, request("Tenant", "", tenant)), `unknown field "spec.limits.model"`)
	}
}

// What the API server knows of metadata and we don't is none of our business.
func TestUnknownMetadata(t *testing.T) {
	ctx := contextWith(t)
	object := strings.Replace(modelWith(`"container": {"image": "x"}, "limit": {"requestsPerSecondPerReplica": "50"}`), `"name"`, `"novelty": 1, "name"`, 1)
	expect(t, "metadata", admissionOf(ctx, t, newDefaulting).Admit(ctx, request("Model", "", object)), "")
}

// Knative asks the defaulting webhook before its caches are filled, since it needs none.
func TestDefaultingIsStateless(t *testing.T) {
	if _, ok := admissionOf(contextWith(t), t, newDefaulting).(webhook.StatelessAdmissionController); !ok {
		t.Error("the webhook has become one that waits for caches")
	}
}
