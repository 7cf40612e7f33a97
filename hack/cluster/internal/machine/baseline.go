package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice.dev/sluice/hack/cluster/internal/process"
)

// settings are the kernel settings that the stack needs.
var settings = map[string]string{
	"net/ipv4/ip_forward":              "1",
	"net/ipv4/conf/all/route_localnet": "1",
	// Pods of one bridge answer each other through Services only if bridged
	// packets pass the translation rules as well.
	"net/bridge/bridge-nf-call-iptables": "1",
	"fs/inotify/max_user_instances":      "1024",
}

// alsoChanged are settings that the kubelet, kube-proxy or the kernel itself
// change in our wake. They are put back too.
var alsoChanged = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	"net/ipv4/conf/all/forwarding", "net/ipv4/conf/default/forwarding",
	"net/ipv4/conf/all/accept_redirects", "net/ipv4/conf/all/rp_filter",
	"net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding",
	"net/netfilter/nf_conntrack_max", "net/netfilter/nf_conntrack_tcp_timeout_established",
	"net/netfilter/nf_conntrack_tcp_timeout_close_wait",
}

// wake are places that containerd, the kubelet and the CNI plugins write to
// whatever they are told. Those that were not there before us are removed.
var wake = []string{
	"/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers",
	"/run/containerd", "/run/netns", "/run/flannel", "/run/kubernetes", "/run/xtables.lock",
	"/opt/containerd", "/opt/cni", "/etc/cni", "/usr/libexec/kubernetes",
}

// Baseline is what the machine was like before the stack.
type Baseline struct {
	Sysctls map[string]string `json:"sysctls"`
	Absent  []string          `json:"absent"`
}

func sysctlPath(name string) string { return filepath.Join("/proc/sys", name) }

// RecordBaseline writes down what the machine is like, once: a second run of
// `up` must not take our own settings for the machine's.
func RecordBaseline(file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	b := Baseline{Sysctls: map[string]string{}}
	names := append([]string(nil), alsoChanged...)
	for name := range settings {
		names = append(names, name)
	}
	for _, name := range names {
		if value, err := os.ReadFile(sysctlPath(name)); err == nil {
			b.Sysctls[name] = strings.TrimSpace(string(value))
		}
	}
	for _, path := range wake {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			b.Absent = append(b.Absent, path)
		}
	}
	content, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return process.WriteFile(file, content, 0o644)
}

// ApplySettings sets the kernel settings; a bridge module that isn't there is
// no error, because its setting defaults to on when it is loaded.
func ApplySettings() error {
	for name, value := range settings {
		path := sysctlPath(name)
		now, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(name, "net/bridge/") {
			continue
		}
		if strings.TrimSpace(string(now)) == value {
			continue
		}
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

// RestoreBaseline puts the machine back to what RecordBaseline saw. Where there
// is no record nothing was changed.
func RestoreBaseline(file string) error {
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var b Baseline
	if err := json.Unmarshal(content, &b); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	// Forwarding first: writing it resets the per-interface settings.
	order := []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"}
	for name := range b.Sysctls {
		order = append(order, name)
	}
	var problems []error
	for _, name := range order {
		value, recorded := b.Sysctls[name]
		now, err := os.ReadFile(sysctlPath(name))
		if !recorded || err != nil || strings.TrimSpace(string(now)) == value {
			continue
		}
		if err := os.WriteFile(sysctlPath(name), []byte(value), 0o644); err != nil {
			problems = append(problems, fmt.Errorf("restoring %s: %w", name, err))
		}
	}
	for _, path := range b.Absent {
		if err := os.RemoveAll(path); err != nil {
			problems = append(problems, fmt.Errorf("removing %s: %w", path, err))
		}
	}
	return errors.Join(problems...)
}

// RemoveLogLinks removes the links that the kubelet keeps in /var/log/containers
// where that folder was there before us.
func RemoveLogLinks(podLogs string) {
	links, _ := filepath.Glob("/var/log/containers/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, podLogs+"/") {
			_ = os.Remove(link)
		}
	}
}
