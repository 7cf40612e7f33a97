package v1alpha1

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
)

func validTenant(changes ...func(*Tenant)) *Tenant {
	rate := resource.MustParse("500")
	t := &Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: "search"},
		Spec: TenantSpec{
			Namespaces: TenantNamespaces{
				Names:    []string{"search", "search-dev"},
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "search"}},
			},
			Domain: "search.example.com",
			Gateway: TenantGateway{
				Mode:     GatewayDedicated,
				Replicas: GatewayReplicas{Min: number(2), Max: number(4)},
				Resources: corev1.ResourceRequirements{
					Requests: quantities("cpu", "500m", "memory", "128Mi"), Limits: quantities("memory", "1Gi"),
				},
			},
			TLS:    &TenantTLS{SecretName: "search-tls", SecretNamespace: "search"},
			Limits: TenantLimits{RequestsPerSecond: &rate, Models: number(3), MaxReplicas: number(20)},
		},
	}
	for _, change := range changes {
		change(t)
	}
	t.SetDefaults(context.Background())
	return t
}

func number(n int32) *int32 { return &n }

func quantities(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

func TestTenantValidate(t *testing.T) {
	namesAre := func(names ...string) func(*Tenant) {
		return func(t *Tenant) { t.Spec.Namespaces = TenantNamespaces{Names: names}; t.Spec.TLS = nil }
	}
	domainIs := func(domain string) func(*Tenant) { return func(t *Tenant) { t.Spec.Domain = domain } }
	replicas := func(least, most *int32) func(*Tenant) {
		return func(t *Tenant) { t.Spec.Gateway.Replicas = GatewayReplicas{Min: least, Max: most} }
	}
	resources := func(requests, limits corev1.ResourceList) func(*Tenant) {
		return func(t *Tenant) {
			t.Spec.Gateway.Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
		}
	}
	named := func(name string) func(*Tenant) { return func(t *Tenant) { t.Name = name } }
	for _, test := range []struct {
		name   string
		change func(*Tenant)
		// paths are those of the errors; each has to contain says as well.
		paths []string
		says  string
	}{
		{name: "all that can be said", change: func(*Tenant) {}},
		{name: "as little as can be said", change: func(t *Tenant) { t.Spec = TenantSpec{Namespaces: TenantNamespaces{Names: []string{"search"}}} }},
		{name: "a generated name", change: func(t *Tenant) { t.Name, t.GenerateName = "", "search-" }},
		{name: "the longest name", change: named(strings.Repeat("a", 40))},
		{name: "a name too long", change: named(strings.Repeat("a", 41)), paths: []string{"metadata.name"}, says: "at most 40 characters"},
		{name: "the longest generated name", change: func(t *Tenant) { t.Name, t.GenerateName = "", strings.Repeat("a", 35) }},
		{name: "a generated name too long", change: func(t *Tenant) { t.Name, t.GenerateName = "", strings.Repeat("a", 36) },
			paths: []string{"metadata.generateName"}, says: "at most 35 characters"},
		{name: "a name with a dot", change: named("a.b"), paths: []string{"metadata.name"}, says: `"a.b"`},
		{name: "a name of a local Service", change: named("a-local"), paths: []string{"metadata.name"}, says: `"-local"`},
		{name: "no namespace", change: func(t *Tenant) { t.Spec.Namespaces = TenantNamespaces{}; t.Spec.TLS = nil },
			paths: []string{"spec.namespaces.names", "spec.namespaces.selector"}, says: "pick them by their labels"},
		{name: "an empty selector", change: func(t *Tenant) { t.Spec.Namespaces.Selector = &metav1.LabelSelector{} },
			paths: []string{"spec.namespaces.selector"}, says: "every namespace"},
		{name: "a bad selector", change: func(t *Tenant) { t.Spec.Namespaces.Selector.MatchLabels = map[string]string{"team": "a b"} },
			paths: []string{"spec.namespaces.selector"}, says: "a b"},
		{name: "no namespace's name", change: namesAre("a", "A"), paths: []string{"spec.namespaces.names[1]"}, says: `"A"`},
		{name: "named twice", change: namesAre("a", "b", "a"), paths: []string{"spec.namespaces.names[2]"}, says: "twice"},
		{name: "the platform's", change: namesAre("sluice-system", "sluice-gateways", "knative-serving", "knative-eventing", "istio-system", "kube-public"),
			paths: []string{"spec.namespaces.names[0]", "spec.namespaces.names[1]", "spec.namespaces.names[2]", "spec.namespaces.names[3]",
				"spec.namespaces.names[4]", "spec.namespaces.names[5]"}, says: "belongs to the platform"},
		{name: "a domain without a dot", change: domainIs("search"), paths: []string{"spec.domain"}, says: "no dot"},
		{name: "the longest domain", change: domainIs(strings.Repeat("a.", 62) + "a")},
		{name: "a domain too long", change: domainIs(strings.Repeat("a.", 62) + "aa"), paths: []string{"spec.domain"}, says: "at most 125 characters"},
		{name: "no domain", change: domainIs("search_1.example.com"), paths: []string{"spec.domain"}, says: "is not a domain"},
		{name: "the cluster's domain", change: domainIs("cluster.local"), paths: []string{"spec.domain"}, says: "the cluster's own"},
		{name: "a domain in the cluster's", change: domainIs("svc.cluster.local"), paths: []string{"spec.domain"}, says: "the cluster's own"},
		{name: "a domain of names of Services", change: domainIs("search.svc"), paths: []string{"spec.domain"}, says: "the cluster's own"},
		{name: "the gateways' domain", change: domainIs("sluice.internal"), paths: []string{"spec.domain"}, says: "the cluster's own"},
		{name: "a domain that only looks like it", change: domainIs("my-cluster.local")},
		{name: "an unknown mode", change: func(t *Tenant) { t.Spec.Gateway.Mode = "Own" }, paths: []string{"spec.gateway.mode"}, says: "Shared or Dedicated"},
		{name: "no replicas", change: replicas(number(0), number(101)),
			paths: []string{"spec.gateway.replicas.max", "spec.gateway.replicas.min"}, says: "from 1 to 100"},
		{name: "less at most than at least", change: replicas(number(3), number(2)), paths: []string{"spec.gateway.replicas.max"}, says: "at least min, which is 3"},
		{name: "as much at most as at least", change: replicas(number(3), number(3))},
		{name: "no CPU", change: resources(quantities("cpu", "0"), nil), paths: []string{"spec.gateway.resources.requests[cpu]"}, says: "above zero"},
		{name: "another resource", change: resources(quantities("ephemeral-storage", "1Gi"), nil),
			paths: []string{"spec.gateway.resources.requests[ephemeral-storage]"}, says: "[cpu memory]"},
		{name: "a limit of CPU", change: resources(nil, quantities("cpu", "1")), paths: []string{"spec.gateway.resources.limits[cpu]"}, says: "[memory]"},
		{name: "less memory than requested", change: resources(quantities("memory", "1Gi"), quantities("memory", "1Mi")),
			paths: []string{"spec.gateway.resources.limits[memory]"}, says: "at least what is requested, which is 1Gi"},
		{name: "a claim", change: func(t *Tenant) { t.Spec.Gateway.Resources.Claims = []corev1.ResourceClaim{{Name: "gpu"}} },
			paths: []string{"spec.gateway.resources.claims"}},
		{name: "TLS of no domain", change: domainIs(""), paths: []string{"spec.domain"}, says: "set it, or remove tls"},
		{name: "TLS of no Secret", change: func(t *Tenant) { t.Spec.TLS.SecretName = "" }, paths: []string{"spec.tls.secretName"}},
		{name: "TLS of a bad Secret", change: func(t *Tenant) { t.Spec.TLS.SecretName = "a/b" }, paths: []string{"spec.tls.secretName"}, says: `"a/b"`},
		{name: "TLS of ours by default", change: func(t *Tenant) { t.Spec.TLS.SecretNamespace = ""; t.Spec.Namespaces.Selector = nil }},
		{name: "TLS of a namespace that may be selected", change: func(t *Tenant) { t.Spec.TLS.SecretNamespace = "other" }},
		{name: "TLS of another namespace", change: func(t *Tenant) { t.Spec.TLS.SecretNamespace = "other"; t.Spec.Namespaces.Selector = nil },
			paths: []string{"spec.tls.secretNamespace"}, says: "sluice-system or one of spec.namespaces.names"},
		{name: "an unknown protocol", change: func(t *Tenant) { t.Spec.TLS.HTTPProtocol = "Off" }, paths: []string{"spec.tls.httpProtocol"}, says: "Enabled or Redirected"},
		{name: "caps of nothing", change: func(t *Tenant) {
			zero := resource.MustParse("0")
			t.Spec.Limits = TenantLimits{RequestsPerSecond: &zero, Models: number(0), MaxReplicas: number(-1)}
		}, paths: []string{"spec.limits.maxReplicas", "spec.limits.models", "spec.limits.requestsPerSecond"}, says: "at least"},
		{name: "wrong, but on its way out", change: func(t *Tenant) { t.DeletionTimestamp = &metav1.Time{}; t.Name = "A" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := validTenant(test.change).Validate(context.Background())
			if paths := pathsOf(got); !slices.Equal(paths, test.paths) {
				t.Fatalf("errors at %v, want %v: %v", paths, test.paths, got)
			}
			if got != nil && !strings.Contains(got.Error(), test.says) {
				t.Errorf("got %q, want it to say %q", got.Error(), test.says)
			}
		})
	}
}

// pathsOf lists the fields that errors name, sorted; warnings left out.
func pathsOf(errs *apis.FieldError) []string {
	var out []string
	for _, err := range errs.Filter(apis.ErrorLevel).WrappedErrors() {
		out = append(out, err.Paths...)
	}
	slices.Sort(out)
	return out
}

func TestTenantOfSharedIsWarned(t *testing.T) {
	shared := validTenant(func(t *Tenant) { t.Spec.Gateway.Mode = GatewayShared })
	got := shared.Validate(context.Background())
	if errs := got.Filter(apis.ErrorLevel); errs != nil {
		t.Error("refused:", errs)
	}
	for _, path := range []string{"spec.gateway.replicas", "spec.gateway.resources"} {
		if !strings.Contains(got.Filter(apis.WarningLevel).Error(), path) {
			t.Errorf("%v doesn't warn of %s", got, path)
		}
	}
}

func TestTenantStatusIsNotValidated(t *testing.T) {
	broken := validTenant(func(t *Tenant) { t.Name = "A" })
	if err := broken.Validate(apis.WithinSubResourceUpdate(context.Background(), broken, "status")); err != nil {
		t.Error(err)
	}
}

func TestTenantDefaults(t *testing.T) {
	got := &Tenant{Spec: TenantSpec{TLS: &TenantTLS{SecretName: "tls"}}}
	got.SetDefaults(context.Background())
	want := TenantTLS{SecretName: "tls", SecretNamespace: "sluice-system", HTTPProtocol: HTTPRedirected}
	if got.Spec.Gateway.Mode != GatewayShared || *got.Spec.TLS != want {
		t.Errorf("got %+v, %+v", got.Spec.Gateway, *got.Spec.TLS)
	}
}

func TestTenantConflictsWith(t *testing.T) {
	other := func(change func(*Tenant)) *Tenant {
		o := &Tenant{ObjectMeta: metav1.ObjectMeta{Name: "ads"}}
		change(o)
		return o
	}
	domainIs := func(domain string) func(*Tenant) { return func(t *Tenant) { t.Spec.Domain = domain } }
	for _, test := range []struct {
		name  string
		other *Tenant
		paths []string
		says  string
	}{
		{name: "nothing in common", other: other(domainIs("ads.example.com"))},
		{name: "itself", other: validTenant()},
		{name: "no domain", other: other(domainIs(""))},
		{name: "a domain that ends alike", other: other(domainIs("research.example.com"))},
		{name: "a domain that was refused", other: other(func(t *Tenant) {
			t.Spec.Domain = "search.example.com"
			t.Status.MarkDomainRefused("ServesOthers", "")
		})},
		{name: "a domain of one that is being deleted", other: other(func(t *Tenant) {
			t.Spec.Domain, t.DeletionTimestamp = "search.example.com", &metav1.Time{}
		})},
		{name: "names the same", other: other(func(t *Tenant) { t.Spec.Namespaces.Names = []string{"x", "search-dev"} }),
			paths: []string{"spec.namespaces.names[1]"}, says: `tenant "ads"'s`},
		{name: "holds it still", other: other(func(t *Tenant) { t.Status.Namespaces = []TenantNamespace{{Name: "search"}} }),
			paths: []string{"spec.namespaces.names[0]"}, says: `tenant "ads"'s`},
		{name: "the same domain", other: other(domainIs("search.example.com")), paths: []string{"spec.domain"}, says: "is the domain of"},
		{name: "a domain above", other: other(domainIs("example.com")), paths: []string{"spec.domain"}, says: `is part of "example.com"`},
		{name: "a domain under", other: other(domainIs("x.search.example.com")), paths: []string{"spec.domain"}, says: `holds "x.search.example.com"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := validTenant().ConflictsWith([]*Tenant{test.other})
			if paths := pathsOf(got); !slices.Equal(paths, test.paths) {
				t.Fatalf("errors at %v, want %v", paths, test.paths)
			}
			if got != nil && !strings.Contains(got.Error(), test.says) {
				t.Errorf("got %q, want it to say %q", got.Error(), test.says)
			}
		})
	}
}
