package objects

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Web is a Reader of URLs; they are its objects' keys, in the order in which they are given.
type Web struct {
	urls   []string
	client *http.Client
}

// NewWeb returns a Web.
func NewWeb(urls []string) *Web {
	return &Web{urls: urls, client: &http.Client{Transport: &http.Transport{
		ResponseHeaderTimeout: stall, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		// A range is one of what is stored, not of what it may be compressed to.
		DisableCompression: true,
	}}}
}

// List yields the URLs. How large they are isn't known.
func (w *Web) List(_ context.Context, prefix, from string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for _, address := range w.urls[max(0, slices.Index(w.urls, from)):] {
			if strings.HasPrefix(address, prefix) && !yield(Object{Key: address, Size: -1}, nil) {
				return
			}
		}
	}
}

// Open asks for a range. Of a server that has no ranges what is before it is read, too.
func (w *Web) Open(ctx context.Context, address string, offset int64) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: opening %s: %w", ErrRefused, address, err)
	}
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	answer, err := w.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", address, err)
	}
	var skip int64
	switch {
	case answer.StatusCode == http.StatusOK:
		skip = offset
	case answer.StatusCode == http.StatusPartialContent && offset > 0:
	case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable && offset > 0:
		_ = answer.Body.Close()
		return http.NoBody, nil
	default:
		_ = answer.Body.Close()
		return nil, refused(answer.StatusCode, fmt.Errorf("opening %s: %s", address, answer.Status))
	}
	if _, err := io.CopyN(io.Discard, answer.Body, skip); err != nil && err != io.EOF { //nolint:errorlint // never wrapped
		_ = answer.Body.Close()
		return nil, fmt.Errorf("reading %s up to byte %d: %w", address, offset, err)
	}
	return answer.Body, nil
}
