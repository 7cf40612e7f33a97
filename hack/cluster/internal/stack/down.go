package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sluice.dev/sluice/hack/cluster/internal/layout"
	"sluice.dev/sluice/hack/cluster/internal/machine"
	"sluice.dev/sluice/hack/cluster/internal/process"
)

// stopOrder: first who starts pods, then the pods (see Down), then who serves
// the others. Whatever is on record and not named here ends last.
var (
	stopFirst = []string{"kubelet", "loadbalancer", "kube-scheduler", "kube-controller-manager"}
	stopLast  = []string{"prometheus", "victorialogs", "victoriametrics", "jaeger", "kafka", "versitygw", "containerd", "kube-proxy", "coredns", "kube-apiserver", "etcd", "registry"}
)

// Down ends what Up started and puts the machine back. Every part looks at the
// machine itself, not at what should be there: it works as well after a half
// start, or once all processes have been killed already.
func (s *Stack) Down(ctx context.Context, say io.Writer) error {
	if !s.traces() {
		fmt.Fprintln(say, "nothing is up")
		return nil
	}
	var log strings.Builder
	tasks := []struct {
		name string
		do   func() error
	}{
		{"ending the kubelet", func() error { return s.stop(ctx, stopFirst) }},
		{"ending the pods", func() error { return s.endPods(ctx) }},
		{"ending the control plane", func() error { return s.stop(ctx, append(stopLast, s.recorded()...)) }},
		{"ending what is left", func() error { return process.EndMarked(ctx, s.layout.Pids()) }},
		{"removing mounts", func() error { return machine.Unmount(s.layout.State, s.layout.ContainerdRoot()) }},
		{"removing control groups", func() error { return machine.RemoveCgroup(ctx, layout.CgroupRoot) }},
		{"removing networks", func() error { return s.network.Down(ctx, &log) }},
		{"restoring the machine", func() error { return s.restore() }},
	}
	for _, task := range tasks {
		if err := task.do(); err != nil {
			return fmt.Errorf("%s: %w %s", task.name, err, log.String())
		}
	}
	return nil
}

// traces reports whether anything of ours is on this machine.
func (s *Stack) traces() bool {
	if _, err := os.Stat(s.layout.State); err == nil {
		return true
	}
	for _, link := range []string{layout.NodeBridge, layout.PodBridge} {
		if _, err := os.Stat(filepath.Join("/sys/class/net", link)); err == nil {
			return true
		}
	}
	return len(process.Marked(s.layout.Pids())) > 0
}

func (s *Stack) stop(ctx context.Context, names []string) error {
	for _, name := range names {
		if err := process.Stop(ctx, filepath.Join(s.layout.Pids(), name), 15*time.Second); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// recorded are the names of all pid files.
func (s *Stack) recorded() []string {
	entries, _ := os.ReadDir(s.layout.Pids())
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// endPods kills every process below our control group. While containerd runs
// it is then told to forget the containers; where that fails, its root is not
// fit to be used again and goes.
func (s *Stack) endPods(ctx context.Context) error {
	if err := machine.KillCgroup(ctx, layout.CgroupRoot); err != nil {
		return err
	}
	if _, err := os.Stat(s.layout.ContainerdInUse()); err != nil {
		return nil //nolint:nilerr // containerd never ran
	}
	forgotten := s.forgetContainers(ctx)
	if err := process.Stop(ctx, filepath.Join(s.layout.Pids(), "containerd"), 15*time.Second); err != nil {
		return err
	}
	// Shims outlive containerd by design, and hold on to their mounts.
	if err := s.endShims(ctx); err != nil {
		return err
	}
	if forgotten != nil {
		if err := machine.Unmount(s.layout.ContainerdState()); err != nil {
			return err
		}
		if err := s.wipeContainerdRoot(); err != nil {
			return err
		}
	}
	return os.Remove(s.layout.ContainerdInUse())
}

func (s *Stack) endShims(ctx context.Context) error {
	return process.EndMarkedBy(ctx, s.layout.Pids(), "containerd")
}

func (s *Stack) forgetContainers(ctx context.Context) error {
	if err := s.containerdReady(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	listed, err := s.ctr(ctx, "containers", "list", "--quiet")
	if err != nil {
		return err
	}
	for _, id := range strings.Fields(listed) {
		// The task may be gone, or be gone a moment later.
		_, _ = s.ctr(ctx, "tasks", "delete", "--force", id)
		if _, err := s.ctr(ctx, "containers", "delete", id); err != nil {
			return err
		}
	}
	left, err := s.ctr(ctx, "containers", "list", "--quiet")
	if err == nil && strings.TrimSpace(left) != "" {
		err = errors.New("containers are left")
	}
	return err
}

func (s *Stack) ctr(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"--address", s.layout.ContainerdSocket(), "--namespace", "k8s.io"}, args...)
	out, err := exec.CommandContext(ctx, "ctr", args...).Output()
	return string(out), err
}

// restore puts settings back and removes the state, the record of how the
// machine was before last: an interrupted `down` can be repeated.
func (s *Stack) restore() error {
	machine.RemoveLogLinks(s.layout.PodLogs())
	if target, err := os.Readlink(filepath.Join(s.layout.Checkout, ".kubeconfig")); err == nil && target == s.layout.Kubeconfig("admin") {
		_ = os.Remove(filepath.Join(s.layout.Checkout, ".kubeconfig"))
	}
	if err := machine.RestoreBaseline(s.layout.Baseline()); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.layout.State)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.layout.State, e.Name())
		if path == s.layout.Baseline() {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return os.RemoveAll(s.layout.State)
}
