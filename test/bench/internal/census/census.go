// Package census counts the replicas that Models have over time, and how long those took to start.
package census

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/platform"
)

// every is how often replicas are counted.
const every = 200 * time.Millisecond

// Census is how many replicas Models have over time, and how long those took to start.
type Census struct {
	mu sync.Mutex
	// counts are of each Model, whenever they changed; the last one holds on.
	counts map[string][]count
	// born is when a replica was first seen, by UID, and starts are what each Model's took
	// until they were Ready.
	born   map[string]time.Time
	ready  map[string]bool
	starts map[string][]time.Duration
}

// count is how many pods of a Model there are from a time on, and how many of them are Ready.
type count struct {
	from            time.Time
	replicas, ready int
}

// Begin counts the replicas of all Models of a namespace until it is ended.
func Begin(ctx context.Context, clients *platform.Clients, namespace string) (c *Census, end func()) {
	counting, cancel := context.WithCancel(ctx)
	c = empty()
	var counts sync.WaitGroup
	counts.Go(func() { c.observe(counting, clients, namespace) })
	return c, func() {
		cancel()
		counts.Wait()
	}
}

// empty is a census of nothing yet.
func empty() *Census {
	return &Census{counts: map[string][]count{}, born: map[string]time.Time{}, ready: map[string]bool{}, starts: map[string][]time.Duration{}}
}

// note takes all pods of Models that there are at a time. One that is ending isn't a replica.
func (c *Census) note(at time.Time, pods []corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := map[string]count{}
	for i := range pods {
		pod, model := &pods[i], pods[i].Labels[serving.ServiceLabelKey]
		if pod.DeletionTimestamp != nil {
			continue
		}
		of := now[model]
		of.replicas++
		if platform.IsReady(pod) {
			of.ready++
		}
		now[model] = of
		uid := string(pod.UID)
		if c.born[uid].IsZero() {
			c.born[uid] = at
		}
		if platform.IsReady(pod) && !c.ready[uid] {
			c.ready[uid] = true
			c.starts[model] = append(c.starts[model], at.Sub(c.born[uid]))
		}
	}
	for model := range c.counts {
		if _, ok := now[model]; !ok {
			now[model] = count{}
		}
	}
	for model, next := range now {
		of := c.counts[model]
		if n := len(of); n == 0 || of[n-1].replicas != next.replicas || of[n-1].ready != next.ready {
			next.from = at
			c.counts[model] = append(of, next)
		}
	}
}

// Span is what there was of a Model in a time.
type Span struct {
	// Seconds are replica-seconds, Ready those of replicas that were Ready; Most is how many
	// there were at most.
	Seconds, Ready float64
	Most           int
}

// Between is what there was of a Model between two times.
func (c *Census) Between(model string, from, to time.Time) (s Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.counts[model]
	for i, now := range of {
		until := to
		if i+1 < len(of) && of[i+1].from.Before(to) {
			until = of[i+1].from
		}
		since := now.from
		if since.Before(from) {
			since = from
		}
		if lasts := until.Sub(since).Seconds(); lasts > 0 {
			s.Seconds += lasts * float64(now.replicas)
			s.Ready += lasts * float64(now.ready)
			s.Most = max(s.Most, now.replicas)
		}
	}
	return s
}

// Shortest is the shortest start of a Model's replicas; false where none was Ready.
func (c *Census) Shortest(model string) (least time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, took := range c.starts[model] {
		if !ok || took < least {
			least, ok = took, true
		}
	}
	return least, ok
}

// observe counts until its context ends.
func (c *Census) observe(ctx context.Context, clients *platform.Clients, namespace string) {
	for command.Pause(ctx, every) == nil {
		pods, err := clients.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: serving.ServiceLabelKey})
		if err == nil {
			c.note(time.Now(), pods.Items)
		}
	}
}
