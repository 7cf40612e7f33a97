package model

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluiceclientset "sluice.dev/sluice/reconciler/client/clientset/versioned"
)

// behindFor is how long a cache may be behind what was written, at most.
const behindFor = time.Minute

// behind knows of which Models the cache may be behind: a Knative Service that was just
// written may bring a Model back before the cache has the status that was written with it. By
// the status before, that would be another's change, and a rollout that has just begun one that
// is over.
type behind struct {
	sluice sluiceclientset.Interface
	clock  clock.PassiveClock

	mu      sync.Mutex
	written map[types.UID]writtenService
}

// writtenService is the generation of a Knative Service that was written last.
type writtenService struct {
	generation int64
	at         time.Time
}

func newBehind(sluice sluiceclientset.Interface, c clock.PassiveClock) *behind {
	return &behind{sluice: sluice, clock: c, written: map[types.UID]writtenService{}}
}

// note remembers what was written of a Model.
func (b *behind) note(uid types.UID, generation int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for other, w := range b.written {
		if b.clock.Since(w.at) > behindFor {
			delete(b.written, other)
		}
	}
	b.written[uid] = writtenService{generation: generation, at: b.clock.Now()}
}

// has is true while a Model's status is from before what was written last.
func (b *behind) has(m *v1alpha1.Model) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	w, ok := b.written[m.UID]
	if ok && m.Status.ServiceGeneration >= w.generation {
		delete(b.written, m.UID)
		return false
	}
	return ok
}

// catchUp gives a Model from the cache the status that it has by now.
func (b *behind) catchUp(ctx context.Context, m *v1alpha1.Model) error {
	if !b.has(m) {
		return nil
	}
	now, err := b.sluice.SluiceV1alpha1().Models(m.Namespace).Get(ctx, m.Name, metav1.GetOptions{})
	if apierrs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the Model, which the cache is behind: %w", err)
	}
	if now.UID == m.UID {
		now.Status.DeepCopyInto(&m.Status)
	}
	return nil
}
