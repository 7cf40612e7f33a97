package batch

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/batch/resources"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// vacate removes the Jobs of a run whose namespace is being deleted, and tells whether it is.
// Kubernetes deletes a namespace's pods before all else, and of an Indexed Job it keeps the last
// failed pod of each shard until another is there in its stead, which such a namespace takes no
// more: the one would wait for the other for good.
func (r *Reconciler) vacate(ctx context.Context, b *v1alpha1.Batch) (bool, error) {
	namespace, err := r.namespaces.Get(b.Namespace)
	switch {
	case apierrs.IsNotFound(err): // the cache is behind
		return false, nil
	case err != nil:
		return false, fmt.Errorf("getting namespace %q: %w", b.Namespace, err)
	case namespace.DeletionTimestamp == nil:
		return false, nil
	}
	var errs []error
	for _, name := range []string{resources.PlanName(b), resources.WorkName(b)} {
		_, err := r.kind(b).Remove(ctx, name)
		errs = append(errs, err)
	}
	return true, errors.Join(errs...)
}

// whenNamespaceGoes enqueues the Batches of a namespace that is being deleted, those that are over
// among them: their Jobs may be suspended, and not over.
func whenNamespaceGoes(batches sluicelisters.BatchLister, enqueue func(any)) cache.ResourceEventHandler {
	going := func(object any) {
		namespace, ok := object.(*corev1.Namespace)
		if !ok || namespace.DeletionTimestamp == nil {
			return
		}
		of, err := batches.Batches(namespace.Name).List(labels.Everything())
		if err != nil {
			return
		}
		for _, b := range of {
			enqueue(b)
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: going, UpdateFunc: func(_, after any) { going(after) }}
}
