package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appsv1client "k8s.io/client-go/kubernetes/typed/apps/v1"
	appsv1listers "k8s.io/client-go/listers/apps/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/accessor"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

// historyAgain is when a Model is looked at again of whose history the cache was behind.
const historyAgain = time.Second

// history keeps the states in which a Model was tuned, as ControllerRevisions, and has each
// that comes told. It goes by what the Model itself says, and not by what is tried of it, nor
// by what of it is in force.
type history struct {
	client   appsv1client.ControllerRevisionsGetter
	states   appsv1listers.ControllerRevisionLister
	written  *writtenStates
	tellings *tellings
	schedule
}

func (h *history) reconcile(ctx context.Context, m *v1alpha1.Model, t *v1alpha1.Tenant) error {
	err := h.keep(ctx, m, t)
	var other *accessor.NotOwnedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &other):
		// Another try would find the same until a person mends it, and nothing tells of that. The
		// rest of the pass has nothing to do with it: as an error that ends the tries it would end
		// those of what failed beside.
		controller.GetEventRecorder(ctx).Eventf(m, corev1.EventTypeWarning, "HistoryNotKept", "keeping the history: %v", err)
		h.later(m, lookAgain)
		return nil
	case apierrs.IsConflict(err), apierrs.IsNotFound(err):
		// The cache has it otherwise than it is, or what we wrote last is overwritten by now.
		h.written.forget(m)
		h.later(m, historyAgain)
		return nil
	}
	return fmt.Errorf("keeping the history: %w", err)
}

func (h *history) keep(ctx context.Context, m *v1alpha1.Model, t *v1alpha1.Tenant) error {
	states, err := h.of(m)
	if err != nil {
		return err
	}
	if states, err = h.record(ctx, m, t, states); err != nil {
		return err
	}
	// Only then: a state that couldn't be written takes none away.
	for _, old := range resources.Surplus(states) {
		if !resources.IsTold(old) {
			tunings.WithLabelValues("dropped").Inc()
		}
		if _, err := h.kind(m).Remove(ctx, old.Name); err != nil {
			return err
		}
	}
	return h.tell(ctx, m, states[len(resources.Surplus(states)):])
}

// of are the states that are kept of a Model, the newest last.
func (h *history) of(m *v1alpha1.Model) ([]*appsv1.ControllerRevision, error) {
	labelled, err := h.states.ControllerRevisions(m.Namespace).List(labels.SelectorFromSet(labels.Set{sluice.ModelLabelKey: m.Name}))
	if err != nil {
		return nil, fmt.Errorf("listing ControllerRevisions: %w", err)
	}
	var owned []*appsv1.ControllerRevision
	for _, state := range labelled {
		if metav1.IsControlledBy(state, m) {
			owned = append(owned, state)
		}
	}
	return resources.History(h.written.over(m, owned)), nil
}

// record has the newest state be how the Model is tuned, and returns them all with it.
func (h *history) record(
	ctx context.Context, m *v1alpha1.Model, t *v1alpha1.Tenant, states []*appsv1.ControllerRevision,
) ([]*appsv1.ControllerRevision, error) {
	desired, err := resources.Recorded(m, t, states, h.Now())
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(states, func(s *appsv1.ControllerRevision) bool { return s.Name == desired.Name })
	var existing *appsv1.ControllerRevision
	if at >= 0 {
		existing = states[at]
	}
	state, err := h.write(ctx, m, existing, desired)
	if err != nil {
		return nil, err
	}
	if n := len(states); n > 0 && state.Revision > states[n-1].Revision {
		controller.GetEventRecorder(ctx).Event(m, corev1.EventTypeNormal, "Tuned", resources.Description(state))
	}
	others := slices.DeleteFunc(slices.Clone(states), func(s *appsv1.ControllerRevision) bool { return s.Name == state.Name })
	return resources.History(append(others, state)), nil
}

// write has a state be as desired where it isn't; existing is nil where none is known.
func (h *history) write(ctx context.Context, m *v1alpha1.Model, existing, desired *appsv1.ControllerRevision) (*appsv1.ControllerRevision, error) {
	var state *appsv1.ControllerRevision
	var changed bool
	var err error
	if existing == nil {
		state, changed, err = h.kind(m).Ensure(ctx, desired)
	} else {
		state, changed, err = h.kind(m).Write(ctx, existing, desired)
	}
	if err == nil && changed {
		h.written.note(m, state)
	}
	return state, err
}

func (h *history) kind(m *v1alpha1.Model) accessor.Kind[*appsv1.ControllerRevision] {
	return accessor.Kind[*appsv1.ControllerRevision]{
		Name:   "ControllerRevision",
		Get:    h.states.ControllerRevisions(m.Namespace).Get,
		Client: h.client.ControllerRevisions(m.Namespace),
		Owner:  accessor.ControlledBy(m),
		// The data of one can't be changed.
		Content: accessor.Content[*appsv1.ControllerRevision]{
			Adopt: func(existing, desired *appsv1.ControllerRevision) { existing.Revision = desired.Revision },
		},
	}
}

// tell has the Broker told of the oldest state that it hasn't been told of. That it was is
// noted on the state itself, by a write of its own: so it is told of what came while the Broker
// was away, whichever controller leads by then. One that is killed in between tells again, with
// the same id. What isn't kept any more isn't told any more either, which bounds what waits.
func (h *history) tell(ctx context.Context, m *v1alpha1.Model, states []*appsv1.ControllerRevision) error {
	state := resources.Untold(states)
	if state == nil {
		return nil
	}
	event, err := tunedEvent(m, state)
	switch {
	case err != nil:
		// Later it couldn't be told either; the others are, and the history has it.
		tunings.WithLabelValues("dropped").Inc()
		logging.FromContext(ctx).Errorw("A tuning can't be told", "controllerrevision", state.Name, zap.Error(err))
	case !h.tellings.tell(ctx, m, telling{state.Name, state.Revision}, event):
		h.later(m, lookAgain)
		return nil
	}
	_, err = h.write(ctx, m, state, resources.Told(state))
	return err
}

// tunedEvent tells of a state.
func tunedEvent(m *v1alpha1.Model, state *appsv1.ControllerRevision) (cloudevents.Event, error) {
	told := eventing.ModelTuned{
		Model: eventing.Ref{Namespace: m.Namespace, Name: m.Name}, UID: string(m.UID),
		Who: state.Annotations[sluice.TunedByAnnotationKey], Why: state.Annotations[sluice.ChangeCauseAnnotationKey],
		Revision: state.Revision, ControllerRevision: state.Name, Since: resources.NotedAt(state),
		Changes: []eventing.ChangedSetting{},
	}
	for _, c := range resources.Changes(state) {
		told.Changes = append(told.Changes, eventing.ChangedSetting(c))
	}
	return eventing.NewModelTuned(told)
}
