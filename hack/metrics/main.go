// Command metrics writes the table of the metrics that Sluice's binaries serve into
// docs/metrics.md, from where the source defines them. A binary has those of each package
// of the module's that it imports, be it by way of others.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	module = "sluice.dev/sluice"
	page   = "docs/metrics.md"
	// The table is between these lines of the page.
	begins = "<!-- by make generate: from here -->\n"
	ends   = "<!-- by make generate: to here -->\n"
)

// metric is one that a package defines.
type metric struct {
	name, kind, help string
	labels           []string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
}

func run() error {
	binaries, err := filepath.Glob("cmd/*/main.go")
	if err != nil {
		return fmt.Errorf("listing binaries: %w", err)
	}
	from, of := map[string][]string{}, map[string]metric{}
	for _, main := range binaries {
		folder := filepath.Dir(main)
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			continue // another module, which has metrics of its own
		}
		packages, err := dependencies(folder)
		if err != nil {
			return err
		}
		for _, at := range packages {
			found, err := metricsIn(at)
			if err != nil {
				return err
			}
			for _, m := range found {
				of[m.name] = m
				from[m.name] = append(from[m.name], filepath.Base(folder))
			}
		}
	}
	return replace(table(of, from))
}

// dependencies are the folders of a binary's packages, as far as they are of this module.
func dependencies(folder string) ([]string, error) {
	out, err := exec.Command("go", "list", "-deps", "./"+folder).Output()
	if err != nil {
		return nil, fmt.Errorf("listing the packages of %s: %w", folder, err)
	}
	var folders []string
	for name := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(name), module+"/"); ok {
			folders = append(folders, rest)
		}
	}
	return folders, nil
}

// metricsIn are those that a package's files define.
func metricsIn(folder string) ([]metric, error) {
	var found []metric
	err := fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != ".":
			return fs.SkipDir
		case entry.IsDir(), path.Ext(name) != ".go", strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(folder, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if call, ok := node.(*ast.CallExpr); ok {
				if m, ok := defined(call); ok {
					found = append(found, m)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading package %s: %w", folder, err)
	}
	return found, nil
}

// defined is the metric that a call makes: prometheus.NewX(XOpts{...}), NewXVec(XOpts{...}, labels)
// or NewDesc(name, help, labels, nil).
func defined(call *ast.CallExpr) (metric, bool) {
	function, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return metric{}, false
	}
	made, ok := strings.CutPrefix(function.Sel.Name, "New")
	if !ok {
		return metric{}, false
	}
	if made == "Desc" && len(call.Args) == 4 {
		return metric{name: text(call.Args[0]), kind: "gauge", help: text(call.Args[1]), labels: texts(call.Args[2])}, text(call.Args[0]) != ""
	}
	options, ok := call.Args[0].(*ast.CompositeLit)
	if !ok {
		return metric{}, false
	}
	m := metric{kind: strings.ToLower(strings.TrimSuffix(made, "Vec"))}
	for _, element := range options.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		switch key, _ := pair.Key.(*ast.Ident); {
		case key == nil:
		case key.Name == "Name":
			m.name = text(pair.Value)
		case key.Name == "Help":
			m.help = text(pair.Value)
		}
	}
	if len(call.Args) > 1 {
		m.labels = texts(call.Args[1])
	}
	return m, strings.HasPrefix(m.name, "sluice_")
}

// text is a string's value, which may be in several parts; "" of what is none.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		value, _ := strconv.Unquote(e.Value)
		return value
	case *ast.BinaryExpr:
		return text(e.X) + text(e.Y)
	}
	return ""
}

func texts(e ast.Expr) []string {
	list, ok := e.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	var all []string
	for _, element := range list.Elts {
		all = append(all, text(element))
	}
	return all
}

// table has a row for each metric, by its name.
func table(of map[string]metric, from map[string][]string) string {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	slices.Sort(names)
	var out strings.Builder
	out.WriteString("| metric | kind | from | labels | meaning |\n|---|---|---|---|---|\n")
	for _, name := range names {
		m := of[name]
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s | %s |\n", name, m.kind, strings.Join(from[name], ", "), strings.Join(m.labels, ", "),
			strings.ReplaceAll(m.help, "|", `\|`))
	}
	return out.String()
}

// replace puts a table in the place of the page's.
func replace(with string) error {
	was, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("reading the page: %w", err)
	}
	head, rest, ok := bytes.Cut(was, []byte(begins))
	_, tail, ended := bytes.Cut(rest, []byte(ends))
	if !ok || !ended {
		return errors.New(page + " has no place for the table: " + strings.TrimSpace(begins))
	}
	now := string(head) + begins + with + ends + string(tail)
	if err := os.WriteFile(page, []byte(now), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}
