package stack

import (
	"context"
	"path/filepath"

	"sluice.dev/sluice/hack/cluster/internal/image"
	"sluice.dev/sluice/hack/cluster/internal/layout"
	"sluice.dev/sluice/hack/cluster/internal/plan"
	"sluice.dev/sluice/hack/cluster/internal/toolset"
)

const (
	// recipe goes into every tag; raise it when a Spec changes what it puts in.
	recipe = "1"

	istioModule     = "istio.io/istio"
	istioBootstrap  = "tools/packaging/common/envoy_bootstrap.json"
	istioRepository = layout.Registry + "/istio"
)

// images are the references of what we make ourselves, tagged by content.
type images struct {
	base, pause string
	// istioTag is shared by pilot and proxyv2: Istio's templates know one tag.
	istioTag string
}

func (i images) pilot() string   { return istioRepository + "/pilot:" + i.istioTag }
func (i images) proxyv2() string { return istioRepository + "/proxyv2:" + i.istioTag }

func (s *Stack) nameImages() (images, error) {
	pauseKey, err := s.store.Key(pause)
	if err != nil {
		return images{}, err
	}
	discoveryKey, err := s.store.Key(pilotDiscovery)
	if err != nil {
		return images{}, err
	}
	agentKey, err := s.store.Key(pilotAgent)
	if err != nil {
		return images{}, err
	}
	envoyKey, err := image.EnvoyKey(s.envoy)
	if err != nil {
		return images{}, err
	}
	return images{
		base:     layout.Registry + "/base:" + toolset.Hash(recipe),
		pause:    layout.Registry + "/pause:" + toolset.Hash(recipe, pauseKey),
		istioTag: toolset.Hash(recipe, discoveryKey, agentKey, envoyKey),
	}, nil
}

// pushStep makes an image unless the registry has it.
func pushStep(name, reference string, needs []string, spec func(context.Context) (image.Spec, error)) plan.Step {
	run := func(ctx context.Context, r *plan.Report) error {
		if image.Pushed(ctx, reference) {
			r.Reused()
			return nil
		}
		made, err := spec(ctx)
		if err != nil {
			return err
		}
		return image.Push(ctx, made)
	}
	return plan.Step{Name: "image " + name, Needs: append(needs, "registry"), Run: run}
}

func (s *Stack) imageSteps() []plan.Step {
	fixed := func(spec image.Spec) func(context.Context) (image.Spec, error) {
		return func(context.Context) (image.Spec, error) { return spec, nil }
	}
	return []plan.Step{
		{Name: "envoy", Needs: []string{"packages"}, Run: s.fetchEnvoy},
		pushStep("base", s.images.base, nil, fixed(image.Base(s.images.base))),
		pushStep("pause", s.images.pause, []string{build(pause)}, fixed(image.Pause(s.images.pause, s.path(pause)))),
		pushStep("pilot", s.images.pilot(), []string{build(pilotDiscovery)}, fixed(image.Pilot(s.images.pilot(), s.path(pilotDiscovery)))),
		pushStep("proxyv2", s.images.proxyv2(), []string{build(pilotAgent), "envoy"}, s.proxySpec),
	}
}

func (s *Stack) fetchEnvoy(ctx context.Context, r *plan.Report) error {
	if s.envoy != "" || s.haveEnvoy() {
		r.Reused()
		return nil
	}
	return image.FetchEnvoy(ctx, s.layout.Binaries(), r.Log)
}

func (s *Stack) proxySpec(ctx context.Context) (image.Spec, error) {
	envoy := s.envoy
	if envoy == "" {
		envoy = image.EnvoyPath(s.layout.Binaries())
	}
	module, err := s.store.ModuleDir(ctx, "ist", istioModule)
	if err != nil {
		return image.Spec{}, err
	}
	return image.Proxy(s.images.proxyv2(), s.path(pilotAgent), envoy, filepath.Join(module, istioBootstrap))
}
