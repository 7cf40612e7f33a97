// Package manifest reads Kubernetes objects from YAML, rewrites them for one
// small machine and writes them in the order in which they can be applied.
package manifest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"sigs.k8s.io/yaml"
)

// Object is one Kubernetes object.
type Object map[string]any

// Kind, Name and Namespace of the object; empty where it has none.
func (o Object) Kind() string      { return text(o, "kind") }
func (o Object) Name() string      { return text(o, "metadata", "name") }
func (o Object) Namespace() string { return text(o, "metadata", "namespace") }

func text(o map[string]any, path ...string) string {
	for _, key := range path[:len(path)-1] {
		o, _ = o[key].(map[string]any)
	}
	s, _ := o[path[len(path)-1]].(string)
	return s
}

// Parse splits a stream of YAML documents; empty ones are left out.
func Parse(content []byte) ([]Object, error) {
	var objects []Object
	for i, doc := range documents(content) {
		var o Object
		if err := yaml.Unmarshal(doc, &o); err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		if len(o) > 0 {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

func documents(content []byte) [][]byte {
	var docs [][]byte
	var doc bytes.Buffer
	for _, line := range bytes.SplitAfter(content, []byte("\n")) {
		if separator := bytes.TrimRight(line, " \r\n"); bytes.Equal(separator, []byte("---")) {
			docs = append(docs, bytes.Clone(doc.Bytes()))
			doc.Reset()
			continue
		}
		doc.Write(line)
	}
	return append(docs, doc.Bytes())
}

// Format writes objects as a stream of YAML documents.
func Format(objects []Object) ([]byte, error) {
	var out bytes.Buffer
	for _, o := range objects {
		doc, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("formatting %s %s: %w", o.Kind(), o.Name(), err)
		}
		out.WriteString("---\n")
		out.Write(doc)
	}
	return out.Bytes(), nil
}

// Concatenate reads YAML files and whole folders (one level, in the order of
// their names) below root into one stream.
func Concatenate(root string, sources []string) ([]byte, error) {
	var out bytes.Buffer
	for _, source := range sources {
		files := []string{filepath.Join(root, source)}
		if !strings.HasSuffix(source, ".yaml") {
			var err error
			if files, err = filepath.Glob(filepath.Join(root, source, "*.yaml")); err != nil {
				return nil, err
			}
			sort.Strings(files)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%s holds no YAML files", filepath.Join(root, source))
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			out.WriteString("---\n")
			out.Write(content)
			out.WriteString("\n")
		}
	}
	return out.Bytes(), nil
}

// Phases are the objects in the order in which they can be applied.
type Phases struct {
	// Definitions are the CRDs: nothing of their kinds can be applied before
	// they are established.
	Definitions []Object
	// Ground is what workloads start from: namespaces, roles, configuration.
	Ground []Object
	// Workloads are Deployments and the like, and whatever intercepts requests:
	// admission webhooks would refuse the ground while nothing serves them.
	Workloads []Object
}

// Split sorts objects into phases; within one the order stands, except that
// namespaces come first.
func Split(objects []Object) Phases {
	var p Phases
	var namespaces []Object
	for _, o := range objects {
		switch o.Kind() {
		case "CustomResourceDefinition":
			p.Definitions = append(p.Definitions, o)
		case "Namespace":
			namespaces = append(namespaces, o)
		case "Deployment", "StatefulSet", "DaemonSet", "Job",
			"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
			p.Workloads = append(p.Workloads, o)
		default:
			p.Ground = append(p.Ground, o)
		}
	}
	p.Ground = append(namespaces, p.Ground...)
	return p
}
