package callers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"k8s.io/client-go/rest"
)

const (
	// askWithin bounds each question to the API server.
	askWithin = 5 * time.Second
	// discoveryPath and keysPath are the API server's, whatever its issuer is called.
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/openid/v1/jwks"
)

// signedBy are the algorithms that the API server may sign tokens by.
var signedBy = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512}

// ErrUnknown is that of a call from nobody who is known.
var ErrUnknown = errors.New("unknown caller")

// Caller is a pod that calls.
type Caller struct{ Namespace, ServiceAccount, Pod string }

// Known tells callers by their tokens.
type Known struct {
	audience string
	server   *url.URL
	client   *http.Client

	mu sync.Mutex
	// verifier is nil until the API server has said who issues tokens.
	verifier *oidc.IDTokenVerifier
}

// New returns what tells those callers who have a token for an audience, of the cluster that
// a configuration leads to.
func New(config *rest.Config, audience string) (*Known, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("building the client for the keys of tokens: %w", err)
	}
	client.Timeout = askWithin
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	return &Known{audience: audience, server: server, client: client}, nil
}

// Of is who makes a request. An error that isn't ErrUnknown says that nobody can be told yet.
func (k *Known) Of(r *http.Request) (Caller, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return Caller{}, fmt.Errorf("%w: the request has no token", ErrUnknown)
	}
	verifier, err := k.verify(r.Context())
	if err != nil {
		return Caller{}, err
	}
	verified, err := verifier.Verify(r.Context(), token)
	if err != nil {
		return Caller{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	var claims struct {
		Kubernetes struct {
			Namespace      string
			ServiceAccount struct{ Name string }
			Pod            struct{ Name string }
		} `json:"kubernetes.io"`
	}
	if err := verified.Claims(&claims); err != nil {
		return Caller{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	c := Caller{Namespace: claims.Kubernetes.Namespace, ServiceAccount: claims.Kubernetes.ServiceAccount.Name, Pod: claims.Kubernetes.Pod.Name}
	if c.Namespace == "" || c.ServiceAccount == "" || c.Pod == "" {
		return Caller{}, fmt.Errorf("%w: the token is no pod's", ErrUnknown)
	}
	return c, nil
}

// Must returns an error for whoever isn't a pod of one service account.
func (k *Known) Must(namespace, serviceAccount string) func(*http.Request) error {
	return func(r *http.Request) error {
		c, err := k.Of(r)
		if err != nil {
			return err
		}
		if c.Namespace != namespace || c.ServiceAccount != serviceAccount {
			return fmt.Errorf("%w: %s/%s has no business here", ErrUnknown, c.Namespace, c.ServiceAccount)
		}
		return nil
	}
}

// verify returns what checks tokens.
func (k *Known) verify(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.verifier != nil {
		return k.verifier, nil
	}
	issuer, err := k.issuer(ctx)
	if err != nil {
		return nil, err
	}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), k.client), k.server.JoinPath(keysPath).String())
	k.verifier = oidc.NewVerifier(issuer, keys, &oidc.Config{ClientID: k.audience, SupportedSigningAlgs: signedBy})
	return k.verifier, nil
}

// issuer is who issues the cluster's tokens.
func (k *Known) issuer(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.server.JoinPath(discoveryPath).String(), http.NoBody)
	if err != nil {
		return "", fmt.Errorf("asking who issues tokens: %w", err)
	}
	answer, err := k.client.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking who issues tokens: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	var says struct{ Issuer string }
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking who issues tokens: %s", answer.Status)
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, answer.Body, 1<<20)).Decode(&says); err != nil {
		return "", fmt.Errorf("reading who issues tokens: %w", err)
	}
	return says.Issuer, nil
}
