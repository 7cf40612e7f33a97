package limit

import (
	"context"
	"maps"
	"sync"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/workqueue"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	client "sluice.dev/sluice/reconciler/client/clientset/versioned/typed/sluice/v1alpha1"
)

// statusesAtOnce bounds the statuses that are being written at the same time.
const statusesAtOnce = 8

// statuses writes the statuses of RateLimits beside the passes, so that no limit waits
// for them. Of each RateLimit one waits at most, the newest, and they have their turns
// in the order in which they began to wait. One that the API server doesn't take has
// another turn after retryAfter.
type statuses struct {
	queue workqueue.TypedDelayingInterface[string]

	mu sync.Mutex
	// of RateLimits that there are, by key.
	of map[string]*standing
}

// standing is what is known of a RateLimit beside what the cache has.
type standing struct {
	// waiting has the status that is to be written, writing that which is on its way;
	// nil if none is.
	waiting, writing *v1alpha1.RateLimit
	// written is what the API server has, while the cache is behind.
	written *v1alpha1.RateLimit
	// resting is true from a write that failed to the next turn.
	resting bool
}

func newStatuses() *statuses {
	return &statuses{queue: workqueue.NewTypedDelayingQueue[string](), of: map[string]*standing{}}
}

// want says what the status of a RateLimit, as cached, is to be. It takes the place of
// what waited before. What the API server has, or is being given, isn't written again.
func (s *statuses) want(cached *v1alpha1.RateLimit, status *v1alpha1.RateLimitStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.of[key(cached)]
	if at == nil {
		at = &standing{}
		s.of[key(cached)] = at
	}
	now := at.newest(cached)
	if equality.Semantic.DeepEqual(now.Status, *status) {
		at.waiting = nil
		return
	}
	next := *at.known(cached)
	next.Status = *status
	at.waiting = &next
	if at.writing == nil && !at.resting { // else it has a turn afterwards
		s.queue.Add(key(cached))
	}
}

// keep forgets all RateLimits but some.
func (s *statuses) keep(keys sets.Set[string]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.of, func(k string, _ *standing) bool { return !keys.Has(k) })
}

// known is the newest of what the API server is known to have.
func (at *standing) known(cached *v1alpha1.RateLimit) *v1alpha1.RateLimit {
	if at.written != nil && at.written.UID == cached.UID {
		if order, err := resourceversion.CompareResourceVersion(at.written.ResourceVersion, cached.ResourceVersion); err == nil && order > 0 {
			return at.written
		}
	}
	at.written = nil
	return cached
}

// newest is what the API server will have once it has what is on its way.
func (at *standing) newest(cached *v1alpha1.RateLimit) *v1alpha1.RateLimit {
	if at.writing != nil && at.writing.UID == cached.UID {
		return at.writing
	}
	return at.known(cached)
}

// run writes until the context ends; then nothing is on its way any more.
func (s *statuses) run(ctx context.Context, limits client.RateLimitsGetter, log *zap.SugaredLogger) {
	var writing sync.WaitGroup
	for range statusesAtOnce {
		writing.Go(func() {
			for s.writeNext(ctx, limits, log) {
			}
		})
	}
	<-ctx.Done()
	s.queue.ShutDown()
	writing.Wait()
}

// writeNext waits for the next turn. It returns false once there is none.
func (s *statuses) writeNext(ctx context.Context, limits client.RateLimitsGetter, log *zap.SugaredLogger) bool {
	k, ended := s.queue.Get()
	if ended || ctx.Err() != nil {
		return false
	}
	defer s.queue.Done(k)
	statusesWaiting.Set(float64(s.queue.Len()))
	at, next := s.take(k)
	if next == nil {
		return true // superseded by what is there
	}
	got, err := limits.RateLimits(next.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{})
	switch {
	case err == nil:
		statusWrites.WithLabelValues("written").Inc()
	case !apierrs.IsNotFound(err) && ctx.Err() == nil:
		statusWrites.WithLabelValues(outcome(err)).Inc()
		log.Warnw("Status not written; trying again", zap.String("rateLimit", k), zap.Error(err))
	}
	s.settle(k, at, got, err)
	return true
}

// take gives out what waits for its turn, nil if nothing does.
func (s *statuses) take(k string) (*standing, *v1alpha1.RateLimit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.of[k]
	if at == nil || at.waiting == nil {
		return nil, nil
	}
	at.writing, at.waiting, at.resting = at.waiting, nil, false
	return at, at.writing
}

// settle notes what came of a write, and gives what waits now its turn.
func (s *statuses) settle(k string, at *standing, got *v1alpha1.RateLimit, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wrote := at.writing
	at.writing = nil
	switch {
	case err == nil:
		at.written = got
		if at.waiting != nil {
			at.waiting.ResourceVersion = got.ResourceVersion // it was of that which is replaced
			s.queue.Add(k)
		}
	case apierrs.IsNotFound(err): // deleted, and the cache will say so
		at.waiting = nil
	default:
		if at.waiting == nil {
			at.waiting = wrote
		}
		at.resting = true
		s.queue.AddAfter(k, retryAfter)
	}
}
