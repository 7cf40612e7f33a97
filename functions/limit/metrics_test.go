package limit

import (
	"errors"
	"fmt"
	"math/big"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// However often limits are decided anew, whoever asks sees each of them, and none that
// is gone.
func TestLimitsInForceAreNeverMissing(t *testing.T) {
	const models = 200
	var plans []plan
	for i := range models {
		plans = append(plans, plan{of: rateLimit(fmt.Sprint("m-", i)), limit: big.NewRat(int64(i+1), 1)})
	}
	plans = append(plans, plan{of: rateLimit("refused"), err: errors.New("not a limit")},
		plan{of: rateLimit("gone"), limit: big.NewRat(1, 1), gone: true})
	limits, registry := newLimitsInForce(), prometheus.NewPedanticRegistry()
	registry.MustRegister(limits)
	seen := func() int {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		if len(families) == 0 {
			return 0
		}
		return len(families[0].GetMetric())
	}
	if got := seen(); got != 0 {
		t.Errorf("%d limits before there are any", got)
	}
	limits.record(plans)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				limits.record(plans)
			}
		}
	}()
	for range 200 {
		if got := seen(); got != models {
			t.Fatalf("%d limits seen, want %d", got, models)
		}
	}
	close(stop)
	<-stopped
	limits.record(plans[:1])
	if got := seen(); got != 1 {
		t.Errorf("%d limits seen, want the one that is left", got)
	}
}
