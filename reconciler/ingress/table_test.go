package ingress

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	metav1alpha1 "istio.io/api/meta/v1alpha1"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istiofake "istio.io/client-go/pkg/clientset/versioned/fake"
	istiov1listers "istio.io/client-go/pkg/listers/networking/v1"
	istiov1alpha3listers "istio.io/client-go/pkg/listers/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	kubefake "k8s.io/client-go/kubernetes/fake"
	corev1listers "k8s.io/client-go/listers/core/v1"
	discoveryv1listers "k8s.io/client-go/listers/discovery/v1"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	networkingfake "knative.dev/networking/pkg/client/clientset/versioned/fake"
	ingressreconciler "knative.dev/networking/pkg/client/injection/reconciler/networking/v1alpha1/ingress"
	ingresslisters "knative.dev/networking/pkg/client/listers/networking/v1alpha1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	pkgreconciler "knative.dev/pkg/reconciler"
	. "knative.dev/pkg/reconciler/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/ingress/ownership"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

const (
	probePath = "/.well-known/sluice/token"
	finalizer = "ingresses.networking.internal.knative.dev"
	key       = "team/ranker"
)

var now = time.Unix(1_000_000, 0)

// fakeProver answers as told and remembers what it was asked.
type fakeProver struct {
	proof     Proof
	later     *Proof // from the second question on
	claimed   []Claim
	forgotten []types.NamespacedName
}

func (p *fakeProver) Prove(_ context.Context, claim Claim) Proof {
	p.claimed = append(p.claimed, claim)
	if p.later != nil && len(p.claimed) > 1 {
		return *p.later
	}
	if p.proof.Since.IsZero() {
		p.proof.Since = now
	}
	return p.proof
}

func (p *fakeProver) Forget(key types.NamespacedName) { p.forgotten = append(p.forgotten, key) }

type option func(*v1alpha1.Ingress)

func kingress(options ...option) *v1alpha1.Ingress {
	ing := &v1alpha1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   "team",
			Name:        "ranker",
			Generation:  1,
			Annotations: map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName},
			Finalizers:  []string{finalizer},
		},
		Spec: v1alpha1.IngressSpec{Rules: []v1alpha1.IngressRule{
			rule(v1alpha1.IngressVisibilityExternalIP, "ranker.team.example.com"),
			rule(v1alpha1.IngressVisibilityClusterLocal, "ranker.team.svc.cluster.local"),
		}},
	}
	ing.SetDefaults(context.Background())
	ing.Status.InitializeConditions()
	for _, change := range options {
		change(ing)
	}
	return ing
}

func rule(visibility v1alpha1.IngressVisibility, hosts ...string) v1alpha1.IngressRule {
	return v1alpha1.IngressRule{
		Hosts:      hosts,
		Visibility: visibility,
		HTTP: &v1alpha1.HTTPIngressRuleValue{Paths: []v1alpha1.HTTPIngressPath{{
			Splits: []v1alpha1.IngressBackendSplit{{IngressBackend: v1alpha1.IngressBackend{
				ServiceNamespace: "team", ServiceName: "ranker-00001", ServicePort: intstr.FromInt32(80),
			}}},
		}}},
	}
}

func observed(ing *v1alpha1.Ingress) { ing.Status.ObservedGeneration = ing.Generation }

func networkConfigured(ing *v1alpha1.Ingress) { ing.Status.MarkNetworkConfigured() }

func loadBalancerReady(ing *v1alpha1.Ingress) {
	ing.Status.MarkLoadBalancerReady(
		[]v1alpha1.LoadBalancerIngressStatus{{DomainInternal: "shared.sluice-gateways.svc.cluster.local"}},
		[]v1alpha1.LoadBalancerIngressStatus{{DomainInternal: "shared-local.sluice-gateways.svc.cluster.local"}})
}

func unproved(reason, message string) option {
	return func(ing *v1alpha1.Ingress) {
		manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, reason, "%s", message)
	}
}

func refused(reason, message string) option {
	return func(ing *v1alpha1.Ingress) {
		manage(ing).MarkFalse(v1alpha1.IngressConditionNetworkConfigured, reason, "%s", message)
		manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, reason, "Not served.")
	}
}

