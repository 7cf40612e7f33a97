package openloop

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/test/load"
)

// Each answer is kept, by when its request was due; what is refused has no latency, and any
// other status is an error, with what there is.
func TestCall(t *testing.T) {
	t.Parallel()
	var came atomic.Int32
	var odd atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n := came.Add(1); {
		case odd.Load():
			w.WriteHeader(http.StatusTeapot)
		case n%4 == 0:
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer server.Close()
	of := Load{
		Target:   load.Target{Address: server.Listener.Addr().(*net.TCPAddr).String(), Host: "model", Method: http.MethodGet, Path: "/"},
		Schedule: load.Schedule{load.Hold(40, time.Second)},
	}
	got, err := Call(context.Background(), of)
	if err != nil {
		t.Fatal(err)
	}
	all := got.Between(got.Start, got.Start.Add(time.Second))
	latencies, refused := Admitted(all)
	if len(all) != 40 || len(latencies) != 30 || refused != 10 {
		t.Errorf("%d answers, %d latencies, %d refused", len(all), len(latencies), refused)
	}
	first := got.Between(got.Start, got.Start.Add(time.Second/2))
	if len(first) != 20 || first[0].Due.After(first[19].Due) {
		t.Errorf("%d answers in the first half", len(first))
	}
	odd.Store(true)
	if got, err := Call(context.Background(), of); got == nil || err == nil || !strings.Contains(err.Error(), "40 answers were neither 2xx nor 429") {
		t.Errorf("%+v, %v", got, err)
	}
}
