package pages

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the repository.
const root = "../.."

// unrun are the blocks that no test runs, by page and first command, and why.
var unrun = map[string]map[string]string{
	"docs/architecture.md": {"kubectl apply Model": "is a drawing"},
	"README.md": {
		"make demo":                       "the last of them runs this test; the demos have ones of their own in test/demo, and print their own verdicts",
		"CLUSTER=existing make up":        "test/uninstall runs both targets, against the local stack's registry",
		"CLUSTER=existing make uninstall": "takes away what all the other tests run on; test/uninstall runs both ways",
	},
	"docs/first-model.md": {
		"make install":          "has been run before any test",
		"export KO_DOCKER_REPO": "a registry of the reader's own",
		"curl http://hello":     "wants a domain that resolves; the same request is made by the gateway's address below it",
	},
	"docs/observability.md": {
		"kubectl -n sluice-gateways logs": "shows whatever was asked last; test/e2e/gateway_log_test.go reads it",
		"kubectl -n sluice-system patch":  "names a log store of the reader's; test/demo/observe writes the same",
		"for f in config/observability":   "is for a Prometheus operator of the reader's; hack/dashboards has promtool read the files",
		"make observe":                    "prints its own verdict, and changes where gateways and Knative trace to",
	},
	"docs/usage.md": {"$ kubectl get usages": "is of a day's traffic; test/e2e/usage_test.go holds what is behind it to a load"},
	"docs/triggers.md": {
		"curl http://broker-ingress": "is typed in a pod of the reader's; test/e2e/triggers_test.go sends the like",
	},
	"docs/events.md": {
		"kubectl apply -f config/eventing-authenticated": "the other half takes away from all other tests what they authenticate by; hack/install.sh runs both",
	},
}

// untold are the commands in running text that no session has, and why.
var untold = map[string]string{
	"kubectl logs --previous": "needs a container that has ended; the message that it belongs to has the whole command, and a test",
	"ko apply -f":             "is ko's own; docs/first-model.md builds by ko",
	"kubectl -n knative-serving rollout restart deployment/activator":                                    "starts anew what other tests go by; test/e2e/traced_test.go does so",
	"kubectl -n sluice-system rollout restart deployment/controller deployment/limiter deployment/batch": "as above",
	"oras push":                      "is a tool's of others",
	"crane append":                   "is a tool's of others",
	"kubectl apply --dry-run=server": "a word on what another command would say",
}

// command begins a line that is to be typed.
var command = regexp.MustCompile(`^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(make|kubectl|curl|go|ko|git|export|eval|oras|crane|helm|hack/\S+|docker)\s`)

// Every command of the documentation is in a session, which the end-to-end tests run and
// hold to what the page says that it prints, or in the lists above.
func TestEveryCommandIsRun(t *testing.T) {
	all := pages(t)
	used := map[string]bool{}
	for _, page := range all {
		for _, block := range page.Blocks() {
			first := strings.TrimSpace(strings.SplitN(block.Text, "\n", 2)[0])
			typed := slices.ContainsFunc(strings.Split(block.Text, "\n"), command.MatchString)
			switch {
			case block.Language == Session && !strings.HasPrefix(block.Text, "$ "):
				t.Errorf("%s:%d: a session begins with what is typed, after \"$ \"", page.Name, block.Line)
			case block.Language == Session || !typed && block.Language != "sh":
			case !explained(used, page.Name, first):
				t.Errorf("%s:%d: no test runs %q: make it a session (```%s), with what it prints", page.Name, block.Line, first, Session)
			}
		}
		for i, line := range outsideOfBlocks(page) {
			if strings.HasPrefix(line, "    ") && command.MatchString(line) {
				t.Errorf("%s:%d: %q is to be in a block", page.Name, i+1, strings.TrimSpace(line))
			}
		}
	}
	for page, blocks := range unrun {
		for begins := range blocks {
			if !used[page+begins] {
				t.Errorf("%s has no block %q that isn't run: take it from the list", page, begins)
			}
		}
	}
}

