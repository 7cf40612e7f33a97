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
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/eventing/receiver"
	"sluice.dev/sluice/functions/trigger/mapping"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// maxEvent bounds an event, heldEvents those that are under way together, in bytes. What is
	// decoded of one is bounded by its values, of which expressions take 200,000.
	maxEvent, heldEvents = 1 << 20, 8 << 20
	// atOnce bounds the events that are under way. One InferenceTrigger, or Broker, may have as much of
	// that, of heldEvents, and of the large answers, as leaves the same for others: perTrigger events.
	atOnce, shares = 256, 4
	perTrigger     = atOnce / shares
	// answeredWithin is the longest that an InferenceTrigger may give a Model, and what it takes
	// beside.
	answeredWithin = 11 * time.Minute
	// writtenWithin bounds the writing of a Batch.
	writtenWithin = 30 * time.Second
	// compiledKept bounds the InferenceTriggers whose expressions are kept as they were compiled.
	compiledKept = 1024
)

// Function answers the events of InferenceTriggers, and the requests for Batches.
type Function struct {
	// Trigger is the InferenceTrigger of a name; the error is Kubernetes' own where there is none.
	Trigger func(namespace, name string) (*v1alpha1.InferenceTrigger, error)
	// Model is the URL of a Model, "" as long as it has none; an error says why there is no Model.
	Model func(namespace, name string) (string, error)
	// Broker is the Broker of a name that has, or had, its requests for Batches taken; the error is
	// Kubernetes' own where there is none.
	Broker func(namespace, name string) (*eventingv1.Broker, error)
	// Batches are those of a namespace.
	Batches func(namespace string) Batches
	// Started are the Batches of a namespace that have a label, as the cache has them.
	Started func(namespace, label, value string) ([]*v1alpha1.Batch, error)
	// Tell tells of a Broker, by an event of Kubernetes, that a request was refused, and why.
	Tell  func(broker *eventingv1.Broker, reason, message string)
	Clock clock.PassiveClock
	Log   *zap.SugaredLogger

	models   *models
	compiled *lru.Cache
}

// New returns a Function that is to be told where it finds what.
func New(c clock.PassiveClock, log *zap.SugaredLogger) *Function {
	return &Function{Clock: c, Log: log, models: newModels(), compiled: lru.New(compiledKept)}
}

// KnativeTrigger names the Trigger of Knative whose events a request has to bring: that of an
// InferenceTrigger has its name.
func KnativeTrigger(r *http.Request) (types.NamespacedName, error) {
	if eventing.IsOfBroker(r.URL.Path) {
		b, err := eventing.ParseRequestedBroker(r.URL.Path)
		return types.NamespacedName{Namespace: b.Namespace, Name: b.TriggerName()}, err
	}
	t, err := eventing.ParseInferenceTrigger(r.URL.Path)
	return types.NamespacedName{Namespace: t.Namespace, Name: t.Name}, err
}

// Door is where events come in, to whom admit lets in.
func (f *Function) Door(admit func(http.ResponseWriter, *http.Request) error) *receiver.Door {
	return receiver.Open(receiver.Options{
		Admit: admit, Clock: f.Clock, Log: f.Log, Count: count, CountedAs: countedAs,
	}, receiver.Bounds{Bytes: maxEvent, Held: heldEvents, AtOnce: atOnce, Shares: shares, Answered: answeredWithin}, f.find)
}

// find finds out whom a request's event is for, by its path.
func (f *Function) find(r *http.Request) (*receiver.Addressee, receiver.Answer) {
	if eventing.IsOfBroker(r.URL.Path) {
		return f.findBroker(r.URL.Path)
	}
	named, err := eventing.ParseInferenceTrigger(r.URL.Path)
	if err != nil {
		return nil, gone(err)
	}
	t, err := f.Trigger(named.Namespace, named.Name)
	switch {
	case apierrs.IsNotFound(err), err == nil && (t.UID != named.UID || t.DeletionTimestamp != nil):
		return nil, gone(fmt.Errorf("there is no InferenceTrigger %s of UID %s", named.Ref, named.UID))
	case err != nil:
		return nil, later(fmt.Errorf("getting InferenceTrigger %s: %w", named.Ref, err))
	}
	return &receiver.Addressee{
		Key: string(t.UID), Name: "InferenceTrigger " + named.String(),
		Answer: valid(func(ctx context.Context, r *http.Request, event cloudevents.Event) receiver.Answer {
			return f.answer(ctx, r, t, event)
		}),
	}, receiver.Answer{}
}

// valid answers what isn't an event, and has an event answered.
func valid(answer receiver.Answerer) receiver.Answerer {
	return func(ctx context.Context, r *http.Request, event cloudevents.Event) receiver.Answer {
		if err := event.Validate(); err != nil {
			return receiver.Answer{Outcome: receiver.Rejected, Status: http.StatusBadRequest, Why: brief(fmt.Sprintf("not a CloudEvent: %v", err))}
		}
		return answer(ctx, r, event)
	}
}

// answer does with an event what its InferenceTrigger says.
func (f *Function) answer(ctx context.Context, r *http.Request, t *v1alpha1.InferenceTrigger, event cloudevents.Event) receiver.Answer {
	named := identity(t)
	if event.Source() == named.Source() {
		// Its own reply has passed its filters: to answer that, too, would never end.
		return receiver.Answer{Outcome: own, Status: http.StatusAccepted}
	}
	t = t.DeepCopy() // it is the cache's
	t.SetDefaults(ctx)
	m, err := f.mapping(ctx, t)
	switch {
	case err != nil:
		return unfit(err)
	case !m.StartsBatch():
		return f.ask(ctx, r, t, m, event)
	}
	b, err := m.Batch(named, event)
	if err != nil {
		return unmapped(err)
	}
	return f.start(ctx, starter{
		name: "InferenceTrigger " + named.String(), label: sluice.TriggerLabelKey, field: "batch.template",
	}, b)
}

func identity(t *v1alpha1.InferenceTrigger) eventing.InferenceTrigger {
	return eventing.InferenceTrigger{Ref: eventing.Ref{Namespace: t.Namespace, Name: t.Name}, UID: t.UID}
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
	who := identity(t)
	underWay.Inc()
	began := f.Clock.Now()
	a := f.models.ask(ctx, question{Request: request, model: model, key: who.AnswerID(event), owner: string(t.UID), timeout: t.Spec.Request.Timeout.Duration, trace: r.Header})
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
