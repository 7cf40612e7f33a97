//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

// What is stored of a Model is what its author wrote, and there is nothing to warn of:
// whoever applies it again is told that nothing changed.
func TestWhatIsAppliedStays(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	result := s.apply(`"limit": {"requestsPerSecondPerReplica": 33.5}, "autoscaling": {"window": "60s", "scaleDownDelay": "5m"}`)
	stored, err := result.Raw()
	if err != nil {
		t.Fatal(err)
	}
	for _, written := range []string{`"requestsPerSecondPerReplica":33.5`, `"window":"60s"`, `"scaleDownDelay":"5m"`, `"policy":"Demand"`} {
		if !strings.Contains(string(stored), written) {
			t.Errorf("%s is not in what is stored: %s", written, stored)
		}
	}
	if warnings := result.Warnings(); len(warnings) > 0 {
		t.Errorf("warns: %v", warnings)
	}
}

// The API server asks the webhook before it goes by a schema, so what can't be read is
// answered with its field and what would be right.
func TestWhatCantBeReadIsExplained(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for written, says := range map[string][]string{
		`"limit": {"requestsPerSecondPerReplica": "40/s"}`:                                  {"spec.limit.requestsPerSecondPerReplica", "without a unit: 40"},
		`"limit": {"requestsPerSecondPerReplica": 4}, "autoscaling": {"window": "60"}`:      {"spec.autoscaling.window", `"60s" for seconds`},
		`"limit": {"requestsPerSecondPerReplica": 4}, "autoscaling": {"maxReplicas": "3"}`:  {"spec.autoscaling.maxReplicas", "take the quotes away: 3"},
		`"limit": {"requestsPerSecondPerReplica": 4, "burst": "100"}`:                       {"spec.limit.burst", `"100ms" for milliseconds`},
		`"limit": {"requestsPerSecondPerReplica": 4}, "warmUp": {"timeout": "2 minutes"}`:   {"spec.warmUp.timeout", `"2m"`},
		`"limit": {"requestsPerSecondPerReplica": 4}, "rollout": {"percent": "10%"}`:        {"spec.rollout.percent", "whole number"},
		`"limit": {"requestsPerSecondPerReplica": 0.000001}, "autoscaling": {"target": 10}`: {"spec.limit.requestsPerSecondPerReplica", "from 0.00001"},
	} {
		err := s.apply(written).Error()
		for _, part := range says {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q is not in the answer: %v", written, part, err)
			}
		}
	}
}

// apply sends a Model as text, to be judged and not kept.
func (s *stage) apply(spec string) rest.Result {
	s.Helper()
	model := fmt.Sprintf(`{"apiVersion": "sluice.dev/v1alpha1", "kind": "Model", "metadata": {"name": "written"},
		"spec": {"container": {"image": %q}, %s}}`, cluster.image, spec)
	return s.Sluice.SluiceV1alpha1().RESTClient().Post().Namespace(s.namespace).Resource("models").
		Param("dryRun", "All").SetHeader("Content-Type", "application/json").Body([]byte(model)).Do(s.Context())
}
