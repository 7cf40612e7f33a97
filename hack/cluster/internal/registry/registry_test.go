package registry

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestImagesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	serve := func() (*httptest.Server, name.Reference) {
		h, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(h)
		ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/a/model:1")
		if err != nil {
			t.Fatal(err)
		}
		return server, ref
	}
	index, err := random.Index(64, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	first, ref := serve()
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	first.Close()

	second, ref := serve()
	defer second.Close()
	got, err := remote.Get(ref)
	if err != nil {
		t.Fatalf("after the restart: %v", err)
	}
	if got.Digest != want {
		t.Errorf("got %s, want %s", got.Digest, want)
	}
}
