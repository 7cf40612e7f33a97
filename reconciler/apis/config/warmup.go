package config

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"knative.dev/pkg/configmap"
)

// WarmUpName is the name of the ConfigMap that says what the containers have that warm
// models up.
const WarmUpName = "config-warm-up"

const (
	requestSuffix = "-request"
	limitSuffix   = "-limit"
)

// sized are the resources that can be said, as keys begin with them.
var sized = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

// WarmUp is the ConfigMap config-warm-up. What it says is for templates that are built from
// then on.
type WarmUp struct {
	// Resources are the container's, as far as its Model doesn't say otherwise.
	Resources corev1.ResourceRequirements
}

// DefaultWarmUp is what an empty ConfigMap means.
func DefaultWarmUp() *WarmUp {
	return &WarmUp{Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
	}}
}

// NewWarmUpFromConfigMap reads config-warm-up. Keys that are missing keep their default,
// which is none for some; unknown ones are refused.
func NewWarmUpFromConfigMap(cm *corev1.ConfigMap) (*WarmUp, error) {
	w := DefaultWarmUp()
	var known []string
	var errs []error
	for _, name := range sized {
		for _, of := range []struct {
			suffix string
			list   corev1.ResourceList
		}{{requestSuffix, w.Resources.Requests}, {limitSuffix, w.Resources.Limits}} {
			key := string(name) + of.suffix
			known = append(known, key)
			text, ok := cm.Data[key]
			if !ok {
				continue
			}
			quantity, err := resource.ParseQuantity(strings.TrimSpace(text))
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("%s is %q, must be a quantity such as 10m or 16Mi", key, text))
			case quantity.Sign() <= 0:
				errs = append(errs, fmt.Errorf("%s is %s, must be above zero", key, quantity.String()))
			default:
				of.list[name] = quantity
			}
		}
		request, limit := w.Resources.Requests[name], w.Resources.Limits[name]
		if _, limited := w.Resources.Limits[name]; limited && limit.Cmp(request) < 0 {
			errs = append(errs, fmt.Errorf("%s%s is %s, must be at least %s%s, which is %s", name, limitSuffix, limit.String(), name, requestSuffix, request.String()))
		}
	}
	errs = append(errs, refuseUnknownKeys(cm.Data, known...))
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("reading %s: %w", WarmUpName, err)
	}
	return w, nil
}

// WarmUpStore keeps the last valid config-warm-up.
type WarmUpStore struct{ *configmap.UntypedStore }

// NewWarmUpStore returns a store.
func NewWarmUpStore(logger configmap.Logger) *WarmUpStore {
	return &WarmUpStore{configmap.NewUntypedStore("warm-up", logger, configmap.Constructors{WarmUpName: NewWarmUpFromConfigMap})}
}

// Resources are those of the present configuration.
func (s *WarmUpStore) Resources() corev1.ResourceRequirements {
	if w, ok := s.UntypedLoad(WarmUpName).(*WarmUp); ok {
		return w.Resources
	}
	return DefaultWarmUp().Resources
}
