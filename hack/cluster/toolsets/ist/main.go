// Command istio-manifests prints what Istio's charts come to with an IstioOperator's
// settings, as istioctl does: istioctl itself takes longer to build than istiod.
//
//	istio-manifests FILE SETTING...
package main

import (
	"fmt"
	"os"

	"istio.io/istio/operator/pkg/render"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "istio-manifests:", err)
		os.Exit(1)
	}
}

func run(operator string, settings []string) error {
	sets, _, err := render.GenerateManifest([]string{operator}, settings, false, nil, nil)
	if err != nil {
		return fmt.Errorf("rendering: %w", err)
	}
	for _, set := range sets {
		for _, m := range set.Manifests {
			content, err := yaml.Marshal(m.Object)
			if err != nil {
				return fmt.Errorf("writing %s %s: %w", m.GetKind(), m.GetName(), err)
			}
			fmt.Printf("%s---\n", content)
		}
	}
	return nil
}
