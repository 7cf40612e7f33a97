package main

import (
	"strings"
	"testing"
)

// Whoever asks what a field is gets an answer; address and its like are Knative's to explain.
func TestEveryFieldIsExplained(t *testing.T) {
	var out strings.Builder
	const crds = "../../config/core/crds/sluice.dev_"
	if err := run(&out, []string{crds + "models.yaml", crds + "tenants.yaml", crds + "ratelimits.yaml", "../../config/batch/crds/sluice.dev_batches.yaml", "../../config/batch/crds/sluice.dev_inferencetriggers.yaml"}); err != nil {
		t.Fatal(err)
	}
	fields := 0
	for line := range strings.Lines(out.String()) {
		field, found := strings.CutPrefix(line, "| `")
		if !found {
			continue
		}
		fields++
		if strings.HasSuffix(line, "|  |\n") && !strings.HasPrefix(field, "status.address.") {
			t.Errorf("no text for %s", line)
		}
	}
	if fields < 100 {
		t.Errorf("%d fields, which can't be all", fields)
	}
}
