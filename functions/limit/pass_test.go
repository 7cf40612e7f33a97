package limit

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/zap"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiofake "istio.io/client-go/pkg/clientset/versioned/fake"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"
	"knative.dev/serving/pkg/apis/serving"
	servingfake "knative.dev/serving/pkg/client/clientset/versioned/fake"

	"sluice.dev/sluice/reconciler/apis/gateway"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
)

// BenchmarkPass is one pass over 1,000 limits on 32 gateways, of which a hundred
// changed.
func BenchmarkPass(b *testing.B) {
	const models, gateways, changed = 1000, 32, 100
	kube, serve, istio, sluice := kubefake.NewClientset(), servingfake.NewSimpleClientset(), istiofake.NewSimpleClientset(), sluicefake.NewSimpleClientset()
	f := New()
	informers, err := NewInformers(Clients{Kube: kube, Serving: serve, Istio: istio, Sluice: sluice}, "sluice-system", func() {})
	if err != nil {
		b.Fatal(err)
	}
	if err := informers.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	add := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	gw := func(i int) string { return fmt.Sprintf("tenant-%02d", i%gateways) }
	gws := informers.istio.Networking().V1().Gateways().Informer().GetIndexer()
	for i := range gateways {
		for _, e := range []gateway.Entry{gateway.External, gateway.Local} {
			name := gw(i)
			if e == gateway.Local {
				name = gateway.LocalName(name)
			}
			g := istioGatewayOf(name, gw(i), e, "./*")
			add(gws.Add(g))
		}
	}
	for i := range gateways {
		add(informers.filters.Networking().V1alpha3().EnvoyFilters().Informer().GetIndexer().Add(inserting(gw(i), gateway.DefaultSlots)))
	}
	slices := informers.endpoints.Discovery().V1().EndpointSlices().Informer().GetIndexer()
	scale := func(i, ready int) {
		s := endpoints(ready)
		s.Name = fmt.Sprintf("m-%04d-1-private", i)
		s.Labels[discoveryv1.LabelServiceName] = s.Name
		s.Labels[serving.RevisionLabelKey] = fmt.Sprintf("m-%04d-1", i)
		add(slices.Add(s))
	}
	for i := range models {
		l := rateLimit(fmt.Sprintf("m-%04d", i))
		l.UID = types.UID(l.Name)
		l.ResourceVersion = "1"
		l.Spec.Gateways = []string{gw(i)}
		l.Spec.VirtualService = gateway.VirtualServiceName("team", l.Name)
		l.Spec.Traffic[0].Revision = l.Name + "-1"
		add(informers.sluice.Sluice().V1alpha1().RateLimits().Informer().GetIndexer().Add(l))
		pa := autoscaler(1)
		pa.Name = l.Name + "-1"
		add(informers.serving.Autoscaling().V1alpha1().PodAutoscalers().Informer().GetIndexer().Add(pa))
		add(informers.istio.Networking().V1().VirtualServices().Informer().GetIndexer().Add(&istiov1.VirtualService{
			ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: l.Spec.VirtualService},
			Spec: istioapi.VirtualService{Hosts: []string{l.Name + ".example.com"}, Gateways: []string{gateway.Namespace + "/" + gw(i)},
				Http: []*istioapi.HTTPRoute{{Route: []*istioapi.HTTPRouteDestination{{}}}}},
		}))
		scale(i, 1)
	}
	f.Caches = informers.Caches()
	f.Filters = istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace)
	f.Limits, f.ProbeToken = sluice.SluiceV1alpha1(), func() string { return "token" }
	f.Prover = NewProver(clock.RealClock{}, func() {})
	f.Demand = noDemand{}
	f.Log = zap.NewNop().Sugar()
	add(f.pass(b.Context()))
	b.Log(len(f.slots), "slots")
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for range changed {
			scale(n%models, 1+n/models%9)
			n++
		}
		add(f.pass(b.Context()))
	}
}

type noDemand struct{}

func (noDemand) Run(context.Context) {}

func (noDemand) At(string, string) []float64 { return make([]float64, len(gateway.Entries())) }
