package s3batch

import (
	"bytes"
	"context"
	_ "embed" // the manifests
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/test/platform"
)

var (
	//go:embed store.yaml
	storeYAML []byte
	//go:embed model.yaml
	modelYAML []byte
	//go:embed trigger.yaml
	triggerYAML []byte
)

const (
	// readyWithin bounds the wait for one object: an image to pull, a pod to start.
	readyWithin = 90 * time.Second
	// takenWithin bounds the wait for an API server whose webhooks start.
	takenWithin = 30 * time.Second
	manager     = "sluice-s3batch"
)

// kinds are those of the manifests: where the API has them, and which conditions say that
// what comes after may go by them. A binding is complete only once its subject is there, and
// that one should come after, so that it starts once.
var kinds = map[string]struct {
	at   schema.GroupVersionResource
	when []apis.ConditionType
}{
	"Broker":           {schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "brokers"}, []apis.ConditionType{"Ready"}},
	"SinkBinding":      {schema.GroupVersionResource{Group: "sources.knative.dev", Version: "v1", Resource: "sinkbindings"}, []apis.ConditionType{"SinkProvided", "OIDCTokenSecretCreated"}},
	"Service":          {schema.GroupVersionResource{Version: "v1", Resource: "services"}, nil},
	"Secret":           {schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, nil},
	"Deployment":       {schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, []apis.ConditionType{"Available"}},
	"Model":            {schema.GroupVersionResource{Group: "sluice.dev", Version: "v1alpha1", Resource: "models"}, []apis.ConditionType{"Ready"}},
	"InferenceTrigger": {schema.GroupVersionResource{Group: "sluice.dev", Version: "v1alpha1", Resource: "inferencetriggers"}, []apis.ConditionType{"Ready"}},
}

// read reads the documents of a manifest, and puts the images in, by the names of their
// containers; the Model's container is "ranker".
func read(manifest []byte, images map[string]string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	documents := utilyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(manifest)))
	defer documents.Close()
	room := make([]byte, len(manifest))
	for {
		n, err := documents.Read(room)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading a manifest: %w", err)
		}
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(room[:n], &object.Object); err != nil {
			return nil, fmt.Errorf("reading a manifest: %w", err)
		}
		if err := withImages(object.Object, images); err != nil {
			return nil, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		objects = append(objects, object)
	}
}

func withImages(object map[string]any, images map[string]string) error {
	if container, ok, _ := unstructured.NestedMap(object, "spec", "container"); ok {
		container["image"] = images["ranker"]
		return unstructured.SetNestedMap(object, container, "spec", "container")
	}
	containers, ok, _ := unstructured.NestedSlice(object, "spec", "template", "spec", "containers")
	if !ok {
		return nil
	}
	for _, c := range containers {
		container, ok := c.(map[string]any)
		if !ok {
			return fmt.Errorf("container %v is no object", c)
		}
		name, _ := container["name"].(string)
		if container["image"], ok = images[name]; !ok {
			return fmt.Errorf("there is no image for container %q", name)
		}
	}
	return unstructured.SetNestedSlice(object, containers, "spec", "template", "spec", "containers")
}

// apply applies objects in their order, each once what is before it is ready.
func apply(ctx context.Context, clients *platform.Clients, namespace string, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		kind, ok := kinds[object.GetKind()]
		if !ok {
			return fmt.Errorf("%s %s: the kind is unknown", object.GetKind(), object.GetName())
		}
		what := object.GetKind() + " " + object.GetName()
		at := clients.Dynamic.Resource(kind.at).Namespace(namespace)
		if err := platform.Until(ctx, takenWithin, "the API server to take "+what, func(ctx context.Context) (string, error) {
			return taken(ctx, at, object)
		}); err != nil {
			return err
		}
		if err := platform.Until(ctx, readyWithin, what+" to be ready", func(ctx context.Context) (string, error) {
			now, err := at.Get(ctx, object.GetName(), metav1.GetOptions{})
			if err != nil {
				return "", fmt.Errorf("getting it: %w", err)
			}
			return missing(now, kind.when)
		}); err != nil {
			return err
		}
	}
	return nil
}

// taken applies an object. Webhooks that were installed a moment ago may not be reachable yet;
// what they refuse is final.
func taken(ctx context.Context, at dynamic.ResourceInterface, object *unstructured.Unstructured) (string, error) {
	_, err := at.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: manager, Force: true})
	switch {
	case apierrs.IsNotFound(err):
		return "", fmt.Errorf("the cluster has no kind %s: install Knative Eventing, and Sluice with SLUICE_BATCH=true: %w", object.GetKind(), err)
	case apierrs.IsInternalError(err) || apierrs.IsServiceUnavailable(err) || apierrs.IsTimeout(err):
		return err.Error(), nil
	default:
		return "", err
	}
}

// missing says which conditions of an object aren't true yet.
func missing(object *unstructured.Unstructured, when []apis.ConditionType) (string, error) {
	if len(when) == 0 {
		return "", nil
	}
	var seen duckv1.KResource // Deployments have the same
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &seen); err != nil {
		return "", fmt.Errorf("reading %s %s: %w", object.GetKind(), object.GetName(), err)
	}
	if seen.Status.ObservedGeneration < seen.Generation {
		return "its controller hasn't seen it yet", nil
	}
	var all []string
	for _, name := range when {
		switch c := seen.Status.GetCondition(name); {
		case c == nil:
			all = append(all, string(name)+" isn't there")
		case !c.IsTrue():
			all = append(all, fmt.Sprintf("%s is %s: %s %s", c.Type, c.Status, c.Reason, c.Message))
		}
	}
	if object.GetKind() == "Deployment" && len(all) == 0 {
		return rolling(object)
	}
	return strings.Join(all, "; "), nil
}

// rolling says what keeps the pods of a Deployment from being those that it wants.
func rolling(object *unstructured.Unstructured) (string, error) {
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &d); err != nil {
		return "", fmt.Errorf("reading Deployment %s: %w", object.GetName(), err)
	}
	if s := d.Status; s.UpdatedReplicas < *d.Spec.Replicas || s.Replicas > s.UpdatedReplicas || s.UnavailableReplicas > 0 {
		return fmt.Sprintf("%d of %d pods are new, %d aren't available", s.UpdatedReplicas, s.Replicas, s.UnavailableReplicas), nil
	}
	return "", nil
}
