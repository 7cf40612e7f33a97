package platform

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// pollEvery is how often a condition is looked at.
const pollEvery = 100 * time.Millisecond

// errTimeout is wrapped by the error of a wait that took too long.
var errTimeout = errors.New("timed out")

// Until waits until check finds nothing missing, at most for the given time. Check
// returns what is still missing, for the error's text, or "" once nothing is; an
// error ends the wait at once.
func Until(ctx context.Context, within time.Duration, what string, check func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	missing := "nothing was seen yet"
	for {
		now, err := check(ctx)
		if err == nil && now == "" {
			return nil
		}
		// A client's own rate limiter refuses what it can't let through before the end.
		if ctx.Err() == nil && (err == nil || !strings.Contains(err.Error(), "would exceed context deadline")) {
			if err != nil {
				return fmt.Errorf("waiting for %s: %w", what, err)
			}
			missing = now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w after %v: %s", what, errTimeout, within, missing)
		}
	}
}
