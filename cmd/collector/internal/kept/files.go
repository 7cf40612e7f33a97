// Package kept keeps the collector going by the last configuration that was good. What is mounted is taken up when it
// changes, if it can be; while it can't, what is in force goes on, a metric says so, and a collector that starts then
// has what was good from its own folder.
package kept

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// State is what a configuration is made of. Secrets aren't in it: the configuration names the environment's variables
// that hold them.
type State struct {
	Configuration string            `json:"configuration"`
	Values        map[string]string `json:"values"`
}

func (s State) equal(other State) bool {
	return s.Configuration == other.Configuration && maps.Equal(s.Values, other.Values)
}

// Files is where a State is mounted: a file, and a folder with a file a value, as Kubernetes mounts ConfigMaps. The
// folder may be missing: then there are no values.
type Files struct{ Configuration, Values string }

func (f Files) read() (State, error) {
	text, err := os.ReadFile(f.Configuration)
	if err != nil {
		return State{}, fmt.Errorf("reading the configuration: %w", err)
	}
	state := State{Configuration: string(text), Values: map[string]string{}}
	entries, err := os.ReadDir(f.Values)
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("listing values: %w", err)
	}
	for _, entry := range entries {
		// Kubernetes' own entries and examples.
		if strings.HasPrefix(entry.Name(), ".") || strings.HasPrefix(entry.Name(), "_") {
			continue
		}
		value, err := os.ReadFile(filepath.Join(f.Values, entry.Name()))
		if err != nil {
			return State{}, fmt.Errorf("reading value %s: %w", entry.Name(), err)
		}
		state.Values[entry.Name()] = strings.TrimSpace(string(value))
	}
	return state, nil
}

func load(path string) (State, error) {
	var state State
	text, err := os.ReadFile(path)
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(text, &state); err != nil {
		return state, fmt.Errorf("reading %s: %w", path, err)
	}
	return state, nil
}

// store replaces the file as a whole, so that a collector that is killed meanwhile leaves the one before.
func store(path string, state State) error {
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
