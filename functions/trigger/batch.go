package trigger

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/eventing/receiver"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// mostUnfinished bounds the Batches of one InferenceTrigger, or Broker, that are not over. Those that are
	// go by themselves. The cache may be behind by as many as are started at once.
	mostUnfinished = 100
	// untilOneEnds is when to come again, in seconds.
	untilOneEnds = "60"
)

// Batches are those of a namespace.
type Batches interface {
	Create(ctx context.Context, b *v1alpha1.Batch, opts metav1.CreateOptions) (*v1alpha1.Batch, error)
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*v1alpha1.Batch, error)
}

// starter is by whom an event starts a Batch.
type starter struct {
	// name is what it is called.
	name string
	// label is that of its Batches, by which they are counted.
	label string
	// field is where what a Batch is made of is said.
	field string
}

// start starts the Batch of an event, unless it was started before.
func (f *Function) start(ctx context.Context, by starter, b *v1alpha1.Batch) receiver.Answer {
	b.SetDefaults(ctx)
	if refusal := b.Validate(ctx).Filter(apis.ErrorLevel); refusal != nil {
		return unfit(refusal.ViaField(by.field))
	}
	there, err := f.Started(b.Namespace, by.label, b.Labels[by.label])
	if err != nil {
		return later(fmt.Errorf("listing the Batches of %s: %w", by.name, err))
	}
	if by.label == sluice.TriggerLabelKey && slices.ContainsFunc(there, b.Reads) {
		// A store has told of what its own Batch wrote: to read that, too, would never end. Who
		// asks for a Batch by name of what it reads may well mean what another one wrote.
		return receiver.Answer{Outcome: own, Status: http.StatusAccepted}
	}
	if !mayStart(b.Name, there) {
		return receiver.Answer{Outcome: receiver.Busy, Status: http.StatusServiceUnavailable, RetryAfter: untilOneEnds,
			Why: fmt.Sprintf("not now: %d Batches of %s aren't over yet", mostUnfinished, by.name)}
	}
	ctx, cancel := context.WithTimeout(ctx, writtenWithin)
	defer cancel()
	batches := f.Batches(b.Namespace)
	_, err = batches.Create(ctx, b, metav1.CreateOptions{})
	switch {
	case err == nil:
		return receiver.Answer{Outcome: started, Status: http.StatusAccepted}
	case apierrs.IsAlreadyExists(err):
		return f.startedBefore(ctx, by, batches, b)
	case apierrs.IsInvalid(err) || apierrs.IsBadRequest(err):
		return unfit(fmt.Errorf("%s: %w", by.field, err))
	}
	return later(fmt.Errorf("creating Batch %q: %w", b.Name, err))
}

// mayStart tells whether there is room for a Batch of a name, given those that there are. One that
// was started before takes none.
func mayStart(name string, there []*v1alpha1.Batch) bool {
	unfinished := 0
	for _, b := range there {
		if b.Name == name {
			return true
		}
		if !b.Status.IsFinished() {
			unfinished++
		}
	}
	return unfinished < mostUnfinished
}

// startedBefore tells an event that came again from a Batch of somebody else's.
func (f *Function) startedBefore(ctx context.Context, by starter, batches Batches, b *v1alpha1.Batch) receiver.Answer {
	there, err := batches.Get(ctx, b.Name, metav1.GetOptions{})
	switch {
	case err != nil:
		return later(fmt.Errorf("getting Batch %q: %w", b.Name, err))
	case there.Annotations[sluice.StartedByAnnotationKey] != b.Annotations[sluice.StartedByAnnotationKey]:
		return unfit(fmt.Errorf("there is a Batch %q that no event of %s started; delete it, and send the event again", b.Name, by.name))
	}
	return receiver.Answer{Outcome: started, Status: http.StatusAccepted}
}
