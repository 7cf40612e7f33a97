package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/test/pages"
)

// ofOthers are fragments in the documentation that are none of a Model or a Tenant, by what
// they have in spec.
var ofOthers = map[string]string{"delivery": "a Broker's"}

// What the documentation shows of Models, Tenants, Batches and InferenceTriggers is let in, without
// a word: whole ones as they are, parts of one over one that is right.
func TestWhatPagesShowIsTaken(t *testing.T) {
	gates := map[string]*gate{
		"Model": newGateWith(t, rightModel, "models",
			"multi-container-probing", "kubernetes.podspec-init-containers", "kubernetes.podspec-securitycontext"),
		"Tenant":           newGateWith(t, rightTenant, "tenants"),
		"Batch":            newGateWith(t, rightBatch, "batches"),
		"InferenceTrigger": newGateWith(t, rightTrigger, "inferencetriggers"),
		starter:            newGateWith(t, rightStarter, "inferencetriggers"),
	}
	all, err := pages.All("../..")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, page := range all {
		for _, block := range page.Blocks() {
			if block.Language != "yaml" {
				continue
			}
			// What a command puts in place is there.
			written := strings.ReplaceAll(block.Text, " IMAGE\n", " registry.example.com/hello:1\n")
			for i, text := range strings.Split(written, "\n---\n") {
				name := fmt.Sprintf("%s:%d/%d", page.Name, block.Line, i)
				var shown map[string]any
				if err := yaml.UnmarshalStrict([]byte(text), &shown); err != nil {
					t.Errorf("%s can't be read: %v", name, err)
					continue
				}
				kind := kindShown(page.Name, shown)
				if kind == "" {
					continue
				}
				seen[kind]++
				t.Run(name, func(t *testing.T) {
					gate := *gates[kind]
					if shown["kind"] != nil {
						gate.right = "{}"
					}
					if got := gate.apply(t, text); got.refusal != "" || len(got.warnings) > 0 {
						t.Errorf("refused: %q, warned: %q", got.refusal, got.warnings)
					}
				})
			}
		}
	}
	if seen["Model"] < 10 || seen["Tenant"] < 3 || seen["Batch"] < 3 || seen["InferenceTrigger"] < 1 || seen[starter] < 1 {
		t.Errorf("only %v were seen", seen)
	}
}

// starter is an InferenceTrigger that starts Batches.
const starter = "InferenceTrigger of a Batch"

// kindShown is which kind of ours is shown, wholly or in part; "" for none.
func kindShown(page string, shown map[string]any) string {
	kind, whole := shown["kind"].(string)
	version, _ := shown["apiVersion"].(string)
	spec, _ := shown["spec"].(map[string]any)
	switch {
	case whole && !strings.HasPrefix(version, "sluice.dev/"):
		return ""
	case whole && kind == "InferenceTrigger" && spec["batch"] != nil:
		return starter
	case whole:
		return kind
	case slices.ContainsFunc(slices.Collect(maps.Keys(shown)), func(key string) bool { return key != "spec" && key != "metadata" }):
		return ""
	case slices.ContainsFunc(slices.Collect(maps.Keys(spec)), func(key string) bool { return ofOthers[key] != "" }):
		return ""
	case page == "docs/tenants.md":
		return "Tenant"
	}
	return "Model"
}
