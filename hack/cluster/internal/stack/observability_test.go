package stack

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// prometheusConfig is as much of one as is looked at here.
type prometheusConfig struct {
	Rules []string                  `json:"rule_files"`
	Jobs  []map[string]any          `json:"scrape_configs"`
	Store map[string]map[string]any `json:"storage"`
}

// Prometheus runs beside the cluster with what the checkout has for one within: the same jobs,
// by the administrator's ways instead of a service account's.
func TestPrometheusHasTheCheckoutsJobs(t *testing.T) {
	s := newStack(t)
	written := prometheusConfig{}
	text, err := os.ReadFile(s.checkedOut("scrape.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &written); err != nil {
		t.Fatal(err)
	}
	rendered := renderPrometheus(t, s)
	if len(rendered.Jobs) != len(written.Jobs) || len(written.Jobs) < 7 {
		t.Fatalf("of %d jobs, %d are rendered", len(written.Jobs), len(rendered.Jobs))
	}
	for i, job := range rendered.Jobs {
		name := job["job_name"]
		if name != written.Jobs[i]["job_name"] {
			t.Errorf("job %v stands where %v was", name, written.Jobs[i]["job_name"])
		}
		for _, of := range job["kubernetes_sd_configs"].([]any) {
			if file := of.(map[string]any)["kubeconfig_file"]; file != s.layout.Kubeconfig("admin") {
				t.Errorf("job %v looks for who is there with %v", name, file)
			}
		}
		out, err := yaml.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), "/var/run/secrets") {
			t.Errorf("job %v wants files of a pod:\n%s", name, out)
		}
		_, authorized := written.Jobs[i]["authorization"]
		if tls, _ := job["tls_config"].(map[string]any); authorized && (tls["cert_file"] != s.layout.Cert("admin") || tls["ca_file"] != s.layout.Cert("ca")) {
			t.Errorf("job %v asks with %v", name, tls)
		}
	}
	if rendered.Store["tsdb"]["out_of_order_time_window"] == nil {
		t.Errorf("what comes a little late is refused: %v", rendered.Store)
	}
}

// docs/metrics.md tells of each job, and of none that isn't there.
func TestJobsAreDocumented(t *testing.T) {
	s := newStack(t)
	page, err := os.ReadFile(filepath.Join(s.layout.Checkout, "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	var told, jobs []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`sluice(?:-[a-z-]+)?`(?:, `[a-z-]+`)*) \\|").FindAllStringSubmatch(string(page), -1) {
		for _, name := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(row[1], -1) {
			told = append(told, name[1])
		}
	}
	for _, job := range renderPrometheus(t, s).Jobs {
		jobs = append(jobs, fmt.Sprint(job["job_name"]))
	}
	if !slices.Equal(told, jobs) {
		t.Errorf("there are jobs %v, docs/metrics.md tells of %v", jobs, told)
	}
}

func renderPrometheus(t *testing.T, s *Stack) prometheusConfig {
	t.Helper()
	target := s.layout.Config("prometheus/prometheus.yaml")
	if err := s.writePrometheusConfig(target); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	var config prometheusConfig
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// checkout gives a stack a checkout of its own, with these files for Prometheus.
func checkout(t *testing.T, s *Stack, content map[string]string) {
	t.Helper()
	s.layout.Checkout = t.TempDir()
	if err := os.MkdirAll(filepath.Dir(s.checkedOut("x")), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range content {
		if err := os.WriteFile(s.checkedOut(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const oneJob = "scrape_configs: [{job_name: one}]"

// Rules are taken as they are, where there are any, and Prometheus is started anew when they
// change.
func TestPrometheusGoesByTheCheckoutsRules(t *testing.T) {
	s := newStack(t)
	checkout(t, s, map[string]string{"scrape.yaml": oneJob})
	if config := renderPrometheus(t, s); len(config.Rules) > 0 {
		t.Errorf("without rules, it goes by %v", config.Rules)
	}
	checkout(t, s, map[string]string{"scrape.yaml": oneJob, "rules-a.yaml": "groups: []", "rules-b.yaml": "groups: []", "notes.yaml": "none"})
	config := renderPrometheus(t, s)
	want := []string{s.layout.Config("prometheus/rules-a.yaml"), s.layout.Config("prometheus/rules-b.yaml")}
	if !slices.Equal(config.Rules, want) {
		t.Errorf("it goes by %v, want %v", config.Rules, want)
	}
	for _, file := range want {
		if text, err := os.ReadFile(file); err != nil || string(text) != "groups: []" {
			t.Errorf("%s has %q, %v", file, text, err)
		}
		if watched := s.daemon(s.prometheus().component).Configs; !slices.Contains(watched, file) {
			t.Errorf("of %v, none is %s", watched, file)
		}
	}
}

func TestPrometheusSaysWhatIsWrongOfItsJobs(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		says  string
	}{
		"no file":     {nil, "reading what Prometheus scrapes"},
		"no jobs":     {map[string]string{"scrape.yaml": "global: {}"}, "no scrape_configs"},
		"a job of no": {map[string]string{"scrape.yaml": "scrape_configs: [x]"}, "scrape_configs[0] is no job"},
		"no YAML":     {map[string]string{"scrape.yaml": "a: b: c"}, "scrape.yaml: "},
	} {
		s := newStack(t)
		checkout(t, s, tt.files)
		if err := s.writePrometheusConfig(s.layout.Config("prometheus/prometheus.yaml")); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What Jaeger keeps is bounded, and it listens where people are told.
func TestJaegersConfig(t *testing.T) {
	text, err := newStack(t).expand("jaeger.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Extensions struct {
			Storage struct {
				Backends struct {
					Memory struct {
						Memory struct {
							MaxTraces int `json:"max_traces"`
						} `json:"memory"`
					} `json:"memory"`
				} `json:"backends"`
			} `json:"jaeger_storage"`
		} `json:"extensions"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	if config.Extensions.Storage.Backends.Memory.Memory.MaxTraces != mostTraces || !strings.Contains(string(text), jaegerOTLPAddress) {
		t.Errorf("it is:\n%s", text)
	}
}

// Each store says on its command line, or in its file, how long and how much it keeps.
func TestWhatStoresKeepIsBounded(t *testing.T) {
	for _, st := range newStack(t).observability() {
		line := strings.Join(append(st.args, st.env...), " ")
		bounds := []string{"etention", "memory.allowedBytes"}
		switch st.name {
		case "prometheus":
			bounds = []string{"retention.time", "retention.size", "GOMEMLIMIT"}
		case "jaeger":
			bounds = []string{"GOMEMLIMIT"}
		}
		for _, bound := range bounds {
			if !strings.Contains(line, bound) {
				t.Errorf("%s has no %s: %s", st.name, bound, line)
			}
		}
	}
}

func TestSays(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/opening" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, `{"status":"success"}`)
	}))
	defer server.Close()
	s := newStack(t)
	for _, tt := range []struct{ path, what, err string }{
		{"/", "success", ""}, {"/", "", ""}, {"/", "failure", "without failure"}, {"/opening", "success", "503"},
	} {
		if err := s.says(server.URL+tt.path, tt.what)(t.Context()); (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s with %q: %v", tt.path, tt.what, err)
		}
	}
}
