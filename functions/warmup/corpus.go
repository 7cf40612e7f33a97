package warmup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// Requests are a round's requests, one after the other; an error ends them.
type Requests = iter.Seq2[*warmup.Request, error]

// inline are the requests that a plan itself has.
func inline(plan []warmup.Request) Requests {
	return func(yield func(*warmup.Request, error) bool) {
		for i := range plan {
			if !yield(&plan[i], nil) {
				return
			}
		}
	}
}

// Corpus keeps an artifact as a file of JSON lines, so that a large one is never in
// memory and a container that restarts has it already.
type Corpus struct {
	// Image names the artifact by digest.
	Image string
	// Dir is where the file is kept.
	Dir string
	// Keys are what the registry may ask for.
	Keys Keyring
}

func (c *Corpus) file() string {
	_, digest, _ := strings.Cut(c.Image, "@sha256:")
	return filepath.Join(c.Dir, digest+".jsonl")
}

// Pull fetches the artifact, unless it is there. Every byte is checked against its
// digest.
func (c *Corpus) Pull(ctx context.Context) error {
	if _, err := os.Stat(c.file()); err == nil {
		return nil
	}
	digest, err := name.NewDigest(c.Image)
	if err != nil {
		return fmt.Errorf("artifact %q: %w", c.Image, err)
	}
	image, err := c.open(ctx, digest)
	if err != nil {
		return fmt.Errorf("artifact %s: %w", c.Image, err)
	}
	// Always the same file: a pull that was killed has left no other behind.
	part, err := os.OpenFile(c.file()+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("making room for artifact %s: %w", c.Image, err)
	}
	defer os.Remove(part.Name())
	if err := errors.Join(unpack(image, part), part.Close()); err != nil {
		return fmt.Errorf("artifact %s: %w", c.Image, err)
	}
	return os.Rename(part.Name(), c.file())
}

// open asks the registry for the artifact, by one key after the other, as the kubelet
// does: which of those that fit is good is for the registry to say.
func (c *Corpus) open(ctx context.Context, digest name.Digest) (v1.Image, error) {
	keys, err := c.Keys.of(digest.Repository)
	if err != nil {
		return nil, err
	}
	var refused error
	for _, key := range keys {
		image, err := remote.Image(digest, remote.WithContext(ctx), remote.WithAuth(key),
			remote.WithRetryBackoff(remote.Backoff{Steps: 1})) // the Engine tries again
		if err == nil || temporary(err) {
			return image, err
		}
		refused = cmp.Or(refused, err)
	}
	return nil, refused
}

// unpack writes the lines of all layers, in order.
func unpack(image v1.Image, to io.Writer) error {
	layers, err := image.Layers()
	if err != nil {
		return fmt.Errorf("reading its layers: %w", err)
	}
	bounded := &boundedWriter{to: to, left: warmup.MaxCorpus}
	for i, layer := range layers {
		if err := unpackLayer(layer, bounded); err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	if bounded.left == warmup.MaxCorpus {
		return errors.New("has no requests: neither layers of JSON lines nor files *.jsonl in its archives")
	}
	return nil
}

func unpackLayer(layer v1.Layer, to io.Writer) error {
	kind, err := layer.MediaType()
	if err != nil {
		return fmt.Errorf("reading its type: %w", err)
	}
	blob, err := layer.Compressed()
	if err != nil {
		return fmt.Errorf("pulling it: %w", err)
	}
	defer blob.Close()
	content := io.Reader(blob)
	buffered := bufio.NewReader(content)
	content = buffered
	if magic, _ := buffered.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return fmt.Errorf("unzipping it: %w", err)
		}
		content = unzipped
	}
	if strings.Contains(string(kind), "tar") {
		err = copyFiles(content, to)
	} else {
		err = copyLines(content, to)
	}
	// The digest is checked once all is read.
	_, rest := io.Copy(io.Discard, buffered)
	return errors.Join(err, rest)
}

func copyFiles(archive io.Reader, to io.Writer) error {
	files := tar.NewReader(archive)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the archive: %w", err)
		}
		if header.Typeflag != tar.TypeReg || !strings.HasSuffix(header.Name, ".jsonl") {
			continue
		}
		if err := copyLines(files, to); err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
	}
}

// copyLines ends the last line, should it have no end.
func copyLines(from io.Reader, to io.Writer) error {
	if _, err := io.Copy(to, from); err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	_, err := to.Write([]byte("\n"))
	return err
}

// boundedWriter refuses what is more than a bound.
type boundedWriter struct {
	to   io.Writer
	left int64
}

func (w *boundedWriter) Write(p []byte) (int, error) {
	if w.left -= int64(len(p)); w.left < 0 {
		return 0, fmt.Errorf("is above %d MiB", warmup.MaxCorpus>>20)
	}
	return w.to.Write(p)
}

// Requests reads the file.
func (c *Corpus) Requests() Requests {
	return func(yield func(*warmup.Request, error) bool) {
		file, err := os.Open(c.file())
		if err != nil {
			yield(nil, fmt.Errorf("opening artifact %s: %w", c.Image, err))
			return
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Buffer(make([]byte, 0, 64<<10), warmup.MaxLine)
		for number := 1; lines.Scan(); number++ {
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			request, err := parseLine(lines.Bytes())
			if err != nil {
				yield(nil, fmt.Errorf("line %d of artifact %s: %w", number, c.Image, err))
				return
			}
			if request.Name == "" {
				request.Name = fmt.Sprintf("line %d", number)
			}
			if !yield(request, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(nil, fmt.Errorf("reading artifact %s, whose lines are at most %d MiB: %w", c.Image, warmup.MaxLine>>20, err))
		}
	}
}

func parseLine(line []byte) (*warmup.Request, error) {
	request := &warmup.Request{}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(request); err != nil {
		return nil, fmt.Errorf("no request: %w", err)
	}
	switch {
	case request.BodyFile != "":
		return nil, errors.New("bodyFile can't be used here")
	case (request.Path == "") == (request.GRPC == ""):
		return nil, errors.New("has to have a path or grpc, and not both")
	case request.GRPC == "" && !strings.HasPrefix(request.Path, "/"):
		return nil, fmt.Errorf("path %q doesn't begin with /", request.Path)
	}
	return request, nil
}
