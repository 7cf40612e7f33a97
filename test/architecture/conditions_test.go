package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// speaking are the files that say the reasons of a Model's and a Batch's conditions.
var speaking = []string{
	"reconciler/apis/sluice/v1alpha1/*_lifecycle.go", "reconciler/apis/sluice/v1alpha1/tenant_caps.go", "reconciler/apis/obstacle/*.go",
	"reconciler/model/*.go", "reconciler/model/rollout/*.go", "reconciler/ingress/*.go", "reconciler/ingress/resources/*.go",
	"functions/limit/*.go", "functions/limit/capacity/*.go", "reconciler/batch/*.go", "functions/batch/task/report.go",
}

// knatives are what Knative says, and we repeat.
var knatives = []string{"Ready", "IngressNotConfigured", "RevisionMissing", "RevisionNotOwned", "Uninitialized"}

// ofOthers are conditions that neither has: those of other kinds.
var ofOthers = []string{"tenant_lifecycle.go", "inferencetrigger_lifecycle.go"}

// explained are the names that the tables of a page begin with.
func explained(t *testing.T, page string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`.+?) \\|").FindAllStringSubmatch(string(text), -1) {
		for _, name := range regexp.MustCompile("`([A-Za-z]+)`").FindAllStringSubmatch(row[1], -1) {
			names[name[1]] = true
		}
	}
	return names
}

// Every condition of a Model or a Batch, and every reason of one, is explained, and nothing else is.
func TestConditionsAreExplained(t *testing.T) {
	explained := explained(t, "conditions.md")
	said := map[string]string{}
	for _, pattern := range speaking {
		files, err := filepath.Glob("../../" + pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", pattern, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") && !slices.Contains(ofOthers, filepath.Base(file)) {
				for _, reason := range reasonsOf(t, file) {
					said[reason] = file
				}
			}
		}
	}
	if len(said) < 60 {
		t.Fatalf("only %d reasons found", len(said))
	}
	for reason, file := range said {
		if !explained[reason] {
			t.Errorf("docs/conditions.md doesn't explain %s, of %s", reason, file)
		}
	}
	for name := range explained {
		if said[name] == "" && !slices.Contains(knatives, name) {
			t.Errorf("docs/conditions.md explains %s, which nothing says", name)
		}
	}
}

// So is every one of an InferenceTrigger, beside those that a Model has as well.
func TestConditionsOfTriggersAreExplained(t *testing.T) {
	explained := explained(t, "triggers.md")
	reasons := reasonsOf(t, "../../reconciler/apis/sluice/v1alpha1/inferencetrigger_lifecycle.go")
	if len(reasons) < 10 {
		t.Fatalf("only %d reasons found", len(reasons))
	}
	for _, reason := range append(reasons, "NotOwned", "Refused", "NotWritten") {
		if !explained[reason] {
			t.Errorf("docs/triggers.md doesn't explain %s", reason)
		}
	}
}

// reasonsOf are the conditions and reasons that a file says: constants that are named so,
// and what is handed to what marks or refuses.
func reasonsOf(t *testing.T, file string) (reasons []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	add := func(of ast.Expr) {
		if text, ok := word(of); ok {
			reasons = append(reasons, text)
		}
	}
	ast.Inspect(parsed, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if i < len(n.Values) && isReason(name.Name, n.Values[i]) {
					add(n.Values[i])
				}
			}
		case *ast.CallExpr:
			if marks.MatchString(nameOf(n.Fun)) {
				for _, argument := range n.Args {
					add(argument)
				}
			}
		case *ast.CompositeLit:
			if problems.MatchString(nameOf(n.Type)) && len(n.Elts) > 0 {
				add(n.Elts[0])
			}
		case *ast.KeyValueExpr:
			if nameOf(n.Key) == "Reason" {
				add(n.Value)
			}
		}
		return true
	})
	return reasons
}

var (
	marks     = regexp.MustCompile(`^(Mark(True|False|Unknown|WarmUpLacking).*|markFalse|refuse)$`)
	problems  = regexp.MustCompile(`^lackError$`)
	constants = regexp.MustCompile(`^(reason[A-Z]|Reason[A-Z]|ModelCondition|BatchCondition|InferenceTriggerCondition|slotFull$|notReady$)`)
)

// isReason tells whether a constant is a reason: by its name, or as it is one with its value.
func isReason(name string, value ast.Expr) bool {
	text, _ := word(value)
	return constants.MatchString(name) || name == text
}

// word is a string that is one word as reasons are.
func word(of ast.Expr) (string, bool) {
	literal, ok := of.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(literal.Value)
	return text, err == nil && regexp.MustCompile(`^[A-Z][A-Za-z]+$`).MatchString(text)
}

func nameOf(of ast.Expr) string {
	switch e := of.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.UnaryExpr:
		return nameOf(e.X)
	}
	return ""
}
