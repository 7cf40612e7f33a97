package main

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/test/bench/internal/command"
)

// censusEvery is how often replicas are counted.
const censusEvery = 200 * time.Millisecond

// census is how many replicas Models have over time, and how long those took to start.
type census struct {
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

func newCensus() *census {
	return &census{counts: map[string][]count{}, born: map[string]time.Time{}, ready: map[string]bool{}, starts: map[string][]time.Duration{}}
}

// note takes all pods of Models that there are at a time. One that is ending isn't a replica.
func (c *census) note(at time.Time, pods []corev1.Pod) {
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
		if isReady(pod) {
			of.ready++
		}
		now[model] = of
		uid := string(pod.UID)
		if c.born[uid].IsZero() {
			c.born[uid] = at
		}
		if isReady(pod) && !c.ready[uid] {
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

// span is what there was of a Model in a time.
type span struct {
	// seconds are replica-seconds, ready those of replicas that were Ready; most is how many
	// there were at most.
	seconds, ready float64
	most           int
}

// between is what there was of a Model between two times.
func (c *census) between(model string, from, to time.Time) (s span) {
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
			s.seconds += lasts * float64(now.replicas)
			s.ready += lasts * float64(now.ready)
			s.most = max(s.most, now.replicas)
		}
	}
	return s
}

// shortest is the shortest start of a Model's replicas; false where none was Ready.
func (c *census) shortest(model string) (least time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, took := range c.starts[model] {
		if !ok || took < least {
			least, ok = took, true
		}
	}
	return least, ok
}

// observe counts the replicas of all Models until its context ends.
func (b *bench) observe(ctx context.Context, c *census) {
	for command.Pause(ctx, censusEvery) == nil {
		pods, err := b.clients.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: serving.ServiceLabelKey})
		if err == nil {
			c.note(time.Now(), pods.Items)
		}
	}
}
