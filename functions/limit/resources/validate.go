package resources

import (
	"errors"
	"fmt"
	"strings"
	"time"

	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
)

// validate refuses a filter that Envoy would refuse. One refused resource freezes
// every slot of a gateway, so nothing is written that has not passed. Beside
// Envoy's generated validators it holds the rules that Envoy checks only when it
// builds the limiter: local_ratelimit_impl.cc wants fill intervals of at least
// 50 ms and no descriptor twice, and reads an empty value as a wildcard.
func validate(filter *localv3.LocalRateLimit) error {
	if err := filter.ValidateAll(); err != nil {
		return fmt.Errorf("envoy would refuse the filter: %w", err)
	}
	seen := make(map[string]bool, len(filter.GetDescriptors()))
	var errs []error
	for _, d := range filter.GetDescriptors() {
		var entries []string
		for _, e := range d.GetEntries() {
			if e.GetValue() == "" {
				errs = append(errs, fmt.Errorf("descriptor entry %q has no value", e.GetKey()))
			}
			entries = append(entries, fmt.Sprintf("%q=%q", e.GetKey(), e.GetValue()))
		}
		id := strings.Join(entries, ",")
		if seen[id] {
			errs = append(errs, fmt.Errorf("descriptor %s appears twice", id))
		}
		seen[id] = true
		if b := d.GetTokenBucket(); b.GetMaxTokens() < 1 || b.GetTokensPerFill().GetValue() < 1 ||
			b.GetFillInterval().AsDuration() < MinFill || b.GetFillInterval().AsDuration()%time.Millisecond != 0 {
			errs = append(errs, fmt.Errorf("descriptor %s has a bucket out of bounds: %v", id, b))
		}
	}
	return errors.Join(errs...)
}
