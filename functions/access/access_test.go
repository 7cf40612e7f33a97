package access

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const audience = "sluice.dev/controller"

// server answers as the API server does: of the tokens that it knows, each user may get one
// thing, by its name.
type server struct {
	tokens map[string]authenticationv1.TokenReviewStatus
	rights map[string]string
	away   error
	asked  []authorizationv1.SubjectAccessReviewSpec
	// reviews is handed on, if it isn't nil, while a token is reviewed.
	reviews chan struct{}
}

type (
	tokens struct{ *server }
	rights struct{ *server }
)

func (s tokens) Create(ctx context.Context, review *authenticationv1.TokenReview, _ metav1.CreateOptions) (*authenticationv1.TokenReview, error) {
	if s.reviews != nil {
		s.reviews <- struct{}{}
		<-ctx.Done()
	}
	if len(review.Spec.Audiences) != 1 || review.Spec.Audiences[0] != audience {
		return nil, errors.New("of which audience?")
	}
	review.Status = s.tokens[review.Spec.Token]
	return review, s.away
}

func (s rights) Create(_ context.Context, review *authorizationv1.SubjectAccessReview, _ metav1.CreateOptions) (*authorizationv1.SubjectAccessReview, error) {
	s.asked = append(s.asked, review.Spec)
	review.Status.Allowed = s.rights[review.Spec.User] == review.Spec.ResourceAttributes.Name
	if review.Spec.User == "lost" {
		return nil, errors.New("no route to host")
	}
	return review, nil
}

func known(user string, audiences ...string) authenticationv1.TokenReviewStatus {
	return authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: audiences, User: authenticationv1.UserInfo{
		Username: user, UID: "u-1", Groups: []string{"readers"}, Extra: map[string]authenticationv1.ExtraValue{"scopes": {"a", "b"}},
	}}
}

func newServer() *server {
	return &server{
		tokens: map[string]authenticationv1.TokenReviewStatus{
			"ann": known("ann", "else", audience), "bob": known("bob", audience), "lost": known("lost", audience),
			"others": known("ann", "https://kubernetes.default.svc"), "unaware": known("ann"),
		},
		rights: map[string]string{"ann": "ranker"},
	}
}

var getRanker = authorizationv1.ResourceAttributes{Namespace: "team", Verb: "get", Group: "sluice.dev", Resource: "models", Name: "ranker"}

func request(authorization string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	r.Header.Set("Authorization", authorization)
	return r
}

func TestMay(t *testing.T) {
	for name, tt := range map[string]struct {
		authorization string
		away          error
		code          int
		says          string
	}{
		"who may":                    {"Bearer ann", nil, http.StatusOK, ""},
		"who may not":                {"Bearer bob", nil, http.StatusForbidden, `forbidden: user "bob" can't get models.sluice.dev "ranker" in namespace "team"`},
		"nobody":                     {"", nil, http.StatusUnauthorized, "the request has no token"},
		"an empty token":             {"Bearer ", nil, http.StatusUnauthorized, "the request has no token"},
		"a password":                 {"Basic ann", nil, http.StatusUnauthorized, "the request has no token"},
		"a token of nobody":          {"Bearer eve", nil, http.StatusUnauthorized, "of nobody whom the API server knows"},
		"a token for others":         {"Bearer others", nil, http.StatusUnauthorized, "the token isn't for sluice.dev/controller"},
		"by a server that is behind": {"Bearer unaware", nil, http.StatusUnauthorized, "the token isn't for sluice.dev/controller"},
		"an endless token":           {"Bearer " + strings.Repeat("x", longestToken+1), nil, http.StatusUnauthorized, "longer than 16384 bytes"},
		"nobody can tell who":        {"Bearer ann", errors.New("away"), http.StatusServiceUnavailable, "whose the token is: away"},
		"nobody can tell what":       {"Bearer lost", nil, http.StatusServiceUnavailable, `what "lost" may do: no route to host`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			s.away = tt.away
			err := New(audience, tokens{s}, rights{s}).May(request(tt.authorization), getRanker)
			code := http.StatusOK
			if err != nil {
				code = StatusOf(err)
			}
			if code != tt.code || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%d %v, want %d %s", code, err, tt.code, tt.says)
			}
		})
	}
}

// Rights are those of all that the user is.
func TestMayOfWhom(t *testing.T) {
	s := newServer()
	if err := New(audience, tokens{s}, rights{s}).May(request("Bearer ann"), getRanker); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]authorizationv1.SubjectAccessReviewSpec{{
		User: "ann", UID: "u-1", Groups: []string{"readers"}, Extra: map[string]authorizationv1.ExtraValue{"scopes": {"a", "b"}},
		ResourceAttributes: &getRanker,
	}}, s.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// Whoever sends many tokens has the API server asked about few at a time.
func TestMayAtOnce(t *testing.T) {
	s := newServer()
	s.reviews = make(chan struct{})
	a := New(audience, tokens{s}, rights{s})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	for range atOnce {
		go func() { done <- a.May(request("Bearer eve").WithContext(ctx), getRanker) }()
		<-s.reviews
	}
	if err := a.May(request("Bearer ann"), getRanker); err == nil || StatusOf(err) != http.StatusServiceUnavailable {
		t.Errorf("one more: %v", err)
	}
	cancel()
	for range atOnce {
		if err := <-done; err == nil {
			t.Error("an answer that nobody waited for")
		}
	}
	s.reviews = nil
	if err := a.May(request("Bearer ann"), getRanker); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
