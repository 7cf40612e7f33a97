// Package tenant keeps Tenants: which namespaces each holds, where it is reached,
// and which gateway its address leads to. It moves a tenant from one gateway to
// another without losing a request, and is the only writer of a Tenant's status,
// by which the builder of gateways and those of routes and limits go.
package tenant

import (
	"context"
	"errors"
	"fmt"
	"time"

	istioclientset "istio.io/client-go/pkg/clientset/versioned"
	istiov1listers "istio.io/client-go/pkg/listers/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	appsv1listers "k8s.io/client-go/listers/apps/v1"
	autoscalingv2listers "k8s.io/client-go/listers/autoscaling/v2"
	corev1listers "k8s.io/client-go/listers/core/v1"
	discoveryv1listers "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	networkingclientset "knative.dev/networking/pkg/client/clientset/versioned"
	networkinglisters "knative.dev/networking/pkg/client/listers/networking/v1alpha1"
	"knative.dev/pkg/controller"
	pkgreconciler "knative.dev/pkg/reconciler"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluiceclientset "sluice.dev/sluice/reconciler/client/clientset/versioned"
	tenantreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/tenant"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/tenant/resources"
)

// Reconciler makes the cluster what a Tenant says.
type Reconciler struct {
	sluice sluiceclientset.Interface
	kube   kubernetes.Interface
	istio  istioclientset.Interface
	// networking asks for the Ingresses there are, where a cache could be too old.
	networking networkingclientset.Interface
	sender     Sender
	clock      clock.PassiveClock
	// servingNamespace is where Knative Serving has its ConfigMap config-domain.
	servingNamespace string

	tenants    sluicelisters.TenantLister
	models     sluicelisters.ModelLister
	rateLimits sluicelisters.RateLimitLister
	namespaces corev1listers.NamespaceLister
	revisions  servinglisters.RevisionLister
	ingresses  networkinglisters.IngressLister
	domains    corev1listers.ConfigMapLister
	// certificates are the Secrets of type kubernetes.io/tls, of all namespaces.
	certificates corev1listers.SecretLister

	// In the gateways' namespace. virtualServices are indexed by servedIndex.
	virtualServices cache.Indexer
	istioGateways   istiov1listers.GatewayLister
	services        corev1listers.ServiceLister
	endpointSlices  discoveryv1listers.EndpointSliceLister
	pods            corev1listers.PodLister
	deployments     appsv1listers.DeploymentLister
	autoscalers     autoscalingv2listers.HorizontalPodAutoscalerLister
}

var (
	_ tenantreconciler.Interface = (*Reconciler)(nil)
	_ tenantreconciler.Finalizer = (*Reconciler)(nil)
)

// pass is what the phases of one reconciliation hand on to each other.
type pass struct {
	now time.Time
	// drain is how long a request can last that came by a connection, or by an
	// address, that is no longer given out.
	drain time.Duration
	// services are those of the tenant's address.
	services []*corev1.Service
	// uncertified says why a gateway that is to be attached can't serve HTTPS yet.
	uncertified string
	// again is when to look again though nothing has changed; zero for never.
	again time.Duration
}

func (p *pass) lookAgain(after time.Duration) {
	if after > 0 && (p.again == 0 || after < p.again) {
		p.again = after
	}
}

// ReconcileKind implements tenantreconciler.Interface.
func (r *Reconciler) ReconcileKind(ctx context.Context, t *v1alpha1.Tenant) pkgreconciler.Event {
	again, err := r.reconcile(ctx, t)
	if err == nil && again > 0 {
		return controller.NewRequeueAfter(again)
	}
	return err
}

// FinalizeKind implements tenantreconciler.Finalizer. A Tenant that is being
// deleted asks for the shared gateway and for no namespace; once its status says
// that it is there, and that nobody can be left who knows its address, what is its
// goes.
func (r *Reconciler) FinalizeKind(ctx context.Context, t *v1alpha1.Tenant) pkgreconciler.Event {
	if atRest(t) && len(t.Status.Namespaces) == 0 {
		return r.remove(ctx, t)
	}
	again, err := r.reconcile(ctx, t)
	switch {
	case err != nil:
		return err
	case again > 0:
		return controller.NewRequeueAfter(again)
	}
	return controller.NewSkipKey(t.Name) // what it waits for brings it back
}

// reconcile runs the phases and writes the status, onto the version of it that they
// went by and no other: the steps of a move follow from it. It tells when to look
// again, zero for never.
func (r *Reconciler) reconcile(ctx context.Context, t *v1alpha1.Tenant) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, pkgreconciler.DefaultTimeout)
	defer cancel()

	before := t.DeepCopy()
	pkgreconciler.PreProcessReconcile(ctx, t)
	again, err := r.phases(ctx, t)
	pkgreconciler.PostProcessReconcile(ctx, t, before)
	if equality.Semantic.DeepEqual(before.Status, t.Status) {
		return again, err
	}
	if _, errStatus := r.sluice.SluiceV1alpha1().Tenants().UpdateStatus(ctx, t, metav1.UpdateOptions{}); errStatus != nil {
		return again, errors.Join(err, fmt.Errorf("writing the status: %w", errStatus))
	}
	r.tell(ctx, before, t)
	return again, err
}

// phases each look after one condition. None waits for another: an address must not
// wait for a certificate, nor a move for a domain.
func (r *Reconciler) phases(ctx context.Context, t *v1alpha1.Tenant) (time.Duration, error) {
	drain, err := r.drainTime(ctx, t)
	if err != nil {
		return 0, err
	}
	p := &pass{now: r.clock.Now(), drain: drain}
	var errs []error
	for _, phase := range []func(context.Context, *v1alpha1.Tenant, *pass) error{
		r.reconcileNamespaces,
		r.reconcileAddress,
		r.reconcileDomain,
		r.reconcileCertificate,
		r.reconcileMove,
		r.reconcileReport,
	} {
		errs = append(errs, phase(ctx, t, p))
	}
	return p.again, errors.Join(errs...)
}

// atRest tells whether the address leads to the gateway that is wanted, which alone
// has the tenant's routes.
func atRest(t *v1alpha1.Tenant) bool {
	return t.Status.Move == nil && t.Status.Gateway == t.WantedGateway() && len(t.Status.Attached) == 1
}

// remove takes away all that is the tenant's. Its address goes first: nobody uses
// it any more.
func (r *Reconciler) remove(ctx context.Context, t *v1alpha1.Tenant) error {
	services := r.serviceKind(ctx, t)
	for _, service := range resources.Services(t, gateway.Shared) {
		if _, err := services.Remove(ctx, service.Name); err != nil {
			return err
		}
	}
	if bound, err := r.removeCertificate(ctx, t); err != nil {
		return err
	} else if bound {
		return controller.NewRequeueAfter(unbinding)
	}
	cm, err := r.domainConfig()
	if apierrs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.writeDomain(ctx, cm, t.Name, "")
}
