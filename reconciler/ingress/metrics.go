package ingress

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// readySeconds is from the first sight of a generation to its proof on every ready
// gateway pod.
var readySeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    "sluice_ingress_ready_seconds",
	Help:    "Time from the first sight of a generation of an Ingress to seeing every ready gateway pod serve it.",
	Buckets: prometheus.ExponentialBuckets(0.05, 1.6, 14),
})

func init() { prometheus.MustRegister(readySeconds) }

// stopwatch measures how long generations of Ingresses take to be ready.
type stopwatch struct {
	clock   clock.PassiveClock
	observe func(seconds float64)

	mu      sync.Mutex
	running map[types.NamespacedName]lap
}

type lap struct {
	generation int64
	since      time.Time
}

func newStopwatch(clk clock.PassiveClock, observe func(seconds float64)) *stopwatch {
	return &stopwatch{clock: clk, observe: observe, running: map[types.NamespacedName]lap{}}
}

// start runs for a generation, from its first call on, and tells for how long.
func (s *stopwatch) start(key types.NamespacedName, generation int64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[key].generation != generation {
		s.running[key] = lap{generation: generation, since: s.clock.Now()}
	}
	return s.clock.Since(s.running[key].since)
}

// ready observes a generation that was started, once.
func (s *stopwatch) ready(key types.NamespacedName, generation int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lap, ok := s.running[key]; ok && lap.generation == generation {
		s.observe(s.clock.Since(lap.since).Seconds())
		delete(s.running, key)
	}
}

func (s *stopwatch) stop(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, key)
}
