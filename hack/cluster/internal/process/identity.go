// Package process starts, recognises and ends the stack's daemons. A daemon is
// known by its pid together with its start time, so a pid that the kernel has
// given to somebody else is never signalled.
package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Identity tells one process apart from every other of this boot.
type Identity struct {
	Pid int `json:"pid"`
	// StartTicks is field 22 of /proc/<pid>/stat: clock ticks since boot.
	StartTicks uint64 `json:"startTicks"`
	// Boot is the kernel's boot id: ticks mean nothing in another boot.
	Boot string `json:"boot"`
	// Since is when we started it, for people.
	Since time.Time `json:"since"`
	// Command is a hash of the command line and of the configuration that it
	// was started with; a component whose command has changed is restarted.
	Command string `json:"command"`
}

// Identify reads the identity of a running process.
func Identify(pid int) (Identity, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Identity{}, fmt.Errorf("reading the state of pid %d: %w", pid, err)
	}
	ticks, state, err := parseStat(string(stat))
	if err != nil {
		return Identity{}, fmt.Errorf("pid %d: %w", pid, err)
	}
	if state == "Z" || state == "X" {
		return Identity{}, fmt.Errorf("pid %d: %w", pid, os.ErrProcessDone)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Identity{}, fmt.Errorf("reading the boot id: %w", err)
	}
	return Identity{Pid: pid, StartTicks: ticks, Boot: strings.TrimSpace(string(boot)), Since: time.Now()}, nil
}

// parseStat returns the start time and the state letter. The command name in
// parentheses may itself hold spaces and parentheses, so fields are counted
// from the last closing one.
func parseStat(stat string) (ticks uint64, state string, err error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, "", errors.New("no command name in its stat line")
	}
	fields := strings.Fields(stat[end+1:])
	const startTime = 22 - 3 // fields are numbered from 1; the first here is the third
	if len(fields) <= startTime {
		return 0, "", errors.New("its stat line is too short")
	}
	ticks, err = strconv.ParseUint(fields[startTime], 10, 64)
	if err != nil {
		return 0, "", fmt.Errorf("its start time: %w", err)
	}
	return ticks, fields[0], nil
}

// Running reports whether this very process still runs.
func (id Identity) Running() bool {
	now, err := Identify(id.Pid)
	return err == nil && now.StartTicks == id.StartTicks && now.Boot == id.Boot
}

// Load reads a pid file; the second result is false where there is none.
func Load(path string) (Identity, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Identity{}, false
	}
	var id Identity
	if json.Unmarshal(data, &id) != nil || id.Pid <= 1 {
		return Identity{}, false
	}
	return id, true
}

func (id Identity) save(path string) error {
	data, err := json.Marshal(id)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return WriteFile(path, data, 0o644)
}

// WriteFile replaces a file in one step, so that an interrupted run never
// leaves half of it.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	// Nothing is forked meanwhile: a child has the file open for writing until it is
	// another program, and until then what was written can't be run.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(data); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Chmod(mode); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