func explained(used map[string]bool, page, first string) bool {
	for begins := range unrun[page] {
		if strings.HasPrefix(first, begins) {
			used[page+begins] = true
			return true
		}
	}
	return false
}

// inText is a command in running text.
var inText = regexp.MustCompile("`((?:[A-Z_]+=\\S+ )*(?:make|kubectl|curl|go|ko|oras|crane) [^`]+)`")

// Commands in running text are part of one that is run, too; of those that need no cluster,
// what they name is there.
func TestCommandsInTextAreRun(t *testing.T) {
	all := pages(t)
	makefile := read(t, "Makefile") + read(t, "hack/cluster/cluster.mk")
	var typed strings.Builder
	for _, page := range all {
		for _, c := range page.Commands() {
			typed.WriteString(words(c.Typed) + "\n")
		}
	}
	used := map[string]bool{}
	for _, page := range all {
		for i, line := range outsideOfBlocks(page) {
			for _, m := range inText.FindAllStringSubmatch(line, -1) {
				said := m[1]
				fields := strings.Fields(regexp.MustCompile(`^(?:[A-Z_]+=\S+ )*`).ReplaceAllString(said, ""))
				switch {
				case fields[0] == "make":
					if !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(fields[1])+`:`).MatchString(makefile) && !strings.Contains(makefile, " "+fields[1]+" ") {
						t.Errorf("%s:%d: there is no target of %q", page.Name, i+1, said)
					}
				case fields[0] == "go":
					if _, err := os.Stat(root + "/" + fields[len(fields)-1]); err != nil {
						t.Errorf("%s:%d: %q: %v", page.Name, i+1, said, err)
					}
				case strings.Contains(typed.String(), words(said)):
				case untold[said] != "":
					used[said] = true
				default:
					t.Errorf("%s:%d: no session has %q", page.Name, i+1, said)
				}
			}
		}
	}
	for said := range untold {
		if !used[said] {
			t.Errorf("no page says %q: take it from the list", said)
		}
	}
}

// outsideOfBlocks are a page's lines, with those in blocks left empty.
func outsideOfBlocks(page Page) []string {
	lines, inside := strings.Split(page.Text, "\n"), false
	for i, line := range lines {
		fenced := strings.HasPrefix(strings.TrimSpace(line), fence)
		if fenced || inside {
			lines[i] = ""
		}
		inside = inside != fenced
	}
	return lines
}

func pages(t *testing.T) []Page {
	t.Helper()
	all, err := All(root)
	if err != nil || len(all) < 10 {
		t.Fatalf("%d pages, %v", len(all), err)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(root + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

const page = "Not `x` as `y`:\n\nSave it as\n`a/b.yaml`:\n\n```yaml\na: 1\n```\n\nThen:\n\n```console\n$ first demo\nit prints …\nof demos\n$ second\n```\n\n```\nanything\n```\n"

func TestPage(t *testing.T) {
	p := Page{Name: "x", Text: page}
	blocks := p.Blocks()
	if len(blocks) != 3 || blocks[0].File != "a/b.yaml" || blocks[1].Language != Session || blocks[2].Language != "" || blocks[2].Line != 19 {
		t.Errorf("blocks %+v", blocks)
	}
	if files := p.Files(); !maps.Equal(files, map[string]string{"a/b.yaml": "a: 1\n"}) {
		t.Errorf("files %q", files)
	}
	want := []Command{{"first ns", "it prints …\nof demos\n"}, {"second", ""}}
	if got := p.With(map[string]string{"demo": "ns"}).Commands(); !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
}

func TestShows(t *testing.T) {
	for _, c := range []struct {
		page, printed string
		want          bool
	}{
		{"a  b\n", "a b", true},
		{"a … c", "a b\nd c", true},
		{"a … c", "a b", false},
		{"a", "a b", false},
		{"", "b", false},
		{"", "\n", true},
		{"1.2", "1x2", false},
	} {
		if got := Shows(c.page, c.printed); got != c.want {
			t.Errorf("%q shows %q: %t", c.page, c.printed, got)
		}
	}
}
