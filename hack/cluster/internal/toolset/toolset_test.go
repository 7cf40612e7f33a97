package toolset

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKeyFollowsContent(t *testing.T) {
	dir := t.TempDir()
	set := filepath.Join(dir, "kube")
	if err := os.Mkdir(set, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(set, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module x")
	write("go.sum", "")
	s := Store{Toolsets: dir, Cache: filepath.Join(dir, "cache")}
	key := func(b Binary) string {
		k, err := s.Key(b)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	kubelet := Binary{Set: "kube", Name: "kubelet", Package: "p/kubelet"}
	first := key(kubelet)
	if key(kubelet) != first {
		t.Error("the key of the same content differs")
	}
	if key(Binary{Set: "kube", Name: "kubelet", Package: "p/kubelet", LDFlags: "-X a=b"}) == first {
		t.Error("linker flags don't change the key")
	}
	if key(Binary{Set: "kube", Name: "kubelet", Package: "p/kubelet", Tags: "small"}) == first {
		t.Error("build tags don't change the key")
	}
	lock, err := s.SetKey("kube")
	if err != nil {
		t.Fatal(err)
	}
	if first != Hash(lock, "p/kubelet", "") {
		t.Error("what is built without tags has another key than before there were any")
	}
	write("go.sum", "module v1.0.0 h1:abc=")
	if key(kubelet) == first {
		t.Error("go.sum doesn't change the key")
	}
	missing, err := s.Missing([]Binary{kubelet})
	if err != nil || len(missing) != 1 {
		t.Errorf("missing %v, %v; want the one binary", missing, err)
	}
	if Hash("ab", "c") == Hash("a", "bc") {
		t.Error("parts run into each other")
	}
}
