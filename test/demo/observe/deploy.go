package main

import (
	"cmp"
	"context"
	_ "embed" // the Model's manifest
	"fmt"
	"strings"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/demo/internal/deploy"
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
func manifest(name, image string) ([]byte, error) { return deploy.Manifest(modelYAML, name, image) }

// deploy applies a Model under a new name, in place of those of runs before, and waits until
// it is Ready.
func (d *demo) deploy(ctx context.Context) error {
	d.Title("Deploying")
	address, err := d.clients.LoopbackGateway(ctx)
	if err != nil {
		return err
	}
	if err := deploy.Namespace(ctx, d.clients, d.namespace); err != nil {
		return err
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

// apply writes the Model.
func (d *demo) apply(ctx context.Context) error {
	object, err := manifest(d.model(), d.image)
	if err != nil {
		return err
	}
	_, err = deploy.Apply(ctx, d.clients, d.namespace, d.model(), object)
	return err
}
