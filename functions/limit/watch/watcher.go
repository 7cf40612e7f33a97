package watch

import (
	"context"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/functions/counters"
	"sluice.dev/sluice/functions/limit/bounds"
	"sluice.dev/sluice/functions/limit/demand"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// every is how often pods are asked, unless one takes longer to answer.
	every = time.Second
	// atOnce bounds the pods that are asked at the same time.
	atOnce = 8
	// logEvery is the least time between two lines of the log about one pod.
	logEvery = time.Minute
)

// Limit is a RateLimit whose bounds are to be watched.
type Limit struct {
	Name           types.NamespacedName
	VirtualService string
	// Gateways that serve it.
	Gateways []string
	Bounds   v1alpha1.RateLimitBounds
}

// slow is the duration above which its requests are slow, 0 for none.
func (l Limit) slow() time.Duration {
	if l.Bounds.Latency == nil {
		return 0
	}
	return l.Bounds.Latency.Above.Duration
}

// Cluster is what there is to watch.
type Cluster interface {
	// Bounded are the RateLimits with bounds of which no breach is told yet.
	Bounded() []Limit
	// ReadyPods are those of every gateway.
	ReadyPods() []demand.Pod
}

// Watcher watches the bounds of RateLimits from when it first sees them on.
type Watcher struct {
	read    func(ctx context.Context, ip string, slow map[string]time.Duration) map[string]bounds.Reading
	cluster Cluster
	clock   clock.WithTicker
	log     *zap.SugaredLogger
	// notify is called when bounds were passed.
	notify func()
	// watched by RateLimit, and when the log last told of a pod, by its name.
	watched map[types.NamespacedName]watched
	logged  map[string]time.Time

	mu sync.Mutex
	// passed are the breaches of those that are watched.
	passed map[types.NamespacedName]*v1alpha1.RateLimitBreach
}

// watched is a RateLimit with what is known of its requests.
type watched struct {
	limit Limit
	seen  bounds.Watch
	// breach is nil until its bounds are passed; from then on nobody asks any more.
	breach *v1alpha1.RateLimitBreach
}

// New returns a Watcher of the bounds that there are in a cluster. It reads nothing before it
// runs.
func New(cluster Cluster, c clock.WithTicker, log *zap.SugaredLogger, notify func()) *Watcher {
	client := &http.Client{}
	return &Watcher{
		read: func(ctx context.Context, ip string, slow map[string]time.Duration) map[string]bounds.Reading {
			return scrape(ctx, client, counters.Address(ip), slow)
		},
		cluster: cluster, clock: c, log: log, notify: notify,
		watched: map[types.NamespacedName]watched{}, logged: map[string]time.Time{},
	}
}

// Breach is how the bounds of a RateLimit were passed that are there since then; nil while they
// weren't, or aren't watched.
func (w *Watcher) Breach(limit types.NamespacedName, since metav1.MicroTime) *v1alpha1.RateLimitBreach {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.passed[limit]; b != nil && b.Since.Equal(&since) {
		return b
	}
	return nil
}

// Run watches until the context ends.
func (w *Watcher) Run(ctx context.Context) {
	ticker := w.clock.NewTicker(every)
	defer ticker.Stop()
	w.look(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			w.look(ctx)
		}
	}
}

// look asks those pods that serve what has bounds, and judges what they say.
func (w *Watcher) look(ctx context.Context) {
	w.watched = renewed(w.watched, w.cluster.Bounded())
	pods := w.pods()
	readings := w.ask(ctx, pods)
	if ctx.Err() != nil {
		return // what wasn't read then is nobody's fault
	}
	now, news := w.clock.Now(), false
	passed := map[types.NamespacedName]*v1alpha1.RateLimitBreach{}
	for name, of := range w.watched {
		if of.breach == nil {
			of.seen = of.seen.Next(now, of.limit.among(pods, readings))
			if of.breach = of.seen.Breach(of.limit.Bounds, now); of.breach != nil {
				news = true
				breaches.WithLabelValues(of.breach.Reason).Inc()
				w.log.Infow("Bounds of a trial passed", zap.Stringer("rateLimit", name),
					zap.String("reason", of.breach.Reason), zap.String("message", of.breach.Message))
			}
			w.watched[name] = of
		}
		if of.breach != nil {
			passed[name] = of.breach
		}
	}
	w.mu.Lock()
	w.passed = passed
	w.mu.Unlock()
	if news {
		w.notify()
	}
}

