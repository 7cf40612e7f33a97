// Package ingress serves Knative Ingresses of Sluice's class: each becomes one
// VirtualService on its gateway, and is ready once every ready gateway pod was
// seen to serve it. It knows neither Models nor limits.
package ingress

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istioclientset "istio.io/client-go/pkg/clientset/versioned"
	istiov1listers "istio.io/client-go/pkg/listers/networking/v1"
	istiov1alpha3listers "istio.io/client-go/pkg/listers/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	discoveryv1listers "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	ingressreconciler "knative.dev/networking/pkg/client/injection/reconciler/networking/v1alpha1/ingress"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/network"
	pkgreconciler "knative.dev/pkg/reconciler"
	"knative.dev/pkg/tracker"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

// Reconciler makes Ingresses of our class true.
type Reconciler struct {
	kube            kubernetes.Interface
	istio           istioclientset.Interface
	virtualServices istiov1listers.VirtualServiceLister
	gateways        istiov1listers.GatewayLister
	// splits are the EnvoyFilters of Ingresses, and no others.
	splits         istiov1alpha3listers.EnvoyFilterLister
	pods           corev1listers.PodLister
	services       corev1listers.ServiceLister
	endpointSlices discoveryv1listers.EndpointSliceLister
	secrets        corev1listers.SecretLister
	tenants        cache.Indexer
	tracker        tracker.Interface
	claims         *claims
	prover         prover
	clock          clock.PassiveClock
	stopwatch      *stopwatch
	// probePath begins the path of our own prober's requests.
	probePath string
}

// prover asks gateway pods whether they serve what was written.
type prover interface {
	Prove(ctx context.Context, claim Claim) Proof
	Forget(key types.NamespacedName)
}

var (
	_ ingressreconciler.Interface       = (*Reconciler)(nil)
	_ ingressreconciler.Finalizer       = (*Reconciler)(nil)
	_ pkgreconciler.OnDeletionInterface = (*Reconciler)(nil)
)

// ReconcileKind claims the hosts, copies the certificates, writes the
// VirtualService, in as many steps as it takes, and what splits its requests, and has
// it proved.
func (r *Reconciler) ReconcileKind(ctx context.Context, ing *v1alpha1.Ingress) pkgreconciler.Event {
	ing.Status.InitializeConditions()
	s, err := r.serving(ing)
	if err != nil {
		return err
	}
	if ok, err := r.claimHosts(ctx, s); !ok {
		return err
	}
	if err := r.reconcileCopies(ctx, s); err != nil {
		return err
	}
	step, err := r.reconcileVirtualService(ctx, s)
	if err != nil || step.VirtualService == nil {
		return err
	}
	if err := r.reconcileSecureGateways(ctx, s); err != nil {
		return err
	}
	if err := r.reconcileSplit(ctx, s); err != nil {
		return err
	}
	if s.arrived {
		if err := r.tidy(ctx, s); err != nil {
			return err
		}
	}
	return r.prove(ctx, s, step)
}

// FinalizeKind ends the serving of an Ingress.
func (r *Reconciler) FinalizeKind(ctx context.Context, ing *v1alpha1.Ingress) pkgreconciler.Event {
	return r.withdraw(ctx, keyOf(ing))
}

// ObserveDeletion withdraws what a finalizer didn't see, because it had been
// written just before.
func (r *Reconciler) ObserveDeletion(ctx context.Context, key types.NamespacedName) error {
	return r.withdraw(ctx, key)
}

// serving gathers what an Ingress is to be served by.
func (r *Reconciler) serving(ing *v1alpha1.Ingress) (*serving, error) {
	tenant, err := tenancy.Of(r.tenants, ing.Namespace)
	if err != nil {
		return nil, err
	}
	name := gateway.VirtualServiceName(ing.Namespace, ing.Name)
	existing, err := r.virtualServices.VirtualServices(gateway.Namespace).Get(name)
	if err != nil && !apierrs.IsNotFound(err) {
		return nil, fmt.Errorf("getting virtual service %s: %w", name, err)
	}
	s := &serving{Ingress: ing, tenant: tenant, existing: existing}
	s.readSplit()
	return s, nil
}

// claimHosts tells whether an Ingress may be served. One that may not is
// withdrawn: its routes would be merged with the holder's.
func (r *Reconciler) claimHosts(ctx context.Context, s *serving) (bool, error) {
	if err := s.Validate(ctx); err != nil {
		return false, r.refuse(ctx, s.Ingress, "Invalid", err)
	}
	if err := resources.CheckSecrets(s.Ingress); err != nil {
		return false, r.refuse(ctx, s.Ingress, "SecretNotAllowed", err)
	}
	if err := r.claims.check(s.Ingress); err != nil {
		return false, r.refuse(ctx, s.Ingress, "HostNotAvailable", err)
	}
	return true, nil
}

