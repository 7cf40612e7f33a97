// Package kubeapi is the few requests that the stack itself makes of its API
// server: health, lists, a watch and a patch. Whatever is applied from files
// goes through kubectl.
package kubeapi

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// ErrGone says that a watch has to start again from a list.
var ErrGone = errors.New("the watch is too old")

// Client speaks to one API server with a client certificate.
type Client struct {
	server string
	http   *http.Client
}

// New reads the certificate pair and the authority from files.
func New(server, caFile, certFile, keyFile string) (*Client, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("loading the client certificate: %w", err)
	}
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("loading the authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12},
	}
	return &Client{server: server, http: &http.Client{Transport: transport}}, nil
}

// Healthy returns nil once the server answers path (/readyz, say) with 200.
func (c *Client) Healthy(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	body, err := c.do(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	return body.Close()
}

// Get decodes the answer to path into out.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	body, err := c.do(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(out)
}

// MergePatch sends a JSON merge patch.
func (c *Client) MergePatch(ctx context.Context, path string, patch any) error {
	content, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := c.do(ctx, http.MethodPatch, path, "application/merge-patch+json", content)
	if err != nil {
		return err
	}
	return body.Close()
}

// Event is one change that a watch reports.
type Event struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// Watch calls handle for every event until the server ends the watch.
func (c *Client) Watch(ctx context.Context, path string, handle func(Event) error) error {
	body, err := c.do(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	decoder := json.NewDecoder(bufio.NewReader(body))
	for {
		var e Event
		if err := decoder.Decode(&e); err != nil {
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("reading the watch: %w", err)
		}
		if e.Type == "ERROR" {
			return ErrGone
		}
		if err := handle(e); err != nil {
			return err
		}
	}
}

func (c *Client) do(ctx context.Context, method, path, contentType string, content []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		defer answer.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(answer.Body, 512))
		if answer.StatusCode == http.StatusGone {
			return nil, ErrGone
		}
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, said)
	}
	return answer.Body, nil
}
