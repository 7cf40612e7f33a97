// Package ingress serves Knative Ingresses of Sluice's class: each becomes one
// VirtualService on its gateway, and is ready once every ready gateway pod was
// seen to serve it. Of Models and limits it knows what package ownership tells: whose
// replicas an Ingress may lead to, and where their limit was proved.
package ingress

import (
	"context"
	"fmt"
	"strings"
	"time"

	istioclientset "istio.io/client-go/pkg/clientset/versioned"
	istiov1listers "istio.io/client-go/pkg/listers/networking/v1"
	istiov1alpha3listers "istio.io/client-go/pkg/listers/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
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
	pkgreconciler "knative.dev/pkg/reconciler"
	"knative.dev/pkg/tracker"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	"sluice.dev/sluice/reconciler/ingress/ownership"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

// Reconciler makes Ingresses of our class true.
type Reconciler struct {
	kube            kubernetes.Interface
	istio           istioclientset.Interface
	virtualServices istiov1listers.VirtualServiceLister
	gateways        istiov1listers.GatewayLister
	// splits are the EnvoyFilters of Ingresses, and others that are no slots.
	splits         istiov1alpha3listers.EnvoyFilterLister
	pods           corev1listers.PodLister
	services       corev1listers.ServiceLister
	endpointSlices discoveryv1listers.EndpointSliceLister
	secrets        corev1listers.SecretLister
	tenants        cache.Indexer
	owners         ownership.Registry
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

// ReconcileKind claims the hosts, looks whom the requests may come to, copies the
// certificates, writes the VirtualService, in as many steps as it takes, and what splits
// its requests, and has it proved.
func (r *Reconciler) ReconcileKind(ctx context.Context, ing *v1alpha1.Ingress) pkgreconciler.Event {
	ing.Status.InitializeConditions()
	asked, err := r.gather(ing)
	if err != nil {
		return err
	}
	claimed, err := r.claimHosts(ctx, asked)
	if claimed == nil || err != nil {
		return err
	}
	admitted, err := r.admit(ctx, claimed)
	if admitted == nil || err != nil {
		return err
	}
	copied, err := r.reconcileCopies(ctx, admitted)
	if err != nil {
		return err
	}
	written, err := r.reconcileVirtualService(ctx, copied)
	if written == nil || err != nil {
		return err
	}
	exposed, err := r.reconcileSecureGateways(ctx, written)
	if err != nil {
		return err
	}
	whole, err := r.reconcileSplit(ctx, exposed)
	if err != nil {
		return err
	}
	if err := r.tidy(ctx, whole); err != nil {
		return err
	}
	return r.prove(ctx, whole)
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

// gather finds what an Ingress is to be served by.
func (r *Reconciler) gather(ing *v1alpha1.Ingress) (*asked, error) {
	tenant, err := tenancy.Of(r.tenants, ing.Namespace)
	if err != nil {
		return nil, err
	}
	name := gateway.VirtualServiceName(ing.Namespace, ing.Name)
	existing, err := r.virtualServices.VirtualServices(gateway.Namespace).Get(name)
	if err != nil && !apierrs.IsNotFound(err) {
		return nil, fmt.Errorf("getting virtual service %s: %w", name, err)
	}
	s := &asked{Ingress: ing, tenant: tenant, existing: existing}
	s.readSplit()
	return s, nil
}

// claimHosts claims the hosts of an Ingress, and returns nil if it can't have them. Then it
// is withdrawn: its routes would be merged with the holder's.
func (r *Reconciler) claimHosts(ctx context.Context, s *asked) (*claimed, error) {
	if err := s.Validate(ctx); err != nil {
		return nil, r.refuse(ctx, s.Ingress, "Invalid", err)
	}
	if err := resources.CheckSecrets(s.Ingress); err != nil {
		return nil, r.refuse(ctx, s.Ingress, "SecretNotAllowed", err)
	}
	if err := r.claims.check(s.Ingress); err != nil {
		return nil, r.refuse(ctx, s.Ingress, "HostNotAvailable", err)
	}
	return &claimed{*s}, nil
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
// returns it; nil where it can't be written and a condition says why.
func (r *Reconciler) reconcileVirtualService(ctx context.Context, c *copied) (*written, error) {
	s := &written{copied: *c}
	if s.existing != nil && !managed(s.existing) {
		s.Status.MarkResourceNotOwned("VirtualService", s.existing.Namespace+"/"+s.existing.Name)
		return nil, nil
	}
	if s.existing == nil && len(s.open()) == 0 {
		s.markUnlimited(v1alpha1.IngressConditionNetworkConfigured)
		return nil, nil // the RateLimit's status wakes us
	}
	now, err := r.look(ctx, c, c.existing)
	if err != nil {
		return nil, err
	}
	settled := now.proof.complete() || r.clock.Since(now.proof.Since) >= stepPatience
	binding, err := r.bind(s, now, settled)
	if err != nil {
		return nil, err
	}
	desired, err := resources.VirtualService(s.Ingress, binding)
	if err != nil {
		return nil, r.refuse(ctx, s.Ingress, "Invalid", err)
	}
	change := resources.Change{Existing: s.existing, Desired: desired, Proved: settled, ProbePath: r.probePath}
	patience := r.patience(s.Ingress)
	if patience > 0 {
		change.Empty = s.behind.empty
	}
	step, err := change.Next()
	if err != nil {
		return nil, fmt.Errorf("finding the next step to virtual service %s: %w", desired.Name, err)
	}
	if step.VirtualService == nil {
		manage(s.Ingress).MarkUnknown(v1alpha1.IngressConditionNetworkConfigured, "NoEndpoints",
			"Waiting for endpoints of %s.", strings.Join(sets.List(s.behind.empty), ", "))
		return nil, controller.NewRequeueAfter(patience)
	}
	s.step = step
	s.step.Standing = step.Standing && now.proof.complete() && !s.holding
	next := step.VirtualService.DeepCopy()
	next.Labels = desired.Labels
	if _, _, err := r.virtualServiceKind().Write(ctx, s.existing, next); unlessOvertaken(err) != nil {
		manage(s.Ingress).MarkUnknown(v1alpha1.IngressConditionNetworkConfigured, "VirtualServiceNotWritten", "%s", err.Error())
		return nil, err
	}
	if s.problem != nil {
		markFalse(ctx, s.Ingress, s.problem.Reason, s.problem.Message)
	} else {
		s.Status.MarkNetworkConfigured()
	}
	return s, nil
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
func (r *Reconciler) bind(s *written, now sight, settled bool) (resources.Binding, error) {
	binding := s.binding()
	binding.ProbePath = r.probePath
	binding.Redirected = s.redirected(now)
	binding.Aliases = s.behind.aliases
	if s.existing == nil {
		return binding, nil
	}
	wanted := sets.New(binding.IstioGateways(s.Ingress)...)
	s.arrived = settled && len(now.claim.Missing) == 0 && len(s.held) == 0 && sets.New(s.existing.Spec.Gateways...).IsSuperset(wanted)
	if s.arrived {
		s.secure = s.secureGateways() // without what holdHosts added
	}
	for _, name := range sets.List(sets.New(s.existing.Spec.Gateways...).Difference(wanted)) {
		left, err := r.istioGateway(&s.copied, name)
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

// withdraw deletes all that serves an Ingress, as far as it is ours: the routes
// first.
func (r *Reconciler) withdraw(ctx context.Context, key types.NamespacedName) error {
	r.prover.Forget(key)
	r.stopwatch.stop(key)
	name := gateway.VirtualServiceName(key.Namespace, key.Name)
	if _, err := r.virtualServiceKind().Remove(ctx, name); err != nil {
		return err
	}
	if _, err := r.splitKind().Remove(ctx, name); err != nil {
		return err
	}
	gateways, err := r.ownGateways(key)
	if err != nil {
		return err
	}
	if err := removeAll(ctx, r.secureGatewayKind(), gateways); err != nil {
		return err
	}
	copies, err := r.ownCopies(key)
	if err != nil {
		return err
	}
	return removeAll(ctx, r.copyKind(), copies)
}

func manage(ing *v1alpha1.Ingress) apis.ConditionManager {
	return ing.GetConditionSet().Manage(&ing.Status)
}

func first(names []string, n int) []string { return names[:min(n, len(names))] }
