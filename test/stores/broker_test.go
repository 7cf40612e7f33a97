package stores

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A broker is found by the environment, which says what is missing where it isn't.
func TestFindBroker(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	failing := filepath.Join(t.TempDir(), "cluster")
	if err := os.WriteFile(failing, []byte("#!/bin/sh\necho no room for $2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	nobody := unused(t)
	for _, tt := range []struct{ name, broker, cluster, err string }{
		{"one that answers", listener.Addr().String(), failing, ""},
		{"nothing is named", "", failing, "SLUICE_KAFKA_BROKER"},
		{"nobody answers", nobody, "", "SLUICE_CLUSTER names nothing"},
		{"it can't be brought up", nobody, failing, "no room for kafka"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("SLUICE_KAFKA_BROKER", tt.broker)
			t.Setenv("SLUICE_CLUSTER", tt.cluster)
			found, err := FindBroker(t.Context())
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %s, %v; want %q", found, err, tt.err)
			}
		})
	}
}
