package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Daemon is one background process of the stack.
type Daemon struct {
	Name    string
	Path    string
	Args    []string
	Env     []string
	PidFile string
	LogFile string
	// Configs are files whose content belongs to the command's identity.
	Configs []string
}

// Start starts the daemon unless it already runs with the same command; one
// that runs with another is ended first. It reports whether it was running.
func (d Daemon) Start(ctx context.Context) (running bool, err error) {
	want := d.fingerprint()
	if id, ok := Load(d.PidFile); ok && id.Running() {
		if id.Command == want {
			return true, nil
		}
		if err := Stop(ctx, d.PidFile, 20*time.Second); err != nil {
			return false, err
		}
	}
	if err := d.endUnrecorded(ctx); err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(d.LogFile), 0o755); err != nil {
		return false, err
	}
	log, err := os.OpenFile(d.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return false, err
	}
	defer log.Close()
	cmd := exec.Command(d.Path, d.Args...)
	cmd.Env = append(append(os.Environ(), d.Env...), d.markerValue())
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	// A session of its own: the daemon outlives the command that started it
	// and hears none of its terminal's signals.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// Nor does it keep open what we were started with, such as a caller's lock.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return false, fmt.Errorf("keeping open files from %s: %w", d.Name, err)
	}
	if err := cmd.Start(); err != nil {
		return false, fmt.Errorf("starting %s: %w", d.Name, err)
	}
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		return false, fmt.Errorf("%s ended at once; see %s", d.Name, d.LogFile)
	}
	id.Command = want
	if err := id.save(d.PidFile); err != nil {
		_ = cmd.Process.Kill()
		return false, fmt.Errorf("recording the pid of %s: %w", d.Name, err)
	}
	// Reaped here as long as we live; by init after that.
	go func() { _ = cmd.Wait() }()
	return false, nil
}

// Running reports whether the daemon runs.
func (d Daemon) Running() bool {
	id, ok := Load(d.PidFile)
	return ok && id.Running()
}

func (d Daemon) fingerprint() string {
	sum := sha256.New()
	fmt.Fprintln(sum, d.Path, strings.Join(d.Args, "\x00"), strings.Join(d.Env, "\x00"))
	for _, path := range d.Configs {
		content, _ := os.ReadFile(path)
		fmt.Fprintln(sum, path, len(content))
		sum.Write(content)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}

// Tail returns the last lines of the daemon's log, for error messages.
func (d Daemon) Tail(lines int) string { return Tail(d.LogFile, lines) }

// Tail returns the last lines of a log file, at most 8 KiB of them.
func Tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	const most = 8 << 10
	if len(data) > most {
		data = data[len(data)-most:]
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Stop ends the process that a pid file names, by SIGTERM and, once grace is
// over, SIGKILL, and removes the file. A process of another identity under the
// same pid is left alone.
func Stop(ctx context.Context, pidFile string, grace time.Duration) error {
	id, ok := Load(pidFile)
	if ok && id.Running() {
		if err := end(ctx, id, grace); err != nil {
			return err
		}
	}
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func end(ctx context.Context, id Identity, grace time.Duration) error {
	// A pidfd pins the process: should it end and its number be reused
	// between the check and the signal, the signal goes nowhere.
	proc, err := os.FindProcess(id.Pid)
	if err != nil {
		return err
	}
	defer func() { _ = proc.Release() }()
	if !id.Running() {
		return nil
	}
	_ = proc.Signal(syscall.SIGTERM)
	deadline := time.Now().Add(grace)
	for killed := false; id.Running(); {
		if !killed && time.Now().After(deadline) {
			_ = proc.Signal(syscall.SIGKILL)
			killed = true
			deadline = time.Now().Add(10 * time.Second)
		}
		if killed && time.Now().After(deadline) {
			return fmt.Errorf("pid %d does not end", id.Pid)
		}
		if err := Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// Pause waits for d or until the context ends.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
