package load

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
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
	// Roots, if given, make it HTTPS: the server's certificate for Host must be
	// signed by one of them. Host is the name in the TLS handshake too.
	Roots *x509.CertPool
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
	scheme := "http"
	if t.Roots != nil {
		scheme = "https"
	}
	return &http.Request{
		Method:        t.Method,
		URL:           &url.URL{Scheme: scheme, Host: t.Address, Path: path.Path, RawPath: path.RawPath, RawQuery: path.RawQuery},
		Host:          t.Host,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		ContentLength: int64(len(t.Body)),
	}, nil
}

// hostname is the host without a port.
func (t Target) hostname() string {
	return (&url.URL{Host: t.Host}).Hostname()
}
