package tenant

import (
	"context"
	"fmt"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// writer is the part of a typed client that keeps an object.
type writer[T metav1.Object] interface {
	Create(ctx context.Context, object T, opts metav1.CreateOptions) (T, error)
	Update(ctx context.Context, object T, opts metav1.UpdateOptions) (T, error)
	Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error
}

// kind is how objects of a kind that are a tenant's are read, compared and written.
type kind[T metav1.Object] struct {
	name string
	get  func(name string) (T, error)
	writer[T]
	// adopt returns a copy of existing that says what desired does, and whether that
	// differs from existing.
	adopt func(existing, desired T) (T, bool)
}

// ensure brings an object to what desired says and returns it. It writes nothing
// where nothing differs, and leaves alone what is not the tenant's.
func (k kind[T]) ensure(ctx context.Context, desired T) (T, error) {
	existing, err := k.get(desired.GetName())
	if apierrs.IsNotFound(err) {
		created, err := k.Create(ctx, desired, metav1.CreateOptions{})
		if err != nil {
			return created, fmt.Errorf("creating %s %s: %w", k.name, desired.GetName(), err)
		}
		return created, nil
	}
	if err != nil {
		return existing, fmt.Errorf("getting %s %s: %w", k.name, desired.GetName(), err)
	}
	if !sameOwner(existing, desired) {
		return existing, fmt.Errorf("%s %s/%s is not this tenant's: delete it, or rename the tenant", k.name, existing.GetNamespace(), existing.GetName())
	}
	adopted, differs := k.adopt(existing, desired)
	if !differs {
		return existing, nil
	}
	updated, err := k.Update(ctx, adopted, metav1.UpdateOptions{})
	if err != nil {
		return updated, fmt.Errorf("updating %s %s: %w", k.name, desired.GetName(), err)
	}
	return updated, nil
}

// remove deletes an object if it is there and the tenant's.
func (k kind[T]) remove(ctx context.Context, desired T) error {
	existing, err := k.get(desired.GetName())
	if apierrs.IsNotFound(err) || (err == nil && !sameOwner(existing, desired)) {
		return nil
	}
	if err == nil {
		err = k.Delete(ctx, desired.GetName(), metav1.DeleteOptions{})
	}
	if err != nil && !apierrs.IsNotFound(err) {
		return fmt.Errorf("deleting %s %s: %w", k.name, desired.GetName(), err)
	}
	return nil
}

func sameOwner(a, b metav1.Object) bool {
	for _, key := range []string{sluice.ManagedByLabelKey, sluice.TenantLabelKey} {
		if a.GetLabels()[key] != b.GetLabels()[key] {
			return false
		}
	}
	return true
}
