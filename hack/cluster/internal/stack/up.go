package stack

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sluice.dev/sluice/hack/cluster/internal/image"
	"sluice.dev/sluice/hack/cluster/internal/layout"
	"sluice.dev/sluice/hack/cluster/internal/machine"
	"sluice.dev/sluice/hack/cluster/internal/plan"
	"sluice.dev/sluice/hack/cluster/internal/process"
	"sluice.dev/sluice/hack/cluster/internal/toolset"
)

// Steps is everything that has to be true for the stack to be up.
func (s *Stack) Steps() []plan.Step {
	steps := []plan.Step{
		{Name: "packages", Run: installing(machine.Packages)},
		{Name: "machine", Needs: []string{"packages"}, Run: s.prepareMachine},
		{Name: "certificates", Needs: []string{"machine"}, Run: s.issueCertificates},
	}
	steps = append(steps, s.buildSteps(binaries)...)
	steps = append(steps, s.componentSteps(s.components())...)
	steps = append(steps, s.imageSteps()...)
	steps = append(steps, s.manifestSteps()...)
	steps = append(steps, s.applySteps()...)
	return append(steps,
		plan.Step{Name: "tools", Needs: buildsOf(tools), Run: s.linkTools},
		plan.Step{Name: "all ready", Needs: s.readyNeeds(), Run: s.waitReady},
	)
}

func buildsOf(binaries []toolset.Binary) []string {
	names := make([]string, len(binaries))
	for i, b := range binaries {
		names[i] = build(b)
	}
	return names
}

func (s *Stack) readyNeeds() []string {
	needs := []string{"tools", "image pilot", "image proxyv2", "host access"}
	for _, c := range s.components() {
		needs = append(needs, c.name)
	}
	for _, b := range bundles {
		needs = append(needs, "apply "+b.name)
	}
	return needs
}

// Preflight says in one line what stands in the way, before anything changes: of the stack,
// or of the named stores.
func (s *Stack) Preflight(ctx context.Context, stores ...string) error {
	w, err := s.wanted(stores)
	if err != nil {
		return err
	}
	const unixPathMost = 108
	if len(s.layout.ContainerdSocket())+len(".ttrpc") >= unixPathMost {
		return fmt.Errorf("SLUICE_STATE_DIR is too long for a socket's path: %s", s.layout.State)
	}
	if _, err := os.Stat(s.layout.Baseline()); err != nil {
		own := []string{layout.NodeBridge, layout.PodBridge}
		if err := machine.NetworksFree(ctx, []string{layout.BridgeCIDR, layout.PodCIDR, layout.ServiceCIDR}, own); err != nil {
			return err
		}
	}
	if err := machine.PortsFree(s.claims(w.components)); err != nil {
		return err
	}
	absent := machine.MissingPackages(w.packages)
	if err := machine.CanInstall(absent); err != nil {
		return err
	}
	sets, err := s.setsToBuild(w)
	if err != nil {
		return err
	}
	need := w.warmGigabytes
	if len(sets) > 0 || w.fetches {
		need = w.coldGigabytes
	}
	for _, dir := range []string{s.layout.Cache, s.layout.State} {
		if err := machine.DiskFree(dir, need); err != nil {
			return err
		}
	}
	return s.networkWhereNeeded(ctx, w, sets, absent)
}

// wanted is what has to be there for an up: of the stack, or of some stores.
type wanted struct {
	components []component
	binaries   []toolset.Binary
	bundles    []bundle
	packages   []machine.Package
	// fetches says that something has to be fetched beside binaries' modules and packages.
	fetches bool
	// A cold start fills Go's caches beside ours; a warm one writes little.
	coldGigabytes, warmGigabytes uint64
}

func (s *Stack) wanted(stores []string) (wanted, error) {
	if len(stores) > 0 {
		return s.wantedStores(stores)
	}
	return wanted{
		components: s.components(), binaries: binaries, bundles: bundles, packages: machine.Packages,
		fetches:       s.envoy == "" && !s.haveEnvoy(),
		coldGigabytes: 30, warmGigabytes: 3,
	}, nil
}

