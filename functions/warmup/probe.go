package warmup

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

const (
	healthCheck = "/grpc.health.v1.Health/Check"
	// serving is what gRPC's health service says of a service that is ready
	// (grpc/health/v1/health.proto).
	serving = 1
	// probeAgent begins the name that the kubelet gives itself.
	probeAgent = "kube-probe/"
	// mostRedirects is the kubelet's.
	mostRedirects = 10
)

// prober asks a model's own probes as the kubelet and Knative's queue-proxy do: over
// connections of their own, by HTTP/1.1 or gRPC, whatever the certificate.
type prober struct {
	dialer *net.Dialer
	http   *http.Client
	grpc   *http.Transport
}

func newProber(dialer *net.Dialer) *prober {
	http2 := &http.Protocols{}
	http2.SetUnencryptedHTTP2(true)
	return &prober{
		dialer: dialer,
		http: &http.Client{CheckRedirect: stayOnHost, Transport: &http.Transport{
			DialContext: dialer.DialContext, DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // of this host
		}},
		grpc: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, Protocols: http2},
	}
}

// stayOnHost takes being sent elsewhere for an answer.
func stayOnHost(next *http.Request, before []*http.Request) error {
	switch {
	case next.URL.Hostname() != before[0].URL.Hostname():
		return http.ErrUseLastResponse
	case len(before) >= mostRedirects:
		return fmt.Errorf("was sent on %d times", mostRedirects)
	}
	return nil
}

func (p *prober) ask(ctx context.Context, probe *warmup.Probe) error {
	switch {
	case probe.HTTP != nil:
		return p.get(ctx, probe)
	case probe.GRPC != nil:
		return p.check(ctx, probe)
	}
	conn, err := p.dialer.DialContext(ctx, "tcp", onThisHost(probe.Port))
	if err != nil {
		return err
	}
	return conn.Close()
}

func (p *prober) get(ctx context.Context, probe *warmup.Probe) error {
	target, err := probeURL(probe)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return fmt.Errorf("building the question: %w", err)
	}
	request.Header.Set("User-Agent", probeAgent)
	for name, values := range probe.HTTP.Headers {
		request.Header[textproto.CanonicalMIMEHeaderKey(name)] = values
	}
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	answer, err := p.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("GET %s: %s", target, answer.Status)
	}
	return nil
}

// probeURL is where a GET goes to. Whatever the path, it is one of this host: as a
// reference, //x/y would be that of host x.
func probeURL(probe *warmup.Probe) (string, error) {
	scheme := "http://"
	if probe.HTTP.HTTPS {
		scheme = "https://"
	}
	target, err := url.Parse(scheme + onThisHost(probe.Port) + "/" + strings.TrimPrefix(probe.HTTP.Path, "/"))
	if err != nil {
		return "", fmt.Errorf("its path: %w", err)
	}
	return target.String(), nil
}

// check asks gRPC's health service. Its messages have a field each, so they are written
// and read here: gRPC's library would be the larger part of this container.
func (p *prober) check(ctx context.Context, probe *warmup.Probe) error {
	var question []byte
	if service := probe.GRPC.Service; service != "" {
		question = protowire.AppendString(protowire.AppendTag(question, 1, protowire.BytesType), service)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+onThisHost(probe.Port)+healthCheck, bytes.NewReader(framed(question)))
	if err != nil {
		return fmt.Errorf("building the question: %w", err)
	}
	asGRPC(request)
	request.Header.Set("User-Agent", probeAgent)
	answer, err := p.grpc.RoundTrip(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if err := checkGRPC(nil, answer, body); err != nil {
		return err
	}
	status, err := healthOf(body)
	if err == nil && status != serving {
		err = fmt.Errorf("status %d of service %q instead of SERVING (%d)", status, probe.GRPC.Service, serving)
	}
	return err
}

// healthOf is the first field of an answer; 0, which is UNKNOWN, where there is none.
func healthOf(body []byte) (uint64, error) {
	if len(body) <= grpcPrefix {
		return 0, nil
	}
	number, kind, n := protowire.ConsumeTag(body[grpcPrefix:])
	if n < 0 || number != 1 || kind != protowire.VarintType {
		return 0, errors.New("no answer of gRPC's health service")
	}
	status, n := protowire.ConsumeVarint(body[grpcPrefix+n:])
	if n < 0 {
		return 0, errors.New("no answer of gRPC's health service")
	}
	return status, nil
}
