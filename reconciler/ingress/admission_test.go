package ingress

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgotesting "k8s.io/client-go/testing"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/ptr"
	. "knative.dev/pkg/reconciler/testing"
	knativelabels "knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func meta(name string, owner kmeta.OwnerRefable) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID("uid-" + name)}
	if owner != nil {
		m.OwnerReferences = []metav1.OwnerReference{*kmeta.NewControllerRef(owner)}
	}
	return m
}

func modelNamed(name string) *sluicev1alpha1.Model {
	return &sluicev1alpha1.Model{ObjectMeta: meta(name, nil)}
}

// limitOf is a Model's RateLimit, which was proved at some gateways.
func limitOf(model *sluicev1alpha1.Model, provedAt ...string) *sluicev1alpha1.RateLimit {
	limit := &sluicev1alpha1.RateLimit{ObjectMeta: meta(model.Name, model)}
	limit.Generation = 1
	limit.Spec.Gateways = []string{gateway.Shared}
	limit.Spec.Traffic = []sluicev1alpha1.RevisionTraffic{{Revision: model.Name + "-00001", Percent: 100}}
	limit.Status.ObservedGeneration = 1
	limit.Status.Limit = &sluicev1alpha1.LimitStatus{ProvedGateways: provedAt}
	return limit
}

// routeOwnedBy is a Route of a Service of its name, "" for none.
func routeOwnedBy(name, uid string) *servingv1.Route {
	route := &servingv1.Route{ObjectMeta: meta(name, nil)}
	if uid != "" {
		owner := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID(uid)}}
		route.OwnerReferences = []metav1.OwnerReference{*kmeta.NewControllerRef(owner)}
	}
	return route
}

// knative are the Service of a name, of a Model or of nobody's, with its Route and its
// first revision.
func knative(name string, owner kmeta.OwnerRefable) []runtime.Object {
	service := &servingv1.Service{ObjectMeta: meta(name, owner)}
	revision := &servingv1.Revision{ObjectMeta: meta(name+"-00001", &servingv1.Configuration{ObjectMeta: meta(name, nil)})}
	revision.Labels = map[string]string{knativelabels.ServiceLabelKey: name, knativelabels.ConfigurationLabelKey: name}
	if owner != nil {
		revision.Labels[sluice.ModelLabelKey] = name
	}
	return []runtime.Object{service, &servingv1.Route{ObjectMeta: meta(name, service)}, revision, kubeService(name + "-00001")}
}

func kubeService(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}}
}

// ofRoute is an Ingress of the Route of its name.
func ofRoute(ing *v1alpha1.Ingress) {
	ing.OwnerReferences = []metav1.OwnerReference{*kmeta.NewControllerRef(&servingv1.Route{ObjectMeta: meta(ing.Name, nil)})}
}

// toService sends all requests of an Ingress to another Service.
func toService(name string) option {
	return func(ing *v1alpha1.Ingress) {
		for _, rule := range ing.Spec.Rules {
			rule.HTTP.Paths[0].Splits[0].ServiceName = name
		}
	}
}

func capped(tenant *sluicev1alpha1.Tenant) *sluicev1alpha1.Tenant {
	tenant.Spec.Limits.Models = ptr.Int32(5)
	return tenant
}

func unconfigured(reason, message string) option {
	return func(ing *v1alpha1.Ingress) {
		manage(ing).MarkUnknown(v1alpha1.IngressConditionNetworkConfigured, reason, "%s", message)
	}
}

const (
	bypass = "it leads to replicas of Model judge, past the Model's limit: send requests to the Model's own host, or map a domain to Knative Service judge"
	caps   = "tenant acme has caps (spec.limits of the Tenant), which only Models can be held to, and this is no Model's and leads to Service ranker-00001: " +
		"make it a Model, or have it served by another class (annotation networking.knative.dev/ingress-class)"
)

