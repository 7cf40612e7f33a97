package asked

import (
	"context"
	"errors"
	"net/http"
)

// failure is why a question has no answer. It may be asked again where time alone changes that.
type failure struct {
	outcome string
	status  int
	again   bool
	err     error
}

// Error implements error.
func (f failure) Error() string { return f.err.Error() }

// Unwrap is what it wraps.
func (f failure) Unwrap() error { return f.err }

// refused is that of what can't be asked so.
func refused(status int, err error) error {
	return failure{outcome: "refused", status: status, err: err}
}

// away is that of what isn't known now.
func away(err error) error {
	return failure{outcome: "away", status: http.StatusServiceUnavailable, again: true, err: err}
}

// failureOf is what is told of an error.
func failureOf(err error) failure {
	var why failure
	switch {
	case errors.Is(err, context.Canceled):
		return failure{outcome: "left", status: http.StatusServiceUnavailable, err: err} // nobody is there to read it
	case errors.As(err, &why):
		return why
	}
	return failure{outcome: "failed", status: http.StatusInternalServerError, err: err}
}
