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

func (verifier) IsReady() bool { return true }

func (v verifier) VerifyRequestFromSubject(_ context.Context, f feature.Flags, audience *string, subject string, r *http.Request, w http.ResponseWriter) error {
	if f.IsOIDCAuthentication() && (v != verifier{r.Header.Get("Authorization"), subject, *audience}) {
		w.WriteHeader(http.StatusUnauthorized)
		return errors.New("a stranger")
	}
	return nil
}

func TestAdmit(t *testing.T) {
	trigger := types.NamespacedName{Namespace: "sluice-system", Name: "limiter"}
	const subject = "system:serviceaccount:sluice-system:limiter-oidc-eventing.knative.dev-trigger"
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
				features: func() feature.Flags { return test.features },
				build:    func(string) Verifier { return verifier{"good", subject, "limiter"} },
				Door:     Door{Trigger: Only(trigger), Audience: "limiter"},
			}
			g.renew()
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

// One door can be that of many Triggers: a request says whose event it brings, and has to be of
// that one.
func TestAdmitByRequest(t *testing.T) {
	g := &Guard{
		features: func() feature.Flags { return feature.Flags{feature.OIDCAuthentication: feature.Enabled} },
		build: func(string) Verifier {
			return verifier{"good", "system:serviceaccount:team:score-oidc-eventing.knative.dev-trigger", "triggers"}
		},
		Door: Door{Audience: "triggers", Trigger: func(r *http.Request) (types.NamespacedName, error) {
			if r.URL.Path == "/" {
				return types.NamespacedName{}, errors.New("nobody's")
			}
			return types.NamespacedName{Namespace: "team", Name: r.URL.Path[1:]}, nil
		}},
	}
	g.renew()
	for path, want := range map[string]int{"/score": http.StatusOK, "/other": http.StatusUnauthorized, "/": http.StatusNotFound} {
		r := httptest.NewRequest(http.MethodPost, path, http.NoBody)
		r.Header.Set("Authorization", "good")
		w := httptest.NewRecorder()
		if err := g.Admit(w, r); (err == nil) != (want == http.StatusOK) || w.Code != want {
			t.Errorf("%s: %v, status %d; want %d", path, err, w.Code, want)
		}
	}
}
