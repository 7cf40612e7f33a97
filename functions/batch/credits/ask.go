package credits

import (
	"errors"
	"fmt"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// Path is where workers ask, by POST.
	Path = "/v1/leases"
	// AskEvery is how often a worker asks.
	AskEvery = time.Second
	// Longest is how long a lease counts, at most.
	Longest = 3 * time.Second
)

// Ask is what a worker says when it asks for credits, and how far it is.
type Ask struct {
	Namespace string    `json:"namespace"`
	Batch     string    `json:"batch"`
	UID       types.UID `json:"uid"`
	Shard     int32     `json:"shard"`
	// Worker is its pod's name: another pod is another worker.
	Worker string `json:"worker"`
	// Wanted is what it could send, in requests per second.
	Wanted float64 `json:"wanted"`
	// Lease is the number of the one that it goes by, 0 for none.
	Lease int64 `json:"lease,omitempty"`
	// InFlight are requests that wait for their answers. Succeeded and Failed are items of
	// the shard, those of earlier workers too that are in the output, once the worker Knows
	// which are.
	Knows     bool  `json:"knows,omitempty"`
	InFlight  int64 `json:"inFlight"`
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
	// Requests are those that this worker alone was answered, Items what these settled.
	Requests int64 `json:"requests,omitempty"`
	Items    int64 `json:"items,omitempty"`
}

// Lease is what a worker may send, and for how long.
type Lease struct {
	// Number tells which of two is newer. A worker goes by the newest that it has got,
	// and by no other: not even when that has ended.
	Number int64 `json:"number"`
	// Rate in requests per second.
	Rate float64 `json:"rate"`
	// Burst is how many requests may be sent at once, after a pause.
	Burst int32 `json:"burst"`
	// DurationSeconds count from when the worker sent its ask: so no clocks are compared,
	// and it ends for the worker before it does for the function.
	DurationSeconds float64 `json:"durationSeconds"`
}

// Check says what is wrong with an ask.
func (a Ask) Check() error {
	named := func(field, value string, valid func(string) []string) error {
		if len(valid(value)) > 0 {
			return fmt.Errorf("%s is %q, want the name of an object", field, value)
		}
		return nil
	}
	counted := func(field string, n int64) error {
		if n < 0 || n > mostCounted {
			return fmt.Errorf("%s is %d, want 0 to %d", field, n, int64(mostCounted))
		}
		return nil
	}
	errs := []error{
		named("namespace", a.Namespace, validation.IsDNS1123Label), named("batch", a.Batch, validation.IsDNS1123Subdomain),
		named("uid", string(a.UID), validation.IsDNS1123Label), named("worker", a.Worker, validation.IsDNS1123Subdomain),
		counted("shard", int64(a.Shard)), counted("inFlight", a.InFlight), counted("succeeded", a.Succeeded),
		counted("failed", a.Failed), counted("requests", a.Requests), counted("items", a.Items),
	}
	if a.Lease < 0 {
		errs = append(errs, fmt.Errorf("lease is %d, want 0 or more", a.Lease))
	}
	if math.IsNaN(a.Wanted) || a.Wanted < 0 || a.Wanted > mostWanted {
		errs = append(errs, fmt.Errorf("wanted is %g, want 0 to %g requests per second", a.Wanted, float64(mostWanted)))
	}
	return errors.Join(errs...)
}

const (
	// mostWanted is more than any worker can send.
	mostWanted = 1e6
	// mostCounted is more items than a shard can have: those of a thousand can be added up.
	mostCounted = 1e12
)
