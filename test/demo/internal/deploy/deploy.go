// Package deploy brings up what demos show.
package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
)

// takenWithin bounds the wait for an API server that takes a Model.
const takenWithin = 30 * time.Second

// Namespace makes one, unless it is there.
func Namespace(ctx context.Context, clients *platform.Clients, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := clients.Kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil && !apierrs.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s: %w", name, err)
	}
	return nil
}

// Manifest is a Model's, as YAML, with an image put in and under a name, as JSON.
func Manifest(model []byte, name, image string) ([]byte, error) {
	var object map[string]any
	if err := yaml.UnmarshalStrict(model, &object); err != nil {
		return nil, fmt.Errorf("reading model.yaml: %w", err)
	}
	for value, fields := range map[string][]string{name: {"metadata", "name"}, image: {"spec", "container", "image"}} {
		if err := unstructured.SetNestedField(object, value, fields...); err != nil {
			return nil, fmt.Errorf("putting %s into model.yaml: %w", value, err)
		}
	}
	return json.Marshal(object)
}

// Apply writes a Model. A webhook that was installed a moment ago may not be
// reachable yet, which the API server reports as an error of its own; what the
// webhook itself refuses is final.
func Apply(ctx context.Context, clients *platform.Clients, namespace, name string, object []byte) (*v1alpha1.Model, error) {
	var applied *v1alpha1.Model
	force := true
	err := platform.Until(ctx, takenWithin, "the API server to take the Model", func(ctx context.Context) (string, error) {
		m, err := clients.Sluice.SluiceV1alpha1().Models(namespace).Patch(ctx, name, types.ApplyPatchType, object,
			metav1.PatchOptions{FieldManager: "sluice-demo", Force: &force})
		switch {
		case err == nil:
			applied = m
			return "", nil
		case apierrs.IsInternalError(err) || apierrs.IsServiceUnavailable(err) || apierrs.IsTimeout(err):
			return err.Error(), nil
		default:
			return "", fmt.Errorf("applying the Model: %w", err)
		}
	})
	return applied, err
}
