//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/networking/pkg/apis/networking"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	netheader "knative.dev/networking/pkg/http/header"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/ptr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingv1beta1 "knative.dev/serving/pkg/apis/serving/v1beta1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// refusedWithin bounds the wait for a refusal.
	refusedWithin = 20 * time.Second
	// rankerRevision is the first one of a Model called ranker.
	rankerRevision = "ranker-00001"
	// heldRoute is the name of acme's route for the host that it holds.
	heldRoute = "held"
	// readyPath is what the ranker answers for less than a prediction.
	readyPath = "/v2/health/ready"
)

// attempt is something that a tenant must not be able to do. It says how it was
// refused, or fails.
type attempt struct {
	what string
	try  func(ctx context.Context) (string, error)
}

// Whatever a tenant tries against another one is refused, or has no effect at the
// other's gateway, each of which is shown in a table.
func TestIsolationMatrix(t *testing.T) {
	m := newMatrix(t)
	var rows []string
	for _, a := range slices.Concat(m.claims(), m.tenants(), m.istio(), m.caps(), m.headers(), m.rights(), m.gateways()) {
		how, err := a.try(t.Context())
		if err != nil {
			t.Errorf("%s: %v", a.what, err)
			how = "NOT REFUSED: " + err.Error()
		}
		rows = append(rows, a.what+"\t"+strings.Join(strings.Fields(how), " "))
		if err := m.unharmed(t.Context()); err != nil {
			t.Errorf("after %q: %v", a.what, err)
		}
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "attempt\thow it was refused\n%s\n", strings.Join(rows, "\n"))
	_ = w.Flush() // into memory
	t.Logf("%d attempts\n%s", len(rows), table.String())
}

// matrix is two tenants: acme, with a gateway of its own, a second namespace and a
// Model, and rival, which makes the attempts.
type matrix struct {
	acme, rival *tenant
	// branch is acme's second namespace; free is nobody's.
	branch, free *stage
	// ranker is acme's Model.
	ranker platform.Endpoint
	// held is a host that acme holds, beside its domain, and that tells nothing of it.
	// Its route changes: once a change is ready, istiod has told acme's gateway of
	// everything that was written before it.
	held    string
	changes int
}

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	capped := func(of *v1alpha1.Tenant) { of.Spec.Limits.Models = ptr.Int32(1) }
	sized := func(of *v1alpha1.Tenant) {
		of.Spec.Limits.MaxReplicas = ptr.Int32(3)
		of.Spec.Limits.RequestsPerSecond = quantity("20")
	}
	tenants := newTenants(t, wanted("acme", dedicated(1), ownDomain, capped), wanted("rival", ownDomain, sized))
	m := &matrix{acme: tenants[0], rival: tenants[1], branch: newStage(t), free: newStage(t)}
	m.acme.change(func(of *v1alpha1.Tenant) {
		of.Spec.Namespaces.Names = append(of.Spec.Namespaces.Names, m.branch.namespace)
	})
	m.acme.create(m.acme.ranker("ranker", fixed("20"), brief))
	m.rival.create(m.rival.ranker("ranker", fixed("20"), brief))
	m.ranker = m.acme.serving("ranker")
	m.rival.serving("ranker")
	m.acme.settled()
	m.held = "held" + strings.TrimPrefix(m.acme.namespace, "e2e") + ".example.org"
	ingresses := m.acme.Networking.NetworkingV1alpha1().Ingresses(m.acme.namespace)
	if _, err := ingresses.Create(t.Context(), m.acme.route(heldRoute, "ranker", m.held), metav1.CreateOptions{}); err != nil {
		t.Fatal("creating an Ingress:", err)
	}
	if _, err := m.unaffected(t.Context()); err != nil {
		t.Fatal("before any attempt:", err)
	}
	return m
}

// unharmed says what is wrong with acme's Model at its gateway.
func (m *matrix) unharmed(ctx context.Context) error {
	got, err := ask(ctx, m.ranker.Address, "http://"+m.ranker.Host+readyPath)
	if err != nil {
		return fmt.Errorf("asking acme's Model: %w", err)
	}
	if got.status != http.StatusOK && got.status != http.StatusTooManyRequests {
		return fmt.Errorf("acme's Model answers %d", got.status)
	}
	return nil
}

