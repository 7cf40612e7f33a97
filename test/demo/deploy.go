package main

import (
	"cmp"
	"context"
	_ "embed" // the Model's manifest
	"encoding/json"
	"fmt"
	"strings"
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

//go:embed model.yaml
var modelYAML []byte

const (
	// modelName is the one in model.yaml.
	modelName = "ranker"
	// deployWithin bounds the wait for a Model that is Ready: an image to pull, a
	// pod to start, routes and limits to reach the gateway.
	deployWithin = 90 * time.Second
)

// manifest is model.yaml, as JSON, with the image put in.
func manifest(image string) ([]byte, error) {
	var object map[string]any
	if err := yaml.UnmarshalStrict(modelYAML, &object); err != nil {
		return nil, fmt.Errorf("reading model.yaml: %w", err)
	}
	if err := unstructured.SetNestedField(object, image, "spec", "container", "image"); err != nil {
		return nil, fmt.Errorf("putting the image into model.yaml: %w", err)
	}
	return json.Marshal(object)
}

// deploy applies the Model and waits until it is Ready, naming each condition as it
// becomes true.
func (d *demo) deploy(ctx context.Context) error {
	d.Title("Deploying")
	if err := d.ensureNamespace(ctx); err != nil {
		return err
	}
	if err := d.apply(ctx); err != nil {
		return err
	}
	d.Sayf("applied, generation %d; waiting for Ready, %v at most", d.model.Generation, deployWithin)
	seen := map[string]bool{}
	err := platform.Until(ctx, deployWithin, "the Model to be Ready", func(ctx context.Context) (string, error) {
		m, err := d.clients.Sluice.SluiceV1alpha1().Models(d.namespace).Get(ctx, modelName, metav1.GetOptions{})
		if err != nil {
			return err.Error(), nil //nolint:nilerr // what is waited for
		}
		d.model = m
		if m.Status.ObservedGeneration != m.Generation {
			return "the controller has not seen it yet", nil
		}
		var missing []string
		for _, c := range m.Status.Conditions {
			if !c.IsTrue() {
				missing = append(missing, fmt.Sprintf("%s is %s: %s %s", c.Type, c.Status, c.Reason, c.Message))
			} else if !seen[string(c.Type)] {
				seen[string(c.Type)] = true
				d.Sayf("%s", c.Type)
			}
		}
		if m.IsReady() && m.Status.URL != nil {
			return "", nil
		}
		return cmp.Or(strings.Join(missing, "; "), "no condition yet"), nil
	})
	if err != nil {
		return err
	}
	d.endpoint.Host = d.model.Status.URL.Host
	d.Sayf("serving at %s", d.model.Status.URL)
	return nil
}

func (d *demo) ensureNamespace(ctx context.Context) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: d.namespace}}
	_, err := d.clients.Kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil && !apierrs.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s: %w", d.namespace, err)
	}
	return nil
}

// apply writes the Model. A webhook that was installed a moment ago may not be
// reachable yet, which the API server reports as an error of its own; what the
// webhook itself refuses is final.
func (d *demo) apply(ctx context.Context) error {
	object, err := manifest(d.image)
	if err != nil {
		return err
	}
	force := true
	return platform.Until(ctx, 30*time.Second, "the API server to take the Model", func(ctx context.Context) (string, error) {
		var m *v1alpha1.Model
		m, err := d.clients.Sluice.SluiceV1alpha1().Models(d.namespace).Patch(ctx, modelName, types.ApplyPatchType, object,
			metav1.PatchOptions{FieldManager: "sluice-demo", Force: &force})
		switch {
		case err == nil:
			d.model = m
			return "", nil
		case apierrs.IsInternalError(err) || apierrs.IsServiceUnavailable(err) || apierrs.IsTimeout(err):
			return err.Error(), nil
		default:
			return "", fmt.Errorf("applying the Model: %w", err)
		}
	})
}
