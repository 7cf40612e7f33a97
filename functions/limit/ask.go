package limit

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/gateway/reach"
)

const (
	// askTimeout bounds one question to one pod.
	askTimeout = time.Second
	// idleLines bounds the connections to a pod that are kept for the next time.
	idleLines = 64
	// answerBytes bounds what is read of an answer's body, and of its headers.
	answerBytes = 16 << 10
)

// newClient returns a client that reaches a pod under whatever name.
func newClient(pod Pod, has reach.Has) *http.Client {
	return &http.Client{
		Timeout: askTimeout,
		Transport: &http.Transport{
			DialContext: has.Dial(pod.Name, pod.IP),
			// The pod is dialled by its address, which the API server vouches for, and
			// no answer is worth anything to whoever could be there instead. Whether a
			// certificate is good is its owner's concern: a limit holds with any.
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, //nolint:gosec // see above
			MaxIdleConns:           idleLines,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        2 * reproveSecure,
			MaxResponseHeaderBytes: answerBytes,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ask puts a question to a pod and returns the generation that it answers with, or
// "" if it says none. The host of the line is told by SNI, where there is TLS, and
// in the request.
func ask(ctx context.Context, client *http.Client, q question, path string) (string, error) {
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(q.host, strconv.Itoa(int(q.entry.Port))), Path: path}
	if q.secure() {
		u.Scheme = "https"
	}
	for range 2 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
		if err != nil {
			return "", fmt.Errorf("building the question: %w", err)
		}
		req.Host = q.host
		req.Header.Set(gateway.SlotHeader, strconv.Itoa(q.slot))
		resp, err := client.Do(req)
		if err != nil {
			return "", fmt.Errorf("asking gateway pod %s: %w", q, err)
		}
		_, _ = io.CopyN(io.Discard, resp.Body, answerBytes)
		_ = resp.Body.Close()
		if g := resp.Header.Get(gateway.GenerationHeader); g != "" {
			return g, nil
		}
	}
	return "", nil
}
