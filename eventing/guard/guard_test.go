package guard

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"knative.dev/eventing/pkg/apis/feature"
)

// verifier lets in one token, for one subject and audience.
type verifier struct{ token, subject, audience string }

func (v verifier) VerifyRequestFromSubject(_ context.Context, f feature.Flags, audience *string, subject string, r *http.Request, w http.ResponseWriter) error {
	if f.IsOIDCAuthentication() && (v != verifier{r.Header.Get("Authorization"), subject, *audience}) {
		w.WriteHeader(http.StatusUnauthorized)
		return errors.New("a stranger")
	}
	return nil
}

func TestAdmit(t *testing.T) {
	trigger := types.NamespacedName{Namespace: "sluice-system", Name: "limiter"}
	subject := "system:serviceaccount:sluice-system:limiter-oidc-eventing.knative.dev-trigger"
	on, off := feature.Flags{feature.OIDCAuthentication: feature.Enabled}, feature.Flags{feature.OIDCAuthentication: feature.Disabled}
	for name, test := range map[string]struct {
		features feature.Flags
		token    string
		want     int
	}{
		"features not known yet":      {nil, "good", http.StatusServiceUnavailable},
		"nobody authenticates":        {off, "", http.StatusOK},
		"the Trigger":                 {on, "good", http.StatusOK},
		"another":                     {on, "bad", http.StatusUnauthorized},
		"somebody who doesn't say it": {on, "", http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			g := &Guard{
				features: func() feature.Flags { return test.features }, verifier: verifier{"good", subject, "limiter"},
				audience: "limiter", subject: subjectOf(trigger),
			}
			r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
			r.Header.Set("Authorization", test.token)
			w := httptest.NewRecorder()
			err := g.Admit(w, r)
			if (err == nil) != (test.want == http.StatusOK) || w.Code != test.want {
				t.Errorf("Admit() = %v, status %d; want status %d", err, w.Code, test.want)
			}
		})
	}
}
