package trigger

import (
	"context"
	"fmt"
	"net/http"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/eventing/receiver"
	"sluice.dev/sluice/functions/trigger/mapping"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Batches are those of a namespace.
type Batches interface {
	Create(ctx context.Context, b *v1alpha1.Batch, opts metav1.CreateOptions) (*v1alpha1.Batch, error)
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*v1alpha1.Batch, error)
}

// start starts the Batch of an event, unless it was started before.
func (f *Function) start(ctx context.Context, t eventing.InferenceTrigger, m *mapping.Mapping, event cloudevents.Event) receiver.Answer {
	b, err := m.Batch(t, event)
	if err != nil {
		return unmapped(err)
	}
	b.SetDefaults(ctx)
	if refusal := b.Validate(ctx).Filter(apis.ErrorLevel); refusal != nil {
		return unfit(refusal.ViaField("batch", "template"))
	}
	ctx, cancel := context.WithTimeout(ctx, writtenWithin)
	defer cancel()
	batches := f.Batches(t.Namespace)
	_, err = batches.Create(ctx, b, metav1.CreateOptions{})
	switch {
	case err == nil:
		return receiver.Answer{Outcome: started, Status: http.StatusAccepted}
	case apierrs.IsAlreadyExists(err):
		return f.startedBefore(ctx, batches, b)
	case apierrs.IsInvalid(err) || apierrs.IsBadRequest(err):
		return unfit(fmt.Errorf("batch.template: %w", err))
	}
	return later(fmt.Errorf("creating Batch %q: %w", b.Name, err))
}

// startedBefore tells an event that came again from a Batch of somebody else's.
func (f *Function) startedBefore(ctx context.Context, batches Batches, b *v1alpha1.Batch) receiver.Answer {
	there, err := batches.Get(ctx, b.Name, metav1.GetOptions{})
	switch {
	case err != nil:
		return later(fmt.Errorf("getting Batch %q: %w", b.Name, err))
	case there.Annotations[sluice.StartedByAnnotationKey] != b.Annotations[sluice.StartedByAnnotationKey]:
		return unfit(fmt.Errorf("there is a Batch %q that no event of this InferenceTrigger started; delete it, and send the event again", b.Name))
	}
	return receiver.Answer{Outcome: started, Status: http.StatusAccepted}
}
