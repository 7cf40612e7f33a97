package main

import (
	"cmp"
	"context"
	_ "embed" // the Model's manifest
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/demo/internal/deploy"
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
func manifest(image string) ([]byte, error) { return deploy.Manifest(modelYAML, modelName, image) }

// deploy applies the Model and waits until it is Ready, naming each condition as it
// becomes true.
func (d *demo) deploy(ctx context.Context) error {
	d.Title("Deploying")
	if err := deploy.Namespace(ctx, d.clients, d.namespace); err != nil {
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

// apply writes the Model.
func (d *demo) apply(ctx context.Context) error {
	object, err := manifest(d.image)
	if err != nil {
		return err
	}
	d.model, err = deploy.Apply(ctx, d.clients, d.namespace, modelName, object)
	return err
}
