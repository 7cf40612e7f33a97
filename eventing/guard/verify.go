package guard

import (
	"context"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"knative.dev/eventing/pkg/apis/feature"
	"knative.dev/eventing/pkg/auth"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/injection"
)

const (
	// builtEvery is the pace at which a verifier is built anew that isn't ready.
	builtEvery = 5 * time.Second
	// discoveredWithin bounds each request to the API server for who issues tokens, and by which keys.
	discoveredWithin = 10 * time.Second
)

// Verifier is Knative's. It answers a request whose token isn't the subject's for the
// audience, and returns why.
type Verifier interface {
	VerifyRequestFromSubject(ctx context.Context, features feature.Flags, audience *string, subject string, r *http.Request, w http.ResponseWriter) error
	// IsReady is false until it knows who issues tokens. It refuses all of them for good until
	// then, and doesn't look again by itself.
	IsReady() bool
}

// withheld keeps back the status that a Verifier answers: Knative's answers 401, which is for good,
// to a token that it couldn't check as well.
type withheld struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *withheld) WriteHeader(status int) { w.status = status }

// unchecked tells whether a token couldn't be checked, as the keys that it may be signed by weren't
// to be had. go-oidc, by which Knative's Verifier checks, hands on no error but its words; a test
// holds these to it.
func unchecked(err error) bool {
	return strings.Contains(err.Error(), "failed to verify signature: fetching keys")
}

// verifying is a Verifier, and the URL at which it looked for who issues tokens.
type verifying struct {
	Verifier
	at string
}

// builder returns what builds Knative's Verifier, given the URL at which it looks for who issues
// tokens. It looks once, before it is returned.
func builder(ctx context.Context, config *rest.Config) func(at string) Verifier {
	config = rest.CopyConfig(config)
	config.Timeout = discoveredWithin
	ctx = injection.WithConfig(ctx, config)
	return func(at string) Verifier {
		return auth.NewVerifier(ctx, nil, nil, configmap.NewStaticWatcher(&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: feature.FlagsConfigName},
			Data:       map[string]string{feature.OIDCDiscoveryBaseURL: at},
		}))
	}
}

// ready is the Verifier that goes by these features; nil as long as there is none.
func (g *Guard) ready(features feature.Flags) Verifier {
	if v := g.verifier.Load(); v != nil && v.at == features.OIDCDiscoveryBaseURL() && v.IsReady() {
		return v
	}
	return nil
}

// renew builds the Verifier, where one is needed and none is ready.
func (g *Guard) renew() {
	if features := g.features(); features.IsOIDCAuthentication() && g.ready(features) == nil {
		at := features.OIDCDiscoveryBaseURL()
		g.verifier.Store(&verifying{Verifier: g.build(at), at: at})
	}
}

// keepReady builds the Verifier anew until it is ready, and when the features have changed, until
// the context ends.
func (g *Guard) keepReady(ctx context.Context, changed <-chan struct{}) {
	pace := time.NewTicker(builtEvery)
	defer pace.Stop()
	for {
		g.renew()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-pace.C:
		}
	}
}
