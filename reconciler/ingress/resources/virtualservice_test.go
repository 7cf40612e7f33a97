package resources

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var binding = Binding{
	HTTP:      []string{"sluice-gateways/shared"},
	Local:     []string{"sluice-gateways/shared-local"},
	ProbePath: gateway.ProbePath("0123456789abcdef0123456789abcdef"),
	Aliases: map[types.NamespacedName]string{
		{Namespace: "team", Name: "shop"}: "shared-local.sluice-gateways.svc.cluster.local",
	},
}

// Each testdata/<case>.in.yaml is an Ingress, <case>.out.yaml what serves it where
// <case>.binding.yaml says, or else the binding above.
func TestVirtualServiceGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no input: %v", err)
	}
	for _, input := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(input), ".in.yaml"), func(t *testing.T) {
			ing := &v1alpha1.Ingress{}
			read(t, input, ing)
			if err := ing.Validate(context.Background()); err != nil {
				t.Fatal(err)
			}
			vs, err := VirtualService(ing, bindingOf(t, strings.Replace(input, ".in.", ".binding.", 1)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := yaml.Marshal(vs)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.Replace(input, ".in.", ".out.", 1), got)
		})
	}
}

func bindingOf(t *testing.T, file string) Binding {
	t.Helper()
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return binding
	}
	given := struct {
		HTTP, HTTPS, Local []string
		Redirected         map[string][]string
		Tenant             string
		SplitBy            *sluicev1alpha1.SplitKey
	}{}
	read(t, file, &given)
	out := binding
	out.HTTP, out.HTTPS, out.Local, out.Tenant, out.SplitBy = given.HTTP, given.HTTPS, given.Local, given.Tenant, given.SplitBy
	out.Redirected = map[string]sets.Set[string]{}
	for host, on := range given.Redirected {
		out.Redirected[host] = sets.New(on...)
	}
	return out
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		t.Fatal(err)
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got, refresh with -update):\n%s", file, diff)
	}
}

func TestNamedPortIsRefused(t *testing.T) {
	ing := &v1alpha1.Ingress{Spec: v1alpha1.IngressSpec{Rules: []v1alpha1.IngressRule{{
		Hosts: []string{"a.b"},
		HTTP: &v1alpha1.HTTPIngressRuleValue{Paths: []v1alpha1.HTTPIngressPath{{
			Splits: []v1alpha1.IngressBackendSplit{{IngressBackend: v1alpha1.IngressBackend{
				ServiceNamespace: "ns", ServiceName: "svc", ServicePort: intstr.FromString("http"),
			}}},
		}}},
	}}}}
	if _, err := VirtualService(ing, binding); err == nil || !strings.Contains(err.Error(), `"http"`) {
		t.Errorf("got error %v, want one that names the port", err)
	}
}

// Whatever hosts the rules of an Ingress have, a request to one of them, with a
// port or without, meets the conditions of exactly those rules that name it.
func TestAuthorityMatchesSeparateRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.SampledFrom([]string{"a", "aa", "b", "ab", "svc"})
		host := rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(label, 2, 4).Draw(t, "labels"), ".")
		})
		rules := rapid.SliceOfN(rapid.SliceOfN(host, 1, 4), 1, 3).Draw(t, "rules")
		all := sets.New[string]()
		for _, hosts := range rules {
			all.Insert(hosts...)
		}
		for _, hosts := range rules {
			matches := authorityMatches(hosts, sets.List(all))
			for candidate := range all {
				for _, authority := range []string{candidate, candidate + ":80", candidate + ":8080"} {
					if got, want := anyMatch(matches, authority), sets.New(hosts...).Has(candidate); got != want {
						t.Fatalf("rule %q of hosts %q: authority %q matches: %t, want %t", hosts, sets.List(all), authority, got, want)
					}
				}
			}
		}
	})
}

func anyMatch(matches []*istioapi.StringMatch, authority string) bool {
	for _, match := range matches {
		if authority == match.GetExact() || (match.GetPrefix() != "" && strings.HasPrefix(authority, match.GetPrefix())) {
			return true
		}
	}
	return false
}

// Whatever hosts there are, however they are secured and wherever an Ingress is
// bound: each host is forwarded or redirected on every entry for its callers,
// redirected exactly where it is said to be, and not found on the others'.
func TestEachHostIsServedWhereItShould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host := rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "aa", "b"}), 2, 3).Draw(t, "labels"), ".")
		})
		all := rapid.SliceOfNDistinct(host, 2, 6, rapid.ID[string]).Draw(t, "hosts")
		cut := rapid.IntRange(1, len(all)-1).Draw(t, "external")
		external, local := all[:cut], all[cut:]
		b := Binding{
			HTTP: []string{"x", "y"}, HTTPS: []string{"x-tls", "y-tls"}, Local: []string{"x-local", "y-local"},
			ProbePath: binding.ProbePath, Redirected: map[string]sets.Set[string]{},
		}
		for _, host := range external {
			b.Redirected[host] = sets.New(rapid.SliceOfDistinct(rapid.SampledFrom(b.HTTP), rapid.ID[string]).Draw(t, "redirecting")...)
		}
		path := v1alpha1.HTTPIngressPath{Splits: []v1alpha1.IngressBackendSplit{{IngressBackend: service("svc")}}}
		rule := func(visibility v1alpha1.IngressVisibility, hosts []string) v1alpha1.IngressRule {
			return v1alpha1.IngressRule{Hosts: hosts, Visibility: visibility, HTTP: &v1alpha1.HTTPIngressRuleValue{Paths: []v1alpha1.HTTPIngressPath{path}}}
		}
		vs, err := VirtualService(&v1alpha1.Ingress{Spec: v1alpha1.IngressSpec{Rules: []v1alpha1.IngressRule{
			rule(v1alpha1.IngressVisibilityExternalIP, external), rule(v1alpha1.IngressVisibilityClusterLocal, local),
		}}}, b)
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range all {
			for _, on := range slices.Concat(b.HTTP, b.HTTPS, b.Local) {
				want := "nothing"
				switch isLocal := slices.Contains(b.Local, on); {
				case isLocal == slices.Contains(external, host):
				case b.Redirected[host].Has(on):
					want = "redirect"
				default:
					want = "forward"
				}
				if got := found(vs, host, on); got != want {
					t.Fatalf("%s on %s: %s, want %s", host, on, got, want)
				}
				if slices.Contains(external, host) && Redirects(vs, host, on) != (want == "redirect") {
					t.Fatalf("%s on %s: told that it redirects: %t", host, on, Redirects(vs, host, on))
				}
			}
		}
	})
}

