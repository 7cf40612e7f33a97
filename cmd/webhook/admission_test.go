package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	kubefake "knative.dev/pkg/client/injection/kube/client/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/admissionregistration/v1/mutatingwebhookconfiguration/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/admissionregistration/v1/validatingwebhookconfiguration/fake"
	"knative.dev/pkg/injection"
	_ "knative.dev/pkg/injection/clients/namespacedkube/informers/core/v1/secret/fake"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	rtesting "knative.dev/pkg/reconciler/testing"
	"knative.dev/pkg/webhook"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	_ "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model/fake"
	tenantinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant"
	_ "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant/fake"
)

const servingNamespace = "serving-elsewhere"

func TestValidation(t *testing.T) {
	features := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: servingNamespace, Name: "config-features"},
		Data:       map[string]string{"kubernetes.podspec-nodeselector": "enabled"},
	}
	const plain = `"container": {"image": "registry.example/ranker:1"}, "limit": {"requestsPerSecondPerReplica": "50"}`
	cases := []struct {
		name    string
		cluster []runtime.Object
		spec    string
		refused string // part of the message; "" for admitted
	}{
		{name: "valid, without any ConfigMap of Knative's", spec: plain},
		{name: "a feature that is off", spec: plain + `, "nodeSelector": {"gpu": "yes"}`, refused: "spec.nodeSelector"},
		{name: "a feature that is on", cluster: []runtime.Object{features}, spec: plain + `, "nodeSelector": {"gpu": "yes"}`},
		{name: "a misspelt field of the container", spec: strings.Replace(plain, `"image"`, `"imaeg"`, 1), refused: "imaeg"},
		{name: "a misspelt field", spec: plain + `, "autoscalling": {}`, refused: "autoscalling"},
		{name: "no rate", spec: `"container": {"image": "x"}, "limit": {}`, refused: "spec.limit.requestsPerSecondPerReplica"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ctx := contextWith(t, c.cluster...)
			webhook := admissionOf(ctx, t, newValidation(servingNamespace))
			expect(t, c.name, webhook.Admit(ctx, request("Model", "", modelWith(c.spec))), c.refused)
		})
	}
}

// What a Model may have depends on who holds its namespace, and on the others there.
func TestCaps(t *testing.T) {
	ctx := contextWith(t)
	acme := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}
	acme.Spec.Limits.MaxReplicas = ptr(int32(9))
	acme.Status.Namespaces = []v1alpha1.TenantNamespace{{Name: "search"}, {Name: "ads"}}
	judge := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Name: "judge", Namespace: "ads"}}
	judge.Spec.Autoscaling.MaxReplicas = ptr(int32(6))
	elsewhere := judge.DeepCopy()
	elsewhere.Namespace = "elsewhere"
	webhook := admissionOf(ctx, t, newValidation(servingNamespace))
	add(t, tenantinformer.Get(ctx).Informer(), acme)
	add(t, modelinformer.Get(ctx).Informer(), judge, elsewhere)

	model := func(namespace string, replicas int) string {
		return fmt.Sprintf(`{"apiVersion": "sluice.dev/v1alpha1", "kind": "Model", "metadata": {"name": "ranker", "namespace": %q}, "spec": {
			"container": {"image": "registry.example/ranker:1"}, "limit": {"requestsPerSecondPerReplica": "50"}, "autoscaling": {"maxReplicas": %d}}}`, namespace, replicas)
	}
	for _, c := range []struct {
		name    string
		request *admissionv1.AdmissionRequest
		refused string // part of the message; "" for admitted
	}{
		{"within the cap", request("Model", "", model("search", 3)), ""},
		{"beyond the cap", request("Model", "", model("search", 4)), `tenant "acme" may have 9 replicas`},
		{"of no tenant", request("Model", "", model("free", 100)), ""},
		{"an update that asks for more", request("Model", model("search", 4), model("search", 5)), "spec.autoscaling.maxReplicas"},
		{"an update that asks for less", request("Model", model("search", 5), model("search", 4)), ""},
	} {
		expect(t, c.name, webhook.Admit(ctx, c.request), c.refused)
	}
}