func (r *Reconciler) refuse(ctx context.Context, ing *v1alpha1.Ingress, reason string, why error) error {
	markFalse(ctx, ing, reason, why.Error())
	manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, reason, "Not served.")
	return r.withdraw(ctx, keyOf(ing))
}

// markFalse says why an Ingress isn't served as it asks: in its condition and,
// when that changes, in an event.
func markFalse(ctx context.Context, ing *v1alpha1.Ingress, reason, message string) {
	before := ing.Status.GetCondition(v1alpha1.IngressConditionNetworkConfigured)
	if !before.IsFalse() || before.Reason != reason || before.Message != message {
		controller.GetEventRecorder(ctx).Event(ing, corev1.EventTypeWarning, reason, message)
	}
	manage(ing).MarkFalse(v1alpha1.IngressConditionNetworkConfigured, reason, "%s", message)
}

// reconcileVirtualService writes the next step towards what serves an Ingress and
// returns it; none where it can't be written and a condition says why.
func (r *Reconciler) reconcileVirtualService(ctx context.Context, s *serving) (resources.Step, error) {
	none := resources.Step{}
	if s.existing != nil && !managed(s.existing) {
		s.Status.MarkResourceNotOwned("VirtualService", s.existing.Namespace+"/"+s.existing.Name)
		return none, nil
	}
	now, err := r.look(ctx, s, s.existing)
	if err != nil {
		return none, err
	}
	settled := now.proof.complete() || r.clock.Since(now.proof.Since) >= stepPatience
	binding, err := r.bind(s, now, settled)
	if err != nil {
		return none, err
	}
	desired, err := resources.VirtualService(s.Ingress, binding)
	if err != nil {
		return none, r.refuse(ctx, s.Ingress, "Invalid", err)
	}
	change := resources.Change{Existing: s.existing, Desired: desired, Proved: settled, ProbePath: r.probePath}
	patience := r.patience(s.Ingress)
	if patience > 0 {
		change.Empty = s.empty
	}
	step, err := change.Next()
	if err != nil {
		return none, fmt.Errorf("finding the next step to virtual service %s: %w", desired.Name, err)
	}
	if step.VirtualService == nil {
		manage(s.Ingress).MarkUnknown(v1alpha1.IngressConditionNetworkConfigured, "NoEndpoints",
			"Waiting for endpoints of %s.", strings.Join(sets.List(s.empty), ", "))
		return none, controller.NewRequeueAfter(patience)
	}
	step.Standing = step.Standing && now.proof.complete() && !s.holding
	if err := r.write(ctx, s.existing, step.VirtualService, desired.Labels); err != nil {
		manage(s.Ingress).MarkUnknown(v1alpha1.IngressConditionNetworkConfigured, "VirtualServiceNotWritten", "%s", err.Error())
		return none, err
	}
	if s.problem != nil {
		markFalse(ctx, s.Ingress, s.problem.Reason, s.problem.Message)
	} else {
		s.Status.MarkNetworkConfigured()
	}
	return step, nil
}

// patience is for how much longer a generation waits for endpoints of the Services
// that it sends to: those that were just made are about to have them, and some never
// have any.
func (r *Reconciler) patience(ing *v1alpha1.Ingress) time.Duration {
	if wasReady(ing) {
		return 0
	}
	return stepPatience - r.stopwatch.start(keyOf(ing), ing.Generation)
}

// bind says where an Ingress is served from now on: where it is to be and, until
// each of that is proved, where it was.
func (r *Reconciler) bind(s *serving, now sight, settled bool) (resources.Binding, error) {
	binding := s.binding()
	binding.ProbePath = r.probePath
	binding.Redirected = s.redirected(now)
	var err error
	if binding.Aliases, s.empty, err = r.backends(s); err != nil || s.existing == nil {
		return binding, err
	}
	wanted := sets.New(binding.IstioGateways(s.Ingress)...)
	s.arrived = settled && len(now.claim.Missing) == 0 && sets.New(s.existing.Spec.Gateways...).IsSuperset(wanted)
	if s.arrived {
		s.secure = s.secureGateways() // without what holdHosts added
	}
	for _, name := range sets.List(sets.New(s.existing.Spec.Gateways...).Difference(wanted)) {
		left, err := r.istioGateway(s, name)
		if err != nil {
			return binding, err
		}
		// Its own are left when they are gone: a server without routes finds no host.
		if left != nil && (!s.arrived || ownedBy(left, s.Ingress)) {
			binding = binding.And(left)
			s.keepRedirects(name, binding.Redirected)
		}
	}
	return binding, nil
}

