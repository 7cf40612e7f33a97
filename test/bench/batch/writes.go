package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// writes are those that changed a Batch, its Jobs and their pods: a watch tells of each.
type writes struct {
	// batch are those of the Batch, of which Sluice writes everything but its creation; jobs
	// those of what its Jobs are to be: their statuses are Kubernetes' own.
	batch, jobs int
	// pods are those that came to be, made by the Jobs' controller.
	pods int
}

// own are Sluice's.
func (w writes) own() float64 { return float64(w.batch + w.jobs) }

func (w writes) String() string {
	return fmt.Sprintf("%d of the Batch, %d of its Jobs, %d pods", w.batch, w.jobs, w.pods)
}

// watchWrites counts what is written of a Batch that is about to be made, until ctx ends. One of
// whose watches broke is an error.
func (b *bench) watchWrites(ctx context.Context, name string) (func() (writes, error), error) {
	byName := fields.OneTermEqualSelector("metadata.name", name).String()
	byLabel := sluice.BatchLabelKey + "=" + name
	batches, jobs, pods := b.clients.Sluice.SluiceV1alpha1().Batches(namespace), b.clients.Kube.BatchV1().Jobs(namespace), b.clients.Kube.CoreV1().Pods(namespace)
	list, err := b.clients.Kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("listing namespaces, to watch from then on: %w", err)
	}
	at := list.ResourceVersion
	ended := make(chan result, 3)
	watching := 0
	for _, w := range []struct {
		of    cache.WatchFuncWithContext
		count func(watch.Event, map[types.UID]int64) writes
	}{
		{func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = byName
			return batches.Watch(ctx, o)
		}, writesOfBatch},
		{func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = byLabel
			return jobs.Watch(ctx, o)
		}, writesOfJob},
		{func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = byLabel
			return pods.Watch(ctx, o)
		}, writesOfPod},
	} {
		watcher, err := watchtools.NewRetryWatcherWithContext(ctx, at, &cache.ListWatch{WatchFuncWithContext: w.of})
		if err != nil {
			return nil, fmt.Errorf("watching what is written of Batch %s: %w", name, err)
		}
		watching++
		go func() { ended <- countWrites(watcher.ResultChan(), w.count) }()
	}
	return func() (all writes, err error) {
		for range watching {
			r := <-ended
			if r.err != nil {
				err = r.err
			}
			all.batch, all.jobs, all.pods = all.batch+r.batch, all.jobs+r.jobs, all.pods+r.pods
		}
		return all, err
	}, nil
}

// result is what a watch told.
type result struct {
	writes

	err error
}

// countWrites adds up what events tell, until there are no more. Generations are what is known
// of objects meanwhile.
func countWrites(events <-chan watch.Event, count func(watch.Event, map[types.UID]int64) writes) (r result) {
	generations := map[types.UID]int64{}
	for event := range events {
		if event.Type == watch.Error {
			r.err = fmt.Errorf("watching what is written: %v", event.Object)
			continue
		}
		w := count(event, generations)
		r.batch, r.jobs, r.pods = r.batch+w.batch, r.jobs+w.jobs, r.pods+w.pods
	}
	return r
}

func writesOfBatch(event watch.Event, _ map[types.UID]int64) (w writes) {
	if event.Type == watch.Modified {
		w.batch++
	}
	return w
}

// writesOfJob go by the generation, which a status doesn't change.
func writesOfJob(event watch.Event, generations map[types.UID]int64) (w writes) {
	job, ok := event.Object.(metav1.Object)
	if !ok || event.Type == watch.Deleted || generations[job.GetUID()] == job.GetGeneration() {
		return w
	}
	generations[job.GetUID()] = job.GetGeneration()
	w.jobs++
	return w
}

func writesOfPod(event watch.Event, _ map[types.UID]int64) (w writes) {
	if _, ok := event.Object.(*corev1.Pod); ok && event.Type == watch.Added {
		w.pods++
	}
	return w
}
