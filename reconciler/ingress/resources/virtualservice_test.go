package resources

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	istioapi "istio.io/api/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var binding = Binding{
	External:  "sluice-gateways/shared",
	Local:     "sluice-gateways/shared-local",
	ProbePath: gateway.ProbePath("0123456789abcdef0123456789abcdef"),
	Aliases: map[types.NamespacedName]string{
		{Namespace: "team", Name: "shop"}: "shared-local.sluice-gateways.svc.cluster.local",
	},
}

// Each testdata/<case>.in.yaml is an Ingress, <case>.out.yaml what serves it.
func TestVirtualServiceGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no input: %v", err)
	}
	for _, input := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(input), ".in.yaml"), func(t *testing.T) {
			data, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			ing := &v1alpha1.Ingress{}
			if err := yaml.UnmarshalStrict(data, ing); err != nil {
				t.Fatal(err)
			}
			if err := ing.Validate(context.Background()); err != nil {
				t.Fatal(err)
			}
			vs, err := VirtualService(ing, binding)
			if err != nil {
				t.Fatal(err)
			}
			got, err := yaml.Marshal(vs)
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.Replace(input, ".in.", ".out.", 1)
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-want +got, refresh with -update):\n%s", golden, diff)
			}
		})
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
