// Command dashboards writes Sluice's dashboards for Grafana, one JSON file each, into the folder
// that it is given. hack/update-dashboards.sh runs it.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("Usage: dashboards <folder>")
	}
	for _, b := range boards() {
		if err := write(os.Args[1], b); err != nil {
			log.Fatalf("Error writing the dashboard %s: %v", b.name, err)
		}
	}
}

func write(folder string, b board) error {
	built, err := b.build()
	if err != nil {
		return err
	}
	text, err := marshal(built)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, b.name+".json"), text, 0o600); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

func marshal(built dashboard.Dashboard) ([]byte, error) {
	text, err := json.MarshalIndent(built, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return append(text, '\n'), nil
}
