package model

import (
	"maps"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// writtenStates are the states of Models' histories that were written last, until the cache has
// them: by the cache alone what a pass wrote would be written once more by the next.
type writtenStates struct {
	clock clock.PassiveClock

	mu sync.Mutex
	// of is by Model and by name.
	of map[types.UID]map[string]writtenState
}

type writtenState struct {
	state *appsv1.ControllerRevision
	at    time.Time
}

func newWrittenStates(c clock.PassiveClock) *writtenStates {
	return &writtenStates{clock: c, of: map[types.UID]map[string]writtenState{}}
}

// note remembers what was written, for behindFor at most.
func (w *writtenStates) note(m *v1alpha1.Model, state *appsv1.ControllerRevision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for model, states := range w.of {
		maps.DeleteFunc(states, func(_ string, s writtenState) bool { return w.clock.Since(s.at) > behindFor })
		if len(states) == 0 {
			delete(w.of, model)
		}
	}
	if w.of[m.UID] == nil {
		w.of[m.UID] = map[string]writtenState{}
	}
	w.of[m.UID][state.Name] = writtenState{state: state, at: w.clock.Now()}
}

// over are the states that the cache has of a Model, with what was written since.
func (w *writtenStates) over(m *v1alpha1.Model, cached []*appsv1.ControllerRevision) []*appsv1.ControllerRevision {
	w.mu.Lock()
	defer w.mu.Unlock()
	states := w.of[m.UID]
	maps.DeleteFunc(states, func(_ string, s writtenState) bool { return w.clock.Since(s.at) > behindFor })
	out := make([]*appsv1.ControllerRevision, 0, len(cached)+len(states))
	for _, state := range cached {
		last, ours := states[state.Name]
		if ours && last.state.UID == state.UID && last.state.ResourceVersion != state.ResourceVersion {
			continue // it is from before
		}
		delete(states, state.Name)
		out = append(out, state)
	}
	for _, s := range states {
		out = append(out, s.state)
	}
	return out
}

// forget goes by the cache again.
func (w *writtenStates) forget(m *v1alpha1.Model) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.of, m.UID)
}
