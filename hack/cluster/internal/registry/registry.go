// Package registry serves container images from disk. The library keeps blobs
// on disk but manifests in memory only; this package records every manifest
// that is pushed and pushes them all again when it starts.
package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"sluice.dev/sluice/hack/cluster/internal/process"
)

// Handler is the registry's HTTP interface over a storage folder.
type Handler struct {
	inner     http.Handler
	manifests string
}

// manifest is one recorded push.
type manifest struct {
	Path        string    `json:"path"`
	ContentType string    `json:"contentType"`
	Pushed      time.Time `json:"pushed"`
	Body        []byte    `json:"body"`
}

// Open loads the storage of dir.
func Open(dir string) (*Handler, error) {
	h := &Handler{manifests: filepath.Join(dir, "manifests")}
	blobs := filepath.Join(dir, "blobs")
	for _, d := range []string{h.manifests, blobs} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	h.inner = registry.New(
		registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)),
		registry.Logger(log.New(io.Discard, "", 0)),
	)
	return h, h.replay()
}

// replay pushes the recorded manifests in the order they came in: an index is
// refused unless the images that it lists are there.
func (h *Handler) replay() error {
	files, err := filepath.Glob(filepath.Join(h.manifests, "*.json"))
	if err != nil {
		return err
	}
	recorded := make([]manifest, 0, len(files))
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var m manifest
		if err := json.Unmarshal(content, &m); err != nil {
			return fmt.Errorf("reading the recorded manifest %s: %w", file, err)
		}
		recorded = append(recorded, m)
	}
	sort.Slice(recorded, func(i, j int) bool { return recorded[i].Pushed.Before(recorded[j].Pushed) })
	for _, m := range recorded {
		req := httptest.NewRequest(http.MethodPut, m.Path, bytes.NewReader(m.Body))
		req.Header.Set("Content-Type", m.ContentType)
		answer := httptest.NewRecorder()
		h.inner.ServeHTTP(answer, req)
		if answer.Code >= 300 {
			log.Printf("dropped the recorded manifest %s: %s", m.Path, answer.Body)
		}
	}
	log.Printf("%d manifests loaded", len(recorded))
	return nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/manifests/") || (r.Method != http.MethodPut && r.Method != http.MethodDelete) {
		h.inner.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	if r.Method == http.MethodPut {
		// Recorded first: what has been acknowledged must survive a restart.
		m := manifest{Path: r.URL.Path, ContentType: r.Header.Get("Content-Type"), Pushed: time.Now(), Body: body}
		if err := h.record(m); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	h.inner.ServeHTTP(answer, r)
	if r.Method == http.MethodDelete || answer.status >= 300 {
		_ = os.Remove(h.file(r.URL.Path))
	}
}

func (h *Handler) file(path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(h.manifests, hex.EncodeToString(sum[:])+".json")
}

func (h *Handler) record(m manifest) error {
	content, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return process.WriteFile(h.file(m.Path), content, 0o644)
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Serve listens until the context ends.
func Serve(ctx context.Context, address, dir string) error {
	h, err := Open(dir)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	log.Printf("serving images of %s on %s", dir, address)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
