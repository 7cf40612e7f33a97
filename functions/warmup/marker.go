package warmup

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// Verdict is what a warm-up came to, and of which start of the model.
type Verdict struct {
	// Boot is the kernel's: sockets are counted anew after each.
	Boot    string        `json:"boot"`
	Sockets []uint64      `json:"sockets"`
	Status  warmup.Status `json:"status"`
}

// Marker is a file that outlives the container, though not its pod: by it a container
// that restarts beside a warm model knows that it is warm.
type Marker struct {
	// File that holds a Verdict.
	File string
	// BootID is the file that names the kernel's boot.
	BootID string
}

// Save keeps a verdict.
func (m Marker) Save(sockets []uint64, status warmup.Status) error {
	boot, err := m.boot()
	if err != nil {
		return err
	}
	content, err := json.Marshal(Verdict{Boot: boot, Sockets: sockets, Status: status})
	if err != nil {
		return fmt.Errorf("encoding the verdict: %w", err)
	}
	part := m.File + ".part"
	if err := os.MkdirAll(filepath.Dir(m.File), 0o750); err != nil {
		return fmt.Errorf("keeping the verdict: %w", err)
	}
	if err := os.WriteFile(part, content, 0o600); err != nil {
		return fmt.Errorf("keeping the verdict: %w", err)
	}
	return os.Rename(part, m.File)
}

// Load returns what is known of the model whose sockets these are; false for nothing.
func (m Marker) Load(sockets []uint64) (warmup.Status, bool) {
	content, err := os.ReadFile(m.File)
	if err != nil {
		return warmup.Status{}, false
	}
	var verdict Verdict
	if json.Unmarshal(content, &verdict) != nil {
		return warmup.Status{}, false
	}
	boot, err := m.boot()
	return verdict.Status, err == nil && boot == verdict.Boot && common(verdict.Sockets, sockets)
}

func (m Marker) boot() (string, error) {
	id, err := os.ReadFile(m.BootID)
	if err != nil {
		return "", fmt.Errorf("reading the kernel's boot: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}
