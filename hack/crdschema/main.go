// Command crdschema finishes the CRDs that controller-gen wrote: in what users write, a
// container, a volume and the filters of events have Knative's own schema, and nothing is pruned.
//
//	crdschema <CRD of Knative Services> <CRD of Knative's Triggers> <CRD>...
//
// The API server prunes what a schema doesn't name before any webhook sees it. Where unknown
// fields are kept, it is the webhook that refuses them, whatever the client validates; and
// `kubectl explain` has the text all the same. A default would change Models that are there,
// and so their template's hash; without one, a list can't be keyed by what may be unset.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"

	"sigs.k8s.io/yaml"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 4 {
		log.Fatal("usage: crdschema <CRD of Knative Services> <CRD of Knative's Triggers> <CRD>...")
	}
	pod, err := knatives(os.Args[1], "template", "properties", "spec", "properties")
	if err != nil {
		log.Fatal("crdschema: ", err)
	}
	filters, err := knatives(os.Args[2], "filters")
	if err != nil {
		log.Fatal("crdschema: ", err)
	}
	for _, path := range os.Args[3:] {
		if err := finish(path, pod, filters); err != nil {
			log.Fatalf("crdschema: finishing %s: %v", path, err)
		}
	}
}

// schema is a node of an OpenAPI schema.
type schema = map[string]any

// knatives is the schema of a field of one of Knative's kinds, which is found by a path below spec.
func knatives(file string, path ...string) (schema, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading Knative's CRD: %w", err)
	}
	crd := schema{}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return nil, fmt.Errorf("parsing Knative's CRD: %w", err)
	}
	found, err := within(root(crd), append([]string{"properties", "spec", "properties"}, path...)...)
	if err != nil {
		return nil, fmt.Errorf("in Knative's CRD: %w", err)
	}
	return found, nil
}

func finish(path string, pod, filters schema) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading it: %w", err)
	}
	header, body, found := bytes.Cut(text, []byte("---\n"))
	if !found {
		return errors.New("it has no header")
	}
	crd := schema{}
	if err := yaml.Unmarshal(body, &crd); err != nil {
		return fmt.Errorf("parsing it: %w", err)
	}
	whole := root(crd)
	spec, err := within(whole, "properties", "spec")
	if err != nil {
		return err
	}
	if fields, err := within(spec, "properties"); err == nil && fields["container"] != nil {
		if err := likeKnative(fields, pod); err != nil {
			return err
		}
	}
	if fields, err := within(spec, "properties"); err == nil && fields["filters"] != nil {
		own := fields["filters"].(schema)
		like := deepCopy(filters)
		like["description"] = own["description"]
		fields["filters"] = like
	}
	keepUnknown(spec)
	whole[preserve] = true
	if body, err = yaml.Marshal(crd); err != nil {
		return fmt.Errorf("writing it: %w", err)
	}
	out := bytes.Join([][]byte{header, []byte("---\n"), body}, nil)
	if err := os.WriteFile(path, out, 0o644); err != nil {
		return fmt.Errorf("writing it: %w", err)
	}
	return nil
}

// likeKnative gives containers and volumes Knative's schema, under their own description.
func likeKnative(fields, pod schema) error {
	container, err := within(pod, "containers", "items")
	if err != nil {
		return fmt.Errorf("in Knative's CRD: %w", err)
	}
	volume, err := within(pod, "volumes", "items")
	if err != nil {
		return fmt.Errorf("in Knative's CRD: %w", err)
	}
	own := fields["container"].(schema)
	serving := deepCopy(container)
	serving["description"] = own["description"]
	fields["container"] = serving
	for field, of := range map[string]schema{"sidecars": container, "initContainers": container, "volumes": volume} {
		list, err := within(fields, field)
		if err != nil {
			return err
		}
		list["items"] = deepCopy(of)
	}
	return nil
}

const preserve = "x-kubernetes-preserve-unknown-fields"

// keepUnknown has every object of a schema keep what it doesn't name, and takes out
// defaults and the keys of lists.
func keepUnknown(node schema) {
	for _, key := range []string{"default", "x-kubernetes-list-map-keys", "x-kubernetes-list-type"} {
		delete(node, key)
	}
	if properties, ok := node["properties"].(schema); ok {
		node[preserve] = true
		for _, of := range properties {
			keepUnknown(of.(schema))
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if of, ok := node[key].(schema); ok {
			keepUnknown(of)
		}
	}
}

// root is the schema of a CRD's storage version, empty where there is none.
func root(crd schema) schema {
	spec, _ := crd["spec"].(schema)
	versions, _ := spec["versions"].([]any)
	for _, v := range versions {
		version, _ := v.(schema)
		if stored, _ := version["storage"].(bool); stored {
			at, _ := within(version, "schema", "openAPIV3Schema")
			return at
		}
	}
	return nil
}

func within(node schema, path ...string) (schema, error) {
	for i, part := range path {
		next, ok := node[part].(schema)
		if !ok {
			return nil, fmt.Errorf("there is no %v", path[:i+1])
		}
		node = next
	}
	return node, nil
}

func deepCopy(node schema) schema {
	return copyOf(node).(schema)
}

func copyOf(node any) any {
	switch n := node.(type) {
	case schema:
		out := schema{}
		for key, value := range n {
			out[key] = copyOf(value)
		}
		return out
	case []any:
		out := make([]any, len(n))
		for i, value := range n {
			out[i] = copyOf(value)
		}
		return out
	}
	return node
}
