package serving

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// Admin answers what is asked of each of Sluice's binaries: /metrics, /healthz, and /readyz, which is
// refused until the caches are filled.
func Admin(port int, synced *atomic.Bool) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.Handler())
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !synced.Load() {
			http.Error(w, "the caches are not filled yet", http.StatusServiceUnavailable)
		}
	})
	return &http.Server{
		Addr: fmt.Sprintf(":%d", port), Handler: mux,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
	}
}

// Start has a server serve until it is shut down, and returns it. A server that can't serve ends the
// process.
func Start(server *http.Server, log *zap.SugaredLogger) *http.Server {
	go func() {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Fatalw("Server ended", zap.String("address", server.Addr), zap.Error(err))
		}
	}()
	return server
}
