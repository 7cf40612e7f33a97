package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// reviewWithin bounds the reviews of a request.
	reviewWithin = 5 * time.Second
	// atOnce bounds the requests that are reviewed at a time: anybody can send a token.
	atOnce = 16
	// longestToken is the longest that is reviewed, in bytes.
	longestToken = 16 << 10
)

var (
	// ErrUnknown is that of a request from nobody who is known.
	ErrUnknown = errors.New("unknown caller")
	// ErrForbidden is that of a request from somebody who may not make it.
	ErrForbidden = errors.New("forbidden")
)

// StatusOf is what is answered where a request isn't let in: 401 where nobody is known to make
// it, 403 where they may not, 503 where nobody can tell.
func StatusOf(err error) int {
	switch {
	case errors.Is(err, ErrUnknown):
		return http.StatusUnauthorized
	case errors.Is(err, ErrForbidden):
		return http.StatusForbidden
	}
	return http.StatusServiceUnavailable
}

// TokenReviews is the part of the API server that tells whose tokens are.
type TokenReviews interface {
	Create(ctx context.Context, review *authenticationv1.TokenReview, options metav1.CreateOptions) (*authenticationv1.TokenReview, error)
}

// SubjectAccessReviews is the part of it that tells what users may do.
type SubjectAccessReviews interface {
	Create(ctx context.Context, review *authorizationv1.SubjectAccessReview, options metav1.CreateOptions) (*authorizationv1.SubjectAccessReview, error)
}

// Reviewer tells whether requests may be made.
type Reviewer struct {
	audience string
	tokens   TokenReviews
	rights   SubjectAccessReviews
	underWay chan struct{}
}

// New returns a Reviewer of requests that bear tokens for an audience.
func New(audience string, tokens TokenReviews, rights SubjectAccessReviews) *Reviewer {
	return &Reviewer{audience: audience, tokens: tokens, rights: rights, underWay: make(chan struct{}, atOnce)}
}

// May returns an error unless who makes a request may do something. It is ErrUnknown
// where that is nobody who is known, ErrForbidden where they may not; any other says that it
// can't be told.
func (a *Reviewer) May(r *http.Request, do authorizationv1.ResourceAttributes) error {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok || token == "":
		return fmt.Errorf("%w: the request has no token", ErrUnknown)
	case len(token) > longestToken:
		return fmt.Errorf("%w: the token is longer than %d bytes", ErrUnknown, longestToken)
	}
	select {
	case a.underWay <- struct{}{}:
		defer func() { <-a.underWay }()
	default:
		return errors.New("too many ask at a time")
	}
	ctx, cancel := context.WithTimeout(r.Context(), reviewWithin)
	defer cancel()
	user, err := a.user(ctx, token)
	if err != nil {
		return err
	}
	return a.allowed(ctx, user, do)
}

// user is whose a token is.
func (a *Reviewer) user(ctx context.Context, token string) (authenticationv1.UserInfo, error) {
	review, err := a.tokens.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{a.audience}},
	}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return authenticationv1.UserInfo{}, fmt.Errorf("asking the API server whose the token is: %w", err)
	case !review.Status.Authenticated:
		return authenticationv1.UserInfo{}, fmt.Errorf("%w: the token is of nobody whom the API server knows, or not for %s", ErrUnknown, a.audience)
	case !slices.Contains(review.Status.Audiences, a.audience):
		// An API server that knows nothing of audiences takes a token that is for others.
		return authenticationv1.UserInfo{}, fmt.Errorf("%w: the token isn't for %s", ErrUnknown, a.audience)
	}
	return review.Status.User, nil
}

// allowed is nil if a user may do something.
func (a *Reviewer) allowed(ctx context.Context, user authenticationv1.UserInfo, do authorizationv1.ResourceAttributes) error {
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for key, values := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	review, err := a.rights.Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, Groups: user.Groups, UID: user.UID, Extra: extra, ResourceAttributes: &do,
		},
	}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return fmt.Errorf("asking the API server what %q may do: %w", user.Username, err)
	case !review.Status.Allowed:
		return fmt.Errorf("%w: user %q can't %s %s.%s %q in namespace %q", ErrForbidden, user.Username, do.Verb, do.Resource, do.Group, do.Name, do.Namespace)
	}
	return nil
}