func unfinalized(ing *v1alpha1.Ingress) { ing.Finalizers = nil }

func deleted(ing *v1alpha1.Ingress) {
	at := metav1.NewTime(now)
	ing.DeletionTimestamp = &at
}

func class(name string) option {
	return func(ing *v1alpha1.Ingress) {
		ing.Annotations = map[string]string{networking.IngressClassAnnotationKey: name}
	}
}

func newBackend(ing *v1alpha1.Ingress) {
	ing.Generation = 2
	for _, rule := range ing.Spec.Rules {
		rule.HTTP.Paths[0].Splits[0].ServiceName = "ranker-00002"
	}
}

func observedBefore(ing *v1alpha1.Ingress) { ing.Status.ObservedGeneration = ing.Generation - 1 }

// toNew is the route of newBackend.
func toNew(vs *istiov1.VirtualService) { desiredOf(vs, kingress(newBackend), nil) }

func toOurselves(vs *istiov1.VirtualService) {
	desiredOf(vs, kingress(), map[types.NamespacedName]string{
		{Namespace: "team", Name: "ranker-00001"}: "shared-local.sluice-gateways.svc.cluster.local",
	})
}

// withTenant has the label, and the routes, of a tenant's namespace.
func withTenant(tenant string) func(*istiov1.VirtualService) {
	return func(vs *istiov1.VirtualService) {
		vs.Labels[sluice.TenantLabelKey] = tenant
		desiredOf(vs, kingress(), nil)
	}
}

func desiredOf(vs *istiov1.VirtualService, ing *v1alpha1.Ingress, aliases map[types.NamespacedName]string) {
	desired, err := resources.VirtualService(ing, resources.Binding{
		HTTP: []string{"sluice-gateways/shared"}, Local: []string{"sluice-gateways/shared-local"}, ProbePath: probePath, Aliases: aliases,
		Tenant: vs.Labels[sluice.TenantLabelKey],
	})
	if err != nil {
		panic(err)
	}
	desired.Spec.DeepCopyInto(&vs.Spec)
}

// step is the step after existing, which is proved, to desired.
func step(existing, desired *istiov1.VirtualService) *istiov1.VirtualService {
	next, err := resources.Change{Existing: existing, Desired: desired, Proved: true, ProbePath: probePath}.Next()
	if err != nil {
		panic(err)
	}
	return next.VirtualService
}

func route(changes ...func(*istiov1.VirtualService)) *istiov1.VirtualService {
	vs, err := resources.VirtualService(kingress(), resources.Binding{
		HTTP: []string{"sluice-gateways/shared"}, Local: []string{"sluice-gateways/shared-local"}, ProbePath: probePath,
	})
	if err != nil {
		panic(err)
	}
	for _, change := range changes {
		change(vs)
	}
	return vs
}

// provedOn is what is recorded of a route that every pod of these gateways serves.
func provedOn(gateways string) func(*istiov1.VirtualService) {
	return recorded(&metav1alpha1.IstioCondition{Type: "Proved", Status: "True", Reason: "Served", Message: gateways})
}

// lagging is what is recorded once some pod serves it no more.
func lagging(vs *istiov1.VirtualService) {
	recorded(&metav1alpha1.IstioCondition{Type: "Proved", Status: "False", Reason: "Waiting"})(vs)
}

func recorded(condition *metav1alpha1.IstioCondition) func(*istiov1.VirtualService) {
	return func(vs *istiov1.VirtualService) {
		condition.LastTransitionTime = timestamppb.New(now)
		vs.Status.ObservedGeneration = vs.Generation
		vs.Status.Conditions = []*metav1alpha1.IstioCondition{condition}
	}
}

func foreign(vs *istiov1.VirtualService) { vs.Labels = nil }

func teamed(vs *istiov1.VirtualService) { vs.Labels["team"] = "search" }

func formerly(tenant string) func(*istiov1.VirtualService) {
	return func(vs *istiov1.VirtualService) { vs.Labels[sluice.TenantLabelKey] = tenant }
}

func edited(vs *istiov1.VirtualService) { vs.Spec.Hosts = []string{"stolen.example.com"} }

