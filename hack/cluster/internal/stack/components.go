package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"sluice.dev/sluice/hack/cluster/internal/layout"
	"sluice.dev/sluice/hack/cluster/internal/machine"
	"sluice.dev/sluice/hack/cluster/internal/plan"
	"sluice.dev/sluice/hack/cluster/internal/process"
	"sluice.dev/sluice/hack/cluster/internal/toolset"
)

// component is one daemon of the stack.
type component struct {
	name string
	// needs are the steps that must be done before it starts, its binary's
	// build excepted.
	needs []string
	// binary is what runs; host is set instead for a program of the
	// distribution, and neither for a daemon of this program itself.
	binary *toolset.Binary
	host   string
	args   []string
	env    []string
	// configs are rendered before it starts: the file's template by its path.
	configs map[string]string
	// prepare is done before it starts, and again whenever it runs already. What it writes
	// of the configuration is named by writes.
	prepare func(context.Context) error
	writes  []string
	// listens are its addresses, the first of which people are shown.
	listens []string
	udp     bool
	// ready returns nil once it does its work.
	ready func(context.Context) error
}

const local = "127.0.0.1"

// fewerCollections has a Go program collect garbage a quarter as often. A small machine
// has more memory than cores.
const fewerCollections = "GOGC=400"

// components are declared in the order in which they start; they end in the
// order of stopFirst and stopLast. Stores are declared apart, in stores.go.
func (s *Stack) components() []component {
	return slices.Concat(s.storage(), s.controlPlane(), s.hostServices(), s.nodeComponents())
}

func (s *Stack) storage() []component {
	l := s.layout
	return []component{
		{
			name: "registry", needs: []string{"machine"},
			args:    []string{"registry", "--address", layout.Registry, "--storage", l.RegistryStorage()},
			prepare: func(context.Context) error { return s.installSelf() },
			listens: []string{layout.Registry},
			ready:   s.answers("http://" + layout.Registry + "/v2/"),
		},
		{
			name: "etcd", needs: []string{"machine"}, binary: &etcd,
			args: []string{
				"--name=sluice", "--data-dir=" + l.Etcd(),
				"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
				"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
				"--initial-cluster=sluice=http://127.0.0.1:2380",
				// A throw-away cluster need not survive a power cut.
				"--unsafe-no-fsync", "--auto-compaction-retention=10m", "--log-level=warn",
			},
			env:     []string{fewerCollections},
			listens: []string{local + ":2379", local + ":2380"},
			ready:   s.answers("http://127.0.0.1:2379/health"),
		},
	}
}

