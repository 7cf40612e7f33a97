// Package architecture checks who imports whom, as docs/architecture.md has it.
package architecture

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
		name: "what decides is pure",
		of:   pure,
		forbidden: []string{
			"context", "io", "net", "os", "sync", "k8s.io/client-go/", "k8s.io/utils/clock", "istio.io/client-go/",
			"reconciler/", "functions/",
		},
		but: []string{"reconciler/apis/", "functions/limit/resources", "functions/limit/slack", "functions/usage/split"},
	},
	{
		name:      "who calls is told to any function, by the token alone",
		of:        under("functions/callers"),
		forbidden: []string{"k8s.io/client-go/kubernetes", "knative.dev/", "reconciler/", "functions/"},
	},
	{
		name:      "who may ask is told to any function, by the API server's word",
		of:        under("functions/access"),
		forbidden: []string{"k8s.io/client-go/", "knative.dev/", "reconciler/", "functions/"},
	},
	{
		name:      "turns are anybody's",
		of:        under("functions/turns"),
		forbidden: []string{"context", "net", "k8s.io/client-go/", "knative.dev/", "reconciler/", "functions/"},
	},
	{
		name:      "what is asked of Models changes nothing, and is handed what it reads",
		of:        under("functions/asked"),
		forbidden: []string{"k8s.io/client-go/", "istio.io/", "eventing", "reconciler/", "functions/"},
		but:       []string{"reconciler/apis/", "functions/access", "functions/limit/demand/recorded", "functions/turns", "functions/whatif"},
	},
	{
		name:      "how a Model is asked is the same for whoever asks",
		of:        under("functions/answers"),
		forbidden: []string{"k8s.io/", "knative.dev/", "istio.io/", "eventing", "reconciler/", "functions/"},
	},
	{
		name:      "what-if is asked, and knows no cluster: it decides as what runs decides",
		of:        under("functions/whatif"),
		forbidden: []string{"net", "os", "sync", "k8s.io/client-go/", "k8s.io/utils/clock", "istio.io/", "eventing", "reconciler/", "functions/"},
		but:       []string{"reconciler/apis/", "functions/limit/capacity", "functions/limit/division", "functions/whatif"},
	},
	{
		name:      "who has trials judged is handed what was recorded, and writes nothing",
		of:        under("functions/verify"),
		forbidden: []string{"net", "os", "k8s.io/client-go/", "istio.io/", "reconciler/", "functions/"},
		but:       []string{"reconciler/apis/", "functions/limit/demand/recorded", "functions/whatif/trace", "functions/whatif/verdict"},
	},
	{
		name:      "a recording is read and written by anybody",
		of:        oneOf("functions/whatif/trace"),
		forbidden: []string{"context", "k8s.io/", "knative.dev/", "reconciler/", "functions/"},
	},
	{
		name:      "what is kept of the demand is kept by whoever counts it",
		of:        oneOf("functions/limit/demand/history"),
		forbidden: []string{"context", "net", "os", "k8s.io/", "knative.dev/", "istio.io/", "reconciler/", "functions/"},
		but:       []string{"functions/whatif/trace"},
	},
	{
		name:      "what was recorded is asked for by anybody",
		of:        oneOf("functions/limit/demand/recorded"),
		forbidden: []string{"k8s.io/client-go/", "knative.dev/", "istio.io/", "reconciler/", "functions/"},
		but:       []string{"functions/whatif/trace"},
	},
	{
		name:      "batch knows of limits what they leave",
		of:        under("functions/batch/"),
		forbidden: []string{"functions/limit/"},
		but:       []string{"functions/limit/slack"},
	},
	{
		name:      "who watches bounds writes nothing, and knows of limits where requests come",
		of:        under("functions/limit/watch"),
		forbidden: []string{"k8s.io/client-go/", "reconciler/client/", "istio.io/", "functions/"},
		but:       []string{"functions/counters", "functions/limit/bounds", "functions/limit/demand"},
	},
	{
		name:      "what pods count is read for anybody",
		of:        under("functions/counters"),
		forbidden: []string{"k8s.io/", "knative.dev/", "istio.io/", "eventing", "reconciler/", "functions/"},
		but:       []string{"reconciler/apis/gateway"},
	},
	{
		name:      "the ledger reads what is counted, and knows of nobody who counts or decides",
		of:        under("functions/usage"),
		forbidden: []string{"functions/", "istio.io/"},
		but:       []string{"functions/counters", "functions/usage/"},
	},
	{
		name:      "the API has no clients",
		of:        under("reconciler/apis/"),
		forbidden: []string{"k8s.io/client-go/kubernetes", "reconciler/client/", "functions/", "eventing", "cmd/"},
	},
	{
		name:      "expressions know events, and no kind of ours",
		of:        oneOf("reconciler/apis/expression"),
		forbidden: []string{"net/http", "os", "k8s.io/", "knative.dev/", "eventing", "reconciler/"},
	},
	{
		name:      "who answers events knows of batch its kind alone",
		of:        under("functions/trigger"),
		forbidden: []string{"functions/batch", "functions/limit", "k8s.io/client-go/", "reconciler/client/", "eventing/guard"},
	},
	{
		name:      "what keeps a Broker's Trigger knows of batch how it is asked for",
		of:        under("reconciler/broker"),
		forbidden: []string{"reconciler/apis/sluice/v1alpha1", "reconciler/client/"},
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
	{
		name:      "the door for events asks nobody: who may send is handed to it",
		of:        under("eventing/receiver"),
		forbidden: []string{"k8s.io/client-go/", "knative.dev/", "eventing/guard"},
	},
	{
		name:      "what is watched is watched for anybody",
		of:        under("reconciler/informers"),
		forbidden: []string{"reconciler/"},
		but:       []string{"reconciler/apis/", "reconciler/client/"},
	},
	{
		name:      "what writes objects is handed its clients, and knows no kind of ours",
		of:        under("reconciler/accessor"),
		forbidden: []string{"k8s.io/client-go/", "istio.io/", "knative.dev/serving/", "knative.dev/networking/", "reconciler/"},
		but:       []string{"reconciler/apis/sluice"},
	},
	{
		name:      "what Prometheus is shown is read off caches, which are handed in",
		of:        under("reconciler/exposition"),
		forbidden: []string{"k8s.io/client-go/", "istio.io/", "knative.dev/serving", "eventing", "reconciler/", "functions/"},
		but:       []string{"reconciler/apis/"},
	},
	{
		name:      "what records events records anybody's",
		of:        under("reconciler/recording"),
		forbidden: []string{"reconciler/"},
		but:       []string{"reconciler/apis/"},
	},
	{
		name:      "reconcilers know no function, but what they tell a batch's workers",
		of:        under("reconciler/"),
		forbidden: []string{"functions/", "cmd/"},
		but:       []string{"functions/batch/task"},
	},
	{
		name: "only the reconciler of batches knows what their workers are told",
		of: func(p string) bool {
			return strings.HasPrefix(p, "reconciler/") && !strings.HasPrefix(p, "reconciler/batch")
		},
		forbidden: []string{"functions/"},
	},
	{
		// Knative's injection starts the informers of all that is imported, and waits for them.
		name:      "the controller watches no kind that isn't installed with it",
		of:        under("cmd/controller"),
		forbidden: []string{"reconciler/batch", "reconciler/broker", "reconciler/trigger"},
	},
	{
		name:      "what a batch's workers are told reads and writes nothing",
		of:        under("functions/batch/task"),
		forbidden: []string{"context", "net/http", "os", "k8s.io/", "knative.dev/", "gocloud.dev/", "functions/", "reconciler/"},
	},
	{
		name: "a batch's workers know no cluster",
		of: func(p string) bool {
			return p == "cmd/batch-worker" || oneOf(
				"functions/batch/input", "functions/batch/objects", "functions/batch/output", "functions/batch/post", "functions/batch/topic", "functions/batch/worker")(p)
		},
		forbidden: []string{"k8s.io/client-go/", "k8s.io/api/", "knative.dev/", "istio.io/", "eventing", "reconciler/", "functions/limit", "functions/warmup"},
	},
	{
		name:      "what stores are asked is asked by objects, and only there",
		of:        oneOf("functions/batch/input", "functions/batch/output", "functions/batch/worker", "cmd/batch-worker"),
		forbidden: []string{"gocloud.dev/", "github.com/aws/"},
	},
	{
		name: "what Kafka is asked is asked by topic, and only there",
		of: func(p string) bool {
			return under("functions/")(p) && p != "functions/batch/topic" || under("reconciler/")(p) || under("cmd/")(p) || under("eventing")(p)
		},
		forbidden: []string{"github.com/twmb/"},
	},
	{
		name:      "topics are a batch's input and output, and know nobody who works with them",
		of:        oneOf("functions/batch/topic"),
		forbidden: []string{"functions/batch/worker", "gocloud.dev/", "github.com/aws/"},
	},
	{
		name:      "what tests deploy knows nothing of Sluice",
		of:        under("test/images/"),
		forbidden: []string{"cmd/", "eventing", "functions/", "hack/", "reconciler/", "test/"},
	},
	{
		name:      "who finds real stores knows no cluster",
		of:        under("test/stores"),
		forbidden: []string{"k8s.io/", "knative.dev/", "istio.io/", "functions/", "reconciler/", "test/platform"},
	},
	{
		name:      "the product knows no tool and no test",
		of:        func(p string) bool { return !strings.HasPrefix(p, "test/") && !strings.HasPrefix(p, "hack/") },
		forbidden: []string{"hack/", "test/"},
	},
}