// claims are hosts, backends and certificates that are not rival's to name.
func (m *matrix) claims() []attempt {
	return []attempt{
		{"route for a host that acme holds", func(ctx context.Context) (string, error) {
			how, err := m.rival.refusal(ctx, m.rival.route("host", "ranker", m.held))
			return how, errors.Join(err, hides(how, m.acme.namespace, m.acme.name))
		}},
		{"the same, by another namespace of acme's", func(ctx context.Context) (string, error) {
			how, err := m.branch.refusal(ctx, m.branch.route("host", "ranker", m.held))
			return how, errors.Join(err, names(how, m.acme.namespace))
		}},
		{"route for the host of acme's Model", func(ctx context.Context) (string, error) {
			return m.rival.refusal(ctx, m.rival.route("model", "ranker", m.ranker.Host))
		}},
		{"route for a free host of acme's domain", func(ctx context.Context) (string, error) {
			how, err := m.rival.refusal(ctx, m.rival.route("domain", "ranker", "open."+m.acme.now().Spec.Domain))
			return how, errors.Join(err, hides(how, m.acme.namespace))
		}},
		{"route for all of acme's domain", func(ctx context.Context) (string, error) {
			return m.rival.refusal(ctx, m.rival.route("wildcard", "ranker", "*."+m.acme.now().Spec.Domain))
		}},
		{"route for the probes of acme's gateway", func(ctx context.Context) (string, error) {
			return m.rival.refusal(ctx, m.rival.route("probe", "ranker", gateway.ProbeHost(gateway.OfTenant(m.acme.name))))
		}},
		{"route for no host, which would be all", func(ctx context.Context) (string, error) {
			return m.rival.refusal(ctx, m.rival.route("hostless", "ranker"))
		}},
		{"route to a backend of acme's", func(ctx context.Context) (string, error) {
			r := m.rival.route("backend", "ranker", "backend."+m.rival.now().Spec.Domain)
			r.Spec.Rules[0].HTTP.Paths[0].Splits[0].ServiceNamespace = m.acme.namespace
			return m.rival.refusal(ctx, r)
		}},
		{"route with a certificate of acme's", m.foreignCertificate},
		{"Knative Service labelled as acme's", m.labelledService},
		{"DomainMapping of a host that acme holds", func(ctx context.Context) (string, error) {
			how, err := m.domainMapping(ctx, m.held)
			return how, errors.Join(err, hides(how, m.acme.namespace, m.acme.name))
		}},
		{"DomainMapping of the host of acme's Model", func(ctx context.Context) (string, error) {
			return m.domainMapping(ctx, m.ranker.Host)
		}},
	}
}

// foreignCertificate is named by a route of rival's, which is served without it.
func (m *matrix) foreignCertificate(ctx context.Context) (string, error) {
	host := "secret." + m.rival.now().Spec.Domain
	acmes := newCertificate(m.acme.T, host)
	m.acme.keep("acme-tls", acmes)
	r := m.rival.route("secret", "ranker", host)
	r.Spec.TLS = []netv1alpha1.IngressTLS{{Hosts: []string{host}, SecretName: "acme-tls", SecretNamespace: m.acme.namespace}}
	ingresses := m.rival.Networking.NetworkingV1alpha1().Ingresses(m.rival.namespace)
	if _, err := ingresses.Create(ctx, r, metav1.CreateOptions{}); err != nil {
		return refusedByAPI(err)
	}
	how, err := m.rival.notReady(ctx, r.Name)
	if got, errAsk := ask(ctx, m.rival.address(443), "https://"+host+readyPath); errAsk == nil && acmes.shown(got) {
		err = errors.Join(err, errors.New("the certificate is served"))
	}
	return how, errors.Join(err, ingresses.Delete(ctx, r.Name, metav1.DeleteOptions{}))
}

// labelledService is given a host of acme's domain by Knative, since its label says
// so; the host is not served.
func (m *matrix) labelledService(ctx context.Context) (string, error) {
	service := &servingv1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: m.rival.namespace, Name: "labelled",
			Labels:      map[string]string{sluice.TenantLabelKey: m.acme.name},
			Annotations: map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName},
		},
		Spec: servingv1.ServiceSpec{ConfigurationSpec: servingv1.ConfigurationSpec{Template: servingv1.RevisionTemplateSpec{
			Spec: servingv1.RevisionSpec{PodSpec: corev1.PodSpec{Containers: []corev1.Container{m.rival.container()}}},
		}}},
	}
	services := m.rival.Serving.ServingV1().Services(m.rival.namespace)
	if _, err := services.Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return "", fmt.Errorf("creating the Service: %w", err)
	}
	how, err := m.rival.refusedRoute(ctx, service.Name)
	return how, errors.Join(err, services.Delete(ctx, service.Name, metav1.DeleteOptions{}))
}

