package stack

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/hack/cluster/internal/layout"
	"sluice.dev/sluice/hack/cluster/internal/manifest"
	"sluice.dev/sluice/hack/cluster/internal/plan"
)

func newStack(t *testing.T) *Stack {
	t.Helper()
	checkout, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(layout.Layout{State: t.TempDir(), Cache: t.TempDir(), Checkout: checkout}, "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// everything are the stack's components and the stores.
func everything(s *Stack) []component {
	all := s.components()
	for _, st := range s.stores() {
		all = append(all, st.component)
	}
	return all
}

func TestStepsMakeAPlan(t *testing.T) {
	s := newStack(t)
	p, err := plan.New(s.Steps())
	if err != nil {
		t.Fatal(err)
	}
	names := p.Names()
	if names[len(names)-1] != "all ready" {
		t.Errorf("the last step is %q", names[len(names)-1])
	}
	before := func(a, b string) {
		if slices.Index(names, a) > slices.Index(names, b) {
			t.Errorf("%s comes after %s", a, b)
		}
	}
	before("machine", "etcd")
	before("etcd", "kube-apiserver")
	before("definitions", "apply istio")
	before("image pause", "kubelet")
}

func TestEveryComponentIsStopped(t *testing.T) {
	order := append(slices.Clone(stopFirst), stopLast...)
	for _, c := range everything(newStack(t)) {
		if !slices.Contains(order, c.name) {
			t.Errorf("%s has no place in the order of stopping", c.name)
		}
	}
}

func TestAddressesAreDistinct(t *testing.T) {
	seen := map[string]string{}
	s := newStack(t)
	for _, claim := range s.claims(everything(s)) {
		if _, err := netip.ParseAddrPort(claim.Address); err != nil {
			t.Errorf("%s: %v", claim.Component, err)
		}
		if other, twice := seen[claim.Address]; twice {
			t.Errorf("%s and %s both listen on %s", claim.Component, other, claim.Address)
		}
		seen[claim.Address] = claim.Component
	}
}

func TestTemplatesRender(t *testing.T) {
	s := newStack(t)
	for _, c := range everything(s) {
		for path, template := range c.configs {
			content, err := s.expand(template)
			if err != nil {
				t.Errorf("%s: %v", template, err)
			}
			if strings.Contains(string(content), "{{") || strings.Contains(string(content), "<no value>") {
				t.Errorf("%s for %s is not fully rendered:\n%s", template, path, content)
			}
		}
	}
	for _, file := range []string{"host.yaml", "eventing-images.yaml", "istio-namespace.yaml", "istio-operator.yaml"} {
		content, err := s.expand(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := manifest.Parse(content); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	host, _ := s.expand("host.yaml")
	for _, address := range []string{layout.DNSServiceIP, layout.BridgeAddress} {
		if !strings.Contains(string(host), address) {
			t.Errorf("host.yaml does not name %s", address)
		}
	}
}

func TestRunningTasks(t *testing.T) {
	const table = "TASK    PID    STATUS    \nabc     12     RUNNING\ndef     0      STOPPED\n"
	running := runningTasks(table)
	if !running["abc"] || running["def"] || running["TASK"] {
		t.Errorf("got %v", running)
	}
}
