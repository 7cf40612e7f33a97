package platform

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestProcessesOfAPod(t *testing.T) {
	proc := t.TempDir()
	for id, of := range map[string]struct{ group, command string }{
		"7":    {"0::/kubepods/burstable/pod0a-1b/c1\n", "limiter\n"},
		"8":    {"0::/kubepods/besteffort/kubepods-besteffort-pod0a_1b.slice/c2\n", "pause\n"},
		"9":    {"0::/kubepods/burstable/pod0a-2c/c3\n", "limiter\n"},
		"self": {"0::/kubepods/burstable/pod0a-1b/c1\n", "limiter\n"},
	} {
		folder := filepath.Join(proc, id)
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{"cgroup": of.group, "comm": of.command} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := processesAt(proc, "0a-1b")
	if want := []Process{{7, "limiter"}, {8, "pause"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := processesAt(proc, "none"); err != nil || len(got) > 0 {
		t.Errorf("of a pod that isn't here: %v, %v", got, err)
	}
}

func TestKillingTwiceIsNoError(t *testing.T) {
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	p := Process{ID: child.Process.Pid}
	if !p.Runs() {
		t.Error("it doesn't run")
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	if err := Until(t.Context(), time.Minute, "it to end", func(context.Context) (string, error) {
		if p.Runs() {
			return "it runs", nil
		}
		return "", nil
	}); err != nil {
		t.Error("nobody has waited for it:", err)
	}
	_ = child.Wait() // that it was killed
	if p.Runs() {
		t.Error("it runs")
	}
	if err := p.Kill(); err != nil {
		t.Error("it has ended:", err)
	}
}
