package lease

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/batch/progress"
	"sluice.dev/sluice/functions/limit/slack"
)

// fetchEvery is how often the limiter is asked: as often as it reads the demand.
const fetchEvery = time.Second

// Function leases what is left of Models to the workers of batches.
type Function struct {
	// Left asks what is left of Models, and tells what batches need of them.
	Left func(ctx context.Context, q slack.Question) (map[string]slack.Slack, error)
	// Runs are the batches that aren't over, suspended ones left out.
	Runs func() ([]Run, error)
	// Model is the Model, named so, that a batch asks now; an error says why there is none.
	Model func(namespace, batch string, uid types.UID) (string, error)
	Clock clock.WithTicker
	Log   *zap.SugaredLogger

	mu     sync.Mutex
	ledger *credits.Ledger
	book   *progress.Book
	// underWay bounds the asks that are answered at a time.
	underWay chan struct{}
}

// New returns a Function that begins now: it leases from when on everything has ended that
// one before it leased.
func New(c clock.WithTicker, log *zap.SugaredLogger) *Function {
	return &Function{Clock: c, Log: log, ledger: credits.NewLedger(c.Now()), book: progress.New(), underWay: make(chan struct{}, atOnce)}
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
	q, err := f.ask()
	if err != nil {
		return err
	}
	left := map[string]slack.Slack{}
	if len(q.Models) > 0 {
		if left, err = f.Left(ctx, q); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ledger.Offer(left)
	return nil
}

// ask is what the limiter is asked next. What is known of batches that are over is forgotten.
func (f *Function) ask() (slack.Question, error) {
	runs, err := f.Runs()
	if err != nil {
		return slack.Question{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	are, needs, rates, now := sets.New[string](), map[types.UID]slack.Need{}, map[types.UID]float64{}, f.Clock.Now()
	for _, r := range runs {
		are.Insert(string(r.UID))
		if n, ok := r.Need(f.book.Of(string(r.UID), now), now); ok {
			needs[r.UID], rates[r.UID] = n, n.Rate()
		}
	}
	f.book.Keep(are.Has)
	f.ledger.Need(rates)
	return question(f.ledger.Models(now), runs, needs), nil
}

// lease answers an ask. What is said by workers for which there is no room counts for
// nothing: the bounds on them are those on what is known of batches, too.
func (f *Function) lease(model string, ask credits.Ask) (credits.Lease, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lease, err := f.ledger.Lease(model, ask, f.Clock.Now())
	if err == nil {
		f.note(ask)
	}
	return lease, err
}
