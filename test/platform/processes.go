package platform

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"k8s.io/apimachinery/pkg/types"
)

// Process is one of a pod's that runs on this machine.
type Process struct {
	ID int
	// Command is its name as the kernel keeps it: the first 15 letters.
	Command string
}

// Processes are those of a pod, the one that holds its namespaces included, as far as they
// run on this machine: none where the pod's node is another.
func Processes(pod types.UID) ([]Process, error) { return processesAt("/proc", pod) }

// processesAt reads where proc(5) is mounted.
func processesAt(proc string, pod types.UID) ([]Process, error) {
	groups, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "cgroup"))
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var found []Process
	for _, file := range groups {
		group, err := os.ReadFile(file) //nolint:gosec // the kernel's
		// With dashes or, where systemd keeps the groups, underscores.
		if err != nil || !strings.Contains(strings.ReplaceAll(string(group), "_", "-"), "pod"+string(pod)) {
			continue // it has ended, or is another's
		}
		folder := filepath.Dir(file)
		id, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			return nil, fmt.Errorf("listing processes: %w", err)
		}
		name, err := os.ReadFile(filepath.Join(folder, "comm")) //nolint:gosec // the kernel's
		if err != nil {
			continue
		}
		found = append(found, Process{ID: id, Command: strings.TrimSpace(string(name))})
	}
	return found, nil
}

// Kill ends it at once, as the kernel does that is out of memory. One that has ended is no
// error.
func (p Process) Kill() error {
	if err := syscall.Kill(p.ID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing process %d (%s): %w", p.ID, p.Command, err)
	}
	return nil
}

// Runs tells whether it hasn't ended. One that nobody has waited for yet has.
func (p Process) Runs() bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.ID))
	if err != nil {
		return false
	}
	// The state comes after the name, which is in parentheses and may have some.
	_, rest, _ := strings.Cut(string(status[strings.LastIndexByte(string(status), ')')+1:]), " ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
