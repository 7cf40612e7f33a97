package accessor

import (
	"encoding/json"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Content is what of an object is its owner's to say, beside labels and annotations.
type Content[T any] struct {
	// Adopt copies it from desired to existing, which it may change, and leaves the rest.
	Adopt func(existing, desired T)
	// Same tells whether existing has it already; where nil, it has what Adopt doesn't
	// change.
	Same func(existing, desired T) bool
}

// Message is the content of an object whose spec is a protobuf message, all of which is
// the owner's.
func Message[T any, S proto.Message](spec func(T) S) Content[T] {
	return Content[T]{
		Adopt: func(existing, desired T) {
			proto.Reset(spec(existing))
			proto.Merge(spec(existing), spec(desired))
		},
		Same: func(existing, desired T) bool { return proto.Equal(spec(existing), spec(desired)) },
	}
}

// Defaulted is the content of an object whose spec is the owner's but for what the API
// server fills in.
func Defaulted[T, S any](spec func(T) *S) Content[T] {
	return Content[T]{
		Adopt: func(existing, desired T) { *spec(existing) = *spec(desired) },
		Same:  func(existing, desired T) bool { return covers(spec(desired), spec(existing)) },
	}
}

// Service is the content of a Service: its type, selector and ports. The address, the node
// ports and the families are the cluster's to choose.
func Service() Content[*corev1.Service] { return Content[*corev1.Service]{Adopt: adoptService} }

func adoptService(existing, desired *corev1.Service) {
	chosen := map[string]int32{}
	for _, port := range existing.Spec.Ports {
		chosen[port.Name] = port.NodePort
	}
	existing.Spec.Type, existing.Spec.Selector, existing.Spec.Ports = desired.Spec.Type, desired.Spec.Selector, desired.Spec.Ports
	for i, port := range existing.Spec.Ports {
		existing.Spec.Ports[i].NodePort = chosen[port.Name]
	}
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
