package lease

import (
	"context"
	"maps"
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
	hunger hunger
	// told is when the limiter was asked last, zero if it didn't answer; holding are the Models
	// that replicas were held for then.
	told    time.Time
	holding sets.Set[string]
	// underWay bounds the asks that are answered at a time.
	underWay chan struct{}
}

// New returns a Function that begins now: it leases from when on everything has ended that
// one before it leased.
func New(c clock.WithTicker, log *zap.SugaredLogger) *Function {
	return &Function{Clock: c, Log: log, ledger: credits.NewLedger(c.Now()), book: progress.New(), hunger: hunger{}, underWay: make(chan struct{}, atOnce)}
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
	asked := f.Clock.Now()
	q, err := f.ask(asked)
	if err != nil {
		return err
	}
	left := map[string]slack.Slack{}
	if len(q.Models) > 0 {
		left, err = f.Left(ctx, q)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.told = time.Time{}
		return err
	}
	f.told, f.holding = asked, sets.New(q.Models...).Delete(q.Idle...)
	f.ledger.Offer(left)
	return nil
}

// ask is what the limiter is asked next. What is known of batches that are over is forgotten.
func (f *Function) ask(now time.Time) (slack.Question, error) {
	runs, err := f.Runs()
	if err != nil {
		return slack.Question{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	passed := time.Duration(0)
	if !f.told.IsZero() {
		passed = min(now.Sub(f.told), 2*fetchEvery)
	}
	are, holding, needs, rates := sets.New[string](), sets.New[string](), map[types.UID]slack.Need{}, map[types.UID]float64{}
	for _, r := range runs {
		are.Insert(string(r.UID))
		far := f.book.Of(string(r.UID), now)
		hungry := f.hunger.of(r.UID, r.Starves, now)
		if far.Heard {
			f.hunger.grow(r.UID, passed)
		}
		n, needy := r.Need(far, now)
		if needy {
			rates[r.UID] = n.Rate()
		}
		if r.works(far, now) && mayHold(hungry) {
			holding.Insert(r.Model)
			if needy {
				needs[r.UID] = n
			}
		}
	}
	f.book.Keep(are.Has)
	maps.DeleteFunc(f.hunger, func(uid types.UID, _ time.Duration) bool { return !are.Has(string(uid)) })
	f.ledger.Need(rates)
	// A Model that no replica is to be held for any more is asked for once again, to say so.
	models := holding.Union(f.holding).Insert(f.ledger.Models(now)...)
	return question(sets.List(models), holding, runs, needs), nil
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
	if lease.Rate > 0 {
		f.hunger.end(ask.UID)
	}
	return lease, err
}
