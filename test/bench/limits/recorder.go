package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluiceinformers "sluice.dev/sluice/reconciler/client/informers/externalversions"
)

// milestone is a part of the way of a change.
type milestone string

const (
	answered      milestone = "the API server has it"
	heard         milestone = "its event came out of the Broker"
	written       milestone = "the slot is written"
	firstEnforced milestone = "a first entry of a gateway pod enforces it"
	proved        milestone = "the limiter's proof is in the status"
)

// milestones in the order in which they are usually reached. The Broker's is beside
// the way where the limiter's own watch is faster.
var milestones = []milestone{answered, heard, written, firstEnforced, proved}

// provedWithin bounds the wait for a milestone.
const provedWithin = 10 * time.Second

// recorder notes when it first saw each milestone of the change under way. Its clock
// is the benchmark's own, and so is that of all that is compared with it.
type recorder struct {
	of *scaled

	mu    sync.Mutex
	began time.Time
	seen  map[milestone]time.Time
	// told is the generation of the slot as it was last written.
	told string
	// broken is the first slot that couldn't be read.
	broken error
	// changed is closed, and made anew, whenever something is noted.
	changed chan struct{}
}

// record watches what becomes of a subject's changes until ctx ends.
func (b *bench) record(ctx context.Context, of *scaled) (*recorder, error) {
	r := &recorder{of: of, seen: map[milestone]time.Time{}, changed: make(chan struct{})}
	if _, err := b.watchSlots(ctx, r.lookAtSlot); err != nil {
		return nil, err
	}
	factory := sluiceinformers.NewSharedInformerFactoryWithOptions(b.clients.Sluice, 0, sluiceinformers.WithNamespace(namespace),
		sluiceinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = "metadata.name=" + of.name }))
	registration, err := factory.Sluice().V1alpha1().RateLimits().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(before, now any) { r.lookAtStatus(before, now) },
	})
	if err != nil {
		return nil, fmt.Errorf("watching a rate limit: %w", err)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return nil, fmt.Errorf("watching a rate limit: %w", ctx.Err())
	}
	return r, b.listen(ctx, of.subject, func(_ eventing.RevisionScaled, at time.Time) { r.note(heard, at) })
}

func (r *recorder) lookAtSlot(f *istio.EnvoyFilter, at time.Time) {
	if f.Name != r.of.slotObject() {
		return
	}
	c, err := read(f)
	r.mu.Lock()
	r.told, r.broken = c.generation, errors.Join(r.broken, err)
	r.mu.Unlock()
	r.note(written, at)
}

// lookAtStatus notes a proof of another limit than before.
func (r *recorder) lookAtStatus(before, now any) {
	at := time.Now()
	was, had := before.(*v1alpha1.RateLimit)
	is, has := now.(*v1alpha1.RateLimit)
	if !had || !has || was.Status.Limit == nil || is.Status.Limit == nil {
		return
	}
	if is.IsReady() && was.Status.Limit.RequestsPerSecond.Cmp(is.Status.Limit.RequestsPerSecond.Quantity) != 0 {
		r.note(proved, at)
	}
}

// begin forgets what was seen and starts the time of a change.
func (r *recorder) begin() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.seen)
	r.began = time.Now()
	return r.began
}

// note keeps the first sighting.
func (r *recorder) note(m milestone, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.seen[m]; ok {
		return
	}
	r.seen[m] = at
	close(r.changed)
	r.changed = make(chan struct{})
}

// wait returns once a milestone was seen.
func (r *recorder) wait(ctx context.Context, m milestone) error {
	ctx, cancel := context.WithTimeout(ctx, provedWithin)
	defer cancel()
	for {
		r.mu.Lock()
		_, ok := r.seen[m]
		changed, broken := r.changed, r.broken
		r.mu.Unlock()
		if ok || broken != nil {
			return broken
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", m, ctx.Err())
		}
	}
}

// generation is that of the slot as it was last seen to be written.
func (r *recorder) generation() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told
}

// parts are how long after the begin each milestone was seen, in milliseconds.
func (r *recorder) parts() map[milestone]float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[milestone]float64, len(r.seen))
	for m, at := range r.seen {
		out[m] = milliseconds(at.Sub(r.began))
	}
	return out
}