// gatewayPod is a pod of a gateway, ready where it has an address.
func gatewayPod(of, name, ip string) *corev1.Pod {
	status := corev1.ConditionTrue
	if ip == "" {
		status = corev1.ConditionFalse
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: name, Labels: map[string]string{gateway.LabelKey: of}},
		Status:     corev1.PodStatus{PodIP: ip, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}},
	}
}

// entry is an Istio Gateway of a gateway, by which it serves everyone.
func entry(of, name string, port uint32) *istiov1.Gateway {
	return &istiov1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: name},
		Spec: istioapi.Gateway{
			Selector: map[string]string{gateway.LabelKey: of},
			Servers:  []*istioapi.Server{{Port: &istioapi.Port{Number: port}, Hosts: []string{"./*"}}},
		},
	}
}

// entries are those that a gateway has.
func entries(of string) []runtime.Object {
	return []runtime.Object{entry(of, of, gateway.External.Port), entry(of, gateway.LocalName(of), gateway.Local.Port)}
}

// endpoints are those of a Service of the Ingress' namespace; one is ready.
func endpoints(service string) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: service + "-x", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.2.1"}}},
	}
}

// empty is the same Service's before any is ready.
func empty(service string) *discoveryv1.EndpointSlice {
	unready := false
	out := endpoints(service)
	out.Endpoints[0].Conditions.Ready = &unready
	return out
}

// without leaves out the endpoints of Services.
func without(objects []runtime.Object, services ...string) []runtime.Object {
	return slices.DeleteFunc(objects, func(object runtime.Object) bool {
		of, ok := object.(*discoveryv1.EndpointSlice)
		return ok && slices.Contains(services, of.Labels[discoveryv1.LabelServiceName])
	})
}

// shared is the shared gateway, with two pods that are ready and one that isn't,
// beside other objects.
func shared(others ...runtime.Object) []runtime.Object {
	return slices.Concat(entries(gateway.Shared), []runtime.Object{
		gatewayPod(gateway.Shared, "shared-b", "10.0.0.2"), gatewayPod(gateway.Shared, "shared-c", ""),
		gatewayPod(gateway.Shared, "shared-a", "10.0.0.1"), endpoints("ranker-00001"), endpoints("ranker-00002"),
	}, others)
}