func (s *Stack) controlPlane() []component {
	l := s.layout
	return []component{
		{
			name: "kube-apiserver", needs: []string{"machine", "certificates", "etcd"}, binary: &apiserver,
			args: []string{
				"--etcd-servers=http://127.0.0.1:2379", "--bind-address=" + layout.BridgeAddress, "--secure-port=6443",
				"--advertise-address=" + layout.BridgeAddress, "--endpoint-reconciler-type=lease",
				"--service-cluster-ip-range=" + layout.ServiceCIDR, "--authorization-mode=Node,RBAC", "--allow-privileged",
				"--kubelet-preferred-address-types=InternalIP", "--kubelet-certificate-authority=" + l.Cert("ca"),
				"--kubelet-client-certificate=" + l.Cert("apiserver-kubelet"), "--kubelet-client-key=" + l.Key("apiserver-kubelet"),
				"--client-ca-file=" + l.Cert("ca"), "--tls-cert-file=" + l.Cert("apiserver"), "--tls-private-key-file=" + l.Key("apiserver"),
				"--service-account-issuer=https://kubernetes.default.svc",
				"--service-account-key-file=" + filepath.Join(l.Certs(), "tokens.pub"), "--service-account-signing-key-file=" + l.Key("tokens"),
				"--shutdown-delay-duration=0s", "--event-ttl=2h", "--profiling=false",
			},
			env:     []string{fewerCollections},
			listens: []string{layout.BridgeAddress + ":6443"},
			ready: func(ctx context.Context) error {
				c, err := s.client()
				if err != nil {
					return err
				}
				return c.Healthy(ctx, "/readyz")
			},
		},
		{
			name: "kube-controller-manager", needs: []string{"kube-apiserver"}, binary: &controllers,
			args: []string{
				"--kubeconfig=" + l.Kubeconfig("kube-controller-manager"), "--bind-address=127.0.0.1", "--leader-elect=false",
				"--tls-cert-file=" + l.Cert("loopback"), "--tls-private-key-file=" + l.Key("loopback"),
				"--allocate-node-cidrs", "--cluster-cidr=" + layout.PodCIDR, "--service-cluster-ip-range=" + layout.ServiceCIDR,
				"--use-service-account-credentials", "--service-account-private-key-file=" + l.Key("tokens"),
				"--root-ca-file=" + l.Cert("ca"), "--cluster-signing-cert-file=" + l.Cert("ca"), "--cluster-signing-key-file=" + l.Key("ca"),
				"--kube-api-qps=100", "--kube-api-burst=200", "--profiling=false",
			},
			listens: []string{local + ":10257"},
			ready:   s.answers("https://127.0.0.1:10257/healthz"),
		},
		{
			name: "kube-scheduler", needs: []string{"kube-apiserver"}, binary: &scheduler,
			args: []string{
				"--kubeconfig=" + l.Kubeconfig("kube-scheduler"), "--bind-address=127.0.0.1", "--leader-elect=false",
				"--tls-cert-file=" + l.Cert("loopback"), "--tls-private-key-file=" + l.Key("loopback"),
				"--kube-api-qps=100", "--kube-api-burst=200", "--profiling=false",
			},
			listens: []string{local + ":10259"},
			ready:   s.answers("https://127.0.0.1:10259/healthz"),
		},
	}
}

// hostServices are what a cloud would give the cluster: names and addresses.
func (s *Stack) hostServices() []component {
	l := s.layout
	return []component{
		{
			name: "coredns", needs: []string{"host access"}, binary: &coredns,
			args:    []string{"-conf", l.Config("Corefile"), "-dns.port", "53"},
			configs: map[string]string{l.Config("Corefile"): "Corefile"},
			listens: []string{layout.BridgeAddress + ":53", layout.BridgeAddress + ":8181"}, udp: true,
			ready: s.answers("http://" + layout.BridgeAddress + ":8181/ready"),
		},
		{
			name: "loadbalancer", needs: []string{"host access"},
			args: []string{
				"loadbalancer", "--server", layout.APIServer, "--ca", l.Cert("ca"),
				"--cert", l.Cert("loadbalancer"), "--key", l.Key("loadbalancer"),
			},
			prepare: func(context.Context) error { return s.installSelf() },
			ready:   func(context.Context) error { return nil },
		},
	}
}

func (s *Stack) nodeComponents() []component {
	l := s.layout
	return []component{
		{
			name: "containerd", needs: []string{"machine"}, host: "containerd",
			args: []string{"--config", l.Config("containerd.toml"), "--log-level", "warn"},
			configs: map[string]string{
				l.Config("containerd.toml"):                            "containerd.toml",
				l.Config("cni/10-sluice.conflist"):                     "cni.conflist",
				l.Config("certs.d/" + layout.Registry + "/hosts.toml"): "hosts.toml",
			},
			prepare: func(context.Context) error { return s.openContainerdRoot() },
			ready:   s.containerdReady,
		},
		{
			name: "kubelet", needs: []string{"kube-apiserver", "containerd", "image pause"}, binary: &kubelet,
			args: []string{
				"--config=" + l.Config("kubelet.yaml"), "--kubeconfig=" + l.Kubeconfig("kubelet"), "--root-dir=" + l.Kubelet(),
				"--hostname-override=" + layout.NodeName, "--node-ip=" + layout.BridgeAddress, "--cert-dir=" + l.Certs(),
				// By its socket cAdvisor learns which container a control group is. It looks for
				// it where Debian's own would be.
				"--containerd=" + l.ContainerdSocket(),
			},
			configs: map[string]string{l.Config("kubelet.yaml"): "kubelet.yaml"},
			listens: []string{layout.BridgeAddress + ":10250", local + ":10248"},
			ready:   s.answers("http://127.0.0.1:10248/healthz"),
		},
		{
			name: "kube-proxy", needs: []string{"kube-apiserver"}, binary: &kubeProxy,
			args:    []string{"--config=" + l.Config("kube-proxy.yaml")},
			configs: map[string]string{l.Config("kube-proxy.yaml"): "kube-proxy.yaml"},
			listens: []string{local + ":10256", local + ":10249"},
			ready:   s.answers("http://127.0.0.1:10256/livez"),
		},
	}
}

