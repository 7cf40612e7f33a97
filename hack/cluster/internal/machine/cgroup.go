package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice.dev/sluice/hack/cluster/internal/process"
)

const cgroupMount = "/sys/fs/cgroup"

// hierarchies are the roots of the control groups: one with cgroup v2, one for
// each controller with v1.
func hierarchies() []string {
	if _, err := os.Stat(filepath.Join(cgroupMount, "cgroup.controllers")); err == nil {
		return []string{cgroupMount}
	}
	var roots []string
	entries, _ := os.ReadDir(cgroupMount)
	for _, e := range entries {
		root := filepath.Join(cgroupMount, e.Name())
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err == nil && e.IsDir() {
			roots = append(roots, root)
		}
	}
	return roots
}

// MakeCgroup makes the group that all pods run below, in every hierarchy. The
// kubelet wants it to exist; below a root of our own, whatever runs there is
// ours, however it came to be left.
func MakeCgroup(name string) error {
	for _, root := range hierarchies() {
		dir := filepath.Join(root, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making control group %s: %w", dir, err)
		}
		// A cpuset takes no process before it has CPUs and memory nodes.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if value, err := os.ReadFile(filepath.Join(root, file)); err == nil {
				_ = os.WriteFile(filepath.Join(dir, file), value, 0o644)
			}
		}
		if root == cgroupMount {
			_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpu +cpuset +memory +pids"), 0o644)
		}
	}
	return nil
}

// KillCgroup kills every process in the group and below it, until none is left.
func KillCgroup(ctx context.Context, name string) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		pids := members(name)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of the pods do not end", len(pids))
		}
		for pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err := process.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// members are the living processes of the group in any hierarchy.
func members(name string) map[int]bool {
	pids := map[int]bool{}
	for _, root := range hierarchies() {
		_ = filepath.WalkDir(filepath.Join(root, name), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.Name() != "cgroup.procs" {
				return nil //nolint:nilerr // what is gone meanwhile has no members
			}
			content, _ := os.ReadFile(path)
			for _, word := range strings.Fields(string(content)) {
				pid, err := strconv.Atoi(word)
				if err != nil || pid <= 1 {
					continue
				}
				if _, err := process.Identify(pid); err == nil {
					pids[pid] = true
				}
			}
			return nil
		})
	}
	return pids
}

// RemoveCgroup removes the emptied group; the deepest first, as the kernel
// wants it.
func RemoveCgroup(ctx context.Context, name string) error {
	var err error
	for range 40 {
		if err = removeGroups(name); err == nil {
			return nil
		}
		// Dead processes leave their group a moment later.
		if waited := process.Pause(ctx, 50*time.Millisecond); waited != nil {
			return waited
		}
	}
	return err
}

func removeGroups(name string) error {
	var problems []error
	for _, root := range hierarchies() {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(root, name), func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		sort.Sort(sort.Reverse(sort.StringSlice(dirs)))
		for _, dir := range dirs {
			if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
				problems = append(problems, err)
			}
		}
	}
	return errors.Join(problems...)
}
