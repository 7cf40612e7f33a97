package model

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
)

// ofGeneration is a Model whose status is from when its Knative Service had that generation.
func ofGeneration(uid types.UID, generation int64, phase v1alpha1.RolloutPhase) *v1alpha1.Model {
	m := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ranker", UID: uid}}
	m.Status.ServiceGeneration, m.Status.Rollout = generation, &v1alpha1.RolloutStatus{Phase: phase}
	return m
}

// Nothing is decided by a status from before the Knative Service was written last.
func TestCatchUp(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Unix(2_000_000_000, 0))
	client := sluicefake.NewSimpleClientset(ofGeneration("a", 3, v1alpha1.RolloutUndoing))
	b := newBehind(client, clock)
	catchUp := func(m *v1alpha1.Model) v1alpha1.RolloutPhase {
		t.Helper()
		if err := b.catchUp(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		return m.Status.Rollout.Phase
	}
	if got := catchUp(ofGeneration("a", 2, v1alpha1.RolloutComplete)); got != v1alpha1.RolloutComplete || len(client.Actions()) > 0 {
		t.Errorf("nothing was written, and the phase is %s after %v", got, client.Actions())
	}
	b.note("a", 3)
	if got := catchUp(ofGeneration("a", 2, v1alpha1.RolloutComplete)); got != v1alpha1.RolloutUndoing {
		t.Errorf("from before the last write, the phase is %s, want what it is by now", got)
	}
	if got := catchUp(ofGeneration("b", 1, v1alpha1.RolloutComplete)); got != v1alpha1.RolloutComplete {
		t.Errorf("of another Model of that name, the phase is %s", got)
	}
	client.ClearActions()
	for range 2 {
		if catchUp(ofGeneration("a", 3, v1alpha1.RolloutUndoing)); len(client.Actions()) > 0 {
			t.Errorf("the cache has caught up, and the API server was asked: %v", client.Actions())
		}
	}
	b.note("a", 4)
	clock.SetTime(clock.Now().Add(2 * behindFor))
	b.note("b", 1)
	if len(b.written) != 1 {
		t.Errorf("%d Models are remembered, want the one that was written within the minute", len(b.written))
	}
	if err := client.SluiceV1alpha1().Models("team").Delete(t.Context(), "ranker", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	catchUp(ofGeneration("b", 0, v1alpha1.RolloutComplete))
}