// domainMapping is attempted although the operator, by mistake, gave the host to
// rival; without that Knative would refuse it.
func (m *matrix) domainMapping(ctx context.Context, host string) (string, error) {
	m.rival.claimDomain(host)
	mappings := m.rival.Serving.ServingV1beta1().DomainMappings(m.rival.namespace)
	if _, err := mappings.Create(ctx, domainMapping(m.rival.namespace, host, "ranker"), metav1.CreateOptions{}); err != nil {
		return "", fmt.Errorf("creating the DomainMapping: %w", err)
	}
	how, err := m.rival.refusedRoute(ctx, host)
	return how, errors.Join(err, mappings.Delete(ctx, host, metav1.DeleteOptions{}))
}

// claimDomain lets the stage's namespace map a domain, as an operator does.
func (s *stage) claimDomain(host string) {
	s.Helper()
	claims := s.Networking.NetworkingV1alpha1().ClusterDomainClaims()
	if _, err := claims.Create(s.Context(), &netv1alpha1.ClusterDomainClaim{
		ObjectMeta: metav1.ObjectMeta{Name: host},
		Spec:       netv1alpha1.ClusterDomainClaimSpec{Namespace: s.namespace},
	}, metav1.CreateOptions{}); err != nil {
		s.Fatalf("claiming domain %s: %v", host, err)
	}
	s.Cleanup(func() {
		if err := claims.Delete(context.Background(), host, metav1.DeleteOptions{}); err != nil {
			s.Errorf("giving up domain %s: %v", host, err)
		}
	})
}

// domainMapping maps a host to a Knative Service by our class.
func domainMapping(namespace, host, service string) *servingv1beta1.DomainMapping {
	return &servingv1beta1.DomainMapping{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: host,
			Annotations: map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName},
		},
		Spec: servingv1beta1.DomainMappingSpec{Ref: duckv1.KReference{
			APIVersion: servingv1.SchemeGroupVersion.String(), Kind: "Service", Namespace: namespace, Name: service,
		}},
	}
}

// refusal creates a route and returns how it was refused, by the API server or by
// a condition and the absence of anything for it at the gateways.
func (s *stage) refusal(ctx context.Context, route *netv1alpha1.Ingress) (string, error) {
	ingresses := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace)
	if _, err := ingresses.Create(ctx, route, metav1.CreateOptions{}); err != nil {
		return refusedByAPI(err)
	}
	how, err := s.refusedRoute(ctx, route.Name)
	return how, errors.Join(err, ingresses.Delete(ctx, route.Name, metav1.DeleteOptions{}))
}

// refusedRoute waits until there is a route that was refused, and checks that there
// is nothing for it at the gateways.
func (s *stage) refusedRoute(ctx context.Context, name string) (string, error) {
	how, err := s.notReady(ctx, name)
	if err != nil {
		return how, err
	}
	_, err = s.Istio.NetworkingV1().VirtualServices(gateway.Namespace).Get(ctx, gateway.VirtualServiceName(s.namespace, name), metav1.GetOptions{})
	if isGone, err := gone(err); err != nil || isGone {
		return how, err
	}
	return how, errors.New("there is a VirtualService for it")
}

// notReady waits until there is a route whose condition says that it isn't ready.
func (s *stage) notReady(ctx context.Context, name string) (string, error) {
	how := ""
	err := platform.Until(ctx, refusedWithin, "a route to be refused", func(ctx context.Context) (string, error) {
		got, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrs.IsNotFound(err) {
			return "there is none yet", nil
		}
		if err != nil {
			return "", fmt.Errorf("getting the Ingress: %w", err)
		}
		ready := got.Status.GetCondition(netv1alpha1.IngressConditionReady)
		switch {
		case ready.IsTrue():
			return "", errors.New("it is ready")
		case got.Status.ObservedGeneration != got.Generation, !ready.IsFalse():
			return fmt.Sprintf("%+v", ready), nil
		}
		how = ready.Reason + ": " + ready.Message
		return "", nil
	})
	return how, err
}

// refusedByAPI tells a refusal from a failure.
func refusedByAPI(err error) (string, error) {
	if apierrs.IsForbidden(err) || apierrs.IsInvalid(err) || apierrs.IsBadRequest(err) {
		_, why, denied := strings.Cut(err.Error(), "denied the request: ")
		if !denied {
			why = err.Error()
		}
		return "API server: " + why, nil
	}
	return "", fmt.Errorf("asking the API server: %w", err)
}

// hides checks that a message tells nothing of somebody else.
func hides(message string, of ...string) error {
	for _, name := range of {
		if strings.Contains(message, name) {
			return fmt.Errorf("the refusal %q tells of %s", message, name)
		}
	}
	return nil
}

