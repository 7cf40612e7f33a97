package batch

import (
	"context"
	"errors"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/logging"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// progressedEvery is the least time between two events about how far a run is.
	progressedEvery = 30 * time.Second
	// newsKept is how many events may wait for a slow Broker. How far a run is may take half of
	// that, so that there is room for how it ends.
	newsKept = 256
	// unwrittenFor is how long it is known that a milestone is about to be written: whoever
	// sees that it is comes at once, unless the Batch has gone.
	unwrittenFor = time.Hour
)

// Sender hands an event to the Broker.
type Sender interface {
	Send(ctx context.Context, event cloudevents.Event) error
}

var eventsSent = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "sluice_batch_events_total",
	Help: "CloudEvents about runs, by type and outcome: sent, failed, dropped.",
}, []string{"type", "outcome"})

// Losses are there from the start: of a counter that comes with its first one Prometheus sees
// no increase.
func init() {
	for _, kind := range []string{eventing.BatchStartedType, eventing.BatchProgressedType, eventing.BatchCompletedType, eventing.BatchFailedType} {
		for _, outcome := range []string{"failed", "dropped"} {
			eventsSent.WithLabelValues(kind, outcome)
		}
	}
}

// news are what is told of runs to the Broker, each once, beside the passes: a Broker that is
// down holds up none. What is lost the status has.
type news struct {
	sender  Sender
	waiting chan cloudevents.Event

	mu sync.Mutex
	// progressed is when it was told last how far a run is, of those of which that may not be
	// told again yet.
	progressed map[types.UID]time.Time
	// unwritten are milestones that passes reached, and that none has seen written yet.
	unwritten map[types.UID]unwritten
}

// milestones of a run: it has begun, it is over.
type milestones struct{ begun, over bool }

type unwritten struct {
	milestones

	at time.Time
}

func newNews(sender Sender) *news {
	return &news{
		sender: sender, waiting: make(chan cloudevents.Event, newsKept),
		progressed: map[types.UID]time.Time{}, unwritten: map[types.UID]unwritten{},
	}
}

// tell has it made known what has changed since the status was before.
func (n *news) tell(ctx context.Context, b *v1alpha1.Batch, before *v1alpha1.BatchStatus, now time.Time) {
	events, err := changes(b, before, n.written(b, before, now), func() bool { return n.mayTell(b.UID, now) })
	if err != nil {
		logging.FromContext(ctx).Errorw("Event not built", "error", err)
	}
	for _, event := range events {
		if !n.put(event) {
			eventsSent.WithLabelValues(event.Type(), "dropped").Inc()
		}
	}
}

// put has an event wait; false where it finds no room.
func (n *news) put(event cloudevents.Event) bool {
	if event.Type() == eventing.BatchProgressedType && len(n.waiting) >= newsKept/2 {
		return false
	}
	select {
	case n.waiting <- event:
		return true
	default:
		return false
	}
}

// written are the milestones that are to be told: those that a pass before reached, and this
// one sees written. The pass that reaches one can't tell: until it is written, another one may
// reach it again, at another time.
func (n *news) written(b *v1alpha1.Batch, before *v1alpha1.BatchStatus, now time.Time) milestones {
	n.mu.Lock()
	defer n.mu.Unlock()
	for known, m := range n.unwritten {
		if now.Sub(m.at) >= unwrittenFor {
			delete(n.unwritten, known)
		}
	}
	due, are, will := n.unwritten[b.UID].milestones, milestonesOf(before), milestonesOf(&b.Status)
	next := milestones{!are.begun && (due.begun || will.begun), !are.over && (due.over || will.over)}
	if delete(n.unwritten, b.UID); next != (milestones{}) {
		n.unwritten[b.UID] = unwritten{next, now}
	}
	return milestones{due.begun && are.begun, due.over && are.over}
}

func milestonesOf(s *v1alpha1.BatchStatus) milestones {
	return milestones{begun: s.HasBegun(), over: s.IsFinished()}
}

// mayTell tells whether it may be told again how far a run is, which it is then.
func (n *news) mayTell(uid types.UID, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for known, at := range n.progressed {
		if now.Sub(at) >= progressedEvery {
			delete(n.progressed, known)
		}
	}
	if _, told := n.progressed[uid]; told {
		return false
	}
	n.progressed[uid] = now
	return true
}

// run sends what is told, until the context ends.
func (n *news) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-n.waiting:
			outcome := "sent"
			if err := n.sender.Send(ctx, event); err != nil {
				outcome = "failed"
				logging.FromContext(ctx).Warnw("Event not sent", "error", err)
			}
			eventsSent.WithLabelValues(event.Type(), outcome).Inc()
		}
	}
}

// changes are the events that a change of a status comes to, beside the milestones that are
// written. That of its progress is among them where that is written anew, and may be told.
func changes(b *v1alpha1.Batch, before *v1alpha1.BatchStatus, written milestones, mayTell func() bool) ([]cloudevents.Event, error) {
	var events []cloudevents.Event
	var errs []error
	add := func(event cloudevents.Event, err error) {
		if errs = append(errs, err); err == nil {
			events = append(events, event)
		}
	}
	s, run := &b.Status, eventing.BatchRun{Batch: eventing.Ref{Namespace: b.Namespace, Name: b.Name}, UID: string(b.UID), Model: b.Spec.Model}
	if written.begun {
		add(eventing.NewBatchStarted(eventing.BatchStarted{BatchRun: run, Since: before.StartTime.Time}))
	}
	switch complete := before.GetCondition(v1alpha1.BatchConditionComplete); {
	case written.over && complete.IsTrue():
		add(eventing.NewBatchCompleted(eventing.BatchCompleted{
			BatchRun: run, BatchItems: itemsOf(before), Total: *before.Total, Since: before.CompletionTime.Time,
			Seconds: max(0, before.CompletionTime.Sub(before.StartTime.Time).Seconds()),
		}))
	case written.over:
		add(eventing.NewBatchFailed(eventing.BatchFailed{
			BatchRun: run, BatchItems: itemsOf(before), Reason: complete.Reason, Message: complete.Message, Since: before.CompletionTime.Time,
		}))
	case s.IsFinished():
	case s.IsPlanned() && s.ProgressTime != nil && !s.ProgressTime.Equal(before.ProgressTime) && mayTell():
		progressed := eventing.BatchProgressed{BatchRun: run, BatchItems: itemsOf(s), Total: *s.Total, Since: s.ProgressTime.Time}
		if s.RequestsPerSecond != nil {
			progressed.RequestsPerSecond = s.RequestsPerSecond.String()
		}
		if end := s.EstimatedEnd; end != nil {
			at := end.UTC()
			progressed.EstimatedEnd = &at
		}
		add(eventing.NewBatchProgressed(progressed))
	}
	return events, errors.Join(errs...)
}

func itemsOf(s *v1alpha1.BatchStatus) eventing.BatchItems {
	var items eventing.BatchItems
	if s.Succeeded != nil {
		items.Succeeded = *s.Succeeded
	}
	if s.Failed != nil {
		items.Failed = *s.Failed
	}
	return items
}
