package stack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"sluice.dev/sluice/hack/cluster/internal/image"
	"sluice.dev/sluice/hack/cluster/internal/layout"
	"sluice.dev/sluice/hack/cluster/internal/manifest"
	"sluice.dev/sluice/hack/cluster/internal/plan"
	"sluice.dev/sluice/hack/cluster/internal/process"
	"sluice.dev/sluice/hack/cluster/internal/toolset"
)

// source is a module and the YAML that is taken from it: files, and folders
// whose files are all taken.
type source struct {
	module string
	paths  []string
}

// bundle is one control plane's manifests: fetched once and kept by content,
// rewritten for this machine at every start.
type bundle struct {
	name string
	// sources are Knative's: their images are built by ko. Istio's manifests
	// are rendered from its charts instead.
	sources []source
	// extra is a file of ours that is applied with it.
	extra string
	rules []manifest.Rule
}

const (
	servingNamespace  = "knative-serving"
	eventingNamespace = "knative-eventing"
	knativeVersion    = "0.50.0"
	// IngressClass is Sluice's: every ksvc of the local stack is served by it.
	IngressClass = "sluice.ingress.networking.knative.dev"
	// Domain of the local stack's URLs: <name>.<namespace>.sluice.test. Top-level domain
	// test is reserved for this (RFC 2606); local is mDNS's, and cluster-local to some.
	Domain = "sluice.test"
)

var thrift = []manifest.Rule{
	manifest.WithoutKinds("HorizontalPodAutoscaler", "PodDisruptionBudget"),
	manifest.OneReplica,
	manifest.PromptReadiness,
}

var serving = bundle{
	name: "knative-serving",
	sources: []source{
		{module: "knative.dev/networking", paths: []string{"config"}},
		{module: "knative.dev/caching", paths: []string{"config"}},
		{module: "knative.dev/serving", paths: []string{
			"config/core/100-namespace.yaml", "config/core/200-serviceaccount.yaml", "config/core/200-roles",
			"config/core/300-knativecertificate.yaml", "config/core/300-resources", "config/core/configmaps",
			"config/core/deployments", "config/core/webhooks",
		}},
	},
	rules: append([]manifest.Rule{
		manifest.ModestRequests("15m", "40Mi"),
		manifest.Version(knativeVersion),
		manifest.ConfigData(servingNamespace, "config-network", map[string]string{
			"ingress-class": IngressClass,
			// No sidecars here. Where it may look for some, the activator takes a replica that
			// warms up for one behind a mesh, goes by its Service, and loses requests whenever
			// it is ahead of kube-proxy.
			"mesh-compatibility-mode": "disabled",
		}),
		manifest.ConfigData(servingNamespace, "config-domain", map[string]string{Domain: ""}),
		manifest.ConfigData(servingNamespace, "config-features", map[string]string{
			"multi-container-probing": "enabled",
			// What a Model may say of its pods only where it is allowed; the tests do.
			"kubernetes.podspec-init-containers": "enabled", "kubernetes.podspec-securitycontext": "enabled",
			"kubernetes.podspec-persistent-volume-claim": "enabled",
		}),
		manifest.ConfigData(servingNamespace, "config-deployment", map[string]string{
			"queue-sidecar-cpu-request": "5m", "queue-sidecar-memory-request": "24Mi",
		}),
	}, thrift...),
}

var eventing = bundle{
	name: "knative-eventing",
	sources: []source{
		{module: "knative.dev/eventing", paths: []string{
			"config/core/100-namespace.yaml", "config/core/200-eventing-serviceaccount.yaml",
			"config/core/200-job-sink-serviceaccount.yaml", "config/core/200-pingsource-mt-adapter-serviceaccount.yaml",
			"config/core/200-request-reply-serviceaccount.yaml", "config/core/200-webhook-serviceaccount.yaml",
			"config/core/roles", "config/core/resources", "config/core/configmaps",
			"config/core/deployments/controller.yaml", "config/core/deployments/webhook.yaml",
			"config/core/deployments/pingsource-mt-adapter.yaml", "config/core/webhooks",
			"config/channels/in-memory-channel", "config/channels/in-memory-channel/configmaps",
			"config/channels/in-memory-channel/deployments", "config/channels/in-memory-channel/resources",
			"config/channels/in-memory-channel/roles", "config/channels/in-memory-channel/webhooks",
			"config/brokers/mt-channel-broker/roles",
			"config/brokers/mt-channel-broker/deployments/controller.yaml",
			"config/brokers/mt-channel-broker/deployments/broker-filter.yaml",
			"config/brokers/mt-channel-broker/deployments/broker-ingress.yaml",
		}},
	},
	extra: "eventing-images.yaml",
	rules: append([]manifest.Rule{
		manifest.ModestRequests("15m", "40Mi"),
		manifest.Version(knativeVersion),
		manifest.ConfigData(eventingNamespace, "default-ch-webhook", map[string]string{
			"default-ch-config": "clusterDefault:\n  apiVersion: messaging.knative.dev/v1\n  kind: InMemoryChannel\n",
		}),
		manifest.ConfigData(eventingNamespace, "config-features", map[string]string{"authentication-oidc": "enabled"}),
	}, thrift...),
}

