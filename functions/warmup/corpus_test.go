package warmup

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	corpus := &Corpus{Dir: t.TempDir(), Keys: Keyring(t.TempDir())}
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
		c := &Corpus{Image: artifacts(t, nil) + "/corpus" + missing, Dir: t.TempDir(), Keys: ""}
		if err := c.Pull(t.Context()); err == nil || temporary(err) || !strings.Contains(err.Error(), c.Image) {
			t.Errorf("%v, want an error for good that names the artifact", err)
		}
	})
	t.Run("in trouble", func(t *testing.T) {
		t.Parallel()
		c := &Corpus{Image: "127.0.0.1:1/corpus" + missing, Dir: t.TempDir(), Keys: ""}
		if err := c.Pull(t.Context()); err == nil || !temporary(err) {
			t.Errorf("%v, want one that may pass", err)
		}
	})
	t.Run("empty", func(t *testing.T) {
		t.Parallel()
		c := &Corpus{Dir: t.TempDir(), Keys: ""}
		c.Image = push(t, artifacts(t, nil), archive(t, "README", "x"))
		if err := c.Pull(t.Context()); err == nil || !strings.Contains(err.Error(), "has no requests") {
			t.Errorf("%v, want that it has no requests", err)
		}
	})
	t.Run("corrupt", func(t *testing.T) {
		t.Parallel()
		const text = `{"path":"/"}`
		c := &Corpus{Dir: t.TempDir(), Keys: ""}
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

// A key is good for the registry that it names, as the kubelet has it, whether by itself,
// by a glob or by a path; of several that fit, one that the registry takes is enough.
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
	elsewhere := secret("elsewhere.example", "team")
	for name, tt := range map[string]struct {
		secrets []string
		want    bool
	}{
		"none":                   {nil, false},
		"of the registry":        {[]string{elsewhere, secret(host, "team")}, true},
		"of its API":             {[]string{secret("https://"+host+"/v1/", "team")}, true},
		"of the repository":      {[]string{secret(host+"/corpus", "team")}, true},
		"of a path":              {[]string{secret(host+"/cor", "team")}, true},
		"of another path":        {[]string{secret(host+"/models", "team")}, false},
		"by a glob":              {[]string{secret("127.*.0.1"+strings.TrimPrefix(host, "127.0.0.1"), "team")}, true},
		"by another glob":        {[]string{secret("128.*.0.1"+strings.TrimPrefix(host, "127.0.0.1"), "team")}, false},
		"another's first":        {[]string{secret(host+"/corpus", "other"), secret(host, "team")}, true},
		"another's of that name": {[]string{secret(host, "other"), secret(host, "team")}, true},
		"another's alone":        {[]string{secret(host, "other")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &Corpus{Image: image, Dir: t.TempDir(), Keys: keyring(t, t.TempDir(), tt.secrets...)}
			if err := c.Pull(t.Context()); (err == nil) != tt.want || temporary(err) {
				t.Errorf("%v, want it pulled: %t", err, tt.want)
			}
		})
	}
	t.Run("in the older form", func(t *testing.T) {
		t.Parallel()
		keys := t.TempDir()
		config := strings.TrimSuffix(strings.TrimPrefix(secret(host, "team"), `{"auths":`), "}")
		if err := os.WriteFile(filepath.Join(keys, "0.dockercfg"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (&Corpus{Image: image, Dir: t.TempDir(), Keys: Keyring(keys)}).Pull(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A process that is killed in the middle of a pull, over and over, leaves no more behind
// than the one that comes next needs.
func TestKilledPullsLeaveNoMore(t *testing.T) {
	if dir := os.Getenv("PULL_INTO"); dir != "" {
		t.Fatal((&Corpus{Image: os.Getenv("PULL_IMAGE"), Dir: dir}).Pull(t.Context()))
	}
	t.Parallel()
	const half = 1 << 20
	whole := lines(strings.Repeat(`{"path":"/"}`+"\n", 2*half/13))
	digest, err := whole.Digest()
	if err != nil {
		t.Fatal(err)
	}
	halves, stuck := make(chan struct{}), atomic.Bool{}
	host := artifacts(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !stuck.Load() || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest.String()) {
			return false
		}
		blob, err := whole.Compressed()
		if err != nil {
			t.Error(err)
		}
		_, _ = io.CopyN(w, blob, half)
		_ = http.NewResponseController(w).Flush()
		halves <- struct{}{}
		<-r.Context().Done()
		return true
	})
	image := push(t, host, whole)
	stuck.Store(true)
	dir := t.TempDir()
	for range 3 {
		pull := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		pull.Env = append(os.Environ(), "PULL_INTO="+dir, "PULL_IMAGE="+image)
		if err := pull.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-halves:
		case <-time.After(time.Minute):
			t.Fatal("nothing is pulled")
		}
		for kept(t, dir) == 0 { // of what was sent, nothing may have been written yet
			runtime.Gosched()
		}
		_ = pull.Process.Kill()
		_ = pull.Wait()
	}
	if got := kept(t, dir); got > half {
		t.Errorf("%d bytes are left of three pulls of %d", got, half)
	}
	stuck.Store(false)
	if err := (&Corpus{Image: image, Dir: dir}).Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("there are %q, want the corpus alone", left)
	}
}

// kept is how many bytes the files in a directory have.
func kept(t *testing.T, dir string) int64 {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}