// backends looks at the Services that an Ingress sends to. Some are only another
// name for our own cluster-local entry, as Knative gives to its routes: these aliases
// are followed there. They may still name the address that was published before the
// present one. Some are empty: there is no endpoint yet that is ready. These are by
// host.
func (r *Reconciler) backends(s *serving) (aliases map[types.NamespacedName]string, empty sets.Set[string], err error) {
	own := sets.New(network.GetServiceHostname(gateway.LocalName(gateway.Shared), gateway.Namespace))
	if s.tenant != nil {
		own.Insert(network.GetServiceHostname(gateway.LocalName(gateway.OfTenant(s.tenant.Name)), gateway.Namespace))
	}
	aliases, empty = map[types.NamespacedName]string{}, sets.New[string]()
	for _, name := range servicesOf(s.Ingress) {
		if err := r.tracker.TrackReference(tracker.Reference{
			APIVersion: "v1", Kind: "Service", Namespace: name.Namespace, Name: name.Name,
		}, s.Ingress); err != nil {
			return nil, nil, fmt.Errorf("tracking service %s: %w", name, err)
		}
		service, err := r.services.Services(name.Namespace).Get(name.Name)
		switch {
		case err != nil && !apierrs.IsNotFound(err):
			return nil, nil, fmt.Errorf("getting service %s: %w", name, err)
		case err == nil && service.Spec.Type == corev1.ServiceTypeExternalName:
			if own.Has(service.Spec.ExternalName) {
				aliases[name] = service.Spec.ExternalName
			}
			continue
		}
		endpoints, err := r.endpointSlices.EndpointSlices(name.Namespace).List(labels.SelectorFromSet(labels.Set{
			discoveryv1.LabelServiceName: name.Name,
		}))
		if err != nil {
			return nil, nil, fmt.Errorf("listing the endpoints of service %s: %w", name, err)
		}
		if !slices.ContainsFunc(endpoints, answers) {
			empty.Insert(network.GetServiceHostname(name.Name, name.Namespace))
		}
	}
	return aliases, empty, nil
}

// write creates or updates the VirtualService, if it differs.
func (r *Reconciler) write(ctx context.Context, existing, next *istiov1.VirtualService, labelled map[string]string) error {
	client := r.istio.NetworkingV1().VirtualServices(gateway.Namespace)
	if existing == nil {
		if _, err := client.Create(ctx, next, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating virtual service %s: %w", next.Name, err)
		}
		return nil
	}
	if proto.Equal(&existing.Spec, &next.Spec) && resources.SameLabels(existing.Labels, labelled) {
		return nil
	}
	updated := existing.DeepCopy()
	next.Spec.DeepCopyInto(&updated.Spec)
	updated.Labels = labelled
	_, err := client.Update(ctx, updated, metav1.UpdateOptions{})
	if apierrs.IsConflict(err) {
		// Our own write of a moment ago; its event comes and brings us back.
		return nil
	}
	if err != nil {
		return fmt.Errorf("updating virtual service %s: %w", next.Name, err)
	}
	return nil
}

// withdraw deletes all that serves an Ingress, as far as it is ours: the routes
// first.
func (r *Reconciler) withdraw(ctx context.Context, key types.NamespacedName) error {
	r.prover.Forget(key)
	r.stopwatch.stop(key)
	name := gateway.VirtualServiceName(key.Namespace, key.Name)
	existing, err := r.virtualServices.VirtualServices(gateway.Namespace).Get(name)
	if err == nil && managed(existing) {
		err = r.istio.NetworkingV1().VirtualServices(gateway.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
	}
	if err != nil && !apierrs.IsNotFound(err) {
		return fmt.Errorf("deleting virtual service %s: %w", name, err)
	}
	if _, err := r.deleteSplit(ctx, key); err != nil {
		return err
	}
	gateways, err := r.ownGateways(key)
	if err != nil {
		return err
	}
	if err := r.deleteGateways(ctx, gateways); err != nil {
		return err
	}
	copies, err := r.ownCopies(key)
	if err != nil {
		return err
	}
	return r.deleteCopies(ctx, copies)
}

// addressOf is where a gateway's Service answers within the cluster. Knative
// reads the Service and its namespace from it to find the public address.
func addressOf(service string) []v1alpha1.LoadBalancerIngressStatus {
	return []v1alpha1.LoadBalancerIngressStatus{{DomainInternal: network.GetServiceHostname(service, gateway.Namespace)}}
}

func manage(ing *v1alpha1.Ingress) apis.ConditionManager {
	return ing.GetConditionSet().Manage(&ing.Status)
}

func first(names []string, n int) []string { return names[:min(n, len(names))] }