// names checks that a message says what a person needs to know.
func names(message string, what ...string) error {
	for _, name := range what {
		if !strings.Contains(message, name) {
			return fmt.Errorf("the refusal %q doesn't name %s", message, name)
		}
	}
	return nil
}

// tenants are Tenants that want what is somebody else's.
func (m *matrix) tenants() []attempt {
	domain := m.acme.now().Spec.Domain
	attempts := []attempt{
		{"Tenant with acme's namespace", m.thief(m.acme.namespace, func(t *v1alpha1.Tenant) {
			t.Spec.Namespaces.Names = []string{m.acme.namespace}
		})},
		{"Tenant with acme's domain", m.thief(domain, func(t *v1alpha1.Tenant) { t.Spec.Domain = domain })},
		{"Tenant with a part of acme's domain", m.thief(domain, func(t *v1alpha1.Tenant) { t.Spec.Domain = "part." + domain })},
		{"Tenant that selects every namespace", m.thief("spec.namespaces.selector", func(t *v1alpha1.Tenant) {
			t.Spec.Namespaces.Selector = &metav1.LabelSelector{}
		})},
		{"Tenant with a certificate of acme's", m.thief("spec.tls.secretNamespace", func(t *v1alpha1.Tenant) {
			t.Spec.Domain = "thief.example.com"
			t.Spec.TLS = &v1alpha1.TenantTLS{SecretName: "acme-tls", SecretNamespace: m.acme.namespace}
		})},
	}
	for _, system := range []string{sluice.SystemNamespace, gateway.Namespace, servingNamespace, "istio-system", "kube-system"} {
		attempts = append(attempts, attempt{"Tenant with namespace " + system, m.thief(system, func(t *v1alpha1.Tenant) {
			t.Spec.Namespaces.Names = []string{system}
		})})
	}
	return attempts
}

// thief attempts to make a Tenant of a free namespace, changed, whose refusal says
// what of it can't be had.
func (m *matrix) thief(refused string, change func(*v1alpha1.Tenant)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		how, err := m.refusedTenant(ctx, change)
		return how, errors.Join(err, names(how, refused))
	}
}

func (m *matrix) refusedTenant(ctx context.Context, change func(*v1alpha1.Tenant)) (string, error) {
	thief := &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{
			Name:   "thief" + strings.TrimPrefix(m.free.namespace, "e2e"),
			Labels: map[string]string{testLabelKey: testLabel(m.free.T)},
		},
		Spec: v1alpha1.TenantSpec{Namespaces: v1alpha1.TenantNamespaces{Names: []string{m.free.namespace}}},
	}
	change(thief)
	tenants := m.free.Sluice.SluiceV1alpha1().Tenants()
	if _, err := tenants.Create(ctx, thief, metav1.CreateOptions{}); err != nil {
		return refusedByAPI(err)
	}
	how := ""
	err := platform.Until(ctx, refusedWithin, "a Tenant to be refused", func(ctx context.Context) (string, error) {
		got, err := tenants.Get(ctx, thief.Name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		ready := got.Status.GetCondition(v1alpha1.TenantConditionReady)
		switch {
		case got.IsReady():
			return "", errors.New("it is ready")
		case got.Status.ObservedGeneration != got.Generation, !ready.IsFalse():
			return fmt.Sprintf("%+v", ready), nil
		case slices.ContainsFunc(got.Status.Namespaces, func(of v1alpha1.TenantNamespace) bool { return of.Name != m.free.namespace }):
			return "", fmt.Errorf("it holds %v", got.Status.Namespaces)
		}
		how = ready.Reason + ": " + ready.Message
		return "", nil
	})
	if err := errors.Join(err, tenants.Delete(ctx, thief.Name, metav1.DeleteOptions{})); err != nil {
		return how, err
	}
	return how, platform.Until(ctx, settledWithin, "the Tenant to go", func(ctx context.Context) (string, error) {
		_, err := tenants.Get(ctx, thief.Name, metav1.GetOptions{})
		if isGone, err := gone(err); err != nil || isGone {
			return "", err
		}
		return "it is there", nil
	})
}