func TestTenants(t *testing.T) {
	ctx := contextWith(t)
	acme := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}
	acme.Spec.Domain, acme.Spec.Namespaces.Names = "acme.example.com", []string{"search"}
	webhook := admissionOf(ctx, t, newValidation(servingNamespace))
	add(t, tenantinformer.Get(ctx).Informer(), acme)

	tenant := func(metadata, domain string) string {
		return fmt.Sprintf(`{"apiVersion": "sluice.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": "rival"%s}, "spec": {
			"namespaces": {"names": ["ads"]}, "domain": %q}}`, metadata, domain)
	}
	const beside, taken = "rival.example.com", "acme.example.com"
	for _, c := range []struct {
		name    string
		request *admissionv1.AdmissionRequest
		refused string // part of the message; "" for admitted
	}{
		{"a domain of its own", request("Tenant", "", tenant("", beside)), ""},
		{"another's domain", request("Tenant", "", tenant("", taken)), "acme"},
		{"no domain", request("Tenant", "", tenant("", "-")), "spec.domain"},
		{"a field misspelt", request("Tenant", "", strings.Replace(tenant("", beside), "domain", "domian", 1)), "domian"},
		{"an update to another's domain", request("Tenant", tenant("", beside), tenant("", taken)), "acme"},
		{"a finalizer, in whatever state the Tenant is", request("Tenant", tenant("", taken), tenant(`, "finalizers": ["tenants.sluice.dev"]`, taken)), ""},
		{"being deleted", request("Tenant", tenant("", beside), tenant(`, "deletionTimestamp": "2026-01-01T00:00:00Z"`, taken)), ""},
	} {
		expect(t, c.name, webhook.Admit(ctx, c.request), c.refused)
	}
}

// Answers from empty caches would let everything through.
func TestValidationWaitsForItsCaches(t *testing.T) {
	admission := admissionOf(contextWith(t), t, newValidation(servingNamespace))
	if _, ok := admission.(webhook.StatelessAdmissionController); ok {
		t.Error("Knative would ask the webhook before its caches are filled")
	}
}

func TestDefaulting(t *testing.T) {
	ctx := contextWith(t)
	webhook := admissionOf(ctx, t, newDefaulting)
	got := webhook.Admit(ctx, request("Model", "", modelWith(`"container": {"image": "registry.example/ranker:1"}, "limit": {"requestsPerSecondPerReplica": "50"}`)))
	if !got.Allowed || !strings.Contains(string(got.Patch), `/spec/limit/policy`) {
		t.Errorf("got %+v with patch %s, want the policy defaulted", got, got.Patch)
	}
	if strings.Contains(string(got.Patch), "containerConcurrency") {
		t.Errorf("patch %s writes a default of Knative's", got.Patch)
	}
	got = webhook.Admit(ctx, request("Tenant", "", `{"apiVersion": "sluice.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": "acme"}, "spec": {"namespaces": {"names": ["search"]}}}`))
	if !got.Allowed || !strings.Contains(string(got.Patch), "Shared") {
		t.Errorf("got %+v with patch %s, want the gateway's mode defaulted", got, got.Patch)
	}
}

func contextWith(t *testing.T, cluster ...runtime.Object) context.Context {
	t.Helper()
	ctx, cancel, _ := rtesting.SetupFakeContextWithCancel(t)
	t.Cleanup(cancel)
	ctx, _ = kubefake.With(logging.WithLogger(ctx, logtesting.TestLogger(t)), cluster...)
	return webhook.WithOptions(ctx, webhook.Options{SecretName: "webhook-certs"})
}

func admissionOf(ctx context.Context, t *testing.T, newController injection.ControllerConstructor) webhook.AdmissionController {
	t.Helper()
	admission, ok := newController(ctx, nil).Reconciler.(webhook.AdmissionController)
	if !ok {
		t.Fatal("the controller admits nothing")
	}
	return admission
}

func add(t *testing.T, to cache.SharedIndexInformer, objects ...any) {
	t.Helper()
	for _, object := range objects {
		if err := to.GetIndexer().Add(object); err != nil {
			t.Fatal(err)
		}
	}
}

func modelWith(spec string) string {
	return `{"apiVersion": "sluice.dev/v1alpha1", "kind": "Model", "metadata": {"name": "ranker", "namespace": "search"}, "spec": {` + spec + `}}`
}

// request is a creation, or an update where before is not empty.
func request(kind, before, object string) *admissionv1.AdmissionRequest {
	r := &admissionv1.AdmissionRequest{
		Operation: admissionv1.Create,
		Kind:      metav1.GroupVersionKind{Group: "sluice.dev", Version: "v1alpha1", Kind: kind},
		Object:    runtime.RawExtension{Raw: []byte(object)},
	}
	if before != "" {
		r.Operation, r.OldObject.Raw = admissionv1.Update, []byte(before)
	}
	return r
}

func expect(t *testing.T, name string, got *admissionv1.AdmissionResponse, refused string) {
	t.Helper()
	switch {
	case refused == "" && !got.Allowed:
		t.Errorf("%s: refused: %s", name, got.Result.Message)
	case refused != "" && (got.Allowed || !strings.Contains(got.Result.Message, refused)):
		t.Errorf("%s: got %+v, want a refusal that names %s", name, got, refused)
	}
}

func ptr[T any](v T) *T { return &v }
