package tenant

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
)

// reconcileDomain decides whether the tenant has its domain, has Knative give it to
// what is labelled as the tenant's, and marks DomainReady.
func (r *Reconciler) reconcileDomain(ctx context.Context, t *v1alpha1.Tenant, _ *pass) error {
	if t.DeletionTimestamp != nil {
		return nil // its hosts are served until it has let its namespaces go
	}
	cm, err := r.domainConfig()
	if err != nil {
		t.Status.MarkDomainNotWritten(err)
		return err
	}
	refusal, err := r.domainRefusal(ctx, t, cm)
	if err != nil {
		t.Status.MarkDomainNotWritten(err)
		return err
	}
	if refusal != nil {
		t.Status.MarkDomainRefused(refusal.Reason, refusal.Message)
	} else {
		t.Status.MarkDomainReady(t.Spec.Domain)
	}
	if err := r.writeDomain(ctx, cm, t.Name, t.Status.Domain); err != nil {
		t.Status.MarkDomainNotWritten(err)
		return err
	}
	return nil
}

// domainRefusal says why the tenant can't have its domain, nil if it can. Who is
// served there is asked for once more before the domain comes into force: the cache may
// not have those yet who came before that.
func (r *Reconciler) domainRefusal(ctx context.Context, t *v1alpha1.Tenant, cm *corev1.ConfigMap) (*tenancy.Refusal, error) {
	domains := tenancy.Domains{Config: cm.Data, ConfigMap: cm.Namespace + "/" + cm.Name}
	var err error
	if domains.Tenants, err = r.tenants.List(labels.Everything()); err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	if domains.Ingresses, err = r.ingresses.List(labels.Everything()); err != nil {
		return nil, fmt.Errorf("listing ingresses: %w", err)
	}
	refusal := domains.Refused(t)
	if refusal != nil || !t.AwaitsDomain() {
		return refusal, nil
	}
	live, err := r.networking.NetworkingV1alpha1().Ingresses(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing the ingresses that may have hosts under the domain: %w", err)
	}
	domains.Ingresses = make([]*netv1alpha1.Ingress, 0, len(live.Items))
	for i := range live.Items {
		domains.Ingresses = append(domains.Ingresses, &live.Items[i])
	}
	return domains.Refused(t), nil
}

func (r *Reconciler) domainConfig() (*corev1.ConfigMap, error) {
	cm, err := r.domains.ConfigMaps(r.servingNamespace).Get(tenancy.DomainConfig)
	if err != nil {
		return nil, fmt.Errorf("getting Knative's ConfigMap %s: %w", tenancy.DomainConfig, err)
	}
	return cm, nil
}

// writeDomain keeps one key of config-domain, the tenant's domain, and removes those
// that it had before; all of them for the domain "". The rest is others'.
func (r *Reconciler) writeDomain(ctx context.Context, existing *corev1.ConfigMap, tenant, domain string) error {
	updated := existing.DeepCopy()
	for _, stale := range tenancy.StaleDomains(existing.Data, tenant, domain) {
		delete(updated.Data, stale)
	}
	if _, ok := updated.Data[domain]; domain != "" && !ok {
		if updated.Data == nil {
			updated.Data = map[string]string{}
		}
		updated.Data[domain] = tenancy.DomainEntry(tenant)
	}
	if maps.Equal(existing.Data, updated.Data) {
		return nil
	}
	if _, err := r.kube.CoreV1().ConfigMaps(r.servingNamespace).Update(ctx, updated, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("updating Knative's ConfigMap %s: %w", tenancy.DomainConfig, err)
	}
	return nil
}
