package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// promtool agrees, where it is there: it also reads annotations with their values.
func TestRulesByPromtool(t *testing.T) {
	t.Parallel()
	promtool := promtool()
	if promtool == "" {
		t.Skip("promtool isn't there: hack/cluster builds it with the store prometheus, or name one in SLUICE_PROMTOOL")
	}
	args := []string{"test", "rules"}
	for path := range testFiles(t) {
		args = append(args, path)
	}
	for _, args := range [][]string{append([]string{"check", "rules", "--lint-fatal"}, ruleFiles(t)...), args} {
		if said, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", args[0], err, said)
		}
	}
}

// promtool is the path of one, "" if there is none: that of the environment, or the newest that
// hack/cluster has built.
func promtool() string {
	if named := os.Getenv("SLUICE_PROMTOOL"); named != "" {
		return named
	}
	cache := os.Getenv("SLUICE_CACHE_DIR")
	if cache == "" {
		cache = "/var/cache/sluice-cluster"
	}
	built, err := filepath.Glob(filepath.Join(cache, "bin", "*", "promtool"))
	if err == nil && len(built) > 0 {
		return built[len(built)-1]
	}
	found, err := exec.LookPath("promtool")
	if err != nil {
		return ""
	}
	return found
}