// istio are objects of Istio, written by hand in rival's namespace, that aim at
// acme's gateway or at the shared one.
func (m *matrix) istio() []attempt {
	acmes := gateway.Namespace + "/" + gateway.OfTenant(m.acme.name)
	shared := gateway.Namespace + "/" + gateway.Shared
	pods := map[string]string{gateway.LabelKey: gateway.OfTenant(m.acme.name)}
	exported := m.answering(m.held, acmes)
	exported.Spec.ExportTo = []string{"*"}
	return []attempt{
		{"VirtualService with acme's host on acme's gateway", m.inVain(m.answering(m.held, acmes))},
		{"VirtualService with acme's host, exported to all", m.inVain(exported)},
		{"VirtualService with a free host on acme's gateway", m.inVain(m.answering(m.stray(), acmes))},
		{"VirtualService with acme's host on the shared gateway", m.inVain(m.answering(m.held, shared))},
		{"Gateway for acme's pods, at a port that they serve", m.inVain(m.listening(pods, gateway.External.Port), m.answering(m.stray(), "stolen"))},
		{"Gateway for acme's pods, at a port of its own", m.inVain(m.listening(pods, ownPort), m.answering(m.stray(), "stolen"))},
		{"EnvoyFilter for acme's pods", m.inVain(m.marking(pods))},
		{"EnvoyFilter for every pod", m.inVain(m.marking(nil))},
	}
}

const (
	// stolen is the answer of whatever an attempt would put in a tenant's way.
	stolen = http.StatusTeapot
	// stolenHeader is on answers that an attempt got hold of.
	stolenHeader = "x-stolen"
	// ownPort is one that no gateway serves.
	ownPort = 8090
)

// stray is a host that nobody serves.
func (m *matrix) stray() string { return "stray." + m.rival.name + ".example.org" }

// answering is a VirtualService that answers a host itself.
func (m *matrix) answering(host, on string) *istiov1.VirtualService {
	return &istiov1.VirtualService{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.rival.namespace, Name: "stolen"},
		Spec: istioapi.VirtualService{
			Hosts: []string{host}, Gateways: []string{on},
			Http: []*istioapi.HTTPRoute{{Name: m.rival.name, DirectResponse: &istioapi.HTTPDirectResponse{Status: stolen}}},
		},
	}
}

// listening is a Gateway that opens a port on pods.
func (m *matrix) listening(on map[string]string, port uint32) *istiov1.Gateway {
	return &istiov1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.rival.namespace, Name: "stolen"},
		Spec: istioapi.Gateway{Selector: on, Servers: []*istioapi.Server{{
			Hosts: []string{"*"}, Port: &istioapi.Port{Number: port, Name: "http-stolen", Protocol: "HTTP"},
		}}},
	}
}

// marking is an EnvoyFilter that puts rival's header on every answer of pods, or of
// every pod.
func (m *matrix) marking(on map[string]string) *istiov1alpha3.EnvoyFilter {
	value := &structpb.Struct{}
	patch := fmt.Sprintf(`{"response_headers_to_add": [{"header": {"key": %q, "value": %q}}]}`, stolenHeader, m.rival.namespace)
	if err := protojson.Unmarshal([]byte(patch), value); err != nil {
		m.rival.Fatal("building an EnvoyFilter:", err)
	}
	filter := &istiov1alpha3.EnvoyFilter{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.rival.namespace, Name: "stolen"},
		Spec: istioapi.EnvoyFilter{ConfigPatches: []*istioapi.EnvoyFilter_EnvoyConfigObjectPatch{{
			ApplyTo: istioapi.EnvoyFilter_ROUTE_CONFIGURATION,
			Match:   &istioapi.EnvoyFilter_EnvoyConfigObjectMatch{Context: istioapi.EnvoyFilter_GATEWAY},
			Patch:   &istioapi.EnvoyFilter_Patch{Operation: istioapi.EnvoyFilter_Patch_MERGE, Value: value},
		}}},
	}
	if on != nil {
		filter.Spec.WorkloadSelector = &istioapi.WorkloadSelector{Labels: on}
	}
	return filter
}

// inVain writes objects and checks that they change nothing at acme's gateway.
func (m *matrix) inVain(objects ...metav1.Object) func(context.Context) (string, error) {
	return func(ctx context.Context) (how string, err error) {
		for _, object := range objects {
			remove, err := m.write(ctx, object)
			if err != nil {
				return refusedByAPI(err)
			}
			defer func() { err = errors.Join(err, remove()) }()
		}
		return m.unaffected(ctx)
	}
}

