package resources

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// serving returns the VirtualService of an Ingress that sends equal shares to
// Services of these names.
func serving(t interface{ Fatal(...any) }, services ...string) *istiov1.VirtualService {
	path := v1alpha1.HTTPIngressPath{}
	left := 100
	for i, name := range services {
		percent := left / (len(services) - i)
		left -= percent
		path.Splits = append(path.Splits, v1alpha1.IngressBackendSplit{IngressBackend: service(name), Percent: percent})
	}
	vs, err := VirtualService(&v1alpha1.Ingress{Spec: v1alpha1.IngressSpec{Rules: []v1alpha1.IngressRule{{
		Hosts: []string{"a.example"}, HTTP: &v1alpha1.HTTPIngressRuleValue{Paths: []v1alpha1.HTTPIngressPath{path}},
	}}}}, binding)
	if err != nil {
		t.Fatal(err)
	}
	return vs
}

func next(t interface{ Fatal(...any) }, existing, desired *istiov1.VirtualService, proved bool) Step {
	step, err := Change{Existing: existing, Desired: desired, Proved: proved, ProbePath: binding.ProbePath}.Next()
	if err != nil {
		t.Fatal(err)
	}
	return step
}

func TestTransitionToAnotherBackend(t *testing.T) {
	before, after := serving(t, "old"), serving(t, "new")

	prepared := next(t, before, after, true)
	if prepared.Routed || !sameRoutes(prepared.VirtualService, before) || !named(prepared.VirtualService).Equal(sets.New("old", "new")) {
		t.Fatalf("first: %+v names %v", prepared.Routed, named(prepared.VirtualService))
	}
	if waiting := next(t, prepared.VirtualService, after, false); waiting.Routed || waiting.VirtualService != prepared.VirtualService {
		t.Fatal("requests moved before the new backend was proved")
	}
	committed := next(t, prepared.VirtualService, after, true)
	if !committed.Routed || !sameRoutes(committed.VirtualService, after) || !named(committed.VirtualService).Equal(sets.New("old", "new")) {
		t.Fatalf("then: %+v names %v", committed.Routed, named(committed.VirtualService))
	}
	if waiting := next(t, committed.VirtualService, after, false); !waiting.Routed || waiting.VirtualService != committed.VirtualService {
		t.Fatal("the old backend was forgotten before the new routes were proved")
	}
	if done := next(t, committed.VirtualService, after, true); !done.Routed || !proto.Equal(&done.VirtualService.Spec, &after.Spec) {
		t.Fatal("the old backend is still named")
	}
	for _, pair := range [][2]*istiov1.VirtualService{
		{before, prepared.VirtualService}, {prepared.VirtualService, committed.VirtualService}, {committed.VirtualService, after},
	} {
		if Generation(pair[0]) == Generation(pair[1]) {
			t.Error("two steps have one generation")
		}
	}
}

// Whoever comes to know the token reaches no backend by a path that no limit is for, at
// whichever step.
func TestTheTokenLeadsToNoBackend(t *testing.T) {
	before, after := serving(t, "old"), serving(t, "new")
	prepared := next(t, before, after, true).VirtualService
	committed := next(t, prepared, after, true).VirtualService
	for step, vs := range map[string]*istiov1.VirtualService{"at first": before, "prepared": prepared, "committed": committed} {
		first := vs.Spec.Http[0]
		if uri := first.Match[0].Uri.GetPrefix(); first.DirectResponse == nil || uri != gateway.ProbePrefix(binding.ProbePath) {
			t.Errorf("%s: what no limit is for is not answered first of all, but %q", step, uri)
		}
		for _, route := range keptOf(vs) {
			if uri := route.Match[0].Uri.GetExact(); strings.HasPrefix(uri, gateway.ProbePrefix(binding.ProbePath)) {
				t.Errorf("%s: %q leads to backends, and no limit is for it", step, uri)
			}
		}
	}
}

