package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	"knative.dev/networking/pkg/apis/networking"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	networkingfake "knative.dev/networking/pkg/client/injection/client/fake"
	kubefake "knative.dev/pkg/client/injection/kube/client/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/admissionregistration/v1/mutatingwebhookconfiguration/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/admissionregistration/v1/validatingwebhookconfiguration/fake"
	"knative.dev/pkg/injection"
	_ "knative.dev/pkg/injection/clients/namespacedkube/informers/core/v1/secret/fake"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	rtesting "knative.dev/pkg/reconciler/testing"
	"knative.dev/pkg/webhook"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
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

// A domain is refused that is the cluster's, or that would take hosts of others: in the
// answer, and naming none of them.
func TestTenantsDomain(t *testing.T) {
	config := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: servingNamespace, Name: tenancy.DomainConfig},
		Data:       map[string]string{"sluice.example": "", "k.example.org": "selector: {app: x}"},
	}
	ctx := contextWith(t, config)
	ctx, _ = networkingfake.With(ctx, served("judging", "judge.judging.sluice.example"), served("ads", "bidder.ads.sluice.example"))
	webhook := admissionOf(ctx, t, newValidation(servingNamespace))

	tenant := func(domain, namespaces string) string {
		return fmt.Sprintf(`{"apiVersion": "sluice.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": "rival"}, "spec": {
			"namespaces": %s, "domain": %q}}`, namespaces, domain)
	}
	const names, selects = `{"names": ["ads"]}`, `{"selector": {"matchLabels": {"team": "ads"}}}`
	for _, c := range []struct {
		name    string
		request *admissionv1.AdmissionRequest
		refused string // part of the message; "" for admitted
	}{
		{"hosts of another namespace", request("Tenant", "", tenant("judging.sluice.example", names)), "spec.domain"},
		{"hosts of its own", request("Tenant", "", tenant("ads.sluice.example", names)), ""},
		{"no hosts", request("Tenant", "", tenant("free.sluice.example", names)), ""},
		{"the cluster's own domain", request("Tenant", "", tenant("sluice.example", names)), servingNamespace + "/config-domain"},
		{"of a selector too", request("Tenant", "", tenant("sluice.example", selects)), servingNamespace + "/config-domain"},
		{"above a domain of the cluster's", request("Tenant", "", tenant("example.org", names)), "k.example.org"},
		{"whose namespaces these are isn't known here", request("Tenant", "", tenant("judging.sluice.example", selects)), ""},
		{"an update to hosts of others", request("Tenant", tenant("ads.sluice.example", names), tenant("judging.sluice.example", names)), "spec.domain"},
		{"an update of something else", request("Tenant", tenant("judging.sluice.example", names), tenant("judging.sluice.example", `{"names": ["ads", "x"]}`)), ""},
	} {
		got := webhook.Admit(ctx, c.request)
		expect(t, c.name, got, c.refused)
		if got.Result != nil && strings.Contains(got.Result.Message, "judge") {
			t.Errorf("%s: %q tells of others' hosts", c.name, got.Result.Message)
		}
	}
}

// Whoever gives a Tenant caps, or one with caps another namespace, is told what will not be
// served any more.
func TestTenantsCapsWarn(t *testing.T) {
	routed := func(namespace, name string) *netv1alpha1.Ingress {
		ing := served(namespace, name+"."+namespace+".example.com")
		ing.Name, ing.OwnerReferences = name, []metav1.OwnerReference{{Kind: "Route", Name: name, Controller: ptr(true)}}
		ing.Status.InitializeConditions()
		ing.Status.MarkNetworkConfigured()
		ing.Status.MarkLoadBalancerReady(nil, nil)
		return ing
	}
	ctx := contextWith(t)
	ctx, _ = networkingfake.With(ctx, routed("ads", "judge"), routed("ads", "plain"), routed("search", "other"))
	webhook := admissionOf(ctx, t, newValidation(servingNamespace))
	add(t, modelinformer.Get(ctx).Informer(), &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: "ads", Name: "judge"}})

	tenant := func(limits string, names, held string) string {
		return fmt.Sprintf(`{"apiVersion": "sluice.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": "acme"}, "spec": {
			"namespaces": {"names": [%s]}, "limits": {%s}}, "status": {"namespaces": [%s]}}`, names, limits, held)
	}
	const capped, one, both, holdsAds = `"models": 3`, `"ads"`, `"ads", "search"`, `{"name": "ads"}`
	for _, c := range []struct {
		name    string
		request *admissionv1.AdmissionRequest
		warns   string
	}{
		{"no caps", request("Tenant", "", tenant("", one, "")), ""},
		{"caps from the start", request("Tenant", "", tenant(capped, one, "")), "ads/plain"},
		{"caps that come", request("Tenant", tenant("", one, holdsAds), tenant(capped, one, holdsAds)), "ads/plain"},
		{"caps that change", request("Tenant", tenant(capped, one, holdsAds), tenant(`"models": 4`, one, holdsAds)), ""},
		{"a namespace that comes", request("Tenant", tenant(capped, one, holdsAds), tenant(capped, both, holdsAds)), "search/other"},
	} {
		got := webhook.Admit(ctx, c.request)
		expect(t, c.name, got, "")
		switch said := strings.Join(got.Warnings, "; "); {
		case c.warns == "" && said != "", c.warns != "" && !strings.Contains(said, ": "+c.warns+": spec.limits"):
			t.Errorf("%s: warns %q, want of %q", c.name, said, c.warns)
		}
	}
}

func served(namespace, host string) *netv1alpha1.Ingress {
	return &netv1alpha1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "model",
			Annotations: map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName},
		},
		Spec: netv1alpha1.IngressSpec{Rules: []netv1alpha1.IngressRule{{Hosts: []string{host}}}},
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

func contextWith(t testing.TB, cluster ...runtime.Object) context.Context {
	t.Helper()
	ctx, cancel, _ := rtesting.SetupFakeContextWithCancel(t)
	t.Cleanup(cancel)
	logger := logtesting.TestLogger(t)
	if _, fuzzed := t.(*testing.F); fuzzed {
		logger = zap.NewNop().Sugar() // what is fuzzed must not log by it
	}
	ctx, _ = kubefake.With(logging.WithLogger(ctx, logger), cluster...)
	return webhook.WithOptions(ctx, webhook.Options{SecretName: "webhook-certs"})
}

func admissionOf(ctx context.Context, t testing.TB, newController injection.ControllerConstructor) webhook.AdmissionController {
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
