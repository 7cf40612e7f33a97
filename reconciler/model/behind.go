package model

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
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
// is over; or a trial would begin that has begun, and run on that has ended.
type behind struct {
	sluice sluiceclientset.Interface
	clock  clock.PassiveClock

	mu      sync.Mutex
	written map[types.UID]writtenService
	trials  map[types.UID]writtenTrial
}

// writtenService is the generation of a Knative Service that was written last.
type writtenService struct {
	generation int64
	at         time.Time
}

// writtenTrial is what a status said last of a trial; nil for nothing.
type writtenTrial struct {
	status *v1alpha1.TrialStatus
	at     time.Time
}

func newBehind(sluice sluiceclientset.Interface, c clock.PassiveClock) *behind {
	return &behind{sluice: sluice, clock: c, written: map[types.UID]writtenService{}, trials: map[types.UID]writtenTrial{}}
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

// noteTrial remembers what a Model's status is to say of its trial.
func (b *behind) noteTrial(uid types.UID, status *v1alpha1.TrialStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for other, w := range b.trials {
		if b.clock.Since(w.at) > behindFor {
			delete(b.trials, other)
		}
	}
	b.trials[uid] = writtenTrial{status: status.DeepCopy(), at: b.clock.Now()}
}

// has is true while a Model's status is from before what was written last.
func (b *behind) has(m *v1alpha1.Model) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w, ok := b.trials[m.UID]; ok {
		if !equality.Semantic.DeepEqual(w.status, m.Status.Trial) && b.clock.Since(w.at) <= behindFor {
			return true
		}
		delete(b.trials, m.UID)
	}
	w, ok := b.written[m.UID]
	if ok && m.Status.ServiceGeneration >= w.generation {
		delete(b.written, m.UID)
		return false
	}
	return ok
}

// saw remembers what a status says that was read from the API server: what was to be written
// of a trial may have failed, and what is there is what the cache comes to have.
func (b *behind) saw(m *v1alpha1.Model) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w, ok := b.trials[m.UID]; ok {
		b.trials[m.UID] = writtenTrial{status: m.Status.Trial.DeepCopy(), at: w.at}
	}
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
		b.saw(m)
	}
	return nil
}
