// Package post asks a function of Sluice's, by the token that Kubernetes gives a pod.
package post

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// maxReason bounds what an error says of an answer that is none.
const maxReason = 200

// JSON posts a question to a URL, with the token in a file, and reads the answer, of most
// bytes. The file has a new token from time to time, so it is read each time.
func JSON(ctx context.Context, client *http.Client, url, tokenFile string, question any, most int64, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("writing the question: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("building the request: %w", err)
	}
	token, err := os.ReadFile(tokenFile) //nolint:gosec // its name is the program's own, not the request's
	if err != nil {
		return fmt.Errorf("reading who asks: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err //nolint:wrapcheck // it says whom was asked what
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(content[:min(len(content), maxReason)])))
	}
	if err := json.Unmarshal(content, answer); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}
