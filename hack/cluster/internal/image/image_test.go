package image

import (
	"archive/tar"
	"bytes"
	"io"
	"testing"
)

func TestPackIsReproducible(t *testing.T) {
	files := []File{
		{Path: "/usr/local/bin/x", Content: []byte("binary"), Mode: 0o755},
		{Path: "/tmp", Dir: true, Mode: 0o1777},
		{Path: "/etc/passwd", Content: []byte("root"), Mode: 0o644},
	}
	var first, second bytes.Buffer
	if err := pack(&first, files); err != nil {
		t.Fatal(err)
	}
	files[0], files[2] = files[2], files[0]
	if err := pack(&second, files); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the order of the files changes the layer")
	}
	modes := map[string]int64{}
	r := tar.NewReader(&first)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		modes[h.Name] = h.Mode
	}
	for name, mode := range map[string]int64{"usr/": 0o755, "usr/local/bin/": 0o755, "tmp/": 0o1777, "etc/passwd": 0o644} {
		if modes[name] != mode {
			t.Errorf("%s has mode %o, want %o", name, modes[name], mode)
		}
	}
}

func TestLibraries(t *testing.T) {
	libraries, err := Libraries("/bin/ls")
	if err != nil {
		t.Skipf("no dynamically linked program to look at: %v", err)
	}
	if libraries["/lib/libc.so.6"] == "" {
		t.Errorf("no libc among %v", libraries)
	}
}
