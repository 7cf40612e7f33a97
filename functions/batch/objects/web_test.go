package objects

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/functions/batch/task"
)

func TestWeb(t *testing.T) {
	files := http.NewServeMux()
	files.HandleFunc("/ranges", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("content"))
	})
	files.HandleFunc("/whole", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "content") })
	files.HandleFunc("/denied", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	files.HandleFunc("/down", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	server := httptest.NewServer(files)
	defer server.Close()
	urls := []string{server.URL + "/whole", server.URL + "/ranges", server.URL + "/denied"}
	web := NewWeb(urls)
	for _, address := range urls[:2] {
		for offset, want := range map[int64]string{0: "content", 3: "tent", 7: "", 8: ""} {
			if got := content(t, web, address, offset); got != want {
				t.Errorf("%s from byte %d on is %q, want %q", address, offset, got, want)
			}
		}
	}
	for path, want := range map[string]error{"/none": ErrMissing, "/denied": ErrRefused} {
		if _, err := web.Open(t.Context(), server.URL+path, 0); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	if _, err := web.Open(t.Context(), server.URL+"/down", 0); err == nil || Settled(err) {
		t.Errorf("a server that is down: %v", err)
	}
	if listed, err := keys(t.Context(), web, "", urls[1]); err != nil || !slices.Equal(listed, urls[1:]) {
		t.Errorf("listed %v, %v", listed, err)
	}
}

// s3Server answers as an S3-compatible store does, as far as it is asked here.
type s3Server struct {
	mu      sync.Mutex
	objects map[string]string
	// wrong answers everything, if it is set, with the store's own code; lost carries out the next put and says nothing
	// of it; rude ends the connection where an object is there already.
	wrong  int
	code   string
	lost   bool
	rude   bool
	starts []string
	// knows is the one access key that is let in, if it is set.
	knows string
}

func (s *s3Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.TrimPrefix(r.URL.Path, "/bucket/")
	switch {
	case s.knows != "" && !strings.Contains(r.Header.Get("Authorization"), "Credential="+s.knows+"/"):
		fail(w, http.StatusForbidden, "InvalidAccessKeyId")
	case s.wrong > 0:
		fail(w, s.wrong, s.code)
	case r.URL.Query().Has("list-type"):
		s.list(w, r)
	case r.Method == http.MethodPut:
		s.put(w, r, key)
	default:
		stored, ok := s.objects[key]
		if !ok {
			fail(w, http.StatusNotFound, "NoSuchKey")
			return
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(stored))
	}
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
}

func (s *s3Server) put(w http.ResponseWriter, r *http.Request, key string) {
	if _, ok := s.objects[key]; ok && s.rude {
		if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = connection.Close()
		}
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if _, ok := s.objects[key]; ok && r.Header.Get("If-None-Match") == "*" {
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	s.objects[key] = string(body)
	if s.lost {
		s.lost = false
		fail(w, http.StatusInternalServerError, "InternalError")
	}
}

func (s *s3Server) list(w http.ResponseWriter, r *http.Request) {
	after := r.URL.Query().Get("start-after")
	s.starts = append(s.starts, after)
	fmt.Fprint(w, "<ListBucketResult>")
	names := make([]string, 0, len(s.objects))
	for key := range s.objects {
		names = append(names, key)
	}
	slices.Sort(names)
	for _, key := range names {
		if strings.HasPrefix(key, r.URL.Query().Get("prefix")) && key > after {
			fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>%d</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>", key, len(s.objects[key]))
		}
	}
	fmt.Fprint(w, "</ListBucketResult>")
}

// serveS3 is a store, a bucket of it whose keys are read for each call, and the folder that has those.
func serveS3(t *testing.T) (*s3Server, *Bucket, string) {
	t.Helper()
	s := &s3Server{objects: map[string]string{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	folder := t.TempDir()
	setKeys(t, folder, "key\n", "key\n")
	bucket, err := openS3(t.Context(), &task.S3{Endpoint: server.URL, Bucket: "bucket", Credentials: folder}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s, bucket, folder
}

func setKeys(t *testing.T, folder, access, secret string) {
	t.Helper()
	for file, value := range map[string]string{task.AccessKeyFile: access, task.SecretKeyFile: secret} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestS3(t *testing.T) {
	s, bucket, _ := serveS3(t)
	create(t, bucket, "results/000000000000.jsonl", "first")
	if err := bucket.Create(t.Context(), "results/000000000000.jsonl", strings.NewReader("second")); !errors.Is(err, ErrExists) {
		t.Errorf("creating it again: %v", err)
	}
	create(t, bucket, "results/000000000001.jsonl", "")
	for offset, want := range map[int64]string{0: "first", 2: "rst", 5: ""} {
		if got := content(t, bucket, "results/000000000000.jsonl", offset); got != want {
			t.Errorf("from byte %d on it is %q, want %q", offset, got, want)
		}
	}
	listed, err := keys(t.Context(), bucket, "results/", "results/000000000001.jsonl")
	if err != nil || !slices.Equal(listed, []string{"results/000000000001.jsonl"}) {
		t.Errorf("listed %v, %v", listed, err)
	}
	if last := s.starts[len(s.starts)-1]; last <= "results/000000000000.jsonl" {
		t.Errorf("the listing began after %q", last)
	}
	if _, err := bucket.Open(t.Context(), "none", 0); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
}

// A put whose answer is lost is tried again by the client, and says then that somebody has
// put the object.
func TestS3LosesAnAnswer(t *testing.T) {
	s, bucket, _ := serveS3(t)
	s.lost = true
	if err := bucket.Create(t.Context(), "a", strings.NewReader("content")); !errors.Is(err, ErrExists) {
		t.Errorf("creating it: %v", err)
	}
	if got := content(t, bucket, "a", 0); got != "content" {
		t.Errorf("it is %q", got)
	}
}

// A store that ends the connection of a put, because the object is there, is asked whether
// it is.
func TestS3EndsThePutOfWhatIsThere(t *testing.T) {
	s, bucket, _ := serveS3(t)
	s.rude = true
	create(t, bucket, "a", "first")
	if err := bucket.Create(t.Context(), "a", strings.NewReader("second")); !errors.Is(err, ErrExists) {
		t.Errorf("creating it: %v", err)
	}
	if got := content(t, bucket, "a", 0); got != "first" {
		t.Errorf("it is %q", got)
	}
}

func TestS3Refuses(t *testing.T) {
	s, bucket, _ := serveS3(t)
	for _, tt := range []struct {
		status int
		code   string
		want   error
	}{
		{http.StatusForbidden, "AccessDenied", ErrRefused},
		{http.StatusForbidden, "SignatureDoesNotMatch", ErrRefused},
		{http.StatusForbidden, "InvalidAccessKeyId", ErrRefused},
		{http.StatusNotFound, "XAdminUserNotFound", ErrRefused},
		{http.StatusNotFound, "NoSuchBucket", ErrMissing},
		{http.StatusInsufficientStorage, "InsufficientStorage", ErrFull},
		{http.StatusInsufficientStorage, "XMinioStorageFull", ErrFull},
		{http.StatusForbidden, "QuotaExceeded", ErrFull},
		{http.StatusBadRequest, "XMinioAdminBucketQuotaExceeded", ErrFull},
	} {
		s.wrong, s.code = tt.status, tt.code
		if err := bucket.Create(t.Context(), "a", strings.NewReader("content")); !errors.Is(err, tt.want) {
			t.Errorf("%s: creating: %v, want %v", tt.code, err, tt.want)
		}
		if _, err := keys(t.Context(), bucket, "", ""); !errors.Is(err, tt.want) {
			t.Errorf("%s: listing: %v, want %v", tt.code, err, tt.want)
		}
		if _, err := bucket.Open(t.Context(), "a", 0); !errors.Is(err, tt.want) {
			t.Errorf("%s: opening: %v, want %v", tt.code, err, tt.want)
		}
		_, err := bucket.Open(t.Context(), "a", 0)
		if want := fmt.Sprintf("the store answers %d, %s: no", tt.status, tt.code); !strings.HasSuffix(err.Error(), want) || len(err.Error()) > 100 {
			t.Errorf("%s: opening: it is said %q, want %q", tt.code, err, want)
		}
	}
	if _, err := OpenS3(context.Background(), &task.S3{Bucket: "b", Credentials: t.TempDir()}); !errors.Is(err, ErrRefused) {
		t.Errorf("without a Secret: %v", err)
	}
}

// tries are each kind of call to a bucket, which has an object "there".
func tries(ctx context.Context, b *Bucket) map[string]func() error {
	return map[string]func() error{
		"creating": func() error { return b.Create(ctx, rand.Text(), strings.NewReader("content")) },
		"listing": func() error {
			_, err := keys(ctx, b, "", "")
			return err
		},
		"opening": func() error {
			opened, err := b.Open(ctx, "there", 0)
			if err == nil {
				err = opened.Close()
			}
			return err
		},
	}
}

// Keys that are replaced while a run lasts are refused until the Secret has the new ones. Who
// waits for that gets on; whoever was never let in is told so at once.
func TestKeysAreReplaced(t *testing.T) {
	s, bucket, folder := serveS3(t)
	s.objects["there"] = "content"
	s.knows = "other"
	for name, try := range tries(t.Context(), bucket) {
		if err := try(); !errors.Is(err, ErrRefused) || !Settled(err) {
			t.Errorf("%s with the wrong keys: %v", name, err)
		}
		s.knows = "key"
		if err := try(); err != nil {
			t.Errorf("%s with the right keys: %v", name, err)
		}
		s.knows = "other"
		if err := try(); !errors.Is(err, ErrRefused) || Settled(err) {
			t.Errorf("%s once the keys were replaced: %v", name, err)
		}
		if err := Patience(time.Millisecond).Try(t.Context(), try); !errors.Is(err, ErrRefused) {
			t.Errorf("%s once patience is over: %v", name, err)
		}
		setKeys(t, folder, "other", "secret")
		if err := Patience(time.Minute).Try(t.Context(), try); err != nil {
			t.Errorf("%s with the new keys: %v", name, err)
		}
		setKeys(t, folder, "key", "secret")
	}
}

// answered is an error of a store, as the SDK has it.
type answered struct {
	status int
	code   string
}

func (a answered) Error() string        { return a.code }
func (a answered) ErrorCode() string    { return a.code }
func (a answered) ErrorMessage() string { return "no" }
func (a answered) HTTPStatusCode() int  { return a.status }

// What is refused of how, or how often, a store was asked is asked again, whatever its status.
func TestRefusalsThatPass(t *testing.T) {
	for code, status := range map[string]int{
		"RequestTimeout": http.StatusBadRequest, "ExpiredToken": http.StatusBadRequest, "TokenRefreshRequired": http.StatusBadRequest,
		"RequestTimeTooSkewed": http.StatusForbidden, "SlowDown": http.StatusServiceUnavailable,
	} {
		if err := told(answered{status, code}); Settled(err) || !strings.Contains(err.Error(), code) {
			t.Errorf("%s: %v", code, err)
		}
	}
	if err := told(answered{http.StatusForbidden, "AccessDenied"}); !errors.Is(err, ErrRefused) || !Settled(err) {
		t.Error(err)
	}
}

// A pod that has no credentials of its own, and is given none, says how it gets some.
func TestNoCredentials(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_PROFILE": "", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_CONFIG_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
	bucket, err := OpenS3(t.Context(), &task.S3{Endpoint: "http://127.0.0.1:1", Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	// It may have some the next time: those of a role come from a service.
	if _, err := bucket.Open(t.Context(), "a", 0); err == nil || Settled(err) || !strings.Contains(err.Error(), "name a Secret that has some (secretName)") {
		t.Errorf("opening: %v", err)
	}
}

// Keys that can't be are told at once, before a store is asked that can't tell.
func TestKeysThatCannotBe(t *testing.T) {
	for name, tt := range map[string]struct{ access, secret, says string }{
		"none":       {"", "secret", "the Secret's accessKeyID has to be one word"},
		"spaces":     {"key", " \n", "the Secret's secretAccessKey has to be one word"},
		"two lines":  {"key\nother", "secret", "accessKeyID"},
		"in base 64": {"key", "c2VjcmV0\nCg==", "secretAccessKey"},
		"binary":     {"key", "\x00\xff", "secretAccessKey"},
	} {
		folder := t.TempDir()
		setKeys(t, folder, tt.access, tt.secret)
		_, err := OpenS3(t.Context(), &task.S3{Bucket: "b", Credentials: folder})
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.says) || tt.secret != "" && strings.Contains(err.Error(), tt.secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
