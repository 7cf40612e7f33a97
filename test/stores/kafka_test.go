package stores

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A broker is found by the environment, which says what is missing where it isn't. The
// authority needn't be there before whoever brings the broker up.
func TestFindKafka(t *testing.T) {
	dir := t.TempDir()
	failing, authority := filepath.Join(dir, "cluster"), filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(failing, []byte("#!/bin/sh\necho no room for $2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(authority, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, broker, authority, cluster string
		err                              string
	}{
		{"nothing is named", "", authority, "", "SLUICE_KAFKA_TLS_BROKER"},
		{"no authority is named", "a:9094", "", "", "SLUICE_KAFKA_CA"},
		{"nobody could bring it up", "a:9094", filepath.Join(dir, "none"), "", "SLUICE_CLUSTER names nothing"},
		{"it can't be brought up", "a:9094", filepath.Join(dir, "none"), failing, "no room for kafka"},
		{"an authority that is none", "a:9094", authority, "", "no certificate as PEM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("SLUICE_KAFKA_TLS_BROKER", tt.broker)
			t.Setenv("SLUICE_KAFKA_USER", "sluice")
			t.Setenv("SLUICE_KAFKA_PASSWORD", "secret")
			t.Setenv("SLUICE_KAFKA_CA", tt.authority)
			t.Setenv("SLUICE_CLUSTER", tt.cluster)
			if found, err := FindKafka(t.Context()); err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, %v; want %q", found, err, tt.err)
			}
		})
	}
}

// A proxy may be where a store says that it is.
func TestProxyAtAnAddress(t *testing.T) {
	at := unused(t)
	proxy, err := NewProxyAt(t.Context(), at, unused(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Away)
	connection, err := net.Dial("tcp", at)
	if err != nil || proxy.Address() != at {
		t.Fatalf("it is at %s: %v", proxy.Address(), err)
	}
	defer connection.Close()
	if second, err := NewProxyAt(t.Context(), at, at); err == nil {
		second.Away()
		t.Error("two proxies are at one address")
	}
}
