// Package ingress serves Knative Ingresses of Sluice's class: each becomes one
// VirtualService on its gateway, and is ready once every ready gateway pod was
// seen to serve it. It knows neither Models nor limits.
package ingress

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istioclientset "istio.io/client-go/pkg/clientset/versioned"
	istiov1listers "istio.io/client-go/pkg/listers/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1listers "k8s.io/client-go/listers/core/v1"
	discoveryv1listers "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/utils/clock"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	ingressreconciler "knative.dev/networking/pkg/client/injection/reconciler/networking/v1alpha1/ingress"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/network"
	pkgreconciler "knative.dev/pkg/reconciler"
	"knative.dev/pkg/tracker"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

// newPodPatience is how long an Ingress that is ready stays so while a gateway
// pod that came later is asked. Such a pod is not ready before it has its routes,
// so all but a broken one prove within it, and the readiness of every Model does
// not flap with each gateway pod.
const newPodPatience = 10 * time.Second

// stepPatience is how long the next step of a change of routes waits for every
// gateway pod to have taken the last. One that is broken must not hold up all.
const stepPatience = 5 * time.Second

// Reconciler makes Ingresses of our class true.
type Reconciler struct {
	istio           istioclientset.Interface
	virtualServices istiov1listers.VirtualServiceLister
	endpointSlices  discoveryv1listers.EndpointSliceLister
	services        corev1listers.ServiceLister
	tracker         tracker.Interface
	claims          *claims
	prover          prover
	clock           clock.PassiveClock
	stopwatch       *stopwatch
	// probePath begins the path of our own prober's requests.
	probePath string
}

// prover asks gateway pods whether they serve what was written.
type prover interface {
	Prove(ctx context.Context, claim Claim) Proof
	Forget(key types.NamespacedName)
}

var (
	_ ingressreconciler.Interface = (*Reconciler)(nil)
	_ ingressreconciler.Finalizer = (*Reconciler)(nil)
)

// ReconcileKind claims the hosts, writes the VirtualService, in as many steps as
// it takes, and has it proved.
func (r *Reconciler) ReconcileKind(ctx context.Context, ing *v1alpha1.Ingress) pkgreconciler.Event {
	ing.Status.InitializeConditions()
	if ok, err := r.claimHosts(ctx, ing); !ok {
		return err
	}
	pods, err := gatewayPods(r.endpointSlices, gateway.Shared)
	if err != nil {
		return err
	}
	step, err := r.reconcileVirtualService(ctx, ing, pods)
	if err != nil || step.VirtualService == nil {
		return err
	}
	return r.proveGateway(ctx, ing, step, pods)
}

// FinalizeKind ends the serving of an Ingress.
func (r *Reconciler) FinalizeKind(ctx context.Context, ing *v1alpha1.Ingress) pkgreconciler.Event {
	r.forget(ing)
	return r.withdraw(ctx, ing)
}

func (r *Reconciler) forget(ing *v1alpha1.Ingress) {
	r.prover.Forget(keyOf(ing))
	r.stopwatch.stop(keyOf(ing))
}

// claimHosts tells whether ing may be served. One that may not is withdrawn: its
// routes would be merged with the holder's.
func (r *Reconciler) claimHosts(ctx context.Context, ing *v1alpha1.Ingress) (bool, error) {
	if err := ing.Validate(ctx); err != nil {
		return false, r.refuse(ctx, ing, "Invalid", err)
	}
	if err := r.claims.check(ing); err != nil {
		return false, r.refuse(ctx, ing, "HostNotAvailable", err)
	}
	return true, nil
}

func (r *Reconciler) refuse(ctx context.Context, ing *v1alpha1.Ingress, reason string, why error) error {
	manage(ing).MarkFalse(v1alpha1.IngressConditionNetworkConfigured, reason, "%s", why.Error())
	manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, reason, "Not served.")
	r.forget(ing)
	return r.withdraw(ctx, ing)
}

// reconcileVirtualService writes the next step towards what serves ing and
// returns it; none where it can't be written and a condition says why.
func (r *Reconciler) reconcileVirtualService(ctx context.Context, ing *v1alpha1.Ingress, pods []Pod) (resources.Step, error) {
	none := resources.Step{}
	binding, err := r.binding(ing)
	if err != nil {
		return none, err
	}
	desired, err := resources.VirtualService(ing, binding)
	if err != nil {
		return none, r.refuse(ctx, ing, "Invalid", err)
	}
	existing, err := r.virtualServices.VirtualServices(gateway.Namespace).Get(desired.Name)
	if err != nil && !apierrs.IsNotFound(err) {
		return none, fmt.Errorf("getting virtual service %s: %w", desired.Name, err)
	}
	if existing != nil && !writtenBySluice(existing) {
		ing.Status.MarkResourceNotOwned("VirtualService", desired.Namespace+"/"+desired.Name)
		return none, nil
	}
	proof := r.proofOf(ctx, ing, existing, pods)
	late := r.clock.Since(proof.Since) >= stepPatience
	step, err := resources.Change{
		Existing: existing, Desired: desired, Proved: proof.complete() || late, ProbePath: r.probePath,
	}.Next()
	step.Standing = step.Standing && proof.complete()
	if err != nil {
		return none, fmt.Errorf("finding the next step to virtual service %s: %w", desired.Name, err)
	}
	if err := r.write(ctx, existing, step.VirtualService, desired.Labels); err != nil {
		manage(ing).MarkUnknown(v1alpha1.IngressConditionNetworkConfigured, "VirtualServiceNotWritten", "%s", err.Error())
		return none, err
	}
	if !wasReady(ing) {
		r.stopwatch.start(keyOf(ing), ing.Generation)
	}
	ing.Status.MarkNetworkConfigured()
	return step, nil
}

