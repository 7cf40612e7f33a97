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

	"sluice.dev/sluice/test/platform"
)

//go:embed model.yaml
var modelYAML []byte

const (
	// deployWithin bounds the wait for a Model that is Ready.
	deployWithin = 90 * time.Second
	// modelPrefix begins the names of the Models of this demo.
	modelPrefix = "ranker-"
)

// manifest is model.yaml, as JSON, under a name and with an image.
func manifest(name, image string) ([]byte, error) {
	var object map[string]any
	if err := yaml.UnmarshalStrict(modelYAML, &object); err != nil {
		return nil, fmt.Errorf("reading model.yaml: %w", err)
	}
	object["metadata"] = map[string]any{"name": name}
	if err := unstructured.SetNestedField(object, image, "spec", "container", "image"); err != nil {
		return nil, fmt.Errorf("putting the image into model.yaml: %w", err)
	}
	return json.Marshal(object)
}

// deploy applies a Model under a new name, in place of those of runs before, and waits until
// it is Ready.
func (d *demo) deploy(ctx context.Context) error {
	d.Title("Deploying")
	address, err := d.clients.LoopbackGateway(ctx)
	if err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: d.namespace}}
	if _, err := d.clients.Kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil && !apierrs.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s: %w", d.namespace, err)
	}
	if err := d.clear(ctx); err != nil {
		return err
	}
	if err := d.apply(ctx); err != nil {
		return err
	}
	d.Sayf("applied Model %s; waiting for Ready, %v at most", d.model(), deployWithin)
	return platform.Until(ctx, deployWithin, "the Model to be Ready", func(ctx context.Context) (string, error) {
		m, err := d.clients.Sluice.SluiceV1alpha1().Models(d.namespace).Get(ctx, d.model(), metav1.GetOptions{})
		if err != nil {
			return err.Error(), nil //nolint:nilerr // what is waited for
		}
		if m.IsReady() && m.Status.URL != nil && m.Status.ObservedGeneration == m.Generation {
			d.endpoint = platform.Endpoint{Address: address, Host: m.Status.URL.Host}
			d.Sayf("serving at %s", m.Status.URL)
			return "", nil
		}
		var missing []string
		for _, c := range m.Status.Conditions {
			if !c.IsTrue() {
				missing = append(missing, fmt.Sprintf("%s is %s: %s %s", c.Type, c.Status, c.Reason, c.Message))
			}
		}
		return cmp.Or(strings.Join(missing, "; "), "no condition yet"), nil
	})
}

// clear removes the Models of runs before.
func (d *demo) clear(ctx context.Context) error {
	models, err := d.clients.Sluice.SluiceV1alpha1().Models(d.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing the Models of runs before: %w", err)
	}
	for _, m := range models.Items {
		if !strings.HasPrefix(m.Name, modelPrefix) {
			continue
		}
		if err := d.clients.Sluice.SluiceV1alpha1().Models(d.namespace).Delete(ctx, m.Name, metav1.DeleteOptions{}); err != nil && !apierrs.IsNotFound(err) {
			return fmt.Errorf("deleting Model %s of a run before: %w", m.Name, err)
		}
	}
	return nil
}

// apply writes the Model. A webhook that was installed a moment ago may not be reachable yet.
func (d *demo) apply(ctx context.Context) error {
	object, err := manifest(d.model(), d.image)
	if err != nil {
		return err
	}
	force := true
	return platform.Until(ctx, 30*time.Second, "the API server to take the Model", func(ctx context.Context) (string, error) {
		_, err := d.clients.Sluice.SluiceV1alpha1().Models(d.namespace).Patch(ctx, d.model(), types.ApplyPatchType, object,
			metav1.PatchOptions{FieldManager: "sluice-demo", Force: &force})
		switch {
		case err == nil:
			return "", nil
		case apierrs.IsInternalError(err) || apierrs.IsServiceUnavailable(err) || apierrs.IsTimeout(err):
			return err.Error(), nil
		default:
			return "", fmt.Errorf("applying the Model: %w", err)
		}
	})
}
