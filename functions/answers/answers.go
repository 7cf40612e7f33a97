// Package answers is how functions ask a Model over HTTP, and what they hold of its answers: as
// it gave them, from nowhere else than they asked, and within bounds for all of them together.
package answers

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"time"
)

// dialWithin bounds the way to the gateway.
const dialWithin = 5 * time.Second

// Client asks Models. It keeps so many idle connections to each, and so many together; 0 is any
// number of these.
func Client(each, together int) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialWithin}).DialContext,
			MaxIdleConnsPerHost: each, MaxIdleConns: together, IdleConnTimeout: 30 * time.Second,
			// An answer is taken as the Model gives it to those who don't ask for another.
			DisableCompression: true,
		},
		// Where else a request should go isn't the Model's to say.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Undialled is the error of a request that was never sent, as nobody could be reached; false of
// any other.
func Undialled(err error) (*net.OpError, bool) {
	dial := &net.OpError{}
	return dial, errors.As(err, &dial) && dial.Op == "dial"
}

// Unrouted tells whether an answer is the gateway's own word that it has no route to whom was
// asked: to a Model that is being deleted, or was made a moment ago. Envoy says so without a body,
// and of what others answer how long they took.
func Unrouted(a *http.Response) bool {
	return a.StatusCode == http.StatusNotFound && a.ContentLength == 0 &&
		strings.Contains(a.Header.Get("Server"), "envoy") && a.Header.Get("X-Envoy-Upstream-Service-Time") == ""
}