// proofOf tells how far the pods have taken what is written; that there is
// nothing, or none to take it, is a complete proof.
func (r *Reconciler) proofOf(ctx context.Context, ing *v1alpha1.Ingress, existing *istiov1.VirtualService, pods []Pod) Proof {
	if existing == nil || len(pods) == 0 {
		return Proof{Since: r.clock.Now()}
	}
	return r.prover.Prove(ctx, r.claim(ing, existing, pods))
}

// proveGateway marks ing ready if its requests go where they should on every
// ready gateway pod.
func (r *Reconciler) proveGateway(ctx context.Context, ing *v1alpha1.Ingress, step resources.Step, pods []Pod) error {
	proof := r.prover.Prove(ctx, r.claim(ing, step.VirtualService, pods))
	since := r.clock.Since(proof.Since)
	switch {
	case len(pods) == 0:
		manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, "NoGatewayPod",
			"Gateway %s has no ready pod.", gateway.Shared)
	case step.Standing, step.Routed && proof.complete():
		ing.Status.MarkLoadBalancerReady(addressOf(gateway.Shared), addressOf(gateway.Shared+"-local"))
		r.stopwatch.ready(keyOf(ing), ing.Generation)
	case wasReady(ing) && since < newPodPatience:
		return controller.NewRequeueAfter(newPodPatience - since)
	case !step.Routed:
		manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, "Preparing",
			"Waiting for %d gateway pods to know the new backends before requests go there.", len(pods))
		return controller.NewRequeueAfter(stepPatience)
	default:
		manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, "NotProved",
			"Waiting for %d of %d gateway pods to serve this generation: %s.",
			len(proof.Pending), len(pods), strings.Join(first(proof.Pending, 10), ", "))
	}
	return nil
}

func (r *Reconciler) claim(ing *v1alpha1.Ingress, vs *istiov1.VirtualService, pods []Pod) Claim {
	return Claim{Key: keyOf(ing), Generation: resources.Generation(vs), Questions: questions(vs), Pods: pods}
}

// wasReady tells whether this very generation was proved before.
func wasReady(ing *v1alpha1.Ingress) bool {
	return ing.Status.ObservedGeneration == ing.Generation &&
		ing.Status.GetCondition(v1alpha1.IngressConditionLoadBalancerReady).IsTrue()
}

// binding says where ing is served. Services that are only another name for our
// own cluster-local entry, as Knative gives to its routes, are followed there.
func (r *Reconciler) binding(ing *v1alpha1.Ingress) (resources.Binding, error) {
	binding := resources.Binding{
		External:  gateway.Namespace + "/" + gateway.Shared,
		Local:     gateway.Namespace + "/" + gateway.Shared + "-local",
		ProbePath: r.probePath,
		Aliases:   map[types.NamespacedName]string{},
	}
	local := network.GetServiceHostname(gateway.Shared+"-local", gateway.Namespace)
	for _, name := range servicesOf(ing) {
		if err := r.tracker.TrackReference(tracker.Reference{
			APIVersion: "v1", Kind: "Service", Namespace: name.Namespace, Name: name.Name,
		}, ing); err != nil {
			return binding, fmt.Errorf("tracking service %s: %w", name, err)
		}
		service, err := r.services.Services(name.Namespace).Get(name.Name)
		switch {
		case apierrs.IsNotFound(err):
		case err != nil:
			return binding, fmt.Errorf("getting service %s: %w", name, err)
		case service.Spec.Type == corev1.ServiceTypeExternalName && service.Spec.ExternalName == local:
			binding.Aliases[name] = local
		}
	}
	return binding, nil
}

// write creates or updates the VirtualService, if it differs.
func (r *Reconciler) write(ctx context.Context, existing, next *istiov1.VirtualService, labels map[string]string) error {
	client := r.istio.NetworkingV1().VirtualServices(gateway.Namespace)
	if existing == nil {
		if _, err := client.Create(ctx, next, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating virtual service %s: %w", next.Name, err)
		}
		return nil
	}
	if proto.Equal(&existing.Spec, &next.Spec) && hasLabels(existing, labels) {
		return nil
	}
	updated := existing.DeepCopy()
	next.Spec.DeepCopyInto(&updated.Spec)
	updated.Labels = labels
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

// withdraw deletes the VirtualService of ing, if there is one and it is ours.
func (r *Reconciler) withdraw(ctx context.Context, ing *v1alpha1.Ingress) error {
	name := gateway.VirtualServiceName(ing.Namespace, ing.Name)
	existing, err := r.virtualServices.VirtualServices(gateway.Namespace).Get(name)
	if apierrs.IsNotFound(err) || (err == nil && !writtenBySluice(existing)) {
		return nil
	}
	if err == nil {
		err = r.istio.NetworkingV1().VirtualServices(gateway.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
	}
	if err != nil && !apierrs.IsNotFound(err) {
		return fmt.Errorf("deleting virtual service %s: %w", name, err)
	}
	return nil
}

func writtenBySluice(vs *istiov1.VirtualService) bool {
	return vs.Labels[sluice.ManagedByLabelKey] == sluice.ManagedBy
}

func hasLabels(vs *istiov1.VirtualService, want map[string]string) bool {
	for key, value := range want {
		if vs.Labels[key] != value {
			return false
		}
	}
	return true
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
