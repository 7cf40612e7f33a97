package stack

import (
	"context"

	"sluice.dev/sluice/hack/cluster/internal/plan"
	"sluice.dev/sluice/hack/cluster/internal/toolset"
)

const (
	strip = "-s -w"
	// Knative refuses an API server that doesn't know its own version.
	kubeVersion = strip +
		" -X k8s.io/component-base/version.gitVersion=v1.36.3" +
		" -X k8s.io/component-base/version.gitMajor=1" +
		" -X k8s.io/component-base/version.gitMinor=36" +
		" -X k8s.io/component-base/version.gitCommit=sluice" +
		" -X k8s.io/component-base/version.gitTreeState=clean" +
		" -X k8s.io/component-base/version.buildDate=2026-01-01T00:00:00Z"
	// A proxy tells istiod its version, which decides what it is sent.
	istioVersion = strip +
		" -X istio.io/istio/pkg/version.buildVersion=1.31-dev" +
		" -X istio.io/istio/pkg/version.buildGitRevision=eed52ebb66ad" +
		" -X istio.io/istio/pkg/version.buildStatus=Clean"
)

// kubernetesAlone are Prometheus' build tags to leave out every other service discovery.
const kubernetesAlone = "remove_all_sd,enable_kubernetes_sd"

func kubernetes(name string) toolset.Binary {
	return toolset.Binary{Set: "kube", Name: name, Package: "k8s.io/kubernetes/cmd/" + name, LDFlags: kubeVersion}
}

// The programs that are built, in the order in which a cold start wants them.
var (
	crane          = toolset.Binary{Set: "crane", Name: "crane", Package: "github.com/google/go-containerregistry/cmd/crane", LDFlags: strip}
	ko             = toolset.Binary{Set: "crane", Name: "ko", Package: "github.com/google/ko", LDFlags: strip}
	pause          = toolset.Binary{Set: "pause", Name: "pause", Package: ".", LDFlags: strip}
	etcd           = toolset.Binary{Set: "etcd", Name: "etcd", Package: "go.etcd.io/etcd/server/v3", LDFlags: strip}
	apiserver      = kubernetes("kube-apiserver")
	controllers    = kubernetes("kube-controller-manager")
	scheduler      = kubernetes("kube-scheduler")
	kubelet        = kubernetes("kubelet")
	kubeProxy      = kubernetes("kube-proxy")
	kubectl        = kubernetes("kubectl")
	coredns        = toolset.Binary{Set: "dns", Name: "coredns", Package: ".", LDFlags: strip}
	istioManifests = toolset.Binary{Set: "ist", Name: "istio-manifests", Package: ".", LDFlags: istioVersion}
	pilotDiscovery = toolset.Binary{Set: "ist", Name: "pilot-discovery", Package: "istio.io/istio/pilot/cmd/pilot-discovery", LDFlags: istioVersion}
	pilotAgent     = toolset.Binary{Set: "ist", Name: "pilot-agent", Package: "istio.io/istio/pilot/cmd/pilot-agent", LDFlags: istioVersion}
	versitygw      = toolset.Binary{Set: "versitygw", Name: "versitygw", Package: "github.com/versity/versitygw/cmd/versitygw", LDFlags: strip}

	// Of service discovery Prometheus has Kubernetes' alone: the clouds' are most of what is
	// compiled, and want more memory than a small machine has.
	prometheus      = toolset.Binary{Set: "prometheus", Name: "prometheus", Package: "github.com/prometheus/prometheus/cmd/prometheus", LDFlags: strip, Tags: kubernetesAlone}
	promtool        = toolset.Binary{Set: "prometheus", Name: "promtool", Package: "github.com/prometheus/prometheus/cmd/promtool", LDFlags: strip, Tags: kubernetesAlone}
	victoriaLogs    = toolset.Binary{Set: "victorialogs", Name: "victoria-logs", Package: "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs", LDFlags: strip}
	victoriaMetrics = toolset.Binary{Set: "victoriametrics", Name: "victoria-metrics", Package: "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics", LDFlags: strip}
	jaeger          = toolset.Binary{Set: "jaeger", Name: "jaeger", Package: "github.com/jaegertracing/jaeger/cmd/jaeger", LDFlags: strip}

	// binaries are the stack's; a store's is built where that is asked for.
	binaries = []toolset.Binary{
		crane, ko, pause, etcd, apiserver, controllers, scheduler, kubelet, kubeProxy, kubectl, coredns,
		pilotDiscovery, pilotAgent, istioManifests,
	}
	// tools are linked into one folder for people and for other make targets.
	tools = []toolset.Binary{kubectl, ko, crane}
)

// build names the step that builds a binary.
func build(b toolset.Binary) string { return "build " + b.Name }

func (s *Stack) buildSteps(of []toolset.Binary) []plan.Step {
	steps := make([]plan.Step, len(of))
	for i, b := range of {
		steps[i] = plan.Step{Name: build(b), Weight: plan.Heavy, Run: func(ctx context.Context, r *plan.Report) error {
			missing, err := s.store.Missing([]toolset.Binary{b})
			if err != nil {
				return err
			}
			if len(missing) == 0 {
				r.Reused()
				return nil
			}
			return s.store.Build(ctx, b, r.Log)
		}}
	}
	return steps
}

// path of a binary that has been built.
func (s *Stack) path(b toolset.Binary) string {
	path, err := s.store.Path(b)
	if err != nil {
		// New has read the same files; they went away since.
		return b.Name
	}
	return path
}