func TestRequestsAreHeldBackFromWhatIsEmpty(t *testing.T) {
	before, after := serving(t, "old"), serving(t, "new")
	to := func(existing *istiov1.VirtualService, empty ...string) Step {
		hosts := sets.New[string]()
		for _, name := range empty {
			hosts.Insert(name + ".ns.svc.cluster.local")
		}
		step, err := Change{Existing: existing, Desired: after, Proved: true, Empty: hosts, ProbePath: binding.ProbePath}.Next()
		if err != nil {
			t.Fatal(err)
		}
		return step
	}
	if step := to(nil, "new"); step.VirtualService != nil {
		t.Error("written though there is nobody to answer")
	}
	if step := to(nil, "old"); step.VirtualService != after {
		t.Error("held back by what it doesn't name")
	}
	prepared := to(before, "new").VirtualService
	if !named(prepared).Equal(sets.New("old", "new")) || !routed(prepared).Equal(sets.New("old")) {
		t.Fatalf("first: names %v, sends to %v", named(prepared), routed(prepared))
	}
	if step := to(prepared, "new"); step.Routed || step.VirtualService != prepared {
		t.Error("requests moved to where nobody answers")
	}
	if step := to(prepared, "old"); !step.Routed || !routed(step.VirtualService).Equal(sets.New("new")) {
		t.Error("requests stayed where nobody answers")
	}
	if step := to(after, "new"); step.VirtualService != after || !step.Standing {
		t.Error("what was served is held back")
	}
}

func TestOtherSharesOfKnownBackendsNeedNoPreparation(t *testing.T) {
	step := next(t, serving(t, "a", "b"), serving(t, "b"), false)
	if !step.Routed || !named(step.VirtualService).Equal(sets.New("a", "b")) {
		t.Errorf("routed %t, names %v", step.Routed, named(step.VirtualService))
	}
}

func TestNothingToStartFrom(t *testing.T) {
	desired := serving(t, "a")
	edited := serving(t, "b")
	edited.Spec.Http[1].Route[0].Destination.Host = "stolen.ns.svc.cluster.local"
	for name, existing := range map[string]*istiov1.VirtualService{"none": nil, "edited by hand": edited} {
		if step := next(t, existing, desired, false); !step.Routed || step.VirtualService != desired {
			t.Errorf("%s: not written at once", name)
		}
	}
}

// Whatever is asked for while steps are under way and however late the proofs
// come: while a pod may send requests somewhere, its cluster is named; and once
// the wishes end, the last of them is what is left.
func TestTransitionsNeverDropABackendInUse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wish := rapid.Custom(func(t *rapid.T) []string {
			return sets.List(sets.New(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 3).Draw(t, "services")...))
		})
		current := serving(t, wish.Draw(t, "first")...)
		// What some pod may still serve: all since the last proof.
		inUse, ready := routed(current), routed(current)
		desired := current
		for i := range 20 {
			if rapid.Bool().Draw(t, fmt.Sprint("wish", i)) {
				desired = serving(t, wish.Draw(t, "services")...)
			}
			proved := rapid.Bool().Draw(t, fmt.Sprint("proof", i))
			if proved {
				inUse, ready = routed(current), named(current)
			}
			step := next(t, current, desired, proved)
			if lost := inUse.Difference(named(step.VirtualService)); lost.Len() > 0 {
				t.Fatalf("requests may still go to %v, which is no longer named", lost)
			}
			if cold := routed(step.VirtualService).Difference(ready).Difference(inUse); cold.Len() > 0 {
				t.Fatalf("requests go to %v, which no proof has shown", cold)
			}
			current = step.VirtualService
			inUse = inUse.Union(routed(current))
		}
		for range 4 {
			current = next(t, current, desired, true).VirtualService
		}
		if !proto.Equal(&current.Spec, &desired.Spec) {
			t.Fatal("never arrived")
		}
	})
}

// named returns the Services that a VirtualService names anywhere, routed those
// that it sends requests to.
func named(vs *istiov1.VirtualService) sets.Set[string] {
	return names(backends(vs.Spec.Http))
}

func routed(vs *istiov1.VirtualService) sets.Set[string] { return names(backends(routesOf(vs))) }

func names(all sets.Set[backend]) sets.Set[string] {
	out := sets.New[string]()
	for b := range all {
		out.Insert(b.host[:len(b.host)-len(".ns.svc.cluster.local")])
	}
	return out
}
