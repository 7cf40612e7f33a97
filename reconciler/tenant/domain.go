package tenant

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/tenant/resources"
)

// domainConfigMap is where Knative Serving is told which routes get which domain.
const domainConfigMap = "config-domain"

// reconcileDomain has Knative give the tenant's domain to what is labelled as the
// tenant's, and marks DomainReady.
func (r *Reconciler) reconcileDomain(ctx context.Context, t *v1alpha1.Tenant, p *pass) error {
	if t.DeletionTimestamp != nil {
		return nil // its hosts are served until it has let its namespaces go
	}
	cm, err := r.domainConfig()
	if err != nil {
		t.Status.MarkDomainNotWritten(err)
		return err
	}
	tenants, err := r.tenants.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing tenants: %w", err)
	}
	domain := t.Spec.Domain
	if holder := resources.DomainHolder(t, tenants, cm.Data); holder != nil {
		t.Status.MarkDomainTaken(domain, holder.Spec.Domain, holder.Name)
		p.domainTaken, domain = true, ""
	} else if value, ok := cm.Data[domain]; ok && !resources.IsDomainEntry(value, t.Name) {
		t.Status.MarkDomainNotOwned(domain, r.servingNamespace+"/"+domainConfigMap)
		domain = ""
	} else {
		t.Status.MarkDomainReady()
	}
	if err := r.writeDomain(ctx, cm, t.Name, domain); err != nil {
		t.Status.MarkDomainNotWritten(err)
		return err
	}
	return nil
}

func (r *Reconciler) domainConfig() (*corev1.ConfigMap, error) {
	cm, err := r.domains.ConfigMaps(r.servingNamespace).Get(domainConfigMap)
	if err != nil {
		return nil, fmt.Errorf("getting Knative's ConfigMap %s: %w", domainConfigMap, err)
	}
	return cm, nil
}

// writeDomain keeps one key of config-domain, the tenant's domain, and removes those
// that it had before; all of them for the domain "". The rest is others'.
func (r *Reconciler) writeDomain(ctx context.Context, existing *corev1.ConfigMap, tenant, domain string) error {
	updated := existing.DeepCopy()
	for _, stale := range resources.StaleDomains(existing.Data, tenant, domain) {
		delete(updated.Data, stale)
	}
	if _, ok := updated.Data[domain]; domain != "" && !ok {
		if updated.Data == nil {
			updated.Data = map[string]string{}
		}
		updated.Data[domain] = resources.DomainEntry(tenant)
	}
	if maps.Equal(existing.Data, updated.Data) {
		return nil
	}
	if _, err := r.kube.CoreV1().ConfigMaps(r.servingNamespace).Update(ctx, updated, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("updating Knative's ConfigMap %s: %w", domainConfigMap, err)
	}
	return nil
}