// renewed keeps what is known of those RateLimits that are still there with the same bounds,
// served by the same name, and of no others.
func renewed(before map[types.NamespacedName]watched, limits []Limit) map[types.NamespacedName]watched {
	now := make(map[types.NamespacedName]watched, len(limits))
	for _, l := range limits {
		of := before[l.Name]
		if of.limit.VirtualService != l.VirtualService || !sameBounds(of.limit.Bounds, l.Bounds) {
			of = watched{}
		}
		of.limit = l
		now[l.Name] = of
	}
	return now
}

func sameBounds(a, b v1alpha1.RateLimitBounds) bool {
	return a.Since.Equal(&b.Since) && reflect.DeepEqual(a.ErrorPercent, b.ErrorPercent) && reflect.DeepEqual(a.Latency, b.Latency)
}

// pods are those that serve what has bounds still.
func (w *Watcher) pods() []demand.Pod {
	serving := sets.New[string]()
	for _, of := range w.watched {
		if of.breach == nil {
			serving.Insert(of.limit.Gateways...)
		}
	}
	if serving.Len() == 0 {
		return nil
	}
	return slices.DeleteFunc(w.cluster.ReadyPods(), func(p demand.Pod) bool { return !serving.Has(p.Gateway) })
}

// reading is what came of asking a pod, by virtual service.
type reading map[string]bounds.Reading

// err is why some of it wasn't read, nil where all was.
func (r reading) err() error {
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if err := r[name].Err; err != nil {
			return err
		}
	}
	return nil
}

// ask reads all pods, each about what its gateway serves.
func (w *Watcher) ask(ctx context.Context, pods []demand.Pod) []reading {
	slow := map[string]map[string]time.Duration{}
	for _, of := range w.watched {
		if of.breach != nil {
			continue
		}
		for _, name := range of.limit.Gateways {
			if slow[name] == nil {
				slow[name] = map[string]time.Duration{}
			}
			slow[name][of.limit.VirtualService] = of.limit.slow()
		}
	}
	readings := make([]reading, len(pods))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, pod := range pods {
		group.Go(func() error {
			readings[i] = w.read(ctx, pod.IP, slow[pod.Gateway])
			return nil
		})
	}
	_ = group.Wait() // each reading has its own errors
	w.tell(pods, readings)
	return readings
}

// tell counts readings of which some failed, and logs them now and then.
func (w *Watcher) tell(pods []demand.Pod, readings []reading) {
	now, listed := w.clock.Now(), sets.New[string]()
	for i, pod := range pods {
		listed.Insert(pod.Name)
		err := readings[i].err()
		if err == nil {
			continue
		}
		readErrors.Inc()
		if last, ok := w.logged[pod.Name]; !ok || now.Sub(last) >= logEvery {
			w.logged[pod.Name] = now
			w.log.Warnw("Gateway pod's counters not read for the bounds of trials; they end if that lasts",
				zap.String("pod", pod.Name), zap.Duration("lasts", bounds.UnreadFor), zap.Error(err))
		}
	}
	maps.DeleteFunc(w.logged, func(name string, _ time.Time) bool { return !listed.Has(name) })
}

// among are a RateLimit's own of all readings, by pod.
func (l Limit) among(pods []demand.Pod, readings []reading) map[string]bounds.Reading {
	own := map[string]bounds.Reading{}
	for i, pod := range pods {
		if slices.Contains(l.Gateways, pod.Gateway) {
			own[pod.Name] = readings[i][l.VirtualService]
		}
	}
	return own
}
