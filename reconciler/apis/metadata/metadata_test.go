package metadata

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/autoscaling"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Every key that Knative's packages name is in the table, in each spelling, and no other:
// one that comes with another version of Knative is to be decided about.
func TestTableHasAllOfKnativesKeys(t *testing.T) {
	t.Parallel()
	declared := map[string]bool{}
	for _, path := range []string{
		"knative.dev/serving/pkg/apis/serving", "knative.dev/serving/pkg/apis/config",
		"knative.dev/networking/pkg/apis/networking", "knative.dev/serving/pkg/apis/autoscaling",
	} {
		found := 0
		for _, text := range stringsOf(t, path) {
			domain, name, ok := strings.Cut(text, "/")
			if !ok || name == "" || !within(domain, "knative.dev") {
				continue
			}
			found++
			if domain != autoscaling.GroupName {
				declared[text] = true
			}
			if v := judge(Annotation, text, ""); domain == autoscaling.GroupName && v.place != Apart {
				t.Errorf("%s goes to %v, want the autoscaler", text, v.place)
			}
		}
		if found == 0 {
			t.Errorf("no keys found in %s", path)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(declared)), slices.Sorted(maps.Keys(knative))); diff != "" {
		t.Error("keys of Knative's packages (-), of the table (+):", diff)
	}
}

// stringsOf are the values of a package's constants, and the strings that its variables
// are made of.
func stringsOf(t *testing.T, path string) []string {
	t.Helper()
	found, err := build.Import(path, ".", build.FindOnly)
	if err != nil {
		t.Fatal("finding a package of Knative's:", err)
	}
	entries, err := os.ReadDir(found.Dir)
	if err != nil {
		t.Fatal("reading a package of Knative's:", err)
	}
	constants, exprs := map[string]ast.Expr{}, []ast.Expr{}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), found.Dir+"/"+entry.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal("parsing a package of Knative's:", err)
		}
		for _, declaration := range file.Decls {
			general, ok := declaration.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range general.Specs {
				value, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for i, expr := range value.Values {
					exprs = append(exprs, parts(expr)...)
					if general.Tok == token.CONST {
						constants[value.Names[i].Name] = expr
					}
				}
			}
		}
	}
	var texts []string
	for _, expr := range exprs {
		if text, ok := evaluate(expr, constants); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// parts are the elements of a list, else the expression.
func parts(expr ast.Expr) []ast.Expr {
	if list, ok := expr.(*ast.CompositeLit); ok {
		return list.Elts
	}
	return []ast.Expr{expr}
}

func evaluate(expr ast.Expr, constants map[string]ast.Expr) (string, bool) {
	switch e := expr.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		of, ok := constants[e.Name]
		if !ok {
			return "", false
		}
		return evaluate(of, constants)
	case *ast.BinaryExpr:
		left, ok := evaluate(e.X, constants)
		right, also := evaluate(e.Y, constants)
		return left + right, ok && also && e.Op == token.ADD
	}
	return "", false
}

