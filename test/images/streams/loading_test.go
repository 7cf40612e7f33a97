package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// All say the same of a model that loads, and of one that has.
func TestLoading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLoading(time.Minute, grpc.NewServer())
		check := func(model, ready int, early string, status grpc_health_v1.HealthCheckResponse_ServingStatus) {
			t.Helper()
			for handler, want := range map[string]int{"model": model, "ready": ready} {
				recorder := httptest.NewRecorder()
				map[string]http.HandlerFunc{"model": l.model, "ready": l.ready}[handler](recorder, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
				if recorder.Code != want {
					t.Errorf("%s answers %d, want %d", handler, recorder.Code, want)
				}
			}
			recorder := httptest.NewRecorder()
			l.asked(recorder, nil)
			if got := recorder.Body.String(); got != early {
				t.Errorf("asked %s times too early, want %s", got, early)
			}
			for _, of := range []string{"", service} {
				answer, err := l.health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: of})
				if err != nil || answer.GetStatus() != status {
					t.Errorf("service %q is %s, %v; want %s", of, answer.GetStatus(), err, status)
				}
			}
		}
		check(http.StatusNotFound, http.StatusServiceUnavailable, "1", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		time.Sleep(2 * time.Minute)
		check(http.StatusOK, http.StatusOK, "1", grpc_health_v1.HealthCheckResponse_SERVING)
	})
}

func TestOpensOnceLoaded(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	l := newLoading(0, grpc.NewServer())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(listener.Addr().String(), ":")
	_ = listener.Close()
	go func() { ended <- l.open(ctx, port) }()
	for {
		connection, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = connection.Close()
			break
		}
		if !strings.Contains(err.Error(), "refused") {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
