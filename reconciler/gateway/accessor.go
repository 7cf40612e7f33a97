package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/logging"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// writer is the part of a typed client that brings an object to its desired
// state, which may be none.
type writer[T metav1.Object] interface {
	Create(ctx context.Context, object T, opts metav1.CreateOptions) (T, error)
	Update(ctx context.Context, object T, opts metav1.UpdateOptions) (T, error)
	Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error
}

// kind is how one kind of object is read, compared and written.
type kind[T metav1.Object] struct {
	name   string
	get    func(name string) (T, error)
	writer writer[T]
	// adopt copies what Sluice decides from desired to existing, which it may
	// change, and leaves the rest as it is.
	adopt func(existing, desired T)
	// equal tells whether adopt would change what Sluice decides.
	equal func(existing, desired T) bool
	copy  func(T) T
	// propagation is how a deletion goes on to what depends on the object; the
	// kind's own way where empty.
	propagation metav1.DeletionPropagation
}

// belongs tells whether an object is Sluice's, and of that gateway.
func belongs(object metav1.Object, gatewayName string) bool {
	labels := object.GetLabels()
	return labels[sluice.ManagedByLabelKey] == sluice.ManagedBy && labels[gateway.LabelKey] == gatewayName
}

// ensure creates desired, or brings what is there back to it. It writes nothing
// where nothing differs, and touches no object that isn't marked as Sluice's.
func (k kind[T]) ensure(ctx context.Context, desired T) error {
	existing, err := k.get(desired.GetName())
	if apierrs.IsNotFound(err) {
		if _, err := k.writer.Create(ctx, desired, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating %s %s/%s: %w", k.name, desired.GetNamespace(), desired.GetName(), err)
		}
		logging.FromContext(ctx).Infof("Created %s %s/%s", k.name, desired.GetNamespace(), desired.GetName())
		return nil
	}
	if err != nil {
		return fmt.Errorf("getting %s %s/%s: %w", k.name, desired.GetNamespace(), desired.GetName(), err)
	}
	if of := desired.GetLabels()[gateway.LabelKey]; !belongs(existing, of) {
		return fmt.Errorf("%s %s/%s exists and is not labelled %s=%s and %s=%s: delete or rename it",
			k.name, existing.GetNamespace(), existing.GetName(), sluice.ManagedByLabelKey, sluice.ManagedBy, gateway.LabelKey, of)
	}
	if k.equal(existing, desired) && covers(desired.GetLabels(), existing.GetLabels()) {
		return nil
	}
	repaired := k.copy(existing)
	k.adopt(repaired, desired)
	repaired.SetLabels(merged(existing.GetLabels(), desired.GetLabels()))
	if _, err := k.writer.Update(ctx, repaired, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("updating %s %s/%s: %w", k.name, desired.GetNamespace(), desired.GetName(), err)
	}
	logging.FromContext(ctx).Infof("Updated %s %s/%s", k.name, desired.GetNamespace(), desired.GetName())
	return nil
}

// remove deletes what a gateway has of that name, and tells whether it is gone. An
// object that isn't marked as the gateway's is left alone.
func (k kind[T]) remove(ctx context.Context, gatewayName, name string) (gone bool, err error) {
	existing, err := k.get(name)
	if apierrs.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("getting %s %s: %w", k.name, name, err)
	}
	if !belongs(existing, gatewayName) {
		return true, nil
	}
	if existing.GetDeletionTimestamp() != nil {
		return false, nil
	}
	opts := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(existing.GetUID()))}
	if k.propagation != "" {
		opts.PropagationPolicy = &k.propagation
	}
	if err := k.writer.Delete(ctx, name, opts); err != nil && !apierrs.IsNotFound(err) {
		return false, fmt.Errorf("deleting %s %s/%s: %w", k.name, existing.GetNamespace(), name, err)
	}
	logging.FromContext(ctx).Infof("Deleted %s %s/%s", k.name, existing.GetNamespace(), name)
	return false, nil
}

// covers tells whether existing says all that desired says. What desired leaves
// unset may be anything, because the API server fills it in; a list that desired
// sets must have the same length.
func covers(desired, existing any) bool {
	want, errWant := asJSON(desired)
	have, errHave := asJSON(existing)
	return errWant == nil && errHave == nil && jsonCovers(want, have)
}

func jsonCovers(want, have any) bool {
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		for key, value := range want {
			if !ok || !jsonCovers(value, have[key]) {
				return false
			}
		}
		return true
	case []any:
		have, ok := have.([]any)
		if !ok || len(want) != len(have) {
			return false
		}
		for i := range want {
			if !jsonCovers(want[i], have[i]) {
				return false
			}
		}
		return true
	default:
		return equality.Semantic.DeepEqual(want, have)
	}
}

func asJSON(value any) (any, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("writing %s as JSON: %w", reflect.TypeOf(value), err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("reading %s as JSON: %w", reflect.TypeOf(value), err)
	}
	return out, nil
}

func merged(base, over map[string]string) map[string]string {
	out := make(map[string]string, len(base)+len(over))
	maps.Copy(out, base)
	maps.Copy(out, over)
	return out
}
