// Package architecture checks who imports whom, as docs/architecture.md has it.
package architecture

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "sluice.dev/sluice/"

// rule forbids imports to packages. Prefixes are relative to the module where
// they don't name a host.
type rule struct {
	name      string
	of        func(path string) bool
	forbidden []string
	// but are allowed all the same.
	but []string
}

var rules = []rule{
	{
		name:      "what builds objects is pure",
		of:        func(p string) bool { return strings.HasSuffix(p, "/resources") || strings.Contains(p, "/resources/") },
		forbidden: []string{"k8s.io/client-go/", "reconciler/client/", "k8s.io/utils/clock", "istio.io/client-go/pkg/clientset"},
	},
	{
		name:      "the API has no clients",
		of:        under("reconciler/apis/"),
		forbidden: []string{"k8s.io/client-go/kubernetes", "reconciler/client/", "functions/", "eventing", "cmd/"},
	},
	{
		name:      "functions know no reconciler",
		of:        under("functions/"),
		forbidden: []string{"reconciler/", "cmd/"},
		but:       []string{"reconciler/apis/", "reconciler/client/"},
	},
	{
		name:      "events know nobody",
		of:        under("eventing"),
		forbidden: []string{"reconciler/", "functions/", "cmd/"},
		but:       []string{"reconciler/apis/"},
	},
	{name: "reconcilers know no function", of: under("reconciler/"), forbidden: []string{"functions/", "cmd/"}},
	{
		name:      "the product knows no tool and no test",
		of:        func(p string) bool { return !strings.HasPrefix(p, "test/") && !strings.HasPrefix(p, "hack/") },
		forbidden: []string{"hack/", "test/"},
	},
}

func under(prefix string) func(string) bool {
	return func(path string) bool { return strings.HasPrefix(path, prefix) }
}

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"...").Output()
	if err != nil {
		t.Fatal("listing packages:", err)
	}
	packages := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(packages) < 20 {
		t.Fatalf("only %d packages found", len(packages))
	}
	for _, line := range packages {
		fields := strings.Fields(line)
		path := strings.TrimPrefix(fields[0], module)
		for _, imported := range fields[1:] {
			check(t, path, strings.TrimPrefix(imported, module))
		}
	}
}

func check(t *testing.T, path, imported string) {
	t.Helper()
	matches := func(prefix string) bool { return strings.HasPrefix(imported, prefix) }
	for _, r := range rules {
		if r.of(path) && slices.ContainsFunc(r.forbidden, matches) && !slices.ContainsFunc(r.but, matches) {
			t.Errorf("%s imports %s: %s", path, imported, r.name)
		}
	}
	if kind, ok := reconcilerOf(path); ok {
		if other, ok := reconcilerOf(imported); ok && other != kind {
			t.Errorf("%s imports %s: no reconciler imports another kind's", path, imported)
		}
	}
}

// reconcilerOf returns the kind whose reconciler a package belongs to.
func reconcilerOf(path string) (string, bool) {
	parts := strings.Split(path, "/")
	if len(parts) < 2 || parts[0] != "reconciler" || parts[1] == "apis" || parts[1] == "client" {
		return "", false
	}
	return parts[1], true
}