// write creates an object of Istio in rival's namespace and returns how to remove it.
func (m *matrix) write(ctx context.Context, object metav1.Object) (remove func() error, err error) {
	v1, v1alpha3 := m.rival.Istio.NetworkingV1(), m.rival.Istio.NetworkingV1alpha3()
	var client interface {
		Delete(ctx context.Context, name string, options metav1.DeleteOptions) error
	}
	switch o := object.(type) {
	case *istiov1.VirtualService:
		client = v1.VirtualServices(o.Namespace)
		_, err = v1.VirtualServices(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
	case *istiov1.Gateway:
		client = v1.Gateways(o.Namespace)
		_, err = v1.Gateways(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
	case *istiov1alpha3.EnvoyFilter:
		client = v1alpha3.EnvoyFilters(o.Namespace)
		_, err = v1alpha3.EnvoyFilters(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
	}
	return func() error { return client.Delete(ctx, object.GetName(), metav1.DeleteOptions{}) }, err
}

// unaffected waits until istiod has told acme's gateway of all that was written,
// and looks there for anything of rival's.
func (m *matrix) unaffected(ctx context.Context) (string, error) {
	m.changes++
	header := fmt.Sprintf(`[{"op": "add", "path": "/spec/rules/0/http/paths/0/appendHeaders", "value": {"x-change": "%d"}}]`, m.changes)
	ingresses := m.acme.Networking.NetworkingV1alpha1().Ingresses(m.acme.namespace)
	if _, err := ingresses.Patch(ctx, heldRoute, types.JSONPatchType, []byte(header), metav1.PatchOptions{}); err != nil {
		return "", fmt.Errorf("changing acme's own route: %w", err)
	}
	if err := platform.Until(ctx, refusedWithin, "acme's own route to change", func(ctx context.Context) (string, error) {
		got, err := ingresses.Get(ctx, heldRoute, metav1.GetOptions{})
		if err != nil || got.IsReady() {
			return "", err
		}
		return fmt.Sprintf("%+v", got.Status.GetCondition(netv1alpha1.IngressConditionReady)), nil
	}); err != nil {
		return "", err
	}
	for host, want := range map[string]int{m.held: http.StatusOK, m.stray(): http.StatusNotFound} {
		got, err := m.unlimited(ctx, host)
		if err != nil {
			return "", err
		}
		if got.status != want || got.header.Get(stolenHeader) != "" {
			return "", fmt.Errorf("acme's gateway answers %d for %s, want %d; headers %v", got.status, host, want, got.header)
		}
	}
	return "no effect at acme's gateway: acme's host is acme's, rival's answers 404",
		m.acme.knowsNothing(ctx, gateway.OfTenant(m.acme.name), m.rival)
}

// unlimited is what acme's gateway answers, once the Model's limit lets it: attempts that
// follow quickly upon each other are more than an entry bears that nobody asked before.
func (m *matrix) unlimited(ctx context.Context, host string) (answer, error) {
	var got answer
	err := platform.Until(ctx, refusedWithin, "an answer within the limit", func(ctx context.Context) (string, error) {
		var err error
		if got, err = ask(ctx, m.ranker.Address, "http://"+host+readyPath); err != nil || got.status != http.StatusTooManyRequests {
			return "", err
		}
		return "it answers 429", nil
	})
	return got, err
}

// caps are Models beyond what their tenant may have.
func (m *matrix) caps() []attempt {
	refused := func(of *tenant, model *v1alpha1.Model, want ...string) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			_, err := of.Sluice.SluiceV1alpha1().Models(of.namespace).Create(ctx, model, metav1.CreateOptions{})
			if err == nil {
				return "", errors.Join(errors.New("it was accepted"),
					of.Sluice.SluiceV1alpha1().Models(of.namespace).Delete(ctx, model.Name, metav1.DeleteOptions{}))
			}
			how, err := refusedByAPI(err)
			return how, errors.Join(err, names(how, append(want, of.name)...))
		}
	}
	replicas := func(n *int32) func(*v1alpha1.Model) {
		return func(model *v1alpha1.Model) { model.Spec.Autoscaling.MaxReplicas = n }
	}
	return []attempt{
		{"Model beyond the number of acme's", refused(m.acme, m.acme.ranker("second", fixed("1")), "metadata.namespace", "1")},
		{"Model beyond the replicas of rival's", refused(m.rival, m.rival.ranker("large", replicas(ptr.Int32(3))), "spec.autoscaling.maxReplicas", "3")},
		{"Model without a bound, where rival has one", refused(m.rival, m.rival.ranker("boundless", replicas(nil)), "spec.autoscaling.maxReplicas", "3")},
	}
}

// toTheProbes is a variant of headers that reaches no Model.
const toTheProbes = "the probes' host"

// headers are what a client could hope to be let through by.
func (m *matrix) headers() []attempt {
	variants := map[string]func(*load.Target){
		"nothing":          func(*load.Target) {},
		"a slot":           func(t *load.Target) { t.Header.Set(gateway.SlotHeader, "0") },
		"a generation":     func(t *load.Target) { t.Header.Set(gateway.GenerationHeader, "0") },
		"a guessed token":  func(t *load.Target) { t.Path = gateway.ProbePath("0123456789abcdef0123456789abcdef") + readyPath },
		"a Knative probe":  func(t *load.Target) { t.Header.Set(netheader.ProbeKey, netheader.ProbeValue) },
		"a prober's agent": func(t *load.Target) { t.Header.Set(netheader.UserAgentKey, netheader.IngressReadinessUserAgent) },
		"a tag":            func(t *load.Target) { t.Header.Set(netheader.RouteTagKey, "latest") },
		"a hash":           func(t *load.Target) { t.Header.Set(netheader.HashKey, netheader.HashValueOverride) },
		"another origin": func(t *load.Target) {
			t.Header.Set("X-Forwarded-For", "10.244.0.1")
			t.Header.Set("X-Envoy-Internal", "true")
		},
		toTheProbes: func(t *load.Target) { t.Host = gateway.ProbeHost(gateway.OfTenant(m.acme.name)) },
	}
	return []attempt{{"headers and paths that would switch acme's limit off", func(ctx context.Context) (string, error) {
		secret, err := m.acme.Kube.CoreV1().Secrets(sluice.SystemNamespace).Get(ctx, gateway.ProbeTokenSecret, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		// Even who knows the token reaches no Model by it.
		known := gateway.ProbePath(string(secret.Data[gateway.ProbeTokenKey]))
		variants["the token"] = func(t *load.Target) { t.Path = known + "x" + readyPath }
		variants["the backends kept"] = func(t *load.Target) { t.Path = gateway.KeptPath(known) }
		return m.limited(variants)
	}}}
}

// limited offers all variants at once and checks that what of them reached a Model
// is within acme's limit together.
func (m *matrix) limited(variants map[string]func(*load.Target)) (string, error) {
	const lasts, limit = 4 * time.Second, 20
	plans := map[string]load.Plan{}
	for name, change := range variants {
		p := plan(m.ranker, load.Schedule{load.Hold(limit, lasts)})
		p.Target.Header = p.Target.Header.Clone()
		p.Lanes = 4
		change(&p.Target)
		plans[name] = p
	}
	reports := m.acme.runAll(plans)
	let, offered, each := 0, 0, []string{}
	for _, name := range slices.Sorted(maps.Keys(reports)) {
		total := reports[name].Total
		passed := total.Offered - total.Limited
		if name == toTheProbes { // where the gateway itself answers
			passed = 0
		}
		let, offered = let+passed, offered+total.Offered
		each = append(each, fmt.Sprintf("%s %d", name, passed))
	}
	how := fmt.Sprintf("%d of %d let through at %d/s for %v: %s", let, offered, limit, lasts, strings.Join(each, ", "))
	// A tenth, and what a full bucket holds on each entry.
	if most := limit*lasts.Seconds()*1.1 + 6; float64(let) > most {
		return "", fmt.Errorf("%s; want at most %g", how, most)
	}
	return how, nil
}

// rights are what a model team may do to the platform by Kubernetes' own rules.
func (m *matrix) rights() []attempt {
	return []attempt{{"writing as rival's model team, edit rights in its namespace", func(ctx context.Context) (string, error) {
		account, err := m.rival.modelTeam(ctx)
		if err != nil {
			return "", err
		}
		checks := 0
		for _, a := range []authorizationv1.ResourceAttributes{
			{Namespace: gateway.Namespace, Group: "networking.istio.io", Resource: "virtualservices"},
			{Namespace: gateway.Namespace, Group: "networking.istio.io", Resource: "gateways"},
			{Namespace: gateway.Namespace, Group: "networking.istio.io", Resource: "envoyfilters"},
			{Namespace: gateway.Namespace, Group: "networking.istio.io", Resource: "proxyconfigs"},
			{Namespace: gateway.Namespace, Group: "apps", Resource: "deployments"},
			{Namespace: gateway.Namespace, Resource: "secrets"},
			{Namespace: gateway.Namespace, Resource: "services"},
			{Namespace: gateway.Namespace, Resource: "pods"},
			{Namespace: gateway.Namespace, Resource: "pods", Subresource: "exec"},
			{Namespace: m.acme.namespace, Group: sluice.GroupName, Resource: "models"},
			{Namespace: m.rival.namespace, Group: sluice.GroupName, Resource: "ratelimits"},
			{Namespace: m.rival.namespace, Group: "networking.internal.knative.dev", Resource: "ingresses"},
			{Group: sluice.GroupName, Resource: "tenants"},
			{Group: "networking.internal.knative.dev", Resource: "clusterdomainclaims"},
			{Resource: "namespaces"},
		} {
			for _, verb := range []string{"create", "update", "patch", "delete"} {
				a.Verb = verb
				allowed, err := m.rival.may(ctx, account, a)
				if err != nil {
					return "", err
				}
				if allowed {
					return "", fmt.Errorf("it may %s %s/%s in %q", verb, a.Group, a.Resource, a.Namespace)
				}
				checks++
			}
		}
		return fmt.Sprintf("no right to any of %d", checks), nil
	}}}
}

// modelTeam is a ServiceAccount with the rights of those who edit a namespace.
func (s *stage) modelTeam(ctx context.Context) (string, error) {
	account := "system:serviceaccount:" + s.namespace + ":model-team"
	if _, err := s.Kube.RbacV1().RoleBindings(s.namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "model-team"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: "model-team"}},
	}, metav1.CreateOptions{}); err != nil {
		return "", fmt.Errorf("giving edit rights: %w", err)
	}
	own := authorizationv1.ResourceAttributes{Namespace: s.namespace, Verb: "create", Group: servingv1.SchemeGroupVersion.Group, Resource: "services"}
	return account, platform.Until(ctx, refusedWithin, "the rights to be there", func(ctx context.Context) (string, error) {
		if allowed, err := s.may(ctx, account, own); err != nil || allowed {
			return "", err
		}
		return "not even a Knative Service of its own", nil
	})
}

