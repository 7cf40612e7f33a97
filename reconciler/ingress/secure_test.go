package ingress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	clientgotesting "k8s.io/client-go/testing"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	. "knative.dev/pkg/reconciler/testing"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/routing"
	"sluice.dev/sluice/reconciler/apis/tlssecret"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

const externalHost = "ranker.team.example.com"

// certificate returns a Secret of that name in a namespace, with a new certificate
// for a host.
func certificate(t *testing.T, namespace, name, host string) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Type:       corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
		},
	}
}

// broken is a Secret whose key is another's.
func broken(t *testing.T, secret *corev1.Secret) *corev1.Secret {
	t.Helper()
	out := secret.DeepCopy()
	out.Data[corev1.TLSPrivateKeyKey] = certificate(t, "team", "x", "x.example").Data[corev1.TLSPrivateKeyKey]
	return out
}

// secured names a Secret of the Ingress' namespace for its host.
func secured(ing *v1alpha1.Ingress) {
	ing.Spec.TLS = []v1alpha1.IngressTLS{{Hosts: []string{externalHost}, SecretName: "bought", SecretNamespace: ing.Namespace}}
}

func redirected(ing *v1alpha1.Ingress) { ing.Spec.HTTPOption = v1alpha1.HTTPOptionRedirected }

func changed(ing *v1alpha1.Ingress) { ing.Generation = 2 }

// copyOf is the copy of a Secret that the Ingress names.
func copyOf(t *testing.T, ing *v1alpha1.Ingress, tenant string, secret *corev1.Secret) *corev1.Secret {
	t.Helper()
	pair, err := tlssecret.Parse(secret)
	if err != nil {
		t.Fatal(err)
	}
	return resources.SecretCopy(ing, tenant, resources.Certificate{Secret: secret.Name}, pair)
}

func secureGateway(ing *v1alpha1.Ingress, tenant, on string) *istiov1.Gateway {
	certificates, _ := resources.Certificates(ing)
	return resources.SecureGateway(ing, tenant, on, certificates)
}

// routed is what serves an Ingress where a binding says.
func routed(ing *v1alpha1.Ingress, binding resources.Binding, changes ...func(*istiov1.VirtualService)) *istiov1.VirtualService {
	binding.ProbePath = probePath
	vs, err := resources.VirtualService(ing, binding)
	if err != nil {
		panic(err)
	}
	for _, change := range changes {
		change(vs)
	}
	return vs
}

// on binds to gateways, and for HTTPS to Istio Gateways.
func on(gateways []string, https ...string) resources.Binding {
	b := resources.Binding{}
	for _, name := range gateways {
		b.HTTP = append(b.HTTP, qualified(name))
		b.Local = append(b.Local, qualified(gateway.LocalName(name)))
	}
	for _, name := range https {
		b.HTTPS = append(b.HTTPS, qualified(name))
	}
	return b
}

// redirecting has a binding redirect the host on gateways.
func redirecting(b resources.Binding, gateways ...string) resources.Binding {
	b.Redirected = map[string]sets.Set[string]{externalHost: {}}
	for _, name := range gateways {
		b.Redirected[externalHost].Insert(qualified(name))
	}
	return b
}

func wrong(reason, message string) option {
	return func(ing *v1alpha1.Ingress) {
		manage(ing).MarkFalse(v1alpha1.IngressConditionNetworkConfigured, reason, "%s", message)
	}
}

func at(address string) option {
	return func(ing *v1alpha1.Ingress) {
		routing.Publish(ing, address)
	}
}

func deletionOf(resource, name string) clientgotesting.DeleteActionImpl {
	group := istiov1.SchemeGroupVersion
	if resource == "secrets" {
		group = corev1.SchemeGroupVersion
	}
	return clientgotesting.DeleteActionImpl{
		ActionImpl: clientgotesting.ActionImpl{Namespace: gateway.Namespace, Resource: group.WithResource(resource)}, Name: name,
	}
}

// run runs rows as TestReconcile does.
func run(t *testing.T, table TableTest) {
	t.Helper()
	for i := range table {
		table[i].SkipNamespaceValidation = true // what is written lives in the gateways' namespace
		table[i].CmpOpts = []cmp.Option{protocmp.Transform()}
		if table[i].Key == "" {
			table[i].Key = key
		}
	}
	table.Test(t, makeReconciler(t))
}