func TestReconcile(t *testing.T) {
	holder := kingress(func(ing *v1alpha1.Ingress) {
		ing.Namespace = "first"
		ing.Spec.Rules = ing.Spec.Rules[:1]
		ing.CreationTimestamp = metav1.NewTime(now.Add(-time.Hour))
	})
	late := func(ing *v1alpha1.Ingress) { ing.CreationTimestamp = metav1.NewTime(now) }
	const taken = `host "ranker.team.example.com" is held by an Ingress of another namespace`

	pending := &fakeProver{proof: Proof{Pending: []string{"shared-b"}, Since: now.Add(-time.Second)}}
	overdue := &fakeProver{proof: Proof{Pending: []string{"shared-b"}, Since: now.Add(-newPodPatience)}}
	waiting := unproved("NotProved", "Waiting for 1 of 2 gateway pods to serve this generation: shared-b.")
	preparing := unproved("Preparing", "Waiting for 2 gateway pods to know the new backends before requests go there.")
	finalizerEvent := Eventf(corev1.EventTypeNormal, "FinalizerUpdate", `Updated "ranker" finalizers`)

	table := TableTest{{
		Name:    "another class, an empty one and none are left alone",
		Key:     key,
		Objects: shared(kingress(unfinalized, class("another"))),
	}, {
		Name:    "no class",
		Key:     key,
		Objects: shared(kingress(unfinalized, func(ing *v1alpha1.Ingress) { ing.Annotations = nil })),
	}, {
		Name:          "a new one is written, and not ready before it is proved",
		Key:           key,
		OtherTestData: map[string]any{"prover": pending},
		Objects:       shared(kingress(unfinalized)),
		WantCreates:   []runtime.Object{route()},
		WantPatches: []clientgotesting.PatchActionImpl{{
			ActionImpl: clientgotesting.ActionImpl{Namespace: "team"}, Name: "ranker",
			Patch: []byte(`{"metadata":{"finalizers":["` + finalizer + `"],"resourceVersion":""}}`),
		}},
		WantEvents: []string{finalizerEvent},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(unfinalized, observed, networkConfigured, waiting)}},
	}, {
		Name:    "proved on every pod, it is ready",
		Key:     key,
		Objects: shared(kingress(observed, networkConfigured, waiting), route()),
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(observed, networkConfigured, loadBalancerReady)}, {Object: route(provedOn("shared"))}},
	}, {
		Name:    "a new one waits for endpoints",
		Key:     key,
		Objects: without(shared(kingress()), "ranker-00001"),
		WantErr: true, // a requeue
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(observed, func(ing *v1alpha1.Ingress) {
				manage(ing).MarkUnknown(v1alpha1.IngressConditionNetworkConfigured, "NoEndpoints",
					"Waiting for endpoints of ranker-00001.team.svc.cluster.local.")
			})}},
	}, {
		Name:          "but not for long",
		Key:           key,
		OtherTestData: map[string]any{"begun": now.Add(-stepPatience)},
		Objects:       without(shared(kingress()), "ranker-00001"),
		WantCreates:   []runtime.Object{route()},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(observed, networkConfigured, loadBalancerReady)}},
	}, {
		Name:    "in the steady state nothing is written",
		Key:     key,
		Objects: shared(kingress(observed, networkConfigured, loadBalancerReady), route(provedOn("shared"))),
	}, {
		Name:    "without a gateway pod it is not ready",
		Key:     key,
		Objects: append(entries(gateway.Shared), kingress(observed, networkConfigured, loadBalancerReady), route(provedOn("shared"))),
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(observed, networkConfigured, loadBalancerReady,
				unproved("NoGatewayPod", "Gateway shared has no ready pod."))}, {Object: route(lagging)}},
	}, {
		Name:          "a ready one stays so while a new pod is asked",
		Key:           key,
		OtherTestData: map[string]any{"prover": pending},
		Objects:       shared(kingress(observed, networkConfigured, loadBalancerReady), route(provedOn("shared"))),
		WantErr:       true, // a requeue
	}, {
		Name:          "but not for long",
		Key:           key,
		OtherTestData: map[string]any{"prover": overdue},
		Objects:       shared(kingress(observed, networkConfigured, loadBalancerReady), route(provedOn("shared"))),
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(observed, networkConfigured, loadBalancerReady, waiting)}, {Object: route(lagging)}},
	}, {
		Name:        "a new backend is named before requests go there",
		Key:         key,
		Objects:     shared(kingress(newBackend, observedBefore, networkConfigured, loadBalancerReady), route()),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: step(route(), route(toNew))}},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(newBackend, observed, networkConfigured, loadBalancerReady, preparing)}},
		WantErr: true, // a requeue, for a pod that never takes it
	}, {
		Name:    "they don't go there before it has endpoints",
		Key:     key,
		Objects: append(without(shared(kingress(newBackend, observed, networkConfigured, preparing), step(route(), route(toNew))), "ranker-00002"), empty("ranker-00002")),
		WantErr: true, // a requeue
	}, {
		Name:    "proved, they go there, and the old one is still named",
		Key:     key,
		Objects: shared(kingress(newBackend, observed, networkConfigured, preparing), step(route(), route(toNew))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: step(step(route(), route(toNew)), route(toNew))}},
		OtherTestData: map[string]any{"prover": &fakeProver{proof: Proof{Since: now}, later: &pending.proof}},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(newBackend, observed, networkConfigured, waiting)}},
	}, {
		Name:          "proved, it is ready, and the old one is forgotten",
		Key:           key,
		Objects:       shared(kingress(newBackend, observed, networkConfigured, waiting), step(step(route(), route(toNew)), route(toNew))),
		WantUpdates:   []clientgotesting.UpdateActionImpl{{Object: route(toNew)}},
		OtherTestData: map[string]any{"prover": &fakeProver{proof: Proof{Since: now}, later: &pending.proof}},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(newBackend, observed, networkConfigured, loadBalancerReady)}},
	}, {
		Name: "another name for our own entry is followed there",
		Key:  key,
		Objects: shared(
			kingress(observed, networkConfigured, loadBalancerReady), route(toOurselves, provedOn("shared")),
			&corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ranker-00001"},
				Spec: corev1.ServiceSpec{
					Type: corev1.ServiceTypeExternalName, ExternalName: "shared-local.sluice-gateways.svc.cluster.local",
				},
			},
		),
	}, {
		Name:        "an edited route is repaired",
		Key:         key,
		Objects:     shared(kingress(observed, networkConfigured, loadBalancerReady), route(edited)),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: route()}},
	}, {
		Name:        "labels that others put there stay",
		Key:         key,
		Objects:     shared(kingress(observed, networkConfigured, loadBalancerReady), route(edited, teamed)),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: route(teamed)}},
	}, {
		Name:        "that of a tenant that holds the namespace no more goes",
		Key:         key,
		Objects:     shared(kingress(observed, networkConfigured, loadBalancerReady), route(provedOn("shared"), teamed, formerly("blue"))),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: route(provedOn("shared"), teamed)}},
	}, {
		Name:    "a route of the name that isn't ours is left alone",
		Key:     key,
		Objects: shared(kingress(observed), route(foreign)),
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(observed, func(ing *v1alpha1.Ingress) {
				ing.Status.MarkResourceNotOwned("VirtualService", "sluice-gateways/team.ranker")
			})}},
	}, {
		Name:    "a host that is held is refused, and what served it withdrawn",
		Key:     key,
		Objects: shared(kingress(late, observed), holder, route()),
		WantDeletes: []clientgotesting.DeleteActionImpl{{
			ActionImpl: clientgotesting.ActionImpl{
				Namespace: gateway.Namespace, Resource: istiov1.SchemeGroupVersion.WithResource("virtualservices"),
			}, Name: "team.ranker",
		}},
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{
			Object: kingress(late, observed, refused("HostNotAvailable", taken))}},
		WantEvents: []string{Eventf(corev1.EventTypeWarning, "HostNotAvailable", taken)},
	}, {
		Name:    "one that is deleted takes its route along",
		Key:     key,
		Objects: shared(kingress(deleted, observed), route()),
		WantDeletes: []clientgotesting.DeleteActionImpl{{
			ActionImpl: clientgotesting.ActionImpl{
				Namespace: gateway.Namespace, Resource: istiov1.SchemeGroupVersion.WithResource("virtualservices"),
			}, Name: "team.ranker",
		}},
		WantPatches: []clientgotesting.PatchActionImpl{{
			ActionImpl: clientgotesting.ActionImpl{Namespace: "team"}, Name: "ranker",
			Patch: []byte(`{"metadata":{"finalizers":[],"resourceVersion":""}}`),
		}},
		WantEvents: []string{finalizerEvent},
	}}
	for i := range table {
		table[i].SkipNamespaceValidation = true // routes live in the gateways' namespace
		table[i].CmpOpts = []cmp.Option{protocmp.Transform()}
	}
	table.Test(t, makeReconciler(t))
}

