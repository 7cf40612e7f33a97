package stores

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

const (
	// mostAnswered bounds what is read of one answer.
	mostAnswered = 64 << 20
	// mostShown bounds what an error repeats of one.
	mostShown = 300
)

// errNone is wrapped by the error of who asks for what isn't there.
var errNone = errors.New("it has none")

// found is the URL that a variable of the environment has, of a store that is brought up by its
// name where it doesn't answer at a path.
func found(ctx context.Context, variable, name, path string) (string, error) {
	at := os.Getenv(variable)
	if at == "" {
		return "", fmt.Errorf("%s names a store for tests, and isn't set: the local stack sets it (hack/cluster/cluster env)", variable)
	}
	return at, reach(ctx, "store", name, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, answersWithin)
		defer cancel()
		_, err := ask(ctx, at+path, nil)
		return err
	})
}

// ask gets what a URL answers to a query.
func ask(ctx context.Context, at string, query url.Values) ([]byte, error) {
	if len(query) > 0 {
		at += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil) //nolint:gosec // who runs the tests names it
	if err != nil {
		return nil, fmt.Errorf("asking: %w", err)
	}
	answer, err := http.DefaultClient.Do(request) //nolint:gosec // as above
	if err != nil {
		return nil, fmt.Errorf("asking: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, mostAnswered))
	switch {
	case err != nil:
		return nil, fmt.Errorf("asking %s: %w", at, err)
	case len(body) == mostAnswered:
		return nil, fmt.Errorf("asking %s: the answer has more than %d bytes", at, mostAnswered)
	case answer.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("asking %s: %w: %.*s", at, errNone, mostShown, body)
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("asking %s: %s: %.*s", at, answer.Status, mostShown, body)
	}
	return body, nil
}
