package v1alpha1

import (
	"encoding/json"
	"os"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// kindsOfUsers are the resources that users write.
var kindsOfUsers = []string{"models", "tenants", "batches", "inferencetriggers"}

// schemaOf is the schema of a resource, and the bytes of its CRD.
func schemaOf(t *testing.T, plural string) (apiextensionsv1.JSONSchemaProps, int) {
	t.Helper()
	part := "core"
	if plural == "batches" || plural == "inferencetriggers" {
		part = "batch"
	}
	text, err := os.ReadFile("../../../../config/" + part + "/crds/sluice.dev_" + plural + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, crd); err != nil {
		t.Fatal(err)
	}
	compact, err := json.Marshal(crd)
	if err != nil {
		t.Fatal(err)
	}
	return *crd.Spec.Versions[0].Schema.OpenAPIV3Schema, len(compact)
}

// walk visits a schema and all below it.
func walk(path string, s apiextensionsv1.JSONSchemaProps, visit func(path string, s apiextensionsv1.JSONSchemaProps)) {
	visit(path, s)
	for name, of := range s.Properties {
		walk(path+"."+name, of, visit)
	}
	if s.Items != nil {
		walk(path+"[]", *s.Items.Schema, visit)
	}
	if s.AdditionalProperties != nil {
		walk(path+"{}", *s.AdditionalProperties.Schema, visit)
	}
}

// Whatever the client validates, the API server drops nothing of what users write: unknown
// fields come to the webhook, which refuses them. It prunes them from each object of which
// the schema names fields and doesn't say otherwise.
func TestNothingIsPruned(t *testing.T) {
	t.Parallel()
	for _, plural := range kindsOfUsers {
		root, _ := schemaOf(t, plural)
		if root.XPreserveUnknownFields == nil {
			t.Errorf("%s: what is beside spec is pruned", plural)
		}
		objects := 0
		walk("spec", root.Properties["spec"], func(path string, s apiextensionsv1.JSONSchemaProps) {
			if s.Type != "object" || s.AdditionalProperties != nil {
				return
			}
			objects++
			if s.XPreserveUnknownFields == nil || !*s.XPreserveUnknownFields {
				t.Errorf("%s: unknown fields of %s are pruned", plural, path)
			}
		})
		if objects < 5 {
			t.Errorf("%s: only %d objects found", plural, objects)
		}
	}
}

// A default would change Models that are there, and make a revision of each; a list with
// keys would be refused by the API server, in words of its own, before the webhook.
func TestSchemaDecidesNothing(t *testing.T) {
	t.Parallel()
	for _, plural := range kindsOfUsers {
		root, _ := schemaOf(t, plural)
		walk("spec", root.Properties["spec"], func(path string, s apiextensionsv1.JSONSchemaProps) {
			if s.Default != nil {
				t.Errorf("%s: %s has the default %s", plural, path, s.Default.Raw)
			}
			if len(s.XListMapKeys) > 0 {
				t.Errorf("%s: %s has keys %q", plural, path, s.XListMapKeys)
			}
		})
	}
}

// `kubectl explain` has text wherever one can look, and what Knative refuses of a container
// isn't shown. `kubectl apply`, which keeps a copy in an annotation, can bear the size.
func TestSchemaExplains(t *testing.T) {
	t.Parallel()
	root, size := schemaOf(t, "models")
	shown := map[string]int{}
	walk("spec", root.Properties["spec"], func(path string, s apiextensionsv1.JSONSchemaProps) {
		shown[path] = len(s.Properties)
	})
	for _, path := range []string{
		"spec.container", "spec.sidecars[]", "spec.initContainers[]", "spec.volumes[]", "spec.volumes[].projected.sources[]",
		"spec.container.resources", "spec.container.env[].valueFrom", "spec.container.readinessProbe.httpGet",
		"spec.affinity.nodeAffinity", "spec.securityContext", "spec.topologySpreadConstraints[]", "spec.dnsConfig",
	} {
		if shown[path] < 2 {
			t.Errorf("%s has %d fields to show", path, shown[path])
		}
	}
	for _, refused := range []string{"lifecycle", "stdin", "tty", "volumeDevices"} {
		if _, ok := shown["spec.container."+refused]; ok {
			t.Errorf("spec.container.%s is shown, and Knative refuses it", refused)
		}
	}
	container := root.Properties["spec"].Properties["container"]
	walk("container", container, func(path string, s apiextensionsv1.JSONSchemaProps) {
		for name, field := range s.Properties {
			if field.Description == "" {
				t.Errorf("%s.%s has no description", path, name)
			}
		}
	})
	const annotations = 256 << 10
	if size > annotations*9/10 {
		t.Errorf("the CRD is %d bytes; kubectl apply takes %d with all that it adds", size, annotations)
	}
}
