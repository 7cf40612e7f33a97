// Package image makes the few container images that nobody publishes where we
// can fetch them: a base for ko, pause, istiod and the Envoy proxy. Layers are
// reproducible, and an image's tag is a hash of what is in it.
package image

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"sort"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// File is one entry of a layer.
type File struct {
	Path string
	// Source is a file of this machine; Content is used where it is empty.
	Source  string
	Content []byte
	Mode    int64
	// Dir makes it a directory.
	Dir bool
	// Owner is its numeric user and group.
	Owner int
}

// Spec describes an image.
type Spec struct {
	// Reference is where it is pushed, tag included.
	Reference  string
	Files      []File
	Entrypoint []string
	User       string
	Env        []string
}

// Pushed reports whether the registry has the reference.
func Pushed(ctx context.Context, reference string) bool {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return false
	}
	_, err = remote.Head(ref, remote.WithContext(ctx))
	return err == nil
}

// Push builds the image and pushes it.
func Push(ctx context.Context, s Spec) error {
	ref, err := name.ParseReference(s.Reference)
	if err != nil {
		return err
	}
	layer, err := layerOf(s.Files)
	if err != nil {
		return fmt.Errorf("building the layer of %s: %w", s.Reference, err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{
		User: s.User, Entrypoint: s.Entrypoint,
		Env: append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"}, s.Env...),
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return err
	}
	if err := remote.Write(ref, img, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("pushing %s: %w", s.Reference, err)
	}
	return nil
}

// layerOf packs files, and the directories above them, into a layer. The bytes
// are compressed once and kept: the largest image has some 150 MB.
func layerOf(files []File) (v1.Layer, error) {
	var packed bytes.Buffer
	if err := pack(&packed, files); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	}, tarball.WithCompressedCaching)
}

func pack(out io.Writer, files []File) error {
	files = withParents(files)
	w := tar.NewWriter(out)
	for _, f := range files {
		header := &tar.Header{
			Name: strings.TrimPrefix(f.Path, "/"), Mode: f.Mode, Uid: f.Owner, Gid: f.Owner,
			ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg, Format: tar.FormatPAX,
		}
		content := f.Content
		if f.Dir {
			header.Typeflag = tar.TypeDir
			header.Name += "/"
		} else if f.Source != "" {
			var err error
			if content, err = os.ReadFile(f.Source); err != nil {
				return err
			}
		}
		header.Size = int64(len(content))
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
	}
	return w.Close()
}

func withParents(files []File) []File {
	known := map[string]bool{"/": true, ".": true}
	for _, f := range files {
		known[f.Path] = true
	}
	all := append([]File(nil), files...)
	for _, f := range files {
		for dir := path.Dir(f.Path); !known[dir]; dir = path.Dir(dir) {
			known[dir] = true
			all = append(all, File{Path: dir, Dir: true, Mode: 0o755})
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Path < all[j].Path })
	return all
}
