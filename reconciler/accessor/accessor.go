// Package accessor brings objects that a reconciler owns to what they are to be, and
// removes them. It decides nothing: a Kind says whose objects are and what of them is the
// owner's to say. What others add to them, be it a field, a label or an annotation, stays;
// what is another's is never touched.
package accessor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/logging"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Object is a pointer to an object of one kind.
type Object[T any] interface {
	comparable
	metav1.Object
	DeepCopy() T
}

// Client is the part of a typed client that Kind needs.
type Client[T any] interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (T, error)
	Create(ctx context.Context, object T, opts metav1.CreateOptions) (T, error)
	Update(ctx context.Context, object T, opts metav1.UpdateOptions) (T, error)
	Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error
}

// Kind is how an owner's objects of one kind and namespace are read and written.
type Kind[T Object[T]] struct {
	// Name is the kind's, in messages.
	Name string
	// Get reads from a cache, which may be behind and need not have what is another's.
	Get    func(name string) (T, error)
	Client Client[T]
	Owner
	Content[T]
	// Propagation is how a deletion goes on to what depends on the object; the kind's own
	// way where empty.
	Propagation metav1.DeletionPropagation
}

// Owner is whose objects are.
type Owner struct {
	Owns func(metav1.Object) bool
	// Refusal says of an object that is another's that it is, and what to do.
	Refusal string
}

// Labelled owns what has all of some labels.
func Labelled(want map[string]string) Owner {
	selector := labels.SelectorFromSet(want)
	return Owner{
		Owns:    func(object metav1.Object) bool { return selector.Matches(labels.Set(object.GetLabels())) },
		Refusal: fmt.Sprintf("exists and is not labelled %s: delete or rename it", selector),
	}
}

// ControlledBy owns what an object is the controller of.
func ControlledBy(owner metav1.Object) Owner {
	return Owner{
		Owns:    func(object metav1.Object) bool { return metav1.IsControlledBy(object, owner) },
		Refusal: fmt.Sprintf("exists and is not owned by %s: delete or rename it", owner.GetName()),
	}
}

// NotOwnedError tells that an object is another's.
type NotOwnedError struct{ Kind, Namespace, Name, Refusal string }

func (e *NotOwnedError) Error() string {
	return fmt.Sprintf("%s %s/%s %s", e.Kind, e.Namespace, e.Name, e.Refusal)
}

// Own returns the owner's object of a name as the cache has it, nil where there is none.
// The error is a *NotOwnedError where it is another's.
func (k Kind[T]) Own(name string) (T, error) {
	var none T
	existing, err := k.Get(name)
	switch {
	case apierrs.IsNotFound(err):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("getting %s %s: %w", k.Name, name, err)
	}
	return existing, k.check(existing)
}

func (k Kind[T]) check(existing T) error {
	if k.Owns(existing) {
		return nil
	}
	return &NotOwnedError{Kind: k.Name, Namespace: existing.GetNamespace(), Name: existing.GetName(), Refusal: k.Refusal}
}

// Ensure has the owner's object be as desired and returns it as it is now, and whether
// that differs from what the cache had. The error is a *NotOwnedError where the object is
// another's.
func (k Kind[T]) Ensure(ctx context.Context, desired T) (T, bool, error) {
	existing, err := k.Own(desired.GetName())
	if err != nil {
		return existing, false, err
	}
	kept, changed, err := k.Write(ctx, existing, desired)
	if !apierrs.IsAlreadyExists(err) {
		return kept, changed, err
	}
	// The cache is behind, or it leaves this one out.
	live, errLive := k.Client.Get(ctx, desired.GetName(), metav1.GetOptions{})
	if errLive != nil {
		return kept, false, fmt.Errorf("%w; getting that one: %w", err, errLive)
	}
	if err := k.check(live); err != nil {
		return live, false, err
	}
	kept, _, err = k.Write(ctx, live, desired)
	return kept, true, err
}

// Write is Ensure for who has seen what there is of the object, nil for nothing: where
// that is there no more as it was seen, it fails.
func (k Kind[T]) Write(ctx context.Context, existing, desired T) (T, bool, error) {
	var none T
	if existing == none {
		created, err := k.Client.Create(ctx, desired, metav1.CreateOptions{})
		if err != nil {
			return none, false, fmt.Errorf("creating %s %s: %w", k.Name, desired.GetName(), err)
		}
		logging.FromContext(ctx).Infof("Created %s %s/%s", k.Name, desired.GetNamespace(), desired.GetName())
		return created, true, nil
	}
	next := existing.DeepCopy()
	k.Adopt(next, desired.DeepCopy())
	next.SetLabels(merged(existing.GetLabels(), desired.GetLabels()))
	next.SetAnnotations(merged(existing.GetAnnotations(), desired.GetAnnotations()))
	if maps.Equal(existing.GetLabels(), next.GetLabels()) && maps.Equal(existing.GetAnnotations(), next.GetAnnotations()) &&
		k.says(existing, next, desired) {
		return existing, false, nil
	}
	updated, err := k.Client.Update(ctx, next, metav1.UpdateOptions{})
	if err != nil {
		return existing, false, fmt.Errorf("updating %s %s: %w", k.Name, desired.GetName(), err)
	}
	logging.FromContext(ctx).Infof("Updated %s %s/%s", k.Name, desired.GetNamespace(), desired.GetName())
	return updated, true, nil
}

// says tells whether existing says all that desired does; next is what it would become.
func (k Kind[T]) says(existing, next, desired T) bool {
	if k.Same != nil {
		return k.Same(existing, desired)
	}
	return equality.Semantic.DeepEqual(existing, next)
}

// merged has others' entries beside the desired ones. Those of our own prefix are nobody
// else's, so one that isn't desired goes.
func merged(existing, desired map[string]string) map[string]string {
	others := kmeta.FilterMap(existing, func(key string) bool { return strings.HasPrefix(key, sluice.GroupName+"/") })
	return kmeta.UnionMaps(others, desired)
}

// Remove deletes the owner's object of a name, as the cache has it and not one that came
// after, and tells whether there is none any more. What is another's is left alone.
func (k Kind[T]) Remove(ctx context.Context, name string) (gone bool, err error) {
	var none T
	var other *NotOwnedError
	existing, err := k.Own(name)
	if errors.As(err, &other) {
		return true, nil
	}
	if err != nil || existing == none {
		return err == nil, err
	}
	if existing.GetDeletionTimestamp() != nil {
		return false, nil
	}
	opts := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(existing.GetUID()))}
	if k.Propagation != "" {
		opts.PropagationPolicy = &k.Propagation
	}
	if err := k.Client.Delete(ctx, name, opts); err != nil && !apierrs.IsNotFound(err) {
		return false, fmt.Errorf("deleting %s %s: %w", k.Name, name, err)
	}
	logging.FromContext(ctx).Infof("Deleted %s %s/%s", k.Name, existing.GetNamespace(), name)
	return false, nil
}