func TestReconcileSecured(t *testing.T) {
	const (
		own      = "team.ranker.shared"
		notFound = "spec.tls[0].secretName: there is no Secret team/bought of type kubernetes.io/tls; create it"
		strange  = "spec.tls[0].secretName: Secret team/bought can't be served: reading tls.key: " +
			"tls: private key does not match public key; put a certificate and its own key there"
		elsewhere = `spec.tls[0].secretNamespace is "bank": only a Secret of namespace "team", the Ingress' own, can be used; put it there`
	)
	shortly := func() *fakeProver {
		return &fakeProver{proof: Proof{Pending: []string{"shared-b"}, Since: now.Add(-time.Second)}}
	}
	waiting := unproved("NotProved", "Waiting for 1 of 2 gateway pods to serve this generation: shared-b.")
	bought := certificate(t, "team", "bought", externalHost)
	doubtful := certificate(t, "team", "bought", "other.example")
	renewed := certificate(t, "team", "bought", externalHost)
	plain, wanted := kingress(), kingress(secured)
	both := on([]string{gateway.Shared}, own)
	ready := []option{observed, networkConfigured, loadBalancerReady}
	and := func(more ...option) []option { return append(slices.Clone(ready), more...) }

	run(t, TableTest{{
		Name:              "its certificate is copied, its routes are bound, and then it is shown",
		OtherTestData:     map[string]any{"prover": shortly()},
		Objects:           shared(kingress(secured), bought),
		WantCreates:       []runtime.Object{copyOf(t, wanted, "", bought), routed(wanted, both), secureGateway(wanted, "", gateway.Shared)},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{Object: kingress(secured, observed, networkConfigured, waiting)}},
	}, {
		Name: "in the steady state nothing is written",
		Objects: shared(kingress(append(and(), secured)...), bought, copyOf(t, wanted, "", bought),
			routed(wanted, both, provedOn("shared")), secureGateway(wanted, "", gateway.Shared)),
	}, {
		Name:          "a renewed certificate changes the copy and nothing else",
		OtherTestData: map[string]any{"prover": shortly()},
		Objects: shared(kingress(append(and(), secured)...), renewed, copyOf(t, wanted, "", bought),
			routed(wanted, both, provedOn("shared")), secureGateway(wanted, "", gateway.Shared)),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: copyOf(t, wanted, "", renewed)}},
		WantErr:     true, // a requeue, while it is ready still
	}, {
		Name:        "without its Secret a new one is served over plain HTTP, and says so",
		Objects:     shared(kingress(secured)),
		WantCreates: []runtime.Object{routed(wanted, on([]string{gateway.Shared}))},
		WantEvents:  []string{Eventf(corev1.EventTypeWarning, "SecretNotFound", notFound)},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(secured, observed, wrong("SecretNotFound", notFound), loadBalancerReady)}},
	}, {
		Name:        "unless that is to be redirected",
		Objects:     shared(kingress(secured, redirected)),
		WantCreates: []runtime.Object{routed(kingress(secured, redirected), redirecting(on([]string{gateway.Shared}), gateway.Shared))},
		WantEvents:  []string{Eventf(corev1.EventTypeWarning, "SecretNotFound", notFound)},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(secured, redirected, observed, wrong("SecretNotFound", notFound), loadBalancerReady)}},
	}, {
		Name: "what was served before it was asked to redirect goes on without a certificate",
		Objects: shared(kingress(append(and(), secured, redirected)...),
			routed(kingress(secured, redirected), on([]string{gateway.Shared}), provedOn("shared"))),
		WantEvents: []string{Eventf(corev1.EventTypeWarning, "SecretNotFound",
			notFound)},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(append(and(), secured, redirected, wrong("SecretNotFound", notFound))...)}},
	}, {
		Name: "a Secret that is gone leaves its last copy served",
		Objects: shared(kingress(append(and(), secured)...), copyOf(t, wanted, "", bought),
			routed(wanted, both, provedOn("shared")), secureGateway(wanted, "", gateway.Shared)),
		WantEvents: []string{Eventf(corev1.EventTypeWarning, "SecretNotFound", notFound)},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(append(and(), secured, wrong("SecretNotFound", notFound))...)}},
	}, {
		Name: "so does one that is broken, which is told once",
		Objects: shared(kingress(append(and(), secured, wrong("SecretInvalid", strange))...), broken(t, bought), copyOf(t, wanted, "", bought),
			routed(wanted, both, provedOn("shared")), secureGateway(wanted, "", gateway.Shared)),
	}, {
		Name: "mended, it is served",
		Objects: shared(kingress(append(and(), secured, wrong("SecretInvalid", strange))...), bought, copyOf(t, wanted, "", bought),
			routed(wanted, both, provedOn("shared")), secureGateway(wanted, "", gateway.Shared)),
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{Object: kingress(append(and(), secured)...)}},
	}, {
		Name:          "a certificate that clients will refuse is served, with a warning",
		OtherTestData: map[string]any{"prover": shortly()},
		Objects:       shared(kingress(secured), doubtful),
		WantCreates:   []runtime.Object{copyOf(t, wanted, "", doubtful), routed(wanted, both), secureGateway(wanted, "", gateway.Shared)},
		WantEvents: []string{Eventf(corev1.EventTypeWarning, "CertificateDoubtful", "spec.tls[0].secretName: the certificate of Secret bought "+
			`is served, but clients will refuse it: it is not for host "ranker.team.example.com"`)},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{Object: kingress(secured, observed, networkConfigured, waiting)}},
	}, {
		Name: "a Secret of another namespace is refused, and what there was withdrawn",
		Objects: shared(kingress(observed, networkConfigured, secured, func(ing *v1alpha1.Ingress) { ing.Spec.TLS[0].SecretNamespace = "bank" }),
			routed(wanted, both), secureGateway(wanted, "", gateway.Shared), copyOf(t, wanted, "", bought)),
		WantDeletes: []clientgotesting.DeleteActionImpl{
			deletionOf("secrets", copyOf(t, wanted, "", bought).Name), deletionOf("virtualservices", "team.ranker"), deletionOf("gateways", own),
		},
		WantEvents: []string{Eventf(corev1.EventTypeWarning, "SecretNotAllowed", elsewhere)},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(observed, secured, func(ing *v1alpha1.Ingress) { ing.Spec.TLS[0].SecretNamespace = "bank" }, refused("SecretNotAllowed", elsewhere))}},
	}, {
		Name:          "plain HTTP is redirected once HTTPS is proved: first it is bound",
		OtherTestData: map[string]any{"prover": shortly()},
		Objects:       shared(kingress(append(and(), secured, redirected, changed)...), bought, copyOf(t, wanted, "", bought), route(provedOn("shared"))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: routed(kingress(secured, redirected), both, provedOn("shared"))}},
		WantCreates: []runtime.Object{secureGateway(wanted, "", gateway.Shared)},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(append(and(), secured, redirected, changed, observed, waiting)...)}},
	}, {
		Name:          "then redirected",
		OtherTestData: map[string]any{"prover": &fakeProver{proof: Proof{Since: now}, later: &shortly().proof}},
		Objects: shared(kingress(secured, redirected, observed, networkConfigured, waiting), bought, copyOf(t, wanted, "", bought),
			routed(kingress(secured, redirected), both, provedOn("shared")), secureGateway(wanted, "", gateway.Shared)),
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: routed(kingress(secured, redirected), redirecting(both, gateway.Shared), provedOn("shared"))}},
	}, {
		Name: "no longer secured, its server goes first",
		Objects: shared(kingress(and()...), copyOf(t, wanted, "", bought),
			routed(plain, both, provedOn("shared")), secureGateway(wanted, "", gateway.Shared)),
		WantDeletes: []clientgotesting.DeleteActionImpl{deletionOf("gateways", own)},
	}, {
		Name:        "then its routes and the copy",
		Objects:     shared(kingress(and()...), copyOf(t, wanted, "", bought), routed(plain, both, provedOn("shared"))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: routed(plain, on([]string{gateway.Shared}), provedOn("shared"))}},
		WantDeletes: []clientgotesting.DeleteActionImpl{deletionOf("secrets", copyOf(t, wanted, "", bought).Name)},
	}, {
		Name:    "one that is deleted takes all along",
		Objects: shared(kingress(secured, deleted, observed), bought, copyOf(t, wanted, "", bought), routed(wanted, both), secureGateway(wanted, "", gateway.Shared)),
		WantDeletes: []clientgotesting.DeleteActionImpl{
			deletionOf("secrets", copyOf(t, wanted, "", bought).Name), deletionOf("virtualservices", "team.ranker"), deletionOf("gateways", own),
		},
		WantPatches: []clientgotesting.PatchActionImpl{{
			ActionImpl: clientgotesting.ActionImpl{Namespace: "team"}, Name: "ranker",
			Patch: []byte(`{"metadata":{"finalizers":[],"resourceVersion":""}}`),
		}},
		WantEvents: []string{Eventf(corev1.EventTypeNormal, "FinalizerUpdate", `Updated "ranker" finalizers`)},
	}, {
		Name:    "what was written just before it was deleted goes too",
		Objects: shared(copyOf(t, wanted, "", bought), routed(wanted, both), secureGateway(wanted, "", gateway.Shared)),
		WantDeletes: []clientgotesting.DeleteActionImpl{
			deletionOf("secrets", copyOf(t, wanted, "", bought).Name), deletionOf("virtualservices", "team.ranker"), deletionOf("gateways", own),
		},
	}, {
		Name: "a Secret among the gateways that isn't ours is left alone",
		Objects: shared(kingress(append(and(), secured)...), bought, foreignSecret(copyOf(t, wanted, "", bought)),
			routed(wanted, on([]string{gateway.Shared}), provedOn("shared"))),
		WantEvents: []string{Eventf(corev1.EventTypeWarning, "NotOwned",
			fmt.Sprintf("Secret sluice-gateways/%s is in the way and not Sluice's; delete it", copyOf(t, wanted, "", bought).Name))},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(append(and(), secured, wrong("NotOwned",
				fmt.Sprintf("Secret sluice-gateways/%s is in the way and not Sluice's; delete it", copyOf(t, wanted, "", bought).Name)))...)}},
	}})
}

func foreignSecret(secret *corev1.Secret) *corev1.Secret {
	secret.Labels = nil
	return secret
}
