package callers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v3"
	"k8s.io/client-go/rest"
)

const issuer = "https://kubernetes.default.svc.cluster.local"

// server answers as the API server does of who issues tokens, and of its keys.
type server struct {
	*httptest.Server
	key   *ecdsa.PrivateKey
	away  atomic.Bool
	asked atomic.Int32
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{key: newKey(t)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		var says any
		switch {
		case s.away.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == discoveryPath:
			says = map[string]string{"issuer": issuer, "jwks_uri": "https://elsewhere.invalid/keys"}
		case r.URL.Path == keysPath:
			says = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), KeyID: "a", Algorithm: string(jose.ES256), Use: "sig"}}}
		}
		_ = json.NewEncoder(w).Encode(says)
	}))
	t.Cleanup(s.Close)
	return s
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func token(t *testing.T, key *ecdsa.PrivateKey, change func(claims map[string]any)) string {
	t.Helper()
	claims := map[string]any{
		"iss": issuer, "aud": []string{"sluice.dev/batch"}, "exp": time.Now().Add(time.Minute).Unix(), "sub": "system:serviceaccount:team:default",
		"kubernetes.io": map[string]any{"namespace": "team", "serviceaccount": map[string]string{"name": "default"}, "pod": map[string]string{"name": "run-0-x"}},
	}
	if change != nil {
		change(claims)
	}
	options := (&jose.SignerOptions{}).WithHeader("kid", "a")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(content)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

func with(authorization string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	r.Header.Set("Authorization", authorization)
	return r
}

func TestOf(t *testing.T) {
	s := serve(t)
	known, err := New(&rest.Config{Host: s.URL}, "sluice.dev/batch")
	if err != nil {
		t.Fatal(err)
	}
	known.keys.every = 0
	discovered := func() bool { return known.verifier != nil }
	for range 2 {
		s.away.Store(true)
		for range 2 {
			if _, err := known.Of(with("Bearer " + token(t, s.key, nil))); !errors.Is(err, errAway) || errors.Is(err, ErrUnknown) {
				t.Errorf("without the API server, issuer known %t: %v, want that nobody can be told", discovered(), err)
			}
		}
		// Who issues tokens is known from here on, and no key.
		s.away.Store(false)
		if _, err := known.verify(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	pod := Caller{Namespace: "team", ServiceAccount: "default", Pod: "run-0-x"}
	for name, tt := range map[string]struct {
		authorization string
		want          Caller
	}{
		"a pod":              {"Bearer " + token(t, s.key, nil), pod},
		"no token":           {"", Caller{}},
		"another scheme":     {"Basic " + token(t, s.key, nil), Caller{}},
		"no JWT":             {"Bearer nonsense", Caller{}},
		"of another's key":   {"Bearer " + token(t, newKey(t), nil), Caller{}},
		"for somebody else":  {"Bearer " + token(t, s.key, func(c map[string]any) { c["aud"] = []string{"https://kubernetes.default.svc"} }), Caller{}},
		"of another's":       {"Bearer " + token(t, s.key, func(c map[string]any) { c["iss"] = "https://elsewhere.invalid" }), Caller{}},
		"one that has ended": {"Bearer " + token(t, s.key, func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }), Caller{}},
		"one that is no pod's": {"Bearer " + token(t, s.key, func(c map[string]any) {
			c["kubernetes.io"] = map[string]any{"namespace": "team", "serviceaccount": map[string]string{"name": "default"}}
		}), Caller{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := known.Of(with(tt.authorization))
			if got != tt.want || (err == nil) != (tt.want == pod) || err != nil && !errors.Is(err, ErrUnknown) {
				t.Errorf("Of() = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
	known.keys.every = keysEvery
	before := s.asked.Load()
	for range 100 {
		if _, err := known.Of(with("Bearer " + token(t, newKey(t), nil))); !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
	}
	if asked := s.asked.Load() - before; asked > 1 {
		t.Errorf("a hundred forged tokens had the API server asked %d times", asked)
	}
	for _, tt := range []struct {
		namespace, account string
		in                 bool
	}{{"team", "default", true}, {"team", "other", false}, {"other", "default", false}} {
		if err := known.Must(tt.namespace, tt.account)(with("Bearer " + token(t, s.key, nil))); (err == nil) != tt.in {
			t.Errorf("of %s/%s: %v", tt.namespace, tt.account, err)
		}
	}
}
