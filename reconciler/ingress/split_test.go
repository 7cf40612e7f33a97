package ingress

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgotesting "k8s.io/client-go/testing"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	. "knative.dev/pkg/reconciler/testing"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

func splitBy(annotation string) option {
	return func(ing *v1alpha1.Ingress) { ing.Annotations[sluice.SplitByAnnotationKey] = annotation }
}

// splitter is the EnvoyFilter of an Ingress that is split by a header.
func splitter(changes ...func(*istiov1alpha3.EnvoyFilter)) *istiov1alpha3.EnvoyFilter {
	filter, err := resources.SplitFilter(kingress(), resources.Binding{SplitBy: &sluicev1alpha1.SplitKey{Header: "x-user"}})
	if err != nil {
		panic(err)
	}
	for _, change := range changes {
		change(filter)
	}
	return filter
}

func TestReconcileSplit(t *testing.T) {
	const invalid = `Annotation sluice.dev/split-by, by which requests are split by chance for now: "user" must be "header:<name>" or "cookie:<name>"`
	gone := clientgotesting.DeleteActionImpl{ActionImpl: clientgotesting.ActionImpl{
		Namespace: gateway.Namespace, Resource: istiov1alpha3.SchemeGroupVersion.WithResource("envoyfilters"),
	}, Name: "team.ranker"}
	table := TableTest{{
		Name:        "the gateways are told to split by it",
		Key:         key,
		Objects:     shared(kingress(splitBy("header:x-user"), observed, networkConfigured, loadBalancerReady), route(provedOn("shared"))),
		WantCreates: []runtime.Object{splitter()},
	}, {
		Name:          "it is not ready before they do",
		Key:           key,
		OtherTestData: map[string]any{"prover": &fakeProver{proof: Proof{Pending: []string{"shared-b"}, Since: now}}},
		Objects:       shared(kingress(splitBy("header:x-user"), observed, networkConfigured, loadBalancerReady), route(provedOn("shared"))),
		WantCreates:   []runtime.Object{splitter()},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(splitBy("header:x-user"), observed, networkConfigured, loadBalancerReady,
				unproved("NotProved", "Waiting for 1 of 2 gateway pods to serve this generation: shared-b."))}, {Object: route(lagging)}},
	}, {
		Name:    "in the steady state nothing is written",
		Key:     key,
		Objects: shared(kingress(splitBy("header:X-User"), observed, networkConfigured, loadBalancerReady), route(provedOn("shared")), splitter()),
	}, {
		Name: "what was edited is repaired",
		Key:  key,
		Objects: shared(kingress(splitBy("header:x-user"), observed, networkConfigured, loadBalancerReady), route(provedOn("shared")),
			splitter(func(f *istiov1alpha3.EnvoyFilter) { f.Spec.ConfigPatches = f.Spec.ConfigPatches[:1] })),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: splitter()}},
	}, {
		Name:        "without the annotation it goes",
		Key:         key,
		Objects:     shared(kingress(observed, networkConfigured, loadBalancerReady), route(provedOn("shared")), splitter()),
		WantDeletes: []clientgotesting.DeleteActionImpl{gone},
	}, {
		Name: "one that is not Sluice's stays",
		Key:  key,
		Objects: shared(kingress(observed, networkConfigured, loadBalancerReady), route(provedOn("shared")),
			splitter(func(f *istiov1alpha3.EnvoyFilter) { f.Labels = nil })),
	}, {
		Name:    "one that can't be read is told, and all is served by chance",
		Key:     key,
		Objects: shared(kingress(splitBy("user"), observed, networkConfigured, loadBalancerReady), route(provedOn("shared"))),
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(splitBy("user"), observed, loadBalancerReady, func(ing *v1alpha1.Ingress) {
				manage(ing).MarkFalse(v1alpha1.IngressConditionNetworkConfigured, "SplitByInvalid", "%s", invalid)
			})}},
		WantEvents: []string{Eventf(corev1.EventTypeWarning, "SplitByInvalid", invalid)},
	}, {
		Name:    "it goes with the Ingress, after its routes",
		Key:     key,
		Objects: shared(kingress(splitBy("header:x-user"), deleted, observed), route(), splitter()),
		WantDeletes: []clientgotesting.DeleteActionImpl{{
			ActionImpl: clientgotesting.ActionImpl{
				Namespace: gateway.Namespace, Resource: istiov1.SchemeGroupVersion.WithResource("virtualservices"),
			}, Name: "team.ranker",
		}, gone},
		WantPatches: []clientgotesting.PatchActionImpl{{
			ActionImpl: clientgotesting.ActionImpl{Namespace: "team"}, Name: "ranker",
			Patch: []byte(`{"metadata":{"finalizers":[],"resourceVersion":""}}`),
		}},
		WantEvents: []string{Eventf(corev1.EventTypeNormal, "FinalizerUpdate", `Updated "ranker" finalizers`)},
	}}
	for i := range table {
		table[i].SkipNamespaceValidation = true // routes live in the gateways' namespace
		table[i].CmpOpts = []cmp.Option{protocmp.Transform()}
	}
	table.Test(t, makeReconciler(t))
}

// A proof is of the split too: a pod that doesn't tell the same of it is asked again.
func TestClaimHasTheSplit(t *testing.T) {
	prover := &fakeProver{}
	row := &TableRow{
		OtherTestData: map[string]any{"prover": prover}, Key: key, SkipNamespaceValidation: true, CmpOpts: []cmp.Option{protocmp.Transform()},
		Objects: shared(kingress(splitBy("header:x-user"), observed, networkConfigured, loadBalancerReady), route(provedOn("shared")), splitter()),
	}
	row.Test(t, makeReconciler(t))
	want := resources.SplitDigest(&sluicev1alpha1.SplitKey{Header: "X-User"})
	for _, claim := range prover.claimed {
		if claim.Split != want {
			t.Errorf("claimed split %q, want %q", claim.Split, want)
		}
	}
	if len(prover.claimed) == 0 {
		t.Error("nothing was claimed")
	}
}
