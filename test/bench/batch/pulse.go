package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/serving"
)

// pulseEvery is how often a Model's replicas are asked how many requests they have answered.
const pulseEvery = 100 * time.Millisecond

// pulse is when a Model answered requests of a batch, as its replicas count them.
type pulse struct {
	mu sync.Mutex
	// read is when replicas were last asked, and counts what they said, by replica.
	read   time.Time
	counts map[string]int64
	beats  []beat
	total  int64
}

// beat is a time in which some were answered.
type beat struct {
	from, to time.Time
	requests int64
}

// note takes a reading of all replicas, each known by what changes when it starts anew.
func (p *pulse) note(at time.Time, counts map[string]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	more := int64(0)
	for replica, count := range counts {
		before := p.counts[replica]
		if count < before {
			before = 0 // it was started anew, which isn't told yet
		}
		more += count - before
	}
	if more > 0 {
		p.beats = append(p.beats, beat{p.read, at, more})
		p.total += more
	}
	// What wasn't there for this reading may be there for the next.
	if p.counts == nil {
		p.counts = map[string]int64{}
	}
	for replica, count := range counts {
		p.counts[replica] = count
	}
	p.read = at
}

// after returns when the first request was known to be answered that was answered after a
// time; false if none was yet. A beat that began before may have been of requests before.
func (p *pulse) after(t time.Time) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.beats {
		if !b.from.Before(t) {
			return b.to, true
		}
	}
	return time.Time{}, false
}

// answered is how many there were so far.
func (p *pulse) answered() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// longest returns the longest time without an answer between the first and the last.
func (p *pulse) longest() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := time.Duration(0)
	for i := 1; i < len(p.beats); i++ {
		most = max(most, p.beats[i].from.Sub(p.beats[i-1].to))
	}
	return most
}

// feel has a pulse follow a Model until its context ends. A replica that can't be asked is
// left out of a reading.
func (b *bench) feel(ctx context.Context, model string, p *pulse) {
	ticker := time.NewTicker(pulseEvery)
	defer ticker.Stop()
	for {
		if counts, err := b.predicted(ctx, model); err == nil {
			p.note(time.Now(), counts)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// predicted is what each replica of a Model says that it has answered of batches.
func (b *bench) predicted(ctx context.Context, model string) (map[string]int64, error) {
	pods, err := b.replicas(ctx, model)
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, time.Second)
		said, err := b.clients.Kube.CoreV1().Pods(namespace).ProxyGet("http", pod.Name, "8080", "/predicted", nil).DoRaw(asking)
		cancel()
		var read struct{ Batch int64 }
		if err != nil || json.Unmarshal(said, &read) != nil {
			continue
		}
		counts[replicaOf(&pod)] = read.Batch
	}
	return counts, nil
}

// replicaOf names a replica as long as it isn't started anew.
func replicaOf(pod *corev1.Pod) string {
	return fmt.Sprintf("%s/%d", pod.UID, restarts(pod))
}

// restarts are how often a pod's containers were.
func restarts(pod *corev1.Pod) (n int32) {
	for _, c := range pod.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}

// replicas are the pods of a Model.
func (b *bench) replicas(ctx context.Context, model string) ([]corev1.Pod, error) {
	pods, err := b.clients.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=" + model})
	if err != nil {
		return nil, fmt.Errorf("listing the replicas of %s: %w", model, err)
	}
	return pods.Items, nil
}