// A Model's replicas get requests by the Ingress that its limit is on, and only once that
// was proved; what has no limit is not served where a tenant's caps are to hold.
func TestAdmission(t *testing.T) {
	judge, ranker := modelNamed("judge"), modelNamed("ranker")
	unlabelled := knative("judge", judge)
	stripped, _ := unlabelled[2].(*servingv1.Revision)
	stripped.Labels, stripped.OwnerReferences = nil, nil
	selects := endpoints("by-hand")
	selects.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: "judge-00001-deployment-7d9c-x2x4z"}
	outside, alias := kubeService("alias"), kubeService("alias")
	outside.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "judge-00001.team.svc.cluster.local"}
	alias.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "shared-local.sluice-gateways.svc.cluster.local"}
	acmesShared := func() *sluicev1alpha1.Tenant { return capped(acme(sluicev1alpha1.NamespaceHeld, gateway.Shared)) }
	aliasRoute := func(vs *istiov1.VirtualService) {
		vs.Labels[sluice.TenantLabelKey] = "acme"
		desiredOf(vs, kingress(toService("alias")), map[types.NamespacedName]string{
			{Namespace: "team", Name: "alias"}: "shared-local.sluice-gateways.svc.cluster.local",
		})
	}
	waiting := unconfigured("LimitNotProved",
		"Waiting for the limit of Model ranker to be proved at gateway shared before requests go there. See condition Limited of the Model.")
	withdrawn := []clientgotesting.DeleteActionImpl{{
		ActionImpl: clientgotesting.ActionImpl{Namespace: gateway.Namespace, Resource: istiov1.SchemeGroupVersion.WithResource("virtualservices")},
		Name:       "team.ranker",
	}}
	served := []option{observed, networkConfigured, loadBalancerReady}
	row := func(name string, ing *v1alpha1.Ingress, others ...[]runtime.Object) TableRow {
		return TableRow{Name: name, Key: key, Objects: shared(append(slices.Concat(others...), ing)...)}
	}
	status := func(row TableRow, options ...option) TableRow {
		row.WantStatusUpdates = []clientgotesting.UpdateActionImpl{{Object: kingress(options...)}}
		return row
	}
	refusal := func(row TableRow, reason, message string, options ...option) TableRow {
		row.WantEvents = []string{Eventf(corev1.EventTypeWarning, reason, message)}
		return status(row, append(options, observed, refused(reason, message))...)
	}
	deleting := func(row TableRow) TableRow {
		row.WantDeletes = withdrawn
		return row
	}
	creating := func(row TableRow, route *istiov1.VirtualService) TableRow {
		row.WantCreates = []runtime.Object{route}
		return row
	}
	objects := func(list ...runtime.Object) []runtime.Object { return list }
	ofTenants := withTenant("acme")

	table := TableTest{
		refusal(row("a plain Route to a Model's revision", kingress(ofRoute, toService("judge-00001")),
			knative("judge", judge), objects(judge, routeOwnedBy("ranker", ""))),
			"ReplicasOfModel", bypass, ofRoute, toService("judge-00001")),
		deleting(refusal(row("one that was served", kingress(toService("judge-00001")),
			knative("judge", judge), objects(judge, route(towards("judge-00001")))),
			"ReplicasOfModel", bypass, toService("judge-00001"))),
		refusal(row("a revision that was stripped of all marks", kingress(toService("judge-00001")),
			unlabelled, objects(judge, limitOf(judge))),
			"ReplicasOfModel", bypass, toService("judge-00001")),
		refusal(row("a Service that selects a Model's replicas", kingress(toService("by-hand")),
			knative("judge", judge), objects(judge, kubeService("by-hand"), selects)),
			"ReplicasOfModel", bypass, toService("by-hand")),
		refusal(row("another name of a Model's revision", kingress(toService("alias")),
			knative("judge", judge), objects(judge, outside)),
			"ReplicasOfModel", bypass, toService("alias")),
		refusal(row("a Model's own Ingress to another Model's revision", kingress(ofRoute, toService("judge-00001")),
			knative("judge", judge), knative("ranker", ranker), objects(judge, ranker, limitOf(ranker, gateway.Shared))),
			"ReplicasOfModel", bypass, ofRoute, toService("judge-00001")),

		refusal(row("a plain Service of a tenant with caps", kingress(ofRoute),
			knative("ranker", nil), objects(acmesShared())),
			sluicev1alpha1.ReasonTenantCapped, caps, ofRoute),
		deleting(refusal(row("one that was served when they came", kingress(append(served, ofRoute)...),
			knative("ranker", nil), objects(acmesShared(), route(ofTenants, provedOn("shared")))),
			sluicev1alpha1.ReasonTenantCapped, caps, append(served, ofRoute)...)),
		refusal(row("a Service that says to be the Model's, by another name", kingress(ofRoute),
			knative("ranker", judge), objects(acmesShared(), judge)),
			sluicev1alpha1.ReasonTenantCapped, caps, ofRoute),
		creating(status(row("a plain Service of a tenant without", kingress(ofRoute),
			knative("ranker", nil), objects(acme(sluicev1alpha1.NamespaceHeld, gateway.Shared))),
			ofRoute, observed, networkConfigured, at(acmes)), route(ofTenants)),
		creating(status(row("another name for our entry, whatever the caps", kingress(toService("alias")),
			objects(acmesShared(), alias)),
			toService("alias"), observed, networkConfigured, at(acmes)), route(aliasRoute)),
		status(row("what may become such a name", kingress(toService("alias")), objects(acmesShared())),
			toService("alias"), observed, unconfigured("OwnerNotSeen", "Waiting for service alias, by which to tell whose limit this is under.")),

		status(row("a Model's, before its limit", kingress(ofRoute), knative("ranker", ranker), objects(ranker)),
			ofRoute, observed, waiting),
		status(row("before it is proved", kingress(ofRoute), knative("ranker", ranker), objects(ranker, limitOf(ranker))),
			ofRoute, observed, waiting),
		status(row("by a RateLimit that isn't the Model's", kingress(ofRoute), knative("ranker", ranker),
			objects(ranker, limitOf(&sluicev1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Name: "ranker", UID: "another"}}, gateway.Shared))),
			ofRoute, observed, waiting),
		status(row("by one that changed since", kingress(ofRoute), knative("ranker", ranker), objects(ranker, changedSince(limitOf(ranker, gateway.Shared)))),
			ofRoute, observed, waiting),
		creating(status(row("a Model's, in its limit", kingress(ofRoute),
			knative("ranker", ranker), objects(ranker, limitOf(ranker, gateway.Shared), acmesShared())),
			ofRoute, observed, networkConfigured, at(acmes)), route(ofTenants)),
		row("a route that is there stays, proved or not", kingress(append(served, ofRoute)...),
			knative("ranker", ranker), objects(ranker, limitOf(ranker), route(provedOn("shared")))),
		status(row("before the Model is seen", kingress(ofRoute), knative("ranker", ranker)),
			ofRoute, observed, unconfigured("OwnerNotSeen", "Waiting for Model ranker, by which to tell whose limit this is under.")),
		row("a Model that has just gone", kingress(append(served, ofRoute)...),
			knative("ranker", ranker), objects(acmesShared(), route(provedOn("shared")))),
		status(row("before the revision is seen", kingress(ofRoute), objects(routeOwnedBy("ranker", ""))),
			ofRoute, observed, unconfigured("OwnerNotSeen", "Waiting for revision ranker-00001, by which to tell whose limit this is under.")),
	}
	for i := range table {
		table[i].SkipNamespaceValidation = true
		table[i].CmpOpts = []cmp.Option{protocmp.Transform()}
	}
	table.Test(t, makeReconciler(t))
}

