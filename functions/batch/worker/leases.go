package worker

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/batch/pace"
	"sluice.dev/sluice/functions/batch/post"
	"sluice.dev/sluice/functions/batch/task"
)

const (
	// firstInFlight is how many requests are under way before it is known how long answers
	// take: as many as it takes to learn that, so that it is known by the first answers. Fewer
	// would have a worker whose first answers are slow want less than there is for seconds.
	firstInFlight = 16
	// releasedWithin bounds the giving back of what is leased.
	releasedWithin = 2 * time.Second
	// maxLease bounds what is read of an answer of the function.
	maxLease = 64 << 10
	// smoothing is how much one answer's time counts in the mean.
	smoothing = 0.1
)

// Leases is a Gate: a request enters by a credit of the newest lease, and while no more are
// under way than the Model answers well.
type Leases struct {
	Log *slog.Logger
	// ask is what it says each time, but for how far the worker is.
	ask      credits.Ask
	lease    func(context.Context, credits.Ask) (credits.Lease, error)
	progress func() Progress

	// turn is whose who is next to enter; wake tells it that something has changed.
	turn chan struct{}
	wake chan struct{}

	mu       sync.Mutex
	bucket   credits.Bucket
	bound    pace.Bound
	inFlight int
	// took is the mean time of answers, in seconds, 0 before the first.
	took float64
	// over is true once nothing is to be asked any more.
	over bool
}

// NewLeases returns the Gate of the worker of a shard, which asks by its pod's name, and by
// the token in a file that says so.
func NewLeases(t *task.Task, shard int, name, token string, progress func() Progress) *Leases {
	from := &lessor{url: t.Credits + credits.Path, token: token, client: &http.Client{Timeout: credits.Longest}}
	return &Leases{
		Log:      slog.Default(),
		lease:    from.lease,
		ask:      credits.Ask{Namespace: t.Namespace, Batch: t.Name, UID: types.UID(t.UID), Shard: int32(shard), Worker: name},
		progress: progress,
		turn:     make(chan struct{}, 1), wake: make(chan struct{}, 1),
		bound: pace.New(firstInFlight, t.Bounds.Concurrency),
	}
}

// Run asks for leases until its context ends.
func (l *Leases) Run(ctx context.Context) {
	ticker := time.NewTicker(credits.AskEvery)
	defer ticker.Stop()
	for failed := false; ; {
		err := l.renew(ctx)
		if ctx.Err() != nil {
			return
		}
		// Once for each time that it begins.
		if err != nil && !failed {
			l.Log.Warn("No credits: nothing is asked until there are", "error", err)
		}
		failed = err != nil
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Release gives back what is leased once nothing is to be asked any more: so others have it now,
// and not only when it has expired.
func (l *Leases) Release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releasedWithin)
	defer cancel()
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	// The first is answered with a lease of nothing; the second tells that the worker goes by that.
	for range 2 {
		if err := l.renew(ctx); err != nil {
			l.Log.Warn("Credits weren't given back: they expire", "error", err)
			return
		}
	}
}

func (l *Leases) renew(ctx context.Context) error {
	asked := time.Now()
	lease, err := l.lease(ctx, l.next())
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.bucket.Renew(lease, asked, time.Now())
	l.mu.Unlock()
	l.changed()
	return nil
}

// next is what is asked now. What the worker could send is what it may have under way, over
// the time that each takes.
func (l *Leases) next() credits.Ask {
	ask, far := l.ask, l.progress()
	ask.Knows, ask.Succeeded, ask.Failed, ask.InFlight = far.Knows, far.Succeeded, far.Failed, far.InFlight
	ask.Requests, ask.Items = far.Requests, far.Items
	l.mu.Lock()
	defer l.mu.Unlock()
	ask.Lease = l.bucket.Lease()
	if l.over {
		return ask
	}
	ask.Wanted = float64(l.bound.Limit())
	if takes := l.takes(); takes > 0 {
		ask.Wanted /= takes
	}
	return ask
}

// takes is how long an answer takes, in seconds, 0 while that isn't known. Those that waited for
// a Model that was away say nothing of how long the next ones will take: by their mean hardly
// anything would be wanted, and so hardly any answers come to mend it.
func (l *Leases) takes() float64 {
	if bearable := l.bound.Bearable(); bearable > 0 {
		return min(l.took, bearable)
	}
	return l.took
}

// Enter waits until there is a credit, and room. One after the other waits for that.
func (l *Leases) Enter(ctx context.Context) (func(Answer, time.Duration), error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	for {
		inFlight, wait := l.take(time.Now())
		if inFlight > 0 {
			return func(answer Answer, took time.Duration) { l.left(inFlight, answer, took) }, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-l.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// take takes a credit if there is one, and room, and tells how many are in flight then; or
// else when to look again.
func (l *Leases) take(now time.Time) (inFlight int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inFlight < l.bound.Limit() && l.bucket.Take(now) {
		l.inFlight++
		return l.inFlight, 0
	}
	if wait, ok := l.bucket.Wait(now); ok && l.inFlight < l.bound.Limit() {
		return 0, wait
	}
	return 0, credits.AskEvery
}

func (l *Leases) left(inFlight int, answer Answer, took time.Duration) {
	l.mu.Lock()
	l.inFlight--
	overloaded := answer.Status == 0 || answer.Status == http.StatusServiceUnavailable
	// Whoever refuses a request doesn't say how long one takes.
	if refused := judge(answer) == later; overloaded || !refused {
		l.bound = l.bound.Next(pace.Answer{Took: took, InFlight: inFlight, Overloaded: overloaded})
		if !refused {
			l.learn(took)
		}
	}
	l.mu.Unlock()
	l.changed()
}

// learn takes in how long an answer took.
func (l *Leases) learn(took time.Duration) {
	if l.took == 0 {
		l.took = took.Seconds()
	}
	l.took += smoothing * (took.Seconds() - l.took)
}

func (l *Leases) changed() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// lessor is the function that leases, over HTTP.
type lessor struct {
	// token is the file that has it.
	url, token string
	client     *http.Client
}

func (l *lessor) lease(ctx context.Context, ask credits.Ask) (lease credits.Lease, err error) {
	if err := post.JSON(ctx, l.client, l.url, l.token, ask, maxLease, &lease); err != nil {
		return credits.Lease{}, fmt.Errorf("asking for credits: %w", err)
	}
	return lease, nil
}
