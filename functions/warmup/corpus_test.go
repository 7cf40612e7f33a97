package warmup

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// artifacts is a registry; change may meddle with its answers.
func artifacts(t *testing.T, change func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if change == nil || !change(w, r) {
			handler.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func push(t *testing.T, host string, layers ...v1.Layer) string {
	t.Helper()
	image, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.ParseReference(host + "/corpus:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return host + "/corpus@" + digest.String()
}

func lines(text string) v1.Layer { return static.NewLayer([]byte(text), "application/jsonl") }

// archive is a layer of files, zipped, as crane append makes it.
func archive(t *testing.T, files ...string) v1.Layer {
	t.Helper()
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

func all(c *Corpus) (names []string, err error) {
	for request, err := range c.Requests() {
		if err != nil {
			return names, err
		}
		names = append(names, request.String())
	}
	return names, nil
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	host := artifacts(t, nil)
	corpus := &Corpus{Dir: t.TempDir(), Keys: Keys(t.TempDir())}
	corpus.Image = push(t, host,
		lines("{\"method\":\"POST\",\"path\":\"/a\",\"body\":\"x\"}\n\n{\"name\":\"second\",\"method\":\"GET\",\"path\":\"/b\"}"),
		archive(t, "README", "no requests", "recorded/1.jsonl", "{\"grpc\":\"a.B/C\"}\n"),
	)
	if err := corpus.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := all(corpus)
	if want := []string{"line 1 (POST /a)", "second (GET /b)", "line 4 (gRPC a.B/C)"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	// What is there isn't pulled again: the registry may be gone.
	again := &Corpus{Image: strings.Replace(corpus.Image, host, "127.0.0.1:1", 1), Dir: corpus.Dir, Keys: corpus.Keys}
	if err := again.Pull(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCorpusThatIsNone(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"{}":                             "line 1 of artifact x@sha256:abc: has to have a path or grpc",
		`{"path":"/","grpc":"a.B/C"}`:    "and not both",
		`{"path":"a"}`:                   "doesn't begin with /",
		"\n" + `{"path":"/","verb":"x"}`: `line 2 of artifact x@sha256:abc: no request: json: unknown field "verb"`,
		`{"path":"/","bodyFile":"0"}`:    "bodyFile can't be used",
		"garbage":                        "line 1 of artifact x@sha256:abc: no request",
		`{"path":"/","body":"` + strings.Repeat("x", warmup.MaxLine) + `"}`: "reading artifact x@sha256:abc, whose lines are at most 2 MiB",
	} {
		corpus := &Corpus{Image: "x@sha256:abc", Dir: t.TempDir()}
		if err := os.WriteFile(corpus.file(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := all(corpus); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40s: %v, want %q", text, err, says)
		}
	}
}

func TestCorpusThatCantBePulled(t *testing.T) {
	t.Parallel()
	missing := "@sha256:" + strings.Repeat("0", 64)
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		c := &Corpus{Image: artifacts(t, nil) + "/corpus" + missing, Dir: t.TempDir(), Keys: Keys("")}
		if err := c.Pull(t.Context()); err == nil || temporary(err) || !strings.Contains(err.Error(), c.Image) {
			t.Errorf("%v, want an error for good that names the artifact", err)
		}
	})
	t.Run("in trouble", func(t *testing.T) {
		t.Parallel()
		c := &Corpus{Image: "127.0.0.1:1/corpus" + missing, Dir: t.TempDir(), Keys: Keys("")}
		if err := c.Pull(t.Context()); err == nil || !temporary(err) {
			t.Errorf("%v, want one that may pass", err)
		}
	})
	t.Run("empty", func(t *testing.T) {
		t.Parallel()
		c := &Corpus{Dir: t.TempDir(), Keys: Keys("")}
		c.Image = push(t, artifacts(t, nil), archive(t, "README", "x"))
		if err := c.Pull(t.Context()); err == nil || !strings.Contains(err.Error(), "has no requests") {
			t.Errorf("%v, want that it has no requests", err)
		}
	})
	t.Run("corrupt", func(t *testing.T) {
		t.Parallel()
		const text = `{"path":"/"}`
		c := &Corpus{Dir: t.TempDir(), Keys: Keys("")}
		c.Image = push(t, artifacts(t, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			fmt.Fprint(w, strings.ToUpper(text))
			return true
		}), lines(text))
		if err := c.Pull(t.Context()); err == nil || temporary(err) {
			t.Errorf("%v, want that it isn't what its digest says", err)
		}
		if left, _ := filepath.Glob(filepath.Join(c.Dir, "*")); len(left) > 0 {
			t.Errorf("leaves %q behind", left)
		}
	})
}

func TestCorpusBehindAKey(t *testing.T) {
	t.Parallel()
	locked := false
	host := artifacts(t, func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		if !locked || user == "team" && password == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	image := push(t, host, lines(`{"path":"/"}`))
	locked = true
	keys := t.TempDir()
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("team:secret")))
	for name, content := range map[string]string{"0.json": `{"auths":{"elsewhere":{}}}`, "1.json": config} {
		if err := os.WriteFile(filepath.Join(keys, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for keychain, want := range map[authn.Keychain]bool{Keys(keys): true, Keys("/nowhere"): false} {
		c := &Corpus{Image: image, Dir: t.TempDir(), Keys: keychain}
		if err := c.Pull(t.Context()); (err == nil) != want {
			t.Errorf("%v, want it pulled: %t", err, want)
		}
	}
}
