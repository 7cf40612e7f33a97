package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Target is where requests go and what each of them is.
type Target struct {
	// Address is the IP address and port that is dialed, "127.1.0.1:80". It must
	// be loopback.
	Address string
	// Host is the Host header, by which a gateway routes.
	Host string
	// Method and Path of every request.
	Method, Path string
	// Header of every request; may be nil.
	Header http.Header
	// Body of every request; may be nil. It is read, never written.
	Body []byte
}

// LoopbackAddress parses "IP:port" and refuses every address but this machine's
// own, 127.0.0.0/8 and ::1. Names are refused too: what they mean can change
// between the check and the dialing.
func LoopbackAddress(address string) (netip.AddrPort, error) {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: want an IP address and a port, such as 127.0.0.1:8080: %w", address, err)
	}
	if !parsed.Addr().Unmap().IsLoopback() {
		return netip.AddrPort{}, fmt.Errorf("address %q: loads go to this machine only, 127.0.0.0/8 or [::1]; "+
			"to reach a server elsewhere, forward a local port to it", address)
	}
	return parsed, nil
}

// validate refuses a target that must not, or cannot, be loaded.
func (t Target) validate() error {
	if _, err := LoopbackAddress(t.Address); err != nil {
		return err
	}
	if t.Host == "" {
		return errors.New("target: no host")
	}
	if !strings.HasPrefix(t.Path, "/") {
		return fmt.Errorf("target: path %q, want one that starts with /", t.Path)
	}
	return nil
}

// request is the template of every request.
func (t Target) request() (*http.Request, error) {
	path, err := url.ParseRequestURI(t.Path)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	header := t.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", "sluice-load")
	}
	return &http.Request{
		Method:        t.Method,
		URL:           &url.URL{Scheme: "http", Host: t.Address, Path: path.Path, RawPath: path.RawPath, RawQuery: path.RawQuery},
		Host:          t.Host,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		ContentLength: int64(len(t.Body)),
	}, nil
}

// transport is one pool of keep-alive connections to the target's address and to
// nowhere else: whatever a request or an answer says, this is what is dialed.
func (t Target) transport(idle int) *http.Transport {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", t.Address)
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: idle,
		MaxIdleConns:        idle,
		IdleConnTimeout:     30 * time.Second,
	}
}

// send makes one attempt and reads the whole answer; it returns its status code.
// The transport itself repeats a request only if a kept-alive connection turned
// out to be closed before anything of it was sent.
func send(ctx context.Context, pool *http.Transport, template *http.Request, body []byte) (int, error) {
	request := template.WithContext(ctx)
	if len(body) > 0 {
		request.Body = io.NopCloser(bytes.NewReader(body))
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	response, err := pool.RoundTrip(request)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return 0, fmt.Errorf("reading the answer with status %d: %w", response.StatusCode, err)
	}
	return response.StatusCode, nil
}
