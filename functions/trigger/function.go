package trigger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/eventing/receiver"
	"sluice.dev/sluice/functions/trigger/mapping"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// maxEvent bounds an event, heldEvents those that are under way together, in bytes: what is
	// decoded of one takes some twenty times as much.
	maxEvent, heldEvents = 1 << 20, 8 << 20
	// atOnce bounds the events that are under way, perTrigger those of one InferenceTrigger.
	atOnce, perTrigger = 256, 64
	// answeredWithin is the longest that an InferenceTrigger may give a Model, and what it takes
	// beside.
	answeredWithin = 11 * time.Minute
	// writtenWithin bounds the writing of a Batch.
	writtenWithin = 30 * time.Second
	// compiledKept bounds the InferenceTriggers whose expressions are kept as they were compiled.
	compiledKept = 1024
)

// Function answers the events of InferenceTriggers.
type Function struct {
	// Trigger is the InferenceTrigger of a name; the error is Kubernetes' own where there is none.
	Trigger func(namespace, name string) (*v1alpha1.InferenceTrigger, error)
	// Model is the URL of a Model, "" as long as it has none; an error says why there is no Model.
	Model func(namespace, name string) (string, error)
	// Batches are those of a namespace.
	Batches func(namespace string) Batches
	// Started are the Batches of an InferenceTrigger, as the cache has them.
	Started func(namespace, name string) ([]*v1alpha1.Batch, error)
	Clock   clock.PassiveClock
	Log     *zap.SugaredLogger

	models   *models
	places   *places
	compiled *lru.Cache
}

// New returns a Function that is to be told where it finds what.
func New(c clock.PassiveClock, log *zap.SugaredLogger) *Function {
	return &Function{
		Clock: c, Log: log, models: newModels(), compiled: lru.New(compiledKept),
		places: &places{most: perTrigger, taken: map[types.UID]int{}},
	}
}

// KnativeTrigger names the Trigger of Knative whose events a request has to bring: that of the
// InferenceTrigger has its name.
func KnativeTrigger(r *http.Request) (types.NamespacedName, error) {
	t, err := eventing.ParseInferenceTrigger(r.URL.Path)
	return types.NamespacedName{Namespace: t.Namespace, Name: t.Name}, err
}

// Door is where events come in, to whom admit lets in.
func (f *Function) Door(admit func(http.ResponseWriter, *http.Request) error) *receiver.Door {
	return receiver.Open(receiver.Options{
		Admit: admit, Clock: f.Clock, Log: f.Log,
		Count: func(_ string, outcome receiver.Outcome) { events.WithLabelValues(string(outcome)).Inc() },
	}, receiver.Bounds{Bytes: maxEvent, Held: heldEvents, AtOnce: atOnce, Answered: answeredWithin}, f.answer)
}

// answer does with an event what its InferenceTrigger says.
func (f *Function) answer(ctx context.Context, r *http.Request, event cloudevents.Event) receiver.Answer {
	if err := event.Validate(); err != nil {
		return receiver.Answer{Outcome: receiver.Rejected, Status: http.StatusBadRequest, Why: brief(fmt.Sprintf("not a CloudEvent: %v", err))}
	}
	named, err := eventing.ParseInferenceTrigger(r.URL.Path)
	if err != nil {
		return gone(err)
	}
	t, err := f.Trigger(named.Namespace, named.Name)
	switch {
	case apierrs.IsNotFound(err), err == nil && (t.UID != named.UID || t.DeletionTimestamp != nil):
		return gone(fmt.Errorf("there is no InferenceTrigger %s of UID %s", named.Ref, named.UID))
	case err != nil:
		return later(fmt.Errorf("getting InferenceTrigger %s: %w", named.Ref, err))
	case event.Source() == named.Source():
		// Its own reply has passed its filters: to answer that, too, would never end.
		return receiver.Answer{Outcome: own, Status: http.StatusAccepted}
	}
	leave := f.places.take(t.UID)
	if leave == nil {
		return receiver.Answer{Outcome: receiver.Busy, Status: http.StatusServiceUnavailable, RetryAfter: "1",
			Why: fmt.Sprintf("not now: %d events of InferenceTrigger %s are under way already", perTrigger, named.Ref)}
	}
	defer leave()
	t = t.DeepCopy() // it is the cache's
	t.SetDefaults(ctx)
	m, err := f.mapping(ctx, t)
	switch {
	case err != nil:
		return unfit(err)
	case m.StartsBatch():
		return f.start(ctx, named, m, event)
	}
	return f.ask(ctx, r, t, m, event)
}

