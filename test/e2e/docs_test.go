//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/pages"
)

const (
	// root is the repository, from this package.
	root = "../.."
	// followed is how long it takes to follow a page, at most.
	followed = 5 * time.Minute
	// guide is the page that begins with nothing and has a namespace of its own; all others
	// go on with the Model of readme.
	guide, readme = "docs/first-model.md", "README.md"
	// batchPage is the one that needs a volume.
	batchPage = "docs/batch.md"
)

// A newcomer who types what the page says gets what it shows.
func TestFirstModel(t *testing.T) {
	t.Parallel()
	t.Cleanup(func() {
		err := cluster.clients.Kube.CoreV1().Namespaces().Delete(context.Background(), "first", metav1.DeleteOptions{})
		if gone, err := gone(err); !gone && err != nil {
			t.Error(err)
		}
	})
	page := pageNamed(t, guide)
	newDesk(t, "default", page.Files()).follow(t, page.Commands())
}

// So does whoever types what any other page says: in a namespace with README's Model, as
// which all of them begin.
func TestPages(t *testing.T) {
	t.Parallel()
	all, err := pages.All(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range all {
		if page.Name == guide || len(page.Commands()) == 0 {
			continue
		}
		t.Run(page.Name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			s := newStage(t)
			t.Cleanup(s.unsettle)
			here := map[string]string{"demo": s.namespace, "search": s.namespace, "registry.example.com/ranker": cluster.image}
			page := page.With(here)
			files := pageNamed(t, readme).With(here).Files()
			for name, text := range page.Files() {
				files[name] = text
			}
			d := newDesk(t, s.namespace, files)
			if page.Name == batchPage {
				s.shelf("scores")
			}
			if page.Name != readme {
				// At zero replicas, much that pages show would be another matter.
				d.follow(t, []pages.Command{
					{Typed: "kubectl apply -f ranker.yaml", Prints: "model.sluice.dev/ranker created"},
					{Typed: `kubectl patch model ranker --type merge -p '{"spec": {"autoscaling": {"minReplicas": 1}}}'`, Prints: "model.sluice.dev/ranker patched"},
					{Typed: "kubectl wait --for=condition=Ready --timeout=2m model/ranker", Prints: "model.sluice.dev/ranker condition met"},
				})
			}
			d.follow(t, page.Commands())
			t.Logf("followed in %.0f s", time.Since(began).Seconds())
		})
	}
}

// unsettle removes what a page makes outside of its namespace, if its own commands didn't.
func (s *stage) unsettle() {
	ctx := context.Background()
	for _, err := range []error{
		s.Sluice.SluiceV1alpha1().Tenants().Delete(ctx, s.namespace, metav1.DeleteOptions{}),
		s.DeleteTrigger(ctx, sluice.SystemNamespace, eventing.BrokerName, s.namespace),
	} {
		if _, failed := gone(err); failed != nil {
			s.Error("removing what the page made:", failed)
		}
	}
}

func pageNamed(t *testing.T, name string) pages.Page {
	t.Helper()
	all, err := pages.All(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range all {
		if page.Name == name {
			return page
		}
	}
	t.Fatal("there is no page ", name)
	return pages.Page{}
}

// desk is where a reader types: a folder, and a kube context, of its own.
type desk struct{ folder, kubeconfig string }

func newDesk(t *testing.T, namespace string, files map[string]string) desk {
	t.Helper()
	d := desk{folder: t.TempDir()}
	d.kubeconfig = filepath.Join(d.folder, "kubeconfig")
	kubeconfig, err := os.ReadFile(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	errs := []error{os.WriteFile(d.kubeconfig, kubeconfig, 0o600)}
	for name, text := range files {
		path := filepath.Join(d.folder, name)
		errs = append(errs, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	d.follow(t, []pages.Command{{Typed: "kubectl config set-context --current --namespace=" + namespace, Prints: "Context … modified."}})
	return d
}

// follow types commands into one shell, which stops at the first that fails.
func (d desk) follow(t *testing.T, commands []pages.Command) {
	t.Helper()
	const mark = "=== "
	var script strings.Builder
	script.WriteString("set -o errexit -o pipefail\nexec 2>&1\n")
	for i, c := range commands {
		fmt.Fprintf(&script, "echo; echo '%s%d'\n%s\n", mark, i, c.Typed)
	}
	ctx, cancel := context.WithTimeout(t.Context(), followed)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", script.String())
	shell.Dir = d.folder
	shell.Env = append(os.Environ(), "KUBECONFIG="+d.kubeconfig, "GOFLAGS=-mod=mod", "GOWORK=off")
	out, err := shell.Output()
	printed := map[string]string{}
	for _, part := range strings.Split(string(out), "\n"+mark)[1:] {
		number, text, _ := strings.Cut(part, "\n")
		printed[number] = text
	}
	for i, c := range commands {
		got, ran := printed[fmt.Sprint(i)]
		if !ran {
			t.Errorf("$ %s\nwas not reached", c.Typed)
		} else if !pages.Shows(c.Prints, got) {
			t.Errorf("$ %s\nprints\n%s\nthe page says\n%s", c.Typed, got, c.Prints)
		}
	}
	if err != nil {
		t.Fatalf("the shell: %v", err)
	}
}