// setsToBuild lists the tool sets of which something has to be built.
func (s *Stack) setsToBuild(w wanted) ([]string, error) {
	if len(w.binaries) > 0 {
		if _, err := exec.LookPath("go"); err != nil {
			return nil, fmt.Errorf("go is not on PATH; it builds the stack")
		}
	}
	missing, err := s.store.Missing(w.binaries)
	if err != nil {
		return nil, err
	}
	var sets []string
	seen := map[string]bool{}
	add := func(set string) {
		if !seen[set] {
			seen[set] = true
			sets = append(sets, set)
		}
	}
	for _, b := range missing {
		add(b.Set)
	}
	for _, b := range w.bundles {
		path, err := s.fetched(b)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); err != nil {
			if b.sources != nil {
				add("kn")
			} else {
				add("ist")
			}
		}
	}
	return sets, nil
}

func (s *Stack) haveEnvoy() bool {
	_, err := os.Stat(image.EnvoyPath(s.layout.Binaries()))
	return err == nil
}

// networkWhereNeeded asks for the network only if something has to be fetched.
func (s *Stack) networkWhereNeeded(ctx context.Context, w wanted, sets, packages []string) error {
	fetch := len(packages) > 0 || w.fetches
	for _, set := range sets {
		fetch = fetch || !s.store.Offline(ctx, set)
	}
	if !fetch {
		return nil
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOPROXY").Output()
	if err != nil {
		return fmt.Errorf("asking go for its module proxy: %w", err)
	}
	return machine.Reachable(ctx, strings.TrimSpace(string(out)))
}

// installing is a step's work: that packages are there.
func installing(packages []machine.Package) func(context.Context, *plan.Report) error {
	return func(ctx context.Context, r *plan.Report) error {
		if missing := machine.MissingPackages(packages); len(missing) == 0 {
			r.Reused()
		} else {
			r.Doing("installing %s", strings.Join(missing, ", "))
		}
		return machine.InstallPackages(ctx, packages, r.Log)
	}
}

// prepareMachine records what the machine is like and then changes it.
func (s *Stack) prepareMachine(ctx context.Context, r *plan.Report) error {
	if err := os.MkdirAll(s.layout.State, 0o755); err != nil {
		return err
	}
	if err := machine.RecordBaseline(s.layout.Baseline()); err != nil {
		return fmt.Errorf("recording the machine's settings: %w", err)
	}
	life := filepath.Join(s.layout.State, "life")
	if _, err := os.Stat(life); err != nil {
		if err := process.WriteFile(life, []byte(rand.Text()), 0o644); err != nil {
			return err
		}
	} else {
		r.Reused()
	}
	if err := machine.ApplySettings(); err != nil {
		return err
	}
	if err := machine.MakeCgroup(layout.CgroupRoot); err != nil {
		return err
	}
	return s.network.Up(ctx, r.Log)
}

// linkTools gathers the command line tools in one folder.
func (s *Stack) linkTools(_ context.Context, r *plan.Report) error {
	r.Reused()
	if err := os.MkdirAll(s.layout.Tools(), 0o755); err != nil {
		return err
	}
	for _, b := range tools {
		link, target := filepath.Join(s.layout.Tools(), b.Name), s.path(b)
		if now, err := os.Readlink(link); err == nil && now == target {
			continue
		}
		_ = os.Remove(link)
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	return nil
}

// Env is what other make targets evaluate to work with the stack.
func (s *Stack) Env() string {
	return fmt.Sprintf(`export KUBECONFIG='%s'
export PATH='%s':"$PATH"
export KO_DOCKER_REPO='%s'
export KO_DEFAULTBASEIMAGE='%s'
export SLUICE_INSECURE_REGISTRY='--insecure-registry'
export SLUICE_QUEUE_PROXY='true'
export SLUICE_BATCH='true'
export SLUICE_POD_LOGS='%s'
`, s.layout.Kubeconfig("admin"), s.layout.Tools(), layout.Registry, s.images.base, s.layout.PodLogs()) + s.storeEnv()
}