// mapping is what an InferenceTrigger says, compiled once.
func (f *Function) mapping(ctx context.Context, t *v1alpha1.InferenceTrigger) (*mapping.Mapping, error) {
	type key struct {
		uid        types.UID
		generation int64
	}
	of := key{t.UID, t.Generation}
	if known, ok := f.compiled.Get(of); ok {
		return known.(*mapping.Mapping), nil
	}
	if refusal := t.Validate(ctx).Filter(apis.ErrorLevel); refusal != nil {
		return nil, fmt.Errorf("the InferenceTrigger has to be corrected: %w", refusal)
	}
	m, err := mapping.Compile(&t.Spec)
	if err != nil {
		return nil, fmt.Errorf("the InferenceTrigger has to be corrected: spec.%w", err)
	}
	f.compiled.Add(of, m)
	return m, nil
}

// ask asks the Model for an event, and makes a reply of its answer.
func (f *Function) ask(ctx context.Context, r *http.Request, t *v1alpha1.InferenceTrigger, m *mapping.Mapping, event cloudevents.Event) receiver.Answer {
	if t.Spec.Reply.To != v1alpha1.ReplyToNone && eventing.HopsOf(event) >= eventing.MostHops {
		return receiver.Answer{Outcome: looped, Status: http.StatusAccepted}
	}
	request, err := m.Request(event)
	if err != nil {
		return unmapped(err)
	}
	model, err := f.Model(t.Namespace, t.Spec.Model)
	switch {
	case err != nil:
		return later(err)
	case model == "":
		return later(fmt.Errorf("model %q has no address yet", t.Spec.Model))
	}
	who := eventing.InferenceTrigger{Ref: eventing.Ref{Namespace: t.Namespace, Name: t.Name}, UID: t.UID}
	underWay.Inc()
	began := f.Clock.Now()
	a := f.models.ask(ctx, question{Request: request, model: model, key: who.AnswerID(event), timeout: t.Spec.Request.Timeout.Duration, trace: r.Header})
	underWay.Dec()
	seconds.Observe(f.Clock.Since(began).Seconds())
	if a.status < 200 || a.status >= 300 || a.problem != "" {
		a.release()
		return verdict(a)
	}
	if t.Spec.Reply.To == v1alpha1.ReplyToNone {
		a.release()
		return receiver.Answer{Outcome: replied, Status: http.StatusAccepted}
	}
	reply, err := eventing.NewInferenceCompleted(who, event, eventing.Answer{Type: t.Spec.Reply.Type, ContentType: a.contentType, Body: a.body})
	if err != nil {
		a.release()
		return unfit(fmt.Errorf("reply: %w", err))
	}
	return receiver.Answer{Outcome: replied, Status: http.StatusOK, Reply: &reply, Done: a.release}
}

// unmapped is of an event whose expressions come to nothing that may be, or came to nothing in
// time: on a machine that is busy they may the next time.
func unmapped(err error) receiver.Answer {
	if errors.Is(err, context.DeadlineExceeded) {
		return later(err)
	}
	return unfit(err)
}

// unfit is of an event of which nothing can be made, however often it comes.
func unfit(err error) receiver.Answer {
	return receiver.Answer{Outcome: refused, Status: http.StatusUnprocessableEntity, Why: brief(err.Error())}
}

// gone is of an event that is for nobody any more.
func gone(err error) receiver.Answer {
	return receiver.Answer{Outcome: receiver.Rejected, Status: http.StatusGone, Why: err.Error()}
}

// later is of an event that can't be taken for now.
func later(err error) receiver.Answer {
	status := http.StatusServiceUnavailable
	if errors.Is(err, context.DeadlineExceeded) {
		status = http.StatusGatewayTimeout
	}
	return receiver.Answer{Outcome: receiver.Failed, Status: status, RetryAfter: "1", Why: "not now: " + brief(err.Error())}
}
