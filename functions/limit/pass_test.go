package limit

import (
	"fmt"
	"testing"

	"go.uber.org/zap"
	istiofake "istio.io/client-go/pkg/clientset/versioned/fake"
	discoveryv1 "k8s.io/api/discovery/v1"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"knative.dev/serving/pkg/apis/serving"
	servingfake "knative.dev/serving/pkg/client/clientset/versioned/fake"

	"sluice.dev/sluice/reconciler/apis/gateway"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
)

// BenchmarkPass is one pass over 1,000 limits on 32 gateways, of which a hundred
// changed. Its writes go to fakes.
func BenchmarkPass(b *testing.B) {
	const models, gateways, changed = 1000, 32, 100
	istio, sluice := istiofake.NewSimpleClientset(), sluicefake.NewSimpleClientset()
	f := New()
	informers, err := NewInformers(Clients{
		Kube: kubefake.NewClientset(), Serving: servingfake.NewSimpleClientset(), Istio: istio, Metadata: metadataIn{istio: istio}, Sluice: sluice,
	}, Namespaces{System: "sluice-system", Serving: "knative-serving"}, func() {})
	if err == nil {
		err = informers.Start(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	add := func(informer cache.SharedIndexInformer, object any) {
		if err := informer.GetIndexer().Add(object); err != nil {
			b.Fatal(err)
		}
	}
	gatewayOf := func(i int) string { return fmt.Sprintf("tenant-%02d", i%gateways) }
	scale := func(i, ready int) {
		s := endpoints(ready)
		s.Name = fmt.Sprintf("m-%04d-1-private", i)
		s.Labels[serving.RevisionLabelKey], s.Labels[discoveryv1.LabelServiceName] = fmt.Sprintf("m-%04d-1", i), s.Name
		add(informers.endpoints.Discovery().V1().EndpointSlices().Informer(), s)
	}
	for i := range gateways {
		add(informers.istio.Networking().V1().Gateways().Informer(), istioGatewayOf(gatewayOf(i), gatewayOf(i), gateway.External, "./*"))
		add(informers.filters.Networking().V1alpha3().EnvoyFilters().Informer(), inserting(gatewayOf(i), gateway.DefaultSlots))
	}
	for i := range models {
		l := rateLimit(fmt.Sprintf("m-%04d", i))
		l.Spec.Gateways, l.Spec.VirtualService = []string{gatewayOf(i)}, gateway.VirtualServiceName("team", l.Name)
		l.Spec.Traffic[0].Revision = l.Name + "-1"
		add(informers.sluice.Sluice().V1alpha1().RateLimits().Informer(), l)
		add(informers.istio.Networking().V1().VirtualServices().Informer(), routeTo(l.Spec.VirtualService, []string{gatewayOf(i)}))
		scale(i, 1)
	}
	f.Caches, f.Slots = informers.Caches(), slotWriterOf{istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace)}
	f.Limits, f.ProbeToken = sluice.SluiceV1alpha1(), func() string { return "token" }
	f.Prover, f.Demand, f.Log = NewProver(clock.RealClock{}, func() {}, anywhere), demandAt{&bench{}}, zap.NewNop().Sugar()

	pass := func() {
		if err := f.pass(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	pass()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for range changed {
			scale(n%models, 1+n/models%9)
			n++
		}
		pass()
	}
}
