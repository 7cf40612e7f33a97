package v1alpha1

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// SplitKey is what tells callers apart: of a split, all requests with the same value
// go to the same revision, at every gateway, as long as the percentages stay. A
// request without a value goes by chance. Exactly one field is set.
type SplitKey struct {
	// Header is the name of a request header.
	// +optional
	Header string `json:"header,omitempty"`
	// Cookie is the name of a cookie. The model or its caller sets it; the gateway
	// sets none.
	// +optional
	Cookie string `json:"cookie,omitempty"`
}

// The kinds of keys, as they begin annotation sluice.dev/split-by.
const (
	splitByHeader = "header"
	splitByCookie = "cookie"
)

// String is the value of annotation sluice.dev/split-by; "" of none.
func (k *SplitKey) String() string {
	switch {
	case k == nil:
		return ""
	case k.Header != "":
		return splitByHeader + ":" + strings.ToLower(k.Header)
	default:
		return splitByCookie + ":" + k.Cookie
	}
}

// ParseSplitKey reads a value of annotation sluice.dev/split-by; nil of "".
func ParseSplitKey(annotation string) (*SplitKey, error) {
	if annotation == "" {
		return nil, nil
	}
	kind, name, _ := strings.Cut(annotation, ":")
	key := &SplitKey{}
	switch kind {
	case splitByHeader:
		key.Header = strings.ToLower(name)
	case splitByCookie:
		key.Cookie = name
	default:
		return nil, fmt.Errorf(`%q must be "%s:<name>" or "%s:<name>"`, annotation, splitByHeader, splitByCookie)
	}
	if err := key.validate(); err != nil {
		return nil, err
	}
	return key, nil
}

var (
	// token is what names headers and cookies (RFC 9110, section 5.6.2; RFC 6265,
	// section 4.1.1).
	token = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]{1,128}$")
	// unsteady are headers that belong to a connection, not to a caller, or that the
	// gateway makes.
	unsteady = []string{"connection", "content-length", "cookie", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "x-request-id"}
)

func (k *SplitKey) validate() *apis.FieldError {
	switch {
	case k == nil:
		return nil
	case k.Header == "" && k.Cookie == "":
		err := apis.ErrMissingOneOf(splitByHeader, splitByCookie)
		err.Details = "name what tells callers apart, or leave splitBy out to split by chance"
		return err
	case k.Header != "" && k.Cookie != "":
		return apis.ErrMultipleOneOf(splitByHeader, splitByCookie)
	case k.Cookie != "":
		return validateToken(splitByCookie, k.Cookie)
	}
	name := strings.ToLower(k.Header)
	switch {
	case slices.Contains(unsteady, name):
		return invalid(splitByHeader, "%q does not tell callers apart: it is of a connection or a request; a cookie can be named by cookie", k.Header)
	case removed(name):
		return invalid(splitByHeader, "the gateway removes %q from callers' requests; choose another header", k.Header)
	}
	return validateToken(splitByHeader, k.Header)
}

func validateToken(field, name string) *apis.FieldError {
	if !token.MatchString(name) {
		return invalid(field, "%q can't be a name: it takes 1 to 128 letters, digits and characters of -!#$%%&'*+.^_`|~", name)
	}
	return nil
}

// removed is true of headers that the gateway takes from requests, or that Knative
// gives a meaning of its own.
func removed(name string) bool {
	return strings.HasPrefix(name, "k-") || strings.HasPrefix(name, "knative-") || name == strings.ToLower(warmup.MarkerHeader)
}
