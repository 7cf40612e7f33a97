package stack

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sluice.dev/sluice/hack/cluster/internal/jars"
	"sluice.dev/sluice/hack/cluster/internal/layout"
	"sluice.dev/sluice/hack/cluster/internal/machine"
	"sluice.dev/sluice/hack/cluster/internal/plan"
	"sluice.dev/sluice/hack/cluster/internal/toolset"
)

// Where pods and this machine reach the stores. Nobody else does, so what they are opened
// with is no secret.
const (
	objectStore     = layout.BridgeAddress + ":7070"
	objectAccessKey = "sluice"
	objectSecretKey = "local-stack"
)

// store is a component that only some tests need: it starts where it is asked for by name,
// beside a stack or without one, and ends with the stack.
type store struct {
	component

	// packages are what it takes from the distribution, and jars what of Maven.
	packages []machine.Package
	jars     *jars.Program
	// tools are built with it, for people and tests.
	tools []toolset.Binary
}

// stores are declared in the order in which people are told of them.
func (s *Stack) stores() []store {
	return append([]store{s.versitygw(), s.kafka()}, s.observability()...)
}

// versitygw is an S3-compatible store whose objects are files.
func (s *Stack) versitygw() store {
	return store{component: component{
		name: "versitygw", needs: []string{"machine"}, binary: &versitygw,
		args: []string{"--port", objectStore, "--health", "/healthz", "--quiet", "posix", s.layout.Objects()},
		env:  []string{"ROOT_ACCESS_KEY=" + objectAccessKey, "ROOT_SECRET_KEY=" + objectSecretKey},
		prepare: func(context.Context) error {
			return os.MkdirAll(s.layout.Objects(), 0o755)
		},
		listens: []string{objectStore},
		ready:   s.answers("http://" + objectStore + "/healthz"),
	}}
}

// storeSteps are what has to be true for every store to be up.
func (s *Stack) storeSteps() []plan.Step {
	var steps []plan.Step
	for _, st := range s.stores() {
		if len(st.packages) > 0 {
			steps = append(steps, plan.Step{Name: "packages for " + st.name, Needs: []string{"packages"}, Run: installing(st.packages)})
		}
		if st.jars != nil {
			steps = append(steps, plan.Step{Name: "jars of " + st.name, Needs: []string{"packages for " + st.name}, Run: s.fetchingJars(st.jars)})
		}
		if st.binary != nil {
			steps = append(steps, s.buildSteps([]toolset.Binary{*st.binary})...)
		}
		steps = append(steps, s.buildSteps(st.tools)...)
		steps = append(steps, s.componentSteps([]component{st.component})...)
	}
	return steps
}

func (s *Stack) fetchingJars(of *jars.Program) func(context.Context, *plan.Report) error {
	return func(ctx context.Context, r *plan.Report) error {
		cache := s.layout.Binaries()
		if of.Fetched(cache) {
			r.Reused()
			return nil
		}
		r.Doing("fetching %d jars", len(of.Jars))
		return of.Fetch(ctx, cache, r.Log)
	}
}

// StoreSteps are what has to be true for the named stores to be up. Of the stack these are
// few.
func (s *Stack) StoreSteps(names []string) ([]plan.Step, error) {
	if _, err := s.named(names); err != nil {
		return nil, err
	}
	return plan.Needed(append(s.Steps(), s.storeSteps()...), names...)
}

// named returns stores by their names.
func (s *Stack) named(names []string) ([]store, error) {
	known := map[string]store{}
	var all []string
	for _, st := range s.stores() {
		known[st.name] = st
		all = append(all, st.name)
	}
	var found []store
	for _, name := range names {
		st, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("%q is none of those that are started by name: %s", name, strings.Join(all, ", "))
		}
		found = append(found, st)
	}
	return found, nil
}

func (s *Stack) wantedStores(names []string) (wanted, error) {
	stores, err := s.named(names)
	if err != nil {
		return wanted{}, err
	}
	w := wanted{packages: slices.Clone(machine.Packages), coldGigabytes: 5, warmGigabytes: 1}
	for _, st := range stores {
		w.components = append(w.components, st.component)
		w.packages = append(w.packages, st.packages...)
		if st.binary != nil {
			w.binaries = append(w.binaries, *st.binary)
		}
		w.binaries = append(w.binaries, st.tools...)
		w.fetches = w.fetches || st.jars != nil && !st.jars.Fetched(s.layout.Binaries())
	}
	return w, nil
}

// begun are the stores that were asked for since the stack was down last.
func (s *Stack) begun() []component {
	var begun []component
	for _, st := range s.stores() {
		if slices.Contains(s.recorded(), st.name) {
			begun = append(begun, st.component)
		}
	}
	return begun
}

// Addresses are where the named stores are, for people.
func (s *Stack) Addresses(names []string) (map[string]string, error) {
	stores, err := s.named(names)
	if err != nil {
		return nil, err
	}
	addresses := map[string]string{}
	for _, st := range stores {
		addresses[st.name] = st.listens[0]
	}
	return addresses, nil
}

// storeEnv is how tests find the stores, and whom they ask for one that isn't there.
func (s *Stack) storeEnv() string {
	variables := map[string]string{
		"SLUICE_CLUSTER":       filepath.Join(s.layout.Checkout, "hack", "cluster", "cluster"),
		"SLUICE_S3_ENDPOINT":   "http://" + objectStore,
		"SLUICE_S3_ACCESS_KEY": objectAccessKey,
		"SLUICE_S3_SECRET_KEY": objectSecretKey,
	}
	maps.Copy(variables, s.brokerEnv())
	maps.Copy(variables, s.observabilityEnv())
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		fmt.Fprintf(&out, "export %s='%s'\n", name, variables[name])
	}
	return out.String()
}