func TestWhereKeysGo(t *testing.T) {
	t.Parallel()
	const replicas, service, both, model, refused, apart = "replicas", "service", "both", "model", "refused", "apart"
	for _, c := range []struct {
		kind       Kind
		key, value string
		want       string
		says       string
	}{
		{Annotation, "prometheus.io/scrape", "true", replicas, ""},
		{Annotation, "example.com/release", "2", replicas, ""},
		{Annotation, "kubectl.kubernetes.io/restartedAt", "2026-01-01T00:00:00Z", replicas, ""},
		{Annotation, "client.knative.dev/updateTimestamp", "now", replicas, ""},
		{Annotation, "sidecar.istio.io/inject", "false", replicas, ""},
		{Annotation, "owner", "search", replicas, ""},
		{Label, "team", "search", both, ""},
		{Label, "kueue.x-k8s.io/queue-name", "gpu", both, ""},
		{Label, "app.kubernetes.io/name", "ranker", both, ""},

		{Annotation, "queue.sidecar.serving.knative.dev/cpu-resource-request", "10m", replicas, ""},
		{Annotation, "queue.sidecar.serving.knative.dev/resourcePercentage", "10", replicas, ""},
		{Annotation, "features.knative.dev/http-full-duplex", "Enabled", replicas, ""},
		{Annotation, "serving.knative.dev/no-gc", "true", replicas, ""},
		{Annotation, "features.knative.dev/new", "x", replicas, "features.knative.dev"},
		{Annotation, "serving.knative.dev/progress-deadline", "20m", apart, ""},
		{Annotation, "autoscaling.knative.dev/min-scale", "1", apart, ""},

		{Label, "networking.knative.dev/visibility", "cluster-local", service, ""},
		{Annotation, "networking.knative.dev/disable-external-domain-tls", "true", service, ""},
		{Annotation, "networking.knative.dev/http-protocol", "redirected", service, ""},
		{Annotation, "networking.knative.dev/certificate-class", "x", service, ""},

		{Label, "networking.knative.dev/visibility", "cluster_local", refused, "must be cluster-local"},
		{Label, "networking.knative.dev/visibility", "", refused, "take it away"},
		{Label, "networking.knative.dev/visiblity", "cluster-local", refused, "mend its name"},
		{Annotation, "networking.knative.dev/visibility", "cluster-local", refused, "move it to metadata.labels"},
		{Label, "autoscaling.knative.dev/min-scale", "1", refused, "move it to metadata.annotations"},
		{Label, "queue.sidecar.serving.knative.dev/cpu-resource-limit", "1", refused, "move it to metadata.annotations"},
		{Annotation, "serving.knative.dev/rollout-duration", "60s", refused, "spec.rollout"},
		{Annotation, "serving.knative.dev/rolloutDuration", "60s", refused, "spec.rollout"},
		{Annotation, "networking.knative.dev/ingress-class", "istio.ingress.networking.knative.dev", refused, "take it away"},
		{Annotation, "networking.knative.dev/ingress.class", sluice.IngressClassName, model, ""},
		{Annotation, "networking.knative.dev/http-protocol", "off", refused, "Enabled or Redirected"},
		{Annotation, "networking.knative.dev/disable-auto-tls", "maybe", refused, "true or false"},
		{Annotation, "networking.knative.dev/new", "x", refused, "mend its name"},

		{Annotation, "serving.knative.dev/creator", "somebody", model, "Knative writes it itself"},
		{Label, "serving.knative.dev/service", "other", model, "Knative writes it itself"},
		{Annotation, "serving.knative.dev/service", "other", model, "Knative writes it itself"},
		{Label, sluice.TenantLabelKey, "rival", model, "Sluice's own"},
		{Annotation, sluice.TemplateHashAnnotationKey, "x", model, "Sluice's own"},
		{Annotation, sluice.TunedByAnnotationKey, "alice", model, ""},
		{Annotation, sluice.TunedStateAnnotationKey, "x", model, ""},
		{Label, sluice.TunedByAnnotationKey, "alice", model, "Sluice's own"},

		{Annotation, "kubectl.kubernetes.io/last-applied-configuration", "{}", model, ""},
		{Annotation, "argocd.argoproj.io/tracking-id", "x", model, ""},
		{Label, "kustomize.toolkit.fluxcd.io/name", "x", model, ""},
		{Annotation, "meta.helm.sh/release-name", "x", model, ""},
		{Label, "helm.sh/chart", "x-1.2", model, ""},
		{Label, "app.kubernetes.io/instance", "x", model, ""},
		{Label, "app.kubernetes.io/managed-by", "Helm", model, ""},
		{Label, "app.kubernetes.io/version", "1.2", model, ""},
	} {
		m := &metav1.ObjectMeta{}
		of := map[string]string{c.key: c.value}
		if c.kind == Label {
			m.Labels = of
		} else {
			m.Annotations = of
		}
		onReplicas, onService, remarks := !ForReplicas(m).Empty(), !ForService(m).Empty(), Remarks(m)
		got := model
		switch {
		case len(remarks) > 0 && remarks[0].Refused:
			got = refused
		case onReplicas && onService:
			got = both
		case onReplicas:
			got = replicas
		case onService:
			got = service
		case judge(c.kind, c.key, c.value).place == Apart:
			got = apart
		}
		if got != c.want {
			t.Errorf("%s %s=%q goes to %s, want %s", c.kind, c.key, c.value, got, c.want)
		}
		if got == refused && (onReplicas || onService) {
			t.Errorf("%s %s is refused, and handed on", c.kind, c.key)
		}
		if said := len(remarks) > 0; said != (c.says != "") || said && !strings.Contains(remarks[0].Why, c.says) {
			t.Errorf("%s %s=%q: remarks %+v, want %q", c.kind, c.key, c.value, remarks, c.says)
		}
	}
}

// The page for model teams names every key of Knative's that is theirs to set, and every
// tool whose books stay on the Model.
func TestDocumentedKeys(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/models.md")
	if err != nil {
		t.Fatal(err)
	}
	for key, k := range knative {
		if k.why != ownWords && !strings.Contains(string(page), "`"+key+"`") {
			t.Errorf("docs/models.md doesn't name %s", key)
		}
	}
	for _, name := range slices.Concat(bookkeepers, books) {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/models.md doesn't name %s", name)
		}
	}
}