func (s *Stack) daemon(c component) process.Daemon {
	d := process.Daemon{
		Name: c.name, Path: s.self, Args: c.args, Env: c.env,
		PidFile: filepath.Join(s.layout.Pids(), c.name), LogFile: s.layout.Log(c.name),
	}
	switch {
	case c.binary != nil:
		d.Path = s.path(*c.binary)
	case c.host != "":
		d.Path = c.host
		if path, err := exec.LookPath(c.host); err == nil {
			d.Path = path
		}
		// As the kernel tells of it: Debian has links to what it has several of.
		if path, err := filepath.EvalSymlinks(d.Path); err == nil {
			d.Path = path
		}
	}
	d.Configs = append(slices.Sorted(maps.Keys(c.configs)), c.writes...)
	return d
}

func (s *Stack) componentSteps(components []component) []plan.Step {
	var steps []plan.Step
	for _, c := range components {
		needs := c.needs
		if c.binary != nil {
			needs = append(needs, build(*c.binary))
		}
		steps = append(steps, plan.Step{Name: c.name, Needs: needs, Run: func(ctx context.Context, r *plan.Report) error {
			return s.start(ctx, c, r)
		}})
	}
	return steps
}

// start starts a component and waits until it does its work.
func (s *Stack) start(ctx context.Context, c component, r *plan.Report) error {
	for path, template := range c.configs {
		if err := s.render(template, path); err != nil {
			return err
		}
	}
	d := s.daemon(c)
	if c.prepare != nil {
		if err := c.prepare(ctx); err != nil {
			return err
		}
	}
	running, err := d.Start(ctx)
	if err != nil {
		return err
	}
	if running {
		r.Reused()
	}
	return s.wait(ctx, 2*time.Minute, "not ready", func(ctx context.Context) error {
		err := c.ready(ctx)
		if err != nil && !d.Running() {
			return fmt.Errorf("it ended: %s", d.Tail(3))
		}
		return err
	})
}

// answers checks that a URL answers 200.
func (s *Stack) answers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := s.probe().Do(req)
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", url, answer.Status)
		}
		return nil
	}
}

func (s *Stack) containerdReady(ctx context.Context) error {
	dialer := net.Dialer{Timeout: time.Second}
	connection, err := dialer.DialContext(ctx, "unix", s.layout.ContainerdSocket())
	if err != nil {
		return err
	}
	return connection.Close()
}

// openContainerdRoot makes sure that containerd starts over images alone. Its
// root stays in the cache, so that images need not be unpacked again; but what
// another life of the cluster left there without an orderly `down` (containers,
// their snapshots) would never be looked after, so then all of it goes.
func (s *Stack) openContainerdRoot() error {
	mark := s.layout.ContainerdInUse()
	life, err := os.ReadFile(filepath.Join(s.layout.State, "life"))
	if err != nil {
		return err
	}
	before, err := os.ReadFile(mark)
	switch {
	case err == nil && string(before) == string(life):
		return nil // the same cluster, started again
	case err == nil:
		if err := s.wipeContainerdRoot(); err != nil {
			return err
		}
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	return process.WriteFile(mark, life, 0o644)
}

func (s *Stack) wipeContainerdRoot() error {
	if err := machine.Unmount(s.layout.ContainerdRoot()); err != nil {
		return err
	}
	return os.RemoveAll(s.layout.ContainerdRoot())
}

// claims are the addresses that components are going to listen on.
func (s *Stack) claims(components []component) []machine.Claim {
	var claims []machine.Claim
	for _, c := range components {
		if s.daemon(c).Running() {
			continue
		}
		for i, address := range c.listens {
			claims = append(claims, machine.Claim{Component: c.name, Address: address, UDP: c.udp && i == 0})
		}
	}
	return claims
}
