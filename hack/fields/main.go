// Command fields prints the reference of the API's fields, docs/fields.md, from the schemas
// of the CRDs that it is given.
package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const head = `# Fields

Every field of Models, Tenants, Batches and InferenceTriggers, generated from the API types by ` + "`make generate`" + `. The text is what
` + "`kubectl explain`" + ` shows. What a pod of Kubernetes has too is not told again below its first level.
`

func main() {
	if err := run(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fields:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, files []string) error {
	if _, err := io.WriteString(out, head); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading a CRD: %w", err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(text, &crd); err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
		for _, version := range crd.Spec.Versions {
			if _, err := io.WriteString(out, reference(crd.Spec.Names.Kind, version)); err != nil {
				return fmt.Errorf("writing: %w", err)
			}
		}
	}
	return nil
}

// reference is the table of a kind's spec and status.
func reference(kind string, version apiextensionsv1.CustomResourceDefinitionVersion) string {
	schema := version.Schema.OpenAPIV3Schema
	var out strings.Builder
	fmt.Fprintf(&out, "\n## %s (%s)\n\n%s\n\n| field | type | |\n|---|---|---|\n", kind, version.Name, schema.Description)
	for _, part := range []string{"spec", "status"} {
		if of, ok := schema.Properties[part]; ok {
			rows(&out, part, of)
		}
	}
	return out.String()
}

// rows are those of what is below a path.
func rows(out io.Writer, path string, of apiextensionsv1.JSONSchemaProps) {
	for _, name := range slices.Sorted(maps.Keys(of.Properties)) {
		field, below := of.Properties[name], path+"."+name
		required := ""
		if slices.Contains(of.Required, name) {
			required = ", required"
		}
		fmt.Fprintf(out, "| `%s` | %s%s | %s |\n", below, typeOf(field), required, cell(field))
		if path == "spec" && isPodsOwn(name) {
			continue
		}
		if field.Items != nil && field.Items.Schema != nil {
			rows(out, below+"[]", *field.Items.Schema)
		}
		rows(out, below, field)
	}
}

// isPodsOwn is true of what Kubernetes documents.
func isPodsOwn(name string) bool {
	if name == "container" || name == "sidecars" {
		return true
	}
	pod := reflect.TypeFor[corev1.PodSpec]()
	for i := range pod.NumField() {
		if tag, _, _ := strings.Cut(pod.Field(i).Tag.Get("json"), ","); tag == name {
			return true
		}
	}
	return false
}

func typeOf(field apiextensionsv1.JSONSchemaProps) string {
	switch {
	case field.XIntOrString, field.Type == "": // without a type is what may have decimal places
		return "quantity or number"
	case field.Type == "array" && field.Items != nil && field.Items.Schema != nil:
		return "list of " + typeOf(*field.Items.Schema)
	case field.AdditionalProperties != nil && field.AdditionalProperties.Schema != nil:
		return "map to " + typeOf(*field.AdditionalProperties.Schema)
	}
	return field.Type
}

// cell is a description in one line, with the values that there may be.
func cell(field apiextensionsv1.JSONSchemaProps) string {
	text := strings.ReplaceAll(strings.Join(strings.Fields(field.Description), " "), "|", `\|`)
	if len(field.Enum) == 0 {
		return text
	}
	values := make([]string, len(field.Enum))
	for i, value := range field.Enum {
		values[i] = "`" + strings.Trim(string(value.Raw), `"`) + "`"
	}
	return strings.TrimSpace(text + " One of " + strings.Join(values, ", ") + ".")
}
