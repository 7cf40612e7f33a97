// Package recorded asks the limiter what came to a Model by second.
package recorded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/whatif/trace"
)

// Path is where the limiter tells what came to a Model, by GET.
const Path = "/v1/demand/{namespace}/{name}"

const (
	// askWithin bounds a question with its answer, of a day, and attempts how often one is
	// asked: of the limiter's replicas only the one that leads knows, and it tells few at once.
	askWithin, attempts = 15 * time.Second, 5
	// againAfter is when a question is asked again where the answer doesn't say, mostAgain the
	// longest time that an answer may have it wait.
	againAfter, mostAgain = 500 * time.Millisecond, 5 * time.Second
	// maxReason bounds what an error says of an answer that is none.
	maxReason = 300
)

// ErrNone is that of a Model of which no demand is recorded, or that there isn't.
var ErrNone = errors.New("no recorded demand")

// Limiter is asked what it recorded.
type Limiter struct {
	url, tokenFile string
	client         *http.Client
}

// New returns the limiter at the URL of its Service. The file has a token for its audience,
// of a pod of its own namespace, or of the Models' that it is asked about.
func New(url, tokenFile string) *Limiter {
	return &Limiter{
		url: strings.TrimRight(url, "/"), tokenFile: tokenFile,
		client: &http.Client{Timeout: askWithin, Transport: http.DefaultTransport.(*http.Transport).Clone()},
	}
}

// Of is what came to a Model in each second of the last day. The error is ErrNone where
// nothing is recorded of it; any other says why it can't be told now.
func (l *Limiter) Of(ctx context.Context, model types.NamespacedName) (trace.Trace, error) {
	for attempt := 1; ; attempt++ {
		came, after, err := l.ask(ctx, model)
		if after == 0 || attempt == attempts {
			return came, err
		}
		// A new connection may be to another replica.
		l.client.CloseIdleConnections()
		again := time.NewTimer(after)
		select {
		case <-ctx.Done():
			again.Stop()
			return trace.Trace{}, err
		case <-again.C:
		}
	}
}

// ask asks once; after is 0 where to ask again is of no use.
func (l *Limiter) ask(ctx context.Context, model types.NamespacedName) (came trace.Trace, after time.Duration, err error) {
	path := strings.NewReplacer("{namespace}", url.PathEscape(model.Namespace), "{name}", url.PathEscape(model.Name)).Replace(Path)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+path, http.NoBody)
	if err != nil {
		return trace.Trace{}, 0, fmt.Errorf("building the question for the demand: %w", err)
	}
	// The file has a new token from time to time.
	token, err := os.ReadFile(l.tokenFile)
	if err != nil {
		return trace.Trace{}, 0, fmt.Errorf("reading the token for the limiter: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	response, err := l.client.Do(request)
	if err != nil {
		return trace.Trace{}, againAfter, fmt.Errorf("asking for the demand: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK {
		if came, err = trace.Read(response.Body); err != nil {
			return trace.Trace{}, 0, fmt.Errorf("reading the demand: %w", err)
		}
		return came, 0, nil
	}
	says, _ := io.ReadAll(io.LimitReader(response.Body, maxReason))
	reason := strings.TrimSpace(string(says))
	switch response.StatusCode {
	case http.StatusNotFound:
		return trace.Trace{}, 0, fmt.Errorf("%w: %s", ErrNone, reason)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		after = againAfter
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			after = min(time.Duration(seconds)*time.Second, mostAgain)
		}
	}
	return trace.Trace{}, after, fmt.Errorf("asking for the demand: %s: %s", response.Status, reason)
}
