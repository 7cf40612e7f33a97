package process

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// marker is the environment variable that every daemon carries, and hands on to
// what it starts itself. It finds daemons whose start was interrupted before
// their pid was on record, and containerd's shims, which no pid file names.
const marker = "SLUICE_CLUSTER_DAEMON"

func (d Daemon) markerValue() string { return marker + "=" + filepath.Dir(d.PidFile) + ":" + d.Name }

// Marked returns the processes that daemons with pid files in pidDir started,
// directly or not.
func Marked(pidDir string) []Identity { return marked([]byte(marker + "=" + pidDir + ":")) }

func marked(prefix []byte) []Identity {
	var found []Identity
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil {
			continue
		}
		for _, entry := range bytes.Split(environ, []byte{0}) {
			if !bytes.HasPrefix(entry, prefix) {
				continue
			}
			if id, err := Identify(pid); err == nil {
				found = append(found, id)
			}
		}
	}
	return found
}

// endUnrecorded ends an earlier start of this daemon that never got as far as
// its pid file. What the daemon itself started has another executable.
func (d Daemon) endUnrecorded(ctx context.Context) error {
	for _, id := range marked([]byte(d.markerValue())) {
		exe, err := os.Readlink("/proc/" + strconv.Itoa(id.Pid) + "/exe")
		if err != nil || exe != d.Path {
			continue
		}
		if err := end(ctx, id, 10*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// EndMarked ends all that Marked returns.
func EndMarked(ctx context.Context, pidDir string) error {
	return endAll(ctx, Marked(pidDir))
}

// EndMarkedBy ends what one daemon started, itself included.
func EndMarkedBy(ctx context.Context, pidDir, daemon string) error {
	return endAll(ctx, marked([]byte(marker+"="+pidDir+":"+daemon)))
}

// endAll asks all at once and then waits for one after the other.
func endAll(ctx context.Context, all []Identity) error {
	for _, id := range all {
		if proc, err := os.FindProcess(id.Pid); err == nil {
			if id.Running() {
				_ = proc.Signal(syscall.SIGTERM)
			}
			_ = proc.Release()
		}
	}
	for _, id := range all {
		if err := end(ctx, id, 3*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// Run runs a command to its end; its output goes to log.
func Run(ctx context.Context, log io.Writer, path string, args ...string) error {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	return cmd.Run()
}
