package revisionscale

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/controller"
	pkgreconciler "knative.dev/pkg/reconciler"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/revision"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

var events = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "sluice_revisionscale_events_total",
	Help: "revision.scaled events handed to the Broker, by outcome: sent, failed.",
}, []string{"outcome"})

// Losses are there from the start: of a counter that comes with its first one Prometheus sees
// no increase.
func init() {
	events.WithLabelValues("failed")
}

// Sender hands an event to the Broker.
type Sender interface {
	Send(ctx context.Context, event cloudevents.Event) error
}

// Reconciler sends an event for each change of a revision's scale. Keys are those
// of PodAutoscalers, which are their revisions' too.
type Reconciler struct {
	pkgreconciler.LeaderAwareFuncs

	autoscalers autoscalinglisters.PodAutoscalerLister
	slices      discoverylisters.EndpointSliceLister
	sender      Sender
	// tracer begins a trace for each change.
	tracer trace.Tracer

	mu sync.Mutex
	// sent is the last scale that the Broker was told, for revisions of which it is sure
	// to have taken it.
	sent map[types.NamespacedName]eventing.Scale
}

// Reconcile tells the Broker of a revision's scale if it isn't what it was told
// last. An event that the Broker doesn't take is tried again by the work queue.
func (r *Reconciler) Reconcile(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return fmt.Errorf("splitting key %q: %w", key, err)
	}
	id := types.NamespacedName{Namespace: namespace, Name: name}
	if !r.IsLeaderFor(id) {
		return nil
	}
	pa, err := r.autoscalers.PodAutoscalers(namespace).Get(name)
	if apierrs.IsNotFound(err) {
		r.forget(id)
		return nil
	} else if err != nil {
		return fmt.Errorf("getting the autoscaler of revision %s: %w", key, err)
	}
	if pa.Labels[sluice.ModelLabelKey] == "" {
		r.forget(id) // labels are anybody's to set: this one names no Model
		return nil
	}
	d, err := r.observe(pa)
	if err != nil {
		return err
	}
	if d.Previous = r.last(id); d.Previous != nil && *d.Previous == d.Scale {
		return nil
	}
	event, err := eventing.NewRevisionScaled(d)
	if err != nil {
		// It would be no other event the next time; a change of the revision brings us back.
		return controller.NewPermanentError(fmt.Errorf("revision %s: %w", key, err))
	}
	ctx, span := r.tracer.Start(ctx, "scale event", trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attributes(d)...))
	defer span.End()
	if err := r.sender.Send(ctx, event); err != nil {
		span.SetStatus(codes.Error, "the Broker didn't take the event")
		events.WithLabelValues("failed").Inc()
		// Some subscribers may have it: they have to be told of a way back, too.
		r.forget(id)
		return fmt.Errorf("revision %s: %w", key, err)
	}
	events.WithLabelValues("sent").Inc()
	r.remember(id, d.Scale)
	return nil
}

// attributes say in a trace what an event says.
func attributes(d eventing.RevisionScaled) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("k8s.namespace.name", d.Model.Namespace), attribute.String("sluice.model", d.Model.Name), attribute.String("sluice.revision", d.Revision),
		attribute.Int("sluice.desired", int(d.Desired)), attribute.Int("sluice.ready", int(d.Ready)),
	}
	if d.Previous != nil {
		all = append(all, attribute.Int("sluice.previous.desired", int(d.Previous.Desired)), attribute.Int("sluice.previous.ready", int(d.Previous.Ready)))
	}
	return all
}

// observe reads the scale of a revision as the caches have it.
func (r *Reconciler) observe(pa *autoscalingv1alpha1.PodAutoscaler) (eventing.RevisionScaled, error) {
	d := eventing.RevisionScaled{
		Model:           eventing.Ref{Namespace: pa.Namespace, Name: pa.Labels[sluice.ModelLabelKey]},
		Revision:        pa.Name,
		ResourceVersion: pa.ResourceVersion,
	}
	found, err := r.slices.EndpointSlices(pa.Namespace).List(revision.Endpoints(pa.Name))
	if err != nil {
		return d, fmt.Errorf("listing the endpoints of revision %s/%s: %w", pa.Namespace, pa.Name, err)
	}
	for _, s := range found {
		d.ResourceVersion = newer(d.ResourceVersion, s.ResourceVersion)
	}
	d.Ready = revision.Ready(found)
	d.Desired = revision.Desired(pa, d.Ready)
	return d, nil
}

// newer is the later of two resource versions of one cluster.
func newer(a, b string) string {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	if errX == nil && errY == nil && y > x {
		return b
	}
	return a
}

// promote sends the scale of every revision anew: nobody knows what the leader
// before had sent, and a repeat does no harm.
func (r *Reconciler) promote(b pkgreconciler.Bucket, enqueue func(pkgreconciler.Bucket, types.NamespacedName)) error {
	all, err := r.autoscalers.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing autoscalers: %w", err)
	}
	for _, pa := range all {
		enqueue(b, types.NamespacedName{Namespace: pa.Namespace, Name: pa.Name})
	}
	return nil
}

func (r *Reconciler) last(id types.NamespacedName) *eventing.Scale {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.sent[id]; ok {
		return &s
	}
	return nil
}

func (r *Reconciler) remember(id types.NamespacedName, s eventing.Scale) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent[id] = s
}

func (r *Reconciler) forget(id types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sent, id)
}
