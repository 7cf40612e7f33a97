package warmup

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// asked is what a probe says when it is asked once.
func asked(t *testing.T, probe warmup.Probe) error {
	t.Helper()
	// Probes by HTTP speak HTTP/1.1, whatever the model speaks.
	client := NewClient(warmup.Target{Port: 1, H2C: true}, 1, "")
	t.Cleanup(client.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return client.Ask(ctx, &probe)
}

func TestHTTPProbes(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(elsewhere.Close)
	model := serve(t, "http1", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.RequestURI == "/loading", r.RequestURI == "/keys" && len(r.Header.Values("Key")) != 2, r.RequestURI == "/named" && r.Host != "model.example":
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.RequestURI == "/moved":
			http.Redirect(w, r, "/loading", http.StatusFound)
		case r.RequestURI == "/away":
			http.Redirect(w, r, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
		case r.RequestURI == "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		case r.RequestURI == "//x/y", r.RequestURI == "/", r.RequestURI == "/?a=b", r.RequestURI == "/keys", r.RequestURI == "/named":
			if !strings.HasPrefix(r.UserAgent(), "kube-probe/") || r.ProtoMajor != 1 {
				t.Errorf("%s by %q over %s", r.RequestURI, r.UserAgent(), r.Proto)
			}
		default:
			t.Errorf("asked for %s", r.RequestURI)
		}
	})
	for path, tt := range map[string]struct {
		headers map[string][]string
		says    string // "" for one that passes
	}{
		"/loading": {nil, "503 Service Unavailable"},
		"/":        {},
		"":         {},
		"?a=b":     {},
		"/keys":    {map[string][]string{"key": {"a", "b"}}, ""},
		"/named":   {map[string][]string{"host": {"model.example"}}, ""},
		"/moved":   {nil, "503 Service Unavailable"},
		"/away":    {},
		"/round":   {nil, "was sent on 10 times"},
		"//x/y":    {}, // no other host's
		"/%":       {nil, "its path: "},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			err := asked(t, warmup.Probe{Port: model.Port, HTTP: &warmup.HTTPProbe{Path: path, Headers: tt.headers}})
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

// As the kubelet, whatever the certificate.
func TestHTTPSProbe(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(server.Close)
	port := server.Listener.Addr().(*net.TCPAddr).Port
	if err := asked(t, warmup.Probe{Port: port, HTTP: &warmup.HTTPProbe{Path: "/", HTTPS: true}}); err != nil {
		t.Error(err)
	}
	if err := asked(t, warmup.Probe{Port: port, HTTP: &warmup.HTTPProbe{Path: "/"}}); err == nil {
		t.Error("passes without TLS")
	}
}

func TestTCPProbe(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := asked(t, warmup.Probe{Port: port}); err != nil {
		t.Error(err)
	}
	_ = listener.Close()
	if err := asked(t, warmup.Probe{Port: port}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v from a port that is closed", err)
	}
}

// gRPC's own health service is understood, of the server and of each service.
func TestGRPCProbes(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, services := grpc.NewServer(), health.NewServer()
	services.SetServingStatus("loading", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	services.SetServingStatus("unknown", grpc_health_v1.HealthCheckResponse_UNKNOWN)
	services.SetServingStatus("loaded", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, services)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	port := listener.Addr().(*net.TCPAddr).Port
	without := grpc.NewServer()
	bare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = without.Serve(bare) }()
	t.Cleanup(without.Stop)
	for name, tt := range map[string]struct {
		port    int
		service string
		says    string
	}{
		"the server":          {port, "", ""},
		"one that has loaded": {port, "loaded", ""},
		"one that loads":      {port, "loading", `status 2 of service "loading" instead of SERVING`},
		"one without status":  {port, "unknown", "status 0"},
		"no such service":     {port, "none", "gRPC code 5"},
		"no health service":   {bare.Addr().(*net.TCPAddr).Port, "", "gRPC code 12"},
		"no gRPC":             {serve(t, "h2c", func(http.ResponseWriter, *http.Request) {}).Port, "", "without grpc-status"},
		"nobody":              {1, "", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := asked(t, warmup.Probe{Port: tt.port, GRPC: &warmup.GRPCProbe{Service: tt.service}})
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}
