package warmup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// serve answers on this host and returns what a plan says of it.
func serve(t *testing.T, protocol string, handler http.HandlerFunc) warmup.Target {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = &http.Protocols{}
	server.Config.Protocols.SetHTTP1(protocol == "http1")
	server.Config.Protocols.SetUnencryptedHTTP2(protocol == "h2c")
	server.Start()
	t.Cleanup(server.Close)
	return warmup.Target{Port: server.Listener.Addr().(*net.TCPAddr).Port, H2C: protocol == "h2c"}
}

func call(t *testing.T, model warmup.Target, r warmup.Request) error {
	t.Helper()
	client := NewClient(model, 1, t.TempDir())
	t.Cleanup(client.Close)
	return client.Call(t.Context(), &r)
}

func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http1", "h2c"} {
		model := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			if r.ProtoMajor == 2 != (protocol == "h2c") {
				t.Errorf("%s by %s", protocol, r.Proto)
			}
			if got := r.Method + " " + r.RequestURI + " " + string(body); got != `PUT /infer?a=%20b {"x":1}` {
				t.Errorf("sent %s", got)
			}
			if r.Header.Get(warmup.MarkerHeader) != "true" || r.Header.Get("content-type") != "application/json" {
				t.Errorf("headers %v", r.Header)
			}
			w.WriteHeader(http.StatusAccepted)
		})
		err := call(t, model, warmup.Request{
			Method: "PUT", Path: "/infer?a=%20b", Body: `{"x":1}`, Headers: map[string]string{"Content-Type": "application/json", warmup.MarkerHeader: "no"},
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestBodyFromAFile(t *testing.T) {
	t.Parallel()
	model := serve(t, "http1", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "0"), []byte("large"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := NewClient(model, 1, dir)
	defer client.Close()
	if err := client.Call(t.Context(), &warmup.Request{Path: "/", BodyFile: "0", Expect: &warmup.Expect{Body: "large"}}); err != nil {
		t.Error(err)
	}
	if err := client.Call(t.Context(), &warmup.Request{Path: "/", BodyFile: "1"}); err == nil || errors.As(err, new(*unexpectedError)) {
		t.Errorf("%v, want that there is no request", err)
	}
}

func TestExpectations(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte(`{"outputs":[{"name":"score","data":[0.5,1]}]}`))
	status := func(s int32) *int32 { return &s }
	value := func(path, value string) *warmup.Expect {
		return &warmup.Expect{JSON: &warmup.JSONValue{Path: path, Value: value}}
	}
	for name, tt := range map[string]struct {
		status  int
		want    *warmup.Expect
		says    string
		passing bool
	}{
		"any":              {200, nil, "", false},
		"created":          {201, nil, "", false},
		"redirected":       {302, nil, `302 instead of 2xx: {"outputs"`, false},
		"not found":        {404, nil, "404 instead of 2xx", false},
		"not found, as it": {404, &warmup.Expect{Status: status(404)}, "", false},
		"too busy":         {429, nil, "429 instead of 2xx", true},
		"not ready":        {503, nil, "503 instead of 2xx", true},
		"another":          {200, &warmup.Expect{Status: status(202)}, "200 instead of 202", false},
		"value":            {200, value("{.outputs[0].data[0]}", "0.5"), "", false},
		"another value":    {200, value("{.outputs[0].name}", "class"), "{.outputs[0].name} is score instead of class", false},
		"no value":         {200, value("{.inputs}", "x"), "the answer has no {.inputs}", false},
		"no path":          {200, value("{.outputs[", "x"), "is no JSONPath", false},
		"digest":           {200, &warmup.Expect{BodySHA256: hex.EncodeToString(sum[:])}, "", false},
		"another digest":   {200, &warmup.Expect{BodySHA256: "00"}, "another body than expected", false},
		"text":             {200, &warmup.Expect{Body: "x"}, "another body than expected", false},
		"bytes":            {200, &warmup.Expect{BodyBytes: []byte("x")}, "another body than expected", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := serve(t, "http1", func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, `{"outputs":[{"name":"score","data":[0.5,1]}]}`)
			})
			wantError(t, call(t, model, warmup.Request{Path: "/", Expect: tt.want}), tt.says, tt.passing)
		})
	}
}

func wantError(t *testing.T, err error, says string, passing bool) {
	t.Helper()
	if says == "" {
		if err != nil {
			t.Error("unexpected:", err)
		}
		return
	}
	var unexpected *unexpectedError
	if !errors.As(err, &unexpected) || !strings.Contains(err.Error(), says) || unexpected.passing != passing {
		t.Errorf("%v, want %q, passing %t", err, says, passing)
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	model := serve(t, "http1", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	wantError(t, call(t, model, warmup.Request{Path: "/"}), "no answer: ", true)
	model = serve(t, "http1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "half")
	})
	wantError(t, call(t, model, warmup.Request{Path: "/"}), "200, and no whole body", true)
	wantError(t, checkBody(&warmup.Expect{JSON: &warmup.JSONValue{Path: "{.a}"}}, []byte("<html>")), "no JSON", false)
}

// A server of gRPC's own library takes what is sent, and its answers are understood.
func TestGRPC(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if marker := metadata.ValueFromIncomingContext(ctx, strings.ToLower(warmup.MarkerHeader)); len(marker) != 1 {
			t.Errorf("marker %q", marker)
		}
		return handle(ctx, r)
	}))
	services := health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, services)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	message := func(m proto.Message) []byte {
		encoded, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	ask := message(&grpc_health_v1.HealthCheckRequest{})
	serving := message(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING})
	notFound := int32(5)
	const check = "grpc.health.v1.Health/Check"
	model := warmup.Target{Port: listener.Addr().(*net.TCPAddr).Port, H2C: true}
	for name, tt := range map[string]struct {
		request warmup.Request
		says    string
	}{
		"answered":       {warmup.Request{GRPC: check, BodyBytes: ask, Expect: &warmup.Expect{BodyBytes: serving}}, ""},
		"another answer": {warmup.Request{GRPC: check, BodyBytes: ask, Expect: &warmup.Expect{BodyBytes: ask[:0:0], BodySHA256: "00"}}, "another body"},
		"refused": {
			warmup.Request{GRPC: check, BodyBytes: message(&grpc_health_v1.HealthCheckRequest{Service: "x"})}, "gRPC code 5 instead of 0: unknown service",
		},
		"as expected": {
			warmup.Request{GRPC: check, BodyBytes: message(&grpc_health_v1.HealthCheckRequest{Service: "x"}), Expect: &warmup.Expect{Status: &notFound}}, "",
		},
		"unknown": {warmup.Request{GRPC: "a.B/C"}, "gRPC code 12 instead of 0"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, call(t, model, tt.request), tt.says, false) })
	}
	noGRPC := serve(t, "h2c", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	wantError(t, call(t, noGRPC, warmup.Request{GRPC: check}), "no gRPC: 418", false)
	silent := serve(t, "h2c", func(http.ResponseWriter, *http.Request) {})
	wantError(t, call(t, silent, warmup.Request{GRPC: check}), "without grpc-status", false)
}
