package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

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

// Left is what batch may take of each of the Models, named namespace/name.
func (l *Limiter) Left(ctx context.Context, models []string) (map[string]slack.Slack, error) {
	question, err := json.Marshal(slack.Question{Models: models})
	if err != nil {
		return nil, fmt.Errorf("asking what is left: %w", err)
	}
	for range attempts {
		var left map[string]slack.Slack
		if left, err = l.ask(ctx, question); err == nil || ctx.Err() != nil {
			return left, err
		}
		// A new connection may be to another replica.
		l.client.CloseIdleConnections()
	}
	return nil, err
}

func (l *Limiter) ask(ctx context.Context, question []byte) (map[string]slack.Slack, error) {
	asked := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.URL+slack.Path, bytes.NewReader(question))
	if err != nil {
		return nil, fmt.Errorf("asking what is left: %w", err)
	}
	token, err := os.ReadFile(l.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("reading who asks: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Content-Type", "application/json")
	answer, err := l.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking what is left: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading what is left: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking what is left: %s: %s", answer.Status, strings.TrimSpace(string(content[:min(len(content), 200)])))
	}
	var says slack.Answer
	if err := json.Unmarshal(content, &says); err != nil {
		return nil, fmt.Errorf("reading what is left: %w", err)
	}
	left := make(map[string]slack.Slack, len(says.Models))
	for model, of := range says.Models {
		left[model] = of.Since(asked)
	}
	return left, nil
}
