package main

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/bench/internal/command"
)

// followEvery is how often a Batch's status is read.
const followEvery = 250 * time.Millisecond

// regress counts how often the items that a Batch says are done became fewer.
type regress struct {
	mu   sync.Mutex
	last int64
	back int
}

func (r *regress) note(items int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if items < r.last {
		r.back++
	}
	r.last = items
}

func (r *regress) times() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.back
}

// follow notes what a Batch says until its context ends.
func (b *bench) follow(ctx context.Context, name string, into *regress) {
	for command.Pause(ctx, followEvery) == nil {
		if got, err := b.clients.Sluice.SluiceV1alpha1().Batches(namespace).Get(ctx, name, metav1.GetOptions{}); err == nil {
			into.note(asNumber(got.Status.Succeeded) + asNumber(got.Status.Failed))
		}
	}
}
