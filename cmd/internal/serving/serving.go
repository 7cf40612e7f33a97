// Package serving is how commands serve beside what they are for.
package serving

import (
	"context"
	"errors"
	"log"
	"net/http"
)

// Until serves, for commands that reconcile, until the context ends, at once: who asks has to ask again. A server that can't
// serve ends the process.
func Until(ctx context.Context, server *http.Server) {
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatalf("Error serving at %s: %v", server.Addr, err)
	}
}
