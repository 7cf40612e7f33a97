// Package ingress serves Knative Ingresses of Sluice's class: each becomes one
// VirtualService on its gateway, and is ready once every ready gateway pod was
// seen to serve it. It knows neither Models nor limits.
package ingress

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istioclientset "istio.io/client-go/pkg/clientset/versioned"
	istiov1listers "istio.io/client-go/pkg/listers/networking/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	discoveryv1listers "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/utils/clock"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	ingressreconciler "knative.dev/networking/pkg/client/injection/reconciler/networking/v1alpha1/ingress"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/network"
	pkgreconciler "knative.dev/pkg/reconciler"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

// newPodPatience is how long an Ingress that is ready stays so while a gateway
// pod that came later is asked. Such a pod is not ready before it has its routes,
// so all but a broken one prove within it, and the readiness of every Model does
// not flap with each gateway pod.
const newPodPatience = 10 * time.Second

// Reconciler makes Ingresses of our class true.
type Reconciler struct {
	istio           istioclientset.Interface
	virtualServices istiov1listers.VirtualServiceLister
	endpointSlices  discoveryv1listers.EndpointSliceLister
	claims          *claims
	prover          prover
	clock           clock.PassiveClock
	observeReady    func(time.Duration)
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

// ReconcileKind claims the hosts, writes the VirtualService and has it proved.
func (r *Reconciler) ReconcileKind(ctx context.Context, ing *v1alpha1.Ingress) pkgreconciler.Event {
	ing.Status.InitializeConditions()
	if ok, err := r.claimHosts(ctx, ing); !ok {
		return err
	}
	generation, err := r.reconcileVirtualService(ctx, ing)
	if err != nil || generation == "" {
		return err
	}
	return r.proveGateway(ctx, ing, generation)
}

// FinalizeKind ends the serving of an Ingress.
func (r *Reconciler) FinalizeKind(ctx context.Context, ing *v1alpha1.Ingress) pkgreconciler.Event {
	r.prover.Forget(keyOf(ing))
	return r.withdraw(ctx, ing)
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
	r.prover.Forget(keyOf(ing))
	return r.withdraw(ctx, ing)
}

// reconcileVirtualService writes what serves ing and returns its generation, or
// "" where it can't be written and a condition says why.
func (r *Reconciler) reconcileVirtualService(ctx context.Context, ing *v1alpha1.Ingress) (string, error) {
	desired, generation, err := resources.VirtualService(ing, r.binding())
	if err != nil {
		return "", r.refuse(ctx, ing, "Invalid", err)
	}
	err = r.ensureVirtualService(ctx, desired)
	if errors.Is(err, errForeign) {
		ing.Status.MarkResourceNotOwned("VirtualService", desired.Namespace+"/"+desired.Name)
		return "", nil
	}
	if err != nil {
		manage(ing).MarkUnknown(v1alpha1.IngressConditionNetworkConfigured, "VirtualServiceNotWritten", "%s", err.Error())
		return "", err
	}
	ing.Status.MarkNetworkConfigured()
	return generation, nil
}

// proveGateway marks ing ready if every ready gateway pod serves the generation.
func (r *Reconciler) proveGateway(ctx context.Context, ing *v1alpha1.Ingress, generation string) error {
	pods, err := gatewayPods(r.endpointSlices, gateway.Shared)
	if err != nil {
		return err
	}
	proof := r.prover.Prove(ctx, Claim{Key: keyOf(ing), Generation: generation, Questions: questions(ing), Pods: pods})
	if proof.Took > 0 {
		r.observeReady(proof.Took)
	}
	switch {
	case len(pods) == 0:
		manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, "NoGatewayPod",
			"Gateway %s has no ready pod.", gateway.Shared)
	case len(proof.Pending) == 0:
		ing.Status.MarkLoadBalancerReady(addressOf(gateway.Shared), addressOf(gateway.Shared+"-local"))
	case wasReady(ing) && r.clock.Since(proof.Since) < newPodPatience:
		return controller.NewRequeueAfter(newPodPatience - r.clock.Since(proof.Since))
	default:
		manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, "NotProved",
			"Waiting for %d of %d gateway pods to serve this generation: %s.",
			len(proof.Pending), len(pods), strings.Join(first(proof.Pending, 10), ", "))
	}
	return nil
}

// wasReady tells whether this very generation was proved before.
func wasReady(ing *v1alpha1.Ingress) bool {
	return ing.Status.ObservedGeneration == ing.Generation &&
		ing.Status.GetCondition(v1alpha1.IngressConditionLoadBalancerReady).IsTrue()
}

func (r *Reconciler) binding() resources.Binding {
	return resources.Binding{
		External:  gateway.Namespace + "/" + gateway.Shared,
		Local:     gateway.Namespace + "/" + gateway.Shared + "-local",
		ProbePath: r.probePath,
	}
}

// errForeign is for a VirtualService of our name that isn't ours.
var errForeign = errors.New("not written by Sluice")

func (r *Reconciler) ensureVirtualService(ctx context.Context, desired *istiov1.VirtualService) error {
	client := r.istio.NetworkingV1().VirtualServices(gateway.Namespace)
	existing, err := r.virtualServices.VirtualServices(gateway.Namespace).Get(desired.Name)
	if apierrs.IsNotFound(err) {
		if _, err := client.Create(ctx, desired, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating virtual service %s: %w", desired.Name, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("getting virtual service %s: %w", desired.Name, err)
	}
	if !writtenBySluice(existing) {
		return errForeign
	}
	if proto.Equal(&existing.Spec, &desired.Spec) && hasLabels(existing, desired.Labels) {
		return nil
	}
	updated := existing.DeepCopy()
	desired.Spec.DeepCopyInto(&updated.Spec)
	updated.Labels = desired.Labels
	if _, err := client.Update(ctx, updated, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("updating virtual service %s: %w", desired.Name, err)
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
