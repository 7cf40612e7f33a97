package callers

import (
	"context"
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

// StatusOf is what is answered where it can't be told who makes a request, or it is nobody.
func StatusOf(err error) int {
	if errors.Is(err, ErrUnknown) {
		return http.StatusUnauthorized
	}
	return http.StatusServiceUnavailable // nobody can be told yet
}

// Caller is a pod that calls.
type Caller struct{ Namespace, ServiceAccount, Pod string }

// Known tells callers by their tokens.
type Known struct {
	audience string
	server   *url.URL
	client   *http.Client

	keys keys

	mu sync.Mutex
	// verifier is nil until the API server has said who issues tokens; it was asked that at a
	// time, and said why not.
	verifier *oidc.IDTokenVerifier
	asked    time.Time
	err      error
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
	k := &Known{audience: audience, server: server, client: client}
	k.keys.read, k.keys.every = k.publicKeys, keysEvery
	return k, nil
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
	var away error
	verified, err := verifier.Verify(context.WithValue(r.Context(), unread{}, &away), token)
	if err != nil {
		if away != nil {
			return Caller{}, away
		}
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
	if time.Since(k.asked) < k.keys.every && k.err != nil {
		return nil, k.err
	}
	var says struct{ Issuer string }
	k.asked = time.Now()
	if k.err = k.get(ctx, discoveryPath, &says); k.err != nil {
		return nil, k.err
	}
	k.verifier = oidc.NewVerifier(says.Issuer, &k.keys, &oidc.Config{ClientID: k.audience, SupportedSigningAlgs: signedBy})
	return k.verifier, nil
}
