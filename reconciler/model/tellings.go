package model

import (
	"context"
	"maps"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"knative.dev/pkg/logging"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

var tunings = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "sluice_model_tuned_events_total",
	Help: "model.tuned events handed to the Broker, by outcome: sent, failed, dropped (its state isn't kept any more, or it can't be told).",
}, []string{"outcome"})

// Losses are there from the start: of a counter that comes with its first one Prometheus sees
// no increase.
func init() {
	for _, outcome := range []string{"failed", "dropped"} {
		tunings.WithLabelValues(outcome)
	}
}

// tellings have tunings told to the Broker beside the passes, which wait for none, and know
// which it was told of that the history doesn't say so of yet.
type tellings struct {
	sender Sender
	// changed is told of the Model of which something was told.
	changed func(model types.NamespacedName)
	clock   clock.PassiveClock
	// beside does something while nobody waits for it; tells bounds how much at once.
	beside func(func())
	tells  chan struct{}

	mu sync.Mutex
	// of has one of each Model.
	of map[types.UID]*attempt
}

// telling is what is to be told: a state, and which time it came.
type telling struct {
	state    string
	revision int64
}

// attempt is the last to tell something of a Model.
type attempt struct {
	telling

	at          time.Time
	under, told bool
}

func newTellings(sender Sender, changed func(types.NamespacedName), c clock.PassiveClock) *tellings {
	return &tellings{
		sender: sender, changed: changed, clock: c, beside: func(work func()) { go work() },
		tells: make(chan struct{}, tellsAtOnce), of: map[types.UID]*attempt{},
	}
}

// tell has the Broker told, and returns whether it has been. It is tried once in lookAgain, and
// of a Model one thing at a time: so what waits is bounded by the Models, however often they are
// tuned, and a Broker that is down is asked no more for it.
func (t *tellings) tell(ctx context.Context, m *v1alpha1.Model, what telling, event cloudevents.Event) bool {
	if begun := t.begin(m.UID, what); begun != nil {
		model := types.NamespacedName{Namespace: m.Namespace, Name: m.Name}
		t.beside(func() {
			t.tells <- struct{}{}
			err := t.sender.Send(context.WithoutCancel(ctx), event)
			<-t.tells
			if err != nil {
				tunings.WithLabelValues("failed").Inc()
				logging.FromContext(ctx).Warnw("A tuning could not be told", "controllerrevision", what.state, zap.Error(err))
			} else {
				tunings.WithLabelValues("sent").Inc()
			}
			t.end(begun, err == nil)
			if err == nil {
				t.changed(model)
			}
		})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.of[m.UID]
	return last != nil && last.telling == what && last.told
}

// begin begins an attempt; nil where it isn't time for one, or none is needed.
func (t *tellings) begin(model types.UID, what telling) *attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	// What is told is noted in the history within a pass, unless its Model is gone.
	maps.DeleteFunc(t.of, func(_ types.UID, a *attempt) bool { return !a.under && now.Sub(a.at) > 2*lookAgain })
	last := t.of[model]
	if last != nil && (last.under || last.telling == what && (last.told || now.Sub(last.at) < lookAgain)) {
		return nil
	}
	begun := &attempt{telling: what, at: now, under: true}
	t.of[model] = begun
	return begun
}

func (t *tellings) end(a *attempt, told bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.under, a.told = false, told
}
