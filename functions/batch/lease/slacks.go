package lease

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sluice.dev/sluice/functions/batch/post"
	"sluice.dev/sluice/functions/limit/slack"
)

const (
	// fetchWithin bounds each question to the limiter, attempts how often one is asked before
	// the next is due: of the limiter's replicas only the one that leads knows.
	fetchWithin, attempts = fetchEvery / attempts, 4
	// maxAnswer bounds what is read of an answer.
	maxAnswer = slack.MostModels * 256
)

// Limiter is asked what is left of Models.
type Limiter struct {
	// URL is its Service's, TokenFile has who asks.
	URL, TokenFile string
	client         *http.Client
}

// NewLimiter returns the limiter at a URL.
func NewLimiter(url, tokenFile string) *Limiter {
	return &Limiter{URL: strings.TrimRight(url, "/"), TokenFile: tokenFile, client: &http.Client{Timeout: fetchWithin, Transport: http.DefaultTransport.(*http.Transport).Clone()}}
}

// Left is what batch may take of each of the Models that are asked for.
func (l *Limiter) Left(ctx context.Context, q slack.Question) (left map[string]slack.Slack, err error) {
	for range attempts {
		if left, err = l.ask(ctx, q); err == nil || ctx.Err() != nil {
			return left, err
		}
		// A new connection may be to another replica.
		l.client.CloseIdleConnections()
	}
	return nil, err
}

func (l *Limiter) ask(ctx context.Context, q slack.Question) (map[string]slack.Slack, error) {
	asked := time.Now()
	var says slack.Answer
	if err := post.JSON(ctx, l.client, l.URL+slack.Path, l.TokenFile, q, maxAnswer, &says); err != nil {
		return nil, fmt.Errorf("asking what is left: %w", err)
	}
	left := make(map[string]slack.Slack, len(says.Models))
	for model, of := range says.Models {
		left[model] = of.Since(asked)
	}
	return left, nil
}
