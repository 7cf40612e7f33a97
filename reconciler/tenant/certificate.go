package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tlssecret"
	"sluice.dev/sluice/reconciler/tenant/resources"
)

// reconcileCertificate gives the gateways the tenant's certificate, and marks
// CertificateReady. What can't be served leaves what is served as it is.
func (r *Reconciler) reconcileCertificate(ctx context.Context, t *v1alpha1.Tenant, p *pass) error {
	switch {
	case t.Spec.TLS == nil:
		t.Status.MarkCertificateReady(nil)
		return r.withdrawCertificate(ctx, t, p)
	case t.DomainInForce() == "":
		t.Status.MarkCertificateFailed("DomainNotReady", "The domain is not the tenant's: see DomainReady.")
		return r.withdrawCertificate(ctx, t, p)
	}
	copied, err := r.ensureSecret(ctx, t, p)
	if err == nil {
		err = r.ensureServers(ctx, t, p, copied)
	}
	if err != nil {
		t.Status.MarkCertificateNotWritten(err)
		p.uncertified = "Waiting for the gateways to be given the tenant's certificate: see CertificateReady."
	}
	return err
}

// ensureSecret copies the tenant's Secret, if it can be served, to the gateways'
// namespace, and returns the copy that is there.
func (r *Reconciler) ensureSecret(ctx context.Context, t *v1alpha1.Tenant, p *pass) (*corev1.Secret, error) {
	if t.DeletionTimestamp != nil {
		return r.lastCopy(t) // the Secret's namespace may be another's by now
	}
	pair, err := r.tenantPair(t, p.now)
	if err != nil {
		return nil, err
	}
	if pair == nil {
		return r.lastCopy(t)
	}
	copied, _, err := r.secretKind(t).Ensure(ctx, resources.SecretCopy(t, *pair))
	if err != nil {
		return nil, err
	}
	p.lookAgain(pair.Leaf.NotAfter.Sub(p.now) + time.Second)
	t.Status.MarkCertificateReady(resources.Uncovered(pair.Leaf, t))
	return copied, nil
}

// tenantPair returns the pair of the tenant's Secret, none where it can't be served
// and CertificateReady says why.
func (r *Reconciler) tenantPair(t *v1alpha1.Tenant, now time.Time) (*tlssecret.Pair, error) {
	namespace, name := t.Spec.TLS.SecretNamespace, t.Spec.TLS.SecretName
	if namespace != sluice.SystemNamespace && !t.Holds(namespace) {
		t.Status.MarkCertificateFailed("SecretNotAllowed",
			"Secret %s/%s is not the tenant's: spec.tls.secretNamespace must be %s or a namespace that it holds.", namespace, name, sluice.SystemNamespace)
		return nil, nil
	}
	secret, err := r.certificates.Secrets(namespace).Get(name)
	if apierrs.IsNotFound(err) {
		t.Status.MarkCertificateFailed("SecretNotFound",
			"There is no Secret %s/%s of type %s: create it. What was served before goes on.", namespace, name, corev1.SecretTypeTLS)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getting secret %s/%s: %w", namespace, name, err)
	}
	pair, err := resources.Pair(secret, now)
	if err != nil {
		reason := "CertificateInvalid"
		if errors.Is(err, resources.ErrExpired) {
			reason = "CertificateExpired"
		}
		t.Status.MarkCertificateFailed(reason, "Secret %s/%s: %v. Put another certificate there; what was served before goes on.", namespace, name, err)
		return nil, nil
	}
	return &pair, nil
}

func (r *Reconciler) lastCopy(t *v1alpha1.Tenant) (*corev1.Secret, error) {
	copied, err := r.certificates.Secrets(gateway.Namespace).Get(gateway.OfTenant(t.Name))
	if apierrs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getting the copy of the certificate: %w", err)
	}
	return copied, nil
}

// ensureServers has every gateway that is attached, or is to be, serve HTTPS for the
// tenant before a route is bound there, and takes it from the others.
func (r *Reconciler) ensureServers(ctx context.Context, t *v1alpha1.Tenant, p *pass, copied *corev1.Secret) error {
	var gateways []string
	if copied != nil {
		gateways = slices.Clone(t.Status.Attached)
		if move := t.Status.Move; move != nil && !slices.Contains(gateways, move.To) {
			gateways = append(gateways, move.To)
		}
	}
	for _, desired := range resources.SecureGateways(t, gateways) {
		if _, _, err := r.serverKind(t).Ensure(ctx, desired); err != nil {
			return err
		}
	}
	bound, err := r.removeServers(ctx, t, gateways)
	if bound {
		p.lookAgain(unbinding)
	}
	return err
}

func (r *Reconciler) withdrawCertificate(ctx context.Context, t *v1alpha1.Tenant, p *pass) error {
	bound, err := r.removeCertificate(ctx, t)
	if bound {
		p.lookAgain(unbinding)
	}
	return err
}

// removeCertificate takes the certificate from the gateways. It tells whether a route
// is still served by it; then it is left there.
func (r *Reconciler) removeCertificate(ctx context.Context, t *v1alpha1.Tenant) (bound bool, err error) {
	if bound, err := r.removeServers(ctx, t, nil); err != nil || bound {
		return bound, err
	}
	_, err = r.secretKind(t).Remove(ctx, gateway.OfTenant(t.Name))
	return false, err
}

// unbinding is how long to wait before looking once more whether routes are bound.
const unbinding = time.Second

// removeServers removes the tenant's Istio Gateways, without those of the gateways
// to keep and those that a route names still, and tells whether one does.
func (r *Reconciler) removeServers(ctx context.Context, t *v1alpha1.Tenant, keep []string) (bound bool, err error) {
	servers, err := r.istioGateways.Gateways(gateway.Namespace).List(labels.SelectorFromSet(resources.Labels(t.Name)))
	if err != nil {
		return false, fmt.Errorf("listing the tenant's Gateways: %w", err)
	}
	for _, server := range servers {
		if slices.Contains(keep, server.Spec.Selector[gateway.LabelKey]) {
			continue
		}
		routes, err := r.virtualServices.ByIndex(boundIndex, server.Namespace+"/"+server.Name)
		if err != nil {
			return bound, fmt.Errorf("finding the routes of Gateway %s: %w", server.Name, err)
		}
		if len(routes) > 0 {
			bound = true
		} else if _, err := r.serverKind(t).Remove(ctx, server.Name); err != nil {
			return bound, err
		}
	}
	return bound, nil
}
