// Package toolset builds the stack's programs from pinned Go modules and keeps
// them by content: the name of a binary's folder is a hash of everything that
// decides what it is, so a binary that is there is the right one.
package toolset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Binary is one program of a tool set.
type Binary struct {
	// Set is the folder under toolsets/ whose go.mod pins it.
	Set     string
	Name    string
	Package string
	LDFlags string
	// Tags are the build's, separated by commas: what of a program is left out, say.
	Tags string
}

// Store builds into, and finds in, a cache folder.
type Store struct {
	// Toolsets is the folder that holds the sets' modules.
	Toolsets string
	// Cache holds <key>/<name>.
	Cache string
}

// Key is the content key of a binary.
func (s Store) Key(b Binary) (string, error) {
	lock, err := s.SetKey(b.Set)
	if err != nil {
		return "", err
	}
	parts := []string{lock, b.Package, b.LDFlags}
	if b.Tags != "" { // without any, the key is as it was before there were tags
		parts = append(parts, b.Tags)
	}
	return Hash(parts...), nil
}

// SetKey is the content key of a whole tool set: its pinned modules, its own
// sources where it has any, the compiler and the platform.
func (s Store) SetKey(set string) (string, error) {
	parts := []string{runtime.Version(), runtime.GOOS, runtime.GOARCH}
	dir := filepath.Join(s.Toolsets, set)
	sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	for _, file := range append([]string{filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")}, sources...) {
		content, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) && filepath.Base(file) == "go.sum" {
			continue // a set without dependencies has none
		}
		if err != nil {
			return "", fmt.Errorf("reading tool set %s: %w", set, err)
		}
		parts = append(parts, filepath.Base(file), string(content))
	}
	return Hash(parts...), nil
}

// Hash is a short content key of its parts.
func Hash(parts ...string) string {
	sum := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(sum, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}

// Path is where the binary lies once it is built.
func (s Store) Path(b Binary) (string, error) {
	key, err := s.Key(b)
	if err != nil {
		return "", err
	}
	return filepath.Join(s.Cache, key, b.Name), nil
}

// Missing returns those that have to be built.
func (s Store) Missing(binaries []Binary) ([]Binary, error) {
	var missing []Binary
	for _, b := range binaries {
		path, err := s.Path(b)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, b)
		}
	}
	return missing, nil
}

// Build builds one binary and moves it into the cache in one step.
func (s Store) Build(ctx context.Context, b Binary, log io.Writer) error {
	path, err := s.Path(b)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// In the same file system, so that the move is a rename.
	tmp, err := os.MkdirTemp(s.Cache, ".build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, b.Name)
	args := []string{"build", "-trimpath", "-o", out}
	if b.LDFlags != "" {
		args = append(args, "-ldflags", b.LDFlags)
	}
	if b.Tags != "" {
		args = append(args, "-tags", b.Tags)
	}
	if err := s.goRun(ctx, b.Set, log, append(args, b.Package)...); err != nil {
		return fmt.Errorf("building %s: %w", b.Name, err)
	}
	return os.Rename(out, path)
}

func (s Store) goRun(ctx context.Context, set string, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(s.Toolsets, set)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = out, out
	return cmd.Run()
}

// ModuleDir returns the folder of a module's source, fetching it if need be.
func (s Store) ModuleDir(ctx context.Context, set, module string) (string, error) {
	var out strings.Builder
	if err := s.goRun(ctx, set, &out, "mod", "download", "-json", module); err != nil {
		return "", fmt.Errorf("fetching module %s: %w: %s", module, err, out.String())
	}
	var m struct{ Dir string }
	if err := json.Unmarshal([]byte(out.String()), &m); err != nil {
		return "", fmt.Errorf("fetching module %s: %w", module, err)
	}
	return m.Dir, nil
}

// Offline reports whether all of a set's sources are on this machine already.
func (s Store) Offline(ctx context.Context, set string) bool {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-f", "{{if .Error}}{{.Error}}{{end}}", "./...", "tool")
	cmd.Dir = filepath.Join(s.Toolsets, set)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOPROXY=off")
	return cmd.Run() == nil
}