// istio's requests are set through its own values, in istio-operator.yaml.
var istio = bundle{name: "istio", extra: "istio-namespace.yaml", rules: thrift}

var bundles = []bundle{serving, eventing, istio}

// fetchStep names the step that has the bundle's manifests and images ready.
func (b bundle) fetchStep() string { return "manifests " + b.name }

func (s *Stack) manifestSteps() []plan.Step {
	var steps []plan.Step
	for _, b := range bundles {
		step := plan.Step{Name: b.fetchStep(), Weight: plan.Heavy, Run: func(ctx context.Context, r *plan.Report) error {
			return s.fetch(ctx, b, r)
		}}
		if b.sources != nil {
			step.Needs = []string{build(ko), "image base"}
		} else {
			step.Needs = []string{build(istioManifests), "packages"}
		}
		steps = append(steps, step)
	}
	return steps
}

// fetched is where the bundle's manifests lie, with images resolved and before
// they are rewritten.
func (s *Stack) fetched(b bundle) (string, error) {
	set, parts := "ist", []string{recipe, b.name, s.images.istioTag}
	if b.sources != nil {
		set, parts = "kn", []string{recipe, b.name, s.images.base, fmt.Sprint(b.sources)}
	} else {
		operator, err := s.expand("istio-operator.yaml")
		if err != nil {
			return "", err
		}
		parts = append(parts, string(operator))
	}
	key, err := s.store.SetKey(set)
	if err != nil {
		return "", err
	}
	return s.layout.Manifests(b.name + "-" + toolset.Hash(append(parts, key)...) + ".yaml"), nil
}

func (s *Stack) fetch(ctx context.Context, b bundle, r *plan.Report) error {
	target, err := s.fetched(b)
	if err != nil {
		return err
	}
	if content, err := os.ReadFile(target); err == nil && (b.sources == nil || pushed(ctx, content)) {
		r.Reused()
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	var content []byte
	if b.sources == nil {
		content, err = s.renderIstio(ctx, r.Log)
	} else {
		content, err = s.resolve(ctx, b, r.Log)
	}
	if err != nil {
		return err
	}
	return process.WriteFile(target, content, 0o644)
}

var resolvedImage = regexp.MustCompile(regexp.QuoteMeta(layout.Registry) + `/\S+@sha256:[0-9a-f]{64}`)

// pushed reports whether the registry has every image that the manifests name.
func pushed(ctx context.Context, content []byte) bool {
	seen := map[string]bool{}
	for _, reference := range resolvedImage.FindAllString(string(content), -1) {
		if seen[reference] {
			continue
		}
		seen[reference] = true
		if !image.Pushed(ctx, reference) {
			return false
		}
	}
	return len(seen) > 0
}

// resolve builds and pushes the images that the manifests name and puts their
// digests in.
func (s *Stack) resolve(ctx context.Context, b bundle, log io.Writer) ([]byte, error) {
	var content bytes.Buffer
	for _, from := range b.sources {
		dir, err := s.store.ModuleDir(ctx, "kn", from.module)
		if err != nil {
			return nil, err
		}
		part, err := manifest.Concatenate(dir, from.paths)
		if err != nil {
			return nil, err
		}
		content.Write(part)
	}
	tmp, err := os.MkdirTemp("", "sluice-manifests-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	file := filepath.Join(tmp, b.name+".yaml")
	if err := os.WriteFile(file, content.Bytes(), 0o644); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, s.path(ko), "resolve", "--insecure-registry", "--preserve-import-paths",
		"--sbom=none", "--jobs=2", "-f", file)
	cmd.Dir = s.layout.Toolset("kn")
	cmd.Env = append(os.Environ(), "KO_DOCKER_REPO="+layout.Registry, "KO_DEFAULTBASEIMAGE="+s.images.base,
		"CGO_ENABLED=0", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = &out, log
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("building the images of %s with ko: %w", b.name, err)
	}
	return out.Bytes(), nil
}

func (s *Stack) renderIstio(ctx context.Context, log io.Writer) ([]byte, error) {
	module, err := s.store.ModuleDir(ctx, "ist", istioModule)
	if err != nil {
		return nil, err
	}
	operator := s.layout.Config("istio-operator.yaml")
	if err := s.render("istio-operator.yaml", operator); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, s.path(istioManifests), operator,
		"installPackagePath="+filepath.Join(module, "manifests"), "hub="+istioRepository, "tag="+s.images.istioTag)
	cmd.Stdout, cmd.Stderr = &out, log
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("rendering Istio's manifests: %w", err)
	}
	return out.Bytes(), nil
}