func (s *stage) may(ctx context.Context, account string, what authorizationv1.ResourceAttributes) (bool, error) {
	review, err := s.Kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: account, ResourceAttributes: &what},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("reviewing access: %w", err)
	}
	return review.Status.Allowed, nil
}

// gateways are read whole: what Envoy has, not what we wrote.
func (m *matrix) gateways() []attempt {
	return []attempt{
		{"anything of rival's in acme's gateway", func(ctx context.Context) (string, error) {
			return "nothing in its configuration", m.acme.knowsNothing(ctx, gateway.OfTenant(m.acme.name), m.rival)
		}},
		{"anything of acme's in rival's gateway, the shared one", func(ctx context.Context) (string, error) {
			return "nothing in its configuration", m.rival.knowsNothing(ctx, gateway.Shared, m.acme)
		}},
	}
}

// knowsNothing checks that no pod of a gateway has a tenant's name or that of its
// namespace in its configuration: listeners, routes, clusters, endpoints, secrets,
// filters.
func (n *tenant) knowsNothing(ctx context.Context, of string, other *tenant) error {
	pods, err := n.gatewayPods(ctx, of)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return fmt.Errorf("gateway %s has no ready pod", of)
	}
	for _, pod := range pods {
		dump, err := n.envoy(ctx, pod, "config_dump?include_eds")
		if err != nil {
			return err
		}
		// The dump is whole if it has what the tenant itself has there.
		if !bytes.Contains(dump, []byte(n.namespace)) {
			return fmt.Errorf("pod %s has nothing of its own tenant's namespace %s", pod, n.namespace)
		}
		for _, name := range []string{other.namespace, other.name} {
			if i := bytes.Index(dump, []byte(name)); i >= 0 {
				return fmt.Errorf("pod %s has %q: …%s…", pod, name, dump[max(0, i-200):min(len(dump), i+200)])
			}
		}
	}
	return nil
}

// gatewayPods are the names of a gateway's ready pods, sorted; those on their way
// out are not among them.
func (s *stage) gatewayPods(ctx context.Context, of string) ([]string, error) {
	pods, err := s.Kube.CoreV1().Pods(gateway.Namespace).List(ctx, metav1.ListOptions{LabelSelector: gateway.LabelKey + "=" + of})
	if err != nil {
		return nil, fmt.Errorf("listing pods of gateway %s: %w", of, err)
	}
	var names []string
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}) {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// envoy asks a gateway pod's Envoy at its administration port, which is open
// within the pod alone.
func (s *stage) envoy(ctx context.Context, pod, path string) ([]byte, error) {
	var stderr bytes.Buffer
	kubectl := exec.CommandContext(ctx, "kubectl", "--namespace", gateway.Namespace, "exec", pod, "--container", "istio-proxy", "--",
		"pilot-agent", "request", "GET", path)
	kubectl.Stderr = &stderr
	out, err := kubectl.Output()
	if err != nil {
		return nil, fmt.Errorf("asking Envoy of pod %s for %s: %w: %s", pod, path, err, stderr.Bytes())
	}
	return out, nil
}
