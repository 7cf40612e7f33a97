// Package layout says where the stack keeps its files. Both directories belong
// to the machine, not to a checkout: two clones see one cluster.
package layout

import (
	"os"
	"path/filepath"
)

// The stack's addresses. The bridge address stands for the node, the registry
// and DNS; it exists on this machine only.
const (
	BridgeAddress = "10.88.0.1"
	BridgeCIDR    = "10.88.0.0/16"
	PodCIDR       = "10.244.0.0/16"
	ServiceCIDR   = "10.96.0.0/16"
	APIServiceIP  = "10.96.0.1"
	DNSServiceIP  = "10.96.0.10"
	Registry      = BridgeAddress + ":5000"
	APIServer     = "https://" + BridgeAddress + ":6443"
	NodeName      = "sluice"
	NodeBridge    = "sluice0"
	PodBridge     = "sluice-pods"
	CgroupRoot    = "sluice-cluster"
	NetfilterNAT  = "sluice-cluster"
)

// Layout resolves every path from two roots.
type Layout struct {
	// State is what `down` removes: certificates, etcd's data, pid files, logs.
	State string
	// Cache is what `down` keeps: binaries, image layers, rendered manifests,
	// all keyed by content.
	Cache string
	// Checkout is the repository that this run belongs to.
	Checkout string
}

// FromEnvironment reads SLUICE_STATE_DIR and SLUICE_CACHE_DIR; checkout is the
// root of the repository.
func FromEnvironment(checkout string) Layout {
	l := Layout{State: "/var/lib/sluice-cluster", Cache: "/var/cache/sluice-cluster", Checkout: checkout}
	if dir := os.Getenv("SLUICE_STATE_DIR"); dir != "" {
		l.State = filepath.Clean(dir)
	}
	if dir := os.Getenv("SLUICE_CACHE_DIR"); dir != "" {
		l.Cache = filepath.Clean(dir)
	}
	return l
}

// Toolset is the folder of the Go module that pins one set of tools.
func (l Layout) Toolset(name string) string {
	return filepath.Join(l.Checkout, "hack", "cluster", "toolsets", name)
}

// Lock guards up and down against each other. It lies outside of State, so
// that removing State never removes a lock that somebody waits for.
func (l Layout) Lock() string { return filepath.Join(l.Cache, "lock") }

// Kubeconfig of the named identity; "admin" is what people use.
func (l Layout) Kubeconfig(identity string) string {
	return filepath.Join(l.State, "kubeconfig", identity+".yaml")
}

func (l Layout) Certs() string               { return filepath.Join(l.State, "certs") }
func (l Layout) Cert(name string) string     { return filepath.Join(l.Certs(), name+".crt") }
func (l Layout) Key(name string) string      { return filepath.Join(l.Certs(), name+".key") }
func (l Layout) Config(name string) string   { return filepath.Join(l.State, "config", name) }
func (l Layout) Pids() string                { return filepath.Join(l.State, "pids") }
func (l Layout) Logs() string                { return filepath.Join(l.State, "logs") }
func (l Layout) Log(name string) string      { return filepath.Join(l.Logs(), name+".log") }
func (l Layout) Baseline() string            { return filepath.Join(l.State, "baseline.json") }
func (l Layout) Applied(name string) string  { return filepath.Join(l.State, "applied", name) }
func (l Layout) Tools() string               { return filepath.Join(l.State, "tools") }
func (l Layout) Kubelet() string             { return filepath.Join(l.State, "kubelet") }
func (l Layout) PodLogs() string             { return filepath.Join(l.State, "pod-logs") }
func (l Layout) Etcd() string                { return filepath.Join(l.State, "etcd") }
func (l Layout) Objects() string             { return filepath.Join(l.State, "objects") }
func (l Layout) Topics() string              { return filepath.Join(l.State, "topics") }
func (l Layout) Store(name string) string    { return filepath.Join(l.State, "stores", name) }
func (l Layout) ContainerdState() string     { return filepath.Join(l.State, "containerd") }
func (l Layout) ContainerdSocket() string    { return filepath.Join(l.State, "containerd.sock") }
func (l Layout) CNIData() string             { return filepath.Join(l.State, "cni") }
func (l Layout) Binaries() string            { return filepath.Join(l.Cache, "bin") }
func (l Layout) RegistryStorage() string     { return filepath.Join(l.Cache, "registry") }
func (l Layout) Manifests(key string) string { return filepath.Join(l.Cache, "manifests", key) }
func (l Layout) ContainerdRoot() string      { return filepath.Join(l.Cache, "containerd") }

// ContainerdInUse marks that containerd's root has been opened and not yet
// been emptied of containers by an orderly `down`.
func (l Layout) ContainerdInUse() string { return filepath.Join(l.Cache, "containerd.in-use") }
