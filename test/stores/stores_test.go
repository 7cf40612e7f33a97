package stores

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A store is found by the environment, which says what is missing where it isn't.
func TestFindS3(t *testing.T) {
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer store.Close()
	failing := filepath.Join(t.TempDir(), "cluster")
	if err := os.WriteFile(failing, []byte("#!/bin/sh\necho no room for $2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + unused(t)
	for _, tt := range []struct {
		name, endpoint, secret, cluster string
		err                             string
	}{
		{"one that answers", store.URL, "secret", "", ""},
		{"one that answers, and whoever could bring it up", store.URL, "secret", failing, ""},
		{"nothing is named", "", "secret", "", "SLUICE_S3_ENDPOINT"},
		{"no secret", store.URL, "", "", "SLUICE_S3_SECRET_KEY"},
		{"nobody answers", nobody, "secret", "", "SLUICE_CLUSTER names nothing"},
		{"it can't be brought up", nobody, "secret", failing, "no room for versitygw"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("SLUICE_S3_ENDPOINT", tt.endpoint)
			t.Setenv("SLUICE_S3_ACCESS_KEY", "key")
			t.Setenv("SLUICE_S3_SECRET_KEY", tt.secret)
			t.Setenv("SLUICE_CLUSTER", tt.cluster)
			found, err := FindS3(t.Context())
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, %v; want %q", found, err, tt.err)
			}
		})
	}
}

// unused is an address on which nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// While a store is away, connections from before are broken and none is accepted.
func TestProxy(t *testing.T) {
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
	defer store.Close()
	proxy, err := NewProxy(t.Context(), strings.TrimPrefix(store.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Away)
	ask := func() (string, error) {
		answer, err := http.Get("http://" + proxy.Address())
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		return string(body), err
	}
	kept, err := net.Dial("tcp", proxy.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	for round := range 3 {
		if got, err := ask(); got != "here" || err != nil {
			t.Errorf("round %d: got %q, %v", round, got, err)
		}
		proxy.Away()
		if got, err := ask(); err == nil {
			t.Errorf("round %d: away, it answers %q", round, got)
		}
		if err := proxy.Back(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := kept.Read(make([]byte, 1)); err == nil {
		t.Errorf("a connection from before is there still, and brought %d bytes", n)
	}
}
