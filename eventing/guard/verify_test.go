package guard

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v3"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"knative.dev/eventing/pkg/apis/feature"
)

// slow is a verifier that is ready when its test says so.
type slow struct {
	verifier
	ready bool
}

func (s slow) IsReady() bool { return s.ready }

func features(at string) feature.Flags {
	return feature.Flags{feature.OIDCAuthentication: feature.Enabled, feature.OIDCDiscoveryBaseURL: feature.Flag(at)}
}

var limiter = Door{Trigger: Only(types.NamespacedName{Namespace: "sluice-system", Name: "limiter"}), Audience: "limiter"}

// admit is how a request with a token is answered.
func admit(g *Guard, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	r.Header.Set("Authorization", token)
	w := httptest.NewRecorder()
	_ = g.Admit(w, r)
	return w
}

// A verifier that isn't ready is built anew, at a pace and until it is; what comes until then is
// delivered again, and what comes after the features have changed waits for who goes by them.
func TestVerifiersAreBuiltUntilReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const subject = "system:serviceaccount:sluice-system:limiter-oidc-eventing.knative.dev-trigger"
		var now atomic.Pointer[feature.Flags]
		var ready atomic.Bool
		built := map[string]*atomic.Int32{"a": {}, "b": {}}
		set := func(f feature.Flags) { now.Store(&f) }
		set(features("a"))
		g := &Guard{Door: limiter, features: func() feature.Flags { return *now.Load() }, build: func(at string) Verifier {
			built[at].Add(1)
			return slow{verifier{"good", subject, "limiter"}, ready.Load()}
		}}
		changed := make(chan struct{}, 1)
		go g.keepReady(ctx, changed)
		synctest.Wait()
		if w := admit(g, "good"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || built["a"].Load() != 1 {
			t.Errorf("not ready: %d, built %d", w.Code, built["a"].Load())
		}
		time.Sleep(3*builtEvery + time.Millisecond)
		synctest.Wait()
		if built["a"].Load() != 4 {
			t.Errorf("built %d after three paces", built["a"].Load())
		}
		ready.Store(true)
		time.Sleep(10 * builtEvery)
		synctest.Wait()
		if w := admit(g, "good"); w.Code != http.StatusOK || built["a"].Load() != 5 {
			t.Errorf("ready: %d, built %d", w.Code, built["a"].Load())
		}
		if w := admit(g, "bad"); w.Code != http.StatusUnauthorized {
			t.Errorf("a stranger: %d", w.Code)
		}
		set(features("b"))
		if w := admit(g, "good"); w.Code != http.StatusServiceUnavailable {
			t.Errorf("by who goes by other features: %d", w.Code)
		}
		changed <- struct{}{}
		synctest.Wait()
		if w := admit(g, "good"); w.Code != http.StatusOK || built["b"].Load() != 1 {
			t.Errorf("after a change: %d, built %d", w.Code, built["b"].Load())
		}
		set(feature.Flags{})
		if w := admit(g, ""); w.Code != http.StatusOK {
			t.Errorf("where nobody authenticates: %d", w.Code)
		}
	})
}

// Knative's own verifier says that it isn't ready when who issues tokens isn't to be had, and is
// when it is built anew.
func TestDiscoveryThatFailsAtFirst(t *testing.T) {
	t.Parallel()
	var there atomic.Bool
	var issuer *httptest.Server
	issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !there.Load() {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"issuer": %q, "jwks_uri": %q, "id_token_signing_alg_values_supported": ["RS256"]}`, issuer.URL, issuer.URL+"/keys")
	}))
	t.Cleanup(issuer.Close)
	g := &Guard{Door: limiter, features: func() feature.Flags { return features(issuer.URL) }, build: builder(t.Context(), &rest.Config{})}
	g.renew()
	if w := admit(g, "Bearer x"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("before: %d", w.Code)
	}
	there.Store(true)
	g.renew()
	if w := admit(g, "Bearer x"); w.Code != http.StatusUnauthorized {
		t.Errorf("a token that is none: %d", w.Code)
	}
}

// A token that can't be checked, since the keys aren't to be had, is no stranger's: the event is
// delivered again, and let in once they are. Of keys that were read, one that isn't among them is.
func TestKeysThatCantBeRead(t *testing.T) {
	t.Parallel()
	ours, theirs := newKey(t), newKey(t)
	var there atomic.Bool
	var issuer *httptest.Server
	issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path != "/keys":
			_, _ = fmt.Fprintf(w, `{"issuer": %q, "jwks_uri": %q, "id_token_signing_alg_values_supported": ["ES256"]}`, issuer.URL, issuer.URL+"/keys")
		case !there.Load():
			http.Error(w, "not now", http.StatusServiceUnavailable)
		default:
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: ours.Public(), KeyID: "a", Algorithm: string(jose.ES256), Use: "sig"}}})
		}
	}))
	t.Cleanup(issuer.Close)
	g := &Guard{Door: limiter, features: func() feature.Flags { return features(issuer.URL) }, build: builder(t.Context(), &rest.Config{})}
	g.renew()
	subject := subjectOf(types.NamespacedName{Namespace: "sluice-system", Name: "limiter"})
	good, another, forged := signed(t, ours, issuer.URL, subject), signed(t, ours, issuer.URL, "somebody"), signed(t, theirs, issuer.URL, subject)
	for _, token := range []string{good, another, forged} {
		if w := admit(g, token); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("without keys: %d, %v", w.Code, w.Header())
		}
	}
	there.Store(true)
	for what, c := range map[string]struct {
		token string
		want  int
	}{
		"the Trigger's": {good, http.StatusOK}, "another's": {another, http.StatusForbidden}, "a forged one": {forged, http.StatusUnauthorized},
		"none": {"", http.StatusUnauthorized},
	} {
		if w := admit(g, c.token); w.Code != c.want {
			t.Errorf("%s: %d, want %d", what, w.Code, c.want)
		}
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signed is a token for the limiter, as a request has it.
func signed(t *testing.T, key *ecdsa.PrivateKey, issuer, subject string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"iss": issuer, "aud": []string{"limiter"}, "exp": time.Now().Add(time.Hour).Unix(), "sub": subject})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "a"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	text, err := token.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + text
}