// found is what an Istio Gateway does with a client's request for a host.
func found(vs *istiov1.VirtualService, host, on string) string {
	for _, route := range vs.Spec.Http {
		for _, match := range route.Match {
			if match.Uri != nil || len(match.Headers) > 0 || (len(match.Gateways) > 0 && !slices.Contains(match.Gateways, on)) ||
				!anyMatch([]*istioapi.StringMatch{match.Authority}, host) {
				continue
			}
			if route.Redirect != nil {
				return "redirect"
			}
			return "forward"
		}
	}
	return "nothing"
}

// A host that nothing may answer, because its certificate is missing, is not
// answered: least of all by a route without a condition.
func TestHostWithoutAnyPlace(t *testing.T) {
	b := binding
	b.Redirected = map[string]sets.Set[string]{"a.example": sets.New(b.HTTP...)}
	vs, err := VirtualService(&v1alpha1.Ingress{Spec: v1alpha1.IngressSpec{Rules: []v1alpha1.IngressRule{{
		Hosts: []string{"a.example"}, HTTP: &v1alpha1.HTTPIngressRuleValue{Paths: []v1alpha1.HTTPIngressPath{{
			Splits: []v1alpha1.IngressBackendSplit{{IngressBackend: service("svc")}},
		}}},
	}}}}, b)
	if err != nil {
		t.Fatal(err)
	}
	if got := found(vs, "a.example", b.HTTP[0]); got != "redirect" || len(vs.Spec.Http) != 2 {
		t.Errorf("plain HTTP gets %s by %d routes", got, len(vs.Spec.Http))
	}
}

func TestLabels(t *testing.T) {
	ing := &v1alpha1.Ingress{}
	ing.Labels = map[string]string{sluice.ModelLabelKey: "m", sluice.TenantLabelKey: "stolen"}
	with, without := Labels(ing, "acme"), Labels(ing, "")
	if with[sluice.TenantLabelKey] != "acme" || with[sluice.ModelLabelKey] != "m" {
		t.Errorf("labels %v", with)
	}
	if tenant, ok := without[sluice.TenantLabelKey]; ok {
		t.Errorf("tenant %q from the Ingress' own labels", tenant)
	}
}

// Whatever the splits, the weights of a route sum to 100 and nothing goes to a
// Service that has no share.
func TestWeightsSumToHundred(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cuts := rapid.SliceOfN(rapid.IntRange(0, 100), 0, 6).Draw(t, "cuts")
		path := v1alpha1.HTTPIngressPath{Splits: splitsOf(cuts)}
		routes, err := destinations(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		sum := int32(0)
		for _, destination := range routes {
			if destination.Weight <= 0 {
				t.Fatalf("destination %v without a share", destination)
			}
			sum += destination.Weight
		}
		if sum != 100 {
			t.Fatalf("weights of %v sum to %d", path.Splits, sum)
		}
	})
}

// splitsOf cuts 100 % at the given points.
func splitsOf(cuts []int) []v1alpha1.IngressBackendSplit {
	points := sets.List(sets.New(append([]int{0, 100}, cuts...)...))
	splits := []v1alpha1.IngressBackendSplit{{IngressBackend: service("svc")}} // 0 %
	for i := 1; i < len(points); i++ {
		splits = append(splits, v1alpha1.IngressBackendSplit{IngressBackend: service("svc"), Percent: points[i] - points[i-1]})
	}
	return splits
}

func service(name string) v1alpha1.IngressBackend {
	return v1alpha1.IngressBackend{ServiceNamespace: "ns", ServiceName: name, ServicePort: intstr.FromInt32(80)}
}

// The generation changes with all that is served, and with nothing else.
func TestGeneration(t *testing.T) {
	ing := &v1alpha1.Ingress{Spec: v1alpha1.IngressSpec{Rules: []v1alpha1.IngressRule{{
		Hosts: []string{"a.b"},
		HTTP: &v1alpha1.HTTPIngressRuleValue{Paths: []v1alpha1.HTTPIngressPath{{
			Splits:        []v1alpha1.IngressBackendSplit{{IngressBackend: service("svc")}},
			AppendHeaders: map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"},
		}}},
	}}}}
	generationOf := func(ing *v1alpha1.Ingress) string {
		vs, err := VirtualService(ing, binding)
		if err != nil {
			t.Fatal(err)
		}
		return Generation(vs)
	}
	want := generationOf(ing)
	for range 20 {
		again := ing.DeepCopy()
		again.Status.InitializeConditions()
		if got := generationOf(again); got != want {
			t.Fatalf("generation %s of the same spec, before %s", got, want)
		}
	}
	changed := ing.DeepCopy()
	changed.Spec.Rules[0].HTTP.Paths[0].AppendHeaders["a"] = "2"
	if generationOf(changed) == want {
		t.Error("another header, the same generation")
	}
}
