package lease

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/limit/slack"
)

// fetchEvery is how often the limiter is asked: as often as it reads the demand.
const fetchEvery = time.Second

// Function leases what is left of Models to the workers of batches.
type Function struct {
	// Left asks what is left of Models, each named namespace/name.
	Left func(ctx context.Context, models []string) (map[string]slack.Slack, error)
	// Model is the Model, named so, that a batch asks now; an error says why there is none.
	Model func(namespace, batch string, uid types.UID) (string, error)
	Clock clock.WithTicker
	Log   *zap.SugaredLogger

	mu     sync.Mutex
	ledger *credits.Ledger
	// underWay bounds the asks that are answered at a time.
	underWay chan struct{}
}

// New returns a Function that begins now: it leases from when on everything has ended that
// one before it leased.
func New(c clock.WithTicker, log *zap.SugaredLogger) *Function {
	return &Function{Clock: c, Log: log, ledger: credits.NewLedger(c.Now()), underWay: make(chan struct{}, atOnce)}
}

// Run keeps in step with what is left, until the context ends. While that can't be told,
// what was told before ends by itself.
func (f *Function) Run(ctx context.Context) {
	ticker := f.Clock.NewTicker(fetchEvery)
	defer ticker.Stop()
	for failed := false; ; {
		err := f.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			fetchErrors.Inc()
			if !failed {
				f.Log.Warnw("What is left to batch isn't known: nothing is leased from here on", zap.Error(err))
			}
		} else if failed {
			f.Log.Infow("What is left to batch is known again")
		}
		failed = err != nil
		select {
		case <-ticker.C():
		case <-ctx.Done():
			return
		}
	}
}

func (f *Function) fetch(ctx context.Context) error {
	f.mu.Lock()
	models := f.ledger.Models()
	f.mu.Unlock()
	left := map[string]slack.Slack{}
	if len(models) > 0 {
		var err error
		if left, err = f.Left(ctx, models[:min(len(models), slack.MostModels)]); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ledger.Offer(left)
	return nil
}

func (f *Function) lease(model string, ask credits.Ask) (credits.Lease, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ledger.Lease(model, ask, f.Clock.Now())
}