// towards is the route of toService.
func towards(name string) func(*istiov1.VirtualService) {
	return func(vs *istiov1.VirtualService) { desiredOf(vs, kingress(toService(name)), nil) }
}

func changedSince(limit *sluicev1alpha1.RateLimit) *sluicev1alpha1.RateLimit {
	limit.Generation++
	return limit
}

// While a tenant moves, a Model's routes come to a gateway once its limit was proved
// there, stay where they were meanwhile, and the Ingress stays ready where it is
// published.
func TestMoveWaitsForLimits(t *testing.T) {
	ranker := modelNamed("ranker")
	moving := acme(sluicev1alpha1.NamespaceHeld, gateway.Shared, acmes)
	moving.Status.Gateway = gateway.Shared
	onShared := route(withTenant("acme"), provedOn("shared"))
	ing := func() *v1alpha1.Ingress { return kingress(ofRoute, observed, networkConfigured, at(acmes)) }
	limit := limitOf(ranker, gateway.Shared)
	limit.Spec.Gateways = []string{gateway.Shared, acmes}
	proved := limit.DeepCopy()
	proved.Status.Limit.ProvedGateways = []string{gateway.Shared, acmes}
	both := ofTenant(on([]string{gateway.Shared, acmes}))
	objects := func(of *sluicev1alpha1.RateLimit) []runtime.Object {
		return ofAcme(append(knative("ranker", ranker), ranker, moving, of, ing(), onShared)...)
	}
	unproved := onShared.DeepCopy()
	lagging(unproved)
	table := TableTest{{
		Name: "not proved there", Key: key, Objects: objects(limit),
		WantStatusUpdates: []clientgotesting.UpdateActionImpl{{Object: unproved}},
	}, {
		Name: "proved there", Key: key, Objects: objects(proved),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: routed(ing(), both, provedOn("shared"))}},
	}}
	for i := range table {
		table[i].SkipNamespaceValidation = true
		table[i].CmpOpts = []cmp.Option{protocmp.Transform()}
	}
	table.Test(t, makeReconciler(t))
}