// pure are the rooms that decide: functions over plain values.
var pure = oneOf(
	"reconciler/apis/metadata", "reconciler/apis/obstacle", "reconciler/apis/reading", "reconciler/apis/spelling",
	"functions/batch/credits", "functions/batch/pace", "functions/batch/plan", "functions/batch/progress", "functions/batch/rows",
	"functions/limit/bounds", "functions/limit/capacity", "functions/limit/division", "functions/limit/queue", "functions/limit/slack", "functions/limit/slots",
	"functions/usage/account", "functions/usage/split",
)

// timeless are those that are told the time all the same.
func timeless(path string) bool {
	return strings.HasPrefix(path, "functions/whatif") || path == "functions/limit/demand/history"
}

func under(prefix string) func(string) bool {
	return func(path string) bool { return strings.HasPrefix(path, prefix) }
}

func oneOf(paths ...string) func(string) bool {
	return func(path string) bool { return slices.Contains(paths, path) }
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

// What decides is told the time.
func TestPureRoomsHaveNoClock(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{$p := .}}{{range .GoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}`, module+"functions/...", module+"reconciler/apis/...").Output()
	if err != nil {
		t.Fatal("listing files:", err)
	}
	seen := 0
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		path, file, _ := strings.Cut(line, " ")
		if room := strings.TrimPrefix(path, module); !pure(room) && !timeless(room) {
			continue
		}
		seen++
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if used := clock.Find(source); used != nil {
			t.Errorf("%s uses %s: what decides is told the time", file, used)
		}
	}
	if seen == 0 {
		t.Fatal("no files found")
	}
}

// clock is what reads one.
var clock = regexp.MustCompile(`\btime\.(Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTimer|NewTicker)\b`)

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

// shared are the rooms below reconciler/ that are for all kinds.
var shared = []string{"accessor", "apis", "client", "informers", "recording"}

// reconcilerOf returns the kind whose reconciler a package belongs to.
func reconcilerOf(path string) (string, bool) {
	parts := strings.Split(path, "/")
	if len(parts) < 2 || parts[0] != "reconciler" || slices.Contains(shared, parts[1]) {
		return "", false
	}
	return parts[1], true
}

// Events come in by one door, with one set of bounds: nothing else of the product reads
// one from a request.
func TestOneDoorForEvents(t *testing.T) {
	door := filepath.Join("..", "..", "eventing", "receiver")
	found := 0
	for _, part := range []string{"cmd", "eventing", "functions", "reconciler"} {
		err := filepath.WalkDir(filepath.Join("..", "..", part), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil || !takesEvents.Match(content) {
				return err
			}
			if found++; filepath.Dir(path) != door {
				t.Errorf("%s takes in events past eventing/receiver", path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found == 0 {
		t.Error("no door is found")
	}
}

// takesEvents is what the CloudEvents SDK takes in events by.
var takesEvents = regexp.MustCompile(`\b(NewEvents?FromHTTPRequest|NewHTTPReceiveHandler|StartReceiver|NewMessageFromHttpRequest)\b`)
