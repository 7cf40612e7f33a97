package warmup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// MaxStatus bounds what is read of an answer with a Status.
const MaxStatus = 16 << 10

// ErrForeign is that something else answers where a warm-up would.
var ErrForeign = errors.New("not a warm-up's answer")

// Ask asks the warm-up at an address, host and port, how far its replica is. Replicas are
// the tenants': what comes back has a state, and is no further looked at.
func Ask(ctx context.Context, client *http.Client, address string) (Status, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+StatusPath, http.NoBody)
	if err != nil {
		return Status{}, fmt.Errorf("asking the warm-up: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return Status{}, fmt.Errorf("asking the warm-up: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, MaxStatus))
	if err != nil {
		return Status{}, fmt.Errorf("reading what the warm-up says: %w", err)
	}
	var status Status
	if response.StatusCode != http.StatusOK || json.Unmarshal(answer, &status) != nil || status.State == "" {
		return Status{}, fmt.Errorf("%w: %s, %.40q", ErrForeign, response.Status, answer)
	}
	return status, nil
}
