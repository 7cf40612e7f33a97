// Package tenancy tells which Tenant holds a namespace, and which may have a domain.
package tenancy

import (
	"fmt"

	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const heldIndex = "sluice.dev/held-namespace"

// Index lets Of find Tenants in the indexer of their informer. It has to be
// called before the informer is started, and may be called more than once.
func Index(indexer cache.Indexer) error {
	if _, ok := indexer.GetIndexers()[heldIndex]; ok {
		return nil
	}
	if err := indexer.AddIndexers(cache.Indexers{heldIndex: held}); err != nil {
		return fmt.Errorf("indexing tenants by namespace: %w", err)
	}
	return nil
}

func held(object any) ([]string, error) {
	tenant, ok := object.(*v1alpha1.Tenant)
	if !ok {
		return nil, nil
	}
	names := make([]string, 0, len(tenant.Status.Namespaces))
	for _, namespace := range tenant.Status.Namespaces {
		names = append(names, namespace.Name)
	}
	return names, nil
}

// Of returns the Tenant whose status holds the namespace, or nil. Should two hold
// it for a moment, as two processes' caches can lead to, it is the older one's.
func Of(indexer cache.Indexer, namespace string) (*v1alpha1.Tenant, error) {
	objects, err := indexer.ByIndex(heldIndex, namespace)
	if err != nil {
		return nil, fmt.Errorf("finding the tenant of namespace %s: %w", namespace, err)
	}
	var holder *v1alpha1.Tenant
	for _, object := range objects {
		if tenant, ok := object.(*v1alpha1.Tenant); ok && (holder == nil || Before(tenant, holder)) {
			holder = tenant
		}
	}
	return holder, nil
}

// Neighbours finds who shares a tenant's caps, in an indexer that Index was told of, and by
// what lists the Models of a namespace.
func Neighbours(tenants cache.Indexer, models func(namespace string) ([]*v1alpha1.Model, error)) v1alpha1.Neighbours {
	return func(namespace string) (*v1alpha1.Tenant, []*v1alpha1.Model, error) {
		tenant, err := Of(tenants, namespace)
		if err != nil || tenant == nil {
			return nil, nil, err
		}
		all, err := tenant.Models(models)
		return tenant, all, err
	}
}

// Before orders Tenants by age, then by name: the first come keeps what it holds.
func Before(a, b *v1alpha1.Tenant) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Name < b.Name
}