// makeReconciler builds the reconciler over a row's objects, as TableTest wants.
func makeReconciler(t *testing.T) Factory {
	return func(_ *testing.T, row *TableRow) (controller.Reconciler, ActionRecorderList, EventList) {
		ctx := logging.WithLogger(context.Background(), logtesting.TestLogger(t))
		sorter := NewObjectSorter(schemeOf(t, istiov1.AddToScheme, v1alpha1.AddToScheme, corev1.AddToScheme, discoveryv1.AddToScheme, sluicev1alpha1.AddToScheme, istiov1alpha3.AddToScheme, servingv1.AddToScheme))
		sorter.AddObjects(row.Objects...)
		networkingClient := networkingfake.NewSimpleClientset(objectsOf[*v1alpha1.Ingress](row)...)
		istioClient := istiofake.NewSimpleClientset(append(objectsOf[*istiov1.VirtualService](row), objectsOf[*istiov1alpha3.EnvoyFilter](row)...)...)
		for _, object := range objectsOf[*istiov1.Gateway](row) {
			// The fake would guess "gatewaies".
			if err := istioClient.Tracker().Create(istiov1.SchemeGroupVersion.WithResource("gateways"), object, gateway.Namespace); err != nil {
				t.Fatal(err)
			}
		}
		kubeClient := kubefake.NewSimpleClientset(objectsOf[*corev1.Secret](row)...)
		ingresses, tenants := sorter.IndexerForObjectType(&v1alpha1.Ingress{}), sorter.IndexerForObjectType(&sluicev1alpha1.Tenant{})
		routes := sorter.IndexerForObjectType(&istiov1.VirtualService{})
		claims, err := newClaims(ingresses, tenants, routes)
		if err != nil {
			t.Fatal(err)
		}
		prover, ok := row.OtherTestData["prover"].(*fakeProver)
		if !ok {
			prover = &fakeProver{}
		}
		events := record.NewFakeRecorder(10)
		r := &Reconciler{
			kube:            kubeClient,
			istio:           istioClient,
			virtualServices: istiov1listers.NewVirtualServiceLister(routes),
			gateways:        istiov1listers.NewGatewayLister(sorter.IndexerForObjectType(&istiov1.Gateway{})),
			splits:          istiov1alpha3listers.NewEnvoyFilterLister(sorter.IndexerForObjectType(&istiov1alpha3.EnvoyFilter{})),
			pods:            corev1listers.NewPodLister(sorter.IndexerForObjectType(&corev1.Pod{})),
			endpointSlices:  discoveryv1listers.NewEndpointSliceLister(sorter.IndexerForObjectType(&discoveryv1.EndpointSlice{})),
			services:        corev1listers.NewServiceLister(sorter.IndexerForObjectType(&corev1.Service{})),
			secrets:         corev1listers.NewSecretLister(sorter.IndexerForObjectType(&corev1.Secret{})),
			tenants:         tenants,
			owners: ownership.Registry{
				Models:     sluicelisters.NewModelLister(sorter.IndexerForObjectType(&sluicev1alpha1.Model{})),
				RateLimits: sluicelisters.NewRateLimitLister(sorter.IndexerForObjectType(&sluicev1alpha1.RateLimit{})),
				Services:   servinglisters.NewServiceLister(sorter.IndexerForObjectType(&servingv1.Service{})),
				Routes:     servinglisters.NewRouteLister(sorter.IndexerForObjectType(&servingv1.Route{})),
				Revisions:  servinglisters.NewRevisionLister(sorter.IndexerForObjectType(&servingv1.Revision{})),
			},
			claims:    claims,
			prover:    prover,
			clock:     clocktesting.NewFakePassiveClock(now),
			tracker:   &FakeTracker{},
			stopwatch: watchFrom(row),
			probePath: probePath,
		}
		c := ingressreconciler.NewReconciler(ctx, logging.FromContext(ctx), networkingClient,
			ingresslisters.NewIngressLister(ingresses), events, r, sluice.IngressClassName)
		lead(t, c)
		return c, ActionRecorderList{networkingClient, kubeClient, istioClient}, EventList{Recorder: events}
	}
}

// watchFrom has the stopwatch of the Ingress run since a row's work was begun.
func watchFrom(row *TableRow) *stopwatch {
	clk := clocktesting.NewFakePassiveClock(now)
	watch := newStopwatch(clk, func(float64) {})
	if begun, ok := row.OtherTestData["begun"].(time.Time); ok {
		clk.SetTime(begun)
		watch.start(types.NamespacedName{Namespace: "team", Name: "ranker"}, 1)
		clk.SetTime(now)
	}
	return watch
}

func lead(t *testing.T, c controller.Reconciler) {
	t.Helper()
	aware, ok := c.(pkgreconciler.LeaderAware)
	if !ok {
		t.Fatal("the reconciler is not aware of leadership")
	}
	if err := aware.Promote(pkgreconciler.UniversalBucket(), func(pkgreconciler.Bucket, types.NamespacedName) {}); err != nil {
		t.Fatal(err)
	}
}

func objectsOf[T runtime.Object](row *TableRow) []runtime.Object {
	var objects []runtime.Object
	for _, object := range row.Objects {
		if _, ok := object.(T); ok {
			objects = append(objects, object)
		}
	}
	return objects
}

func schemeOf(t *testing.T, adders ...func(*runtime.Scheme) error) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range adders {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}
