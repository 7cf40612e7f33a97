//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluiceclient "sluice.dev/sluice/reconciler/client/clientset/versioned"
	"sluice.dev/sluice/test/pages"
)

// chronicledWithin bounds the time from a tuning to its state in the history.
const chronicledWithin = 20 * time.Second

// tuningBy is what somebody does to a Model.
type tuningBy struct{ who, why, patch string }

// Whoever tunes a Model is named in its history, with why, and so are they in the events. One
// command of kubectl's goes back to any state that is kept. None of it makes a revision.
func TestTuningHistory(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	box := &mailbox{}
	s.hear(s.listen(box))
	s.create(s.ranker("m"))
	s.serving("m")
	revisions := s.revisions("m")
	s.chronicled("m", 1)

	tunings := []tuningBy{
		{"alice", "a sale", `"spec": {"limit": {"headroomPercent": 150}}`},
		{"bob", "after the sale", `"spec": {"autoscaling": {"target": 15, "window": "8s"}}`},
		{"carol", "a trace", `"spec": {"autoscaling": {"window": null}}`},
	}
	for i, tuning := range tunings {
		s.tuneAs("m", tuning, 60+i)
		states := s.chronicled("m", int64(i)+2)
		newest := states[len(states)-1].Annotations
		if newest[sluice.TunedByAnnotationKey] != s.tuner(tuning.who) || newest[sluice.ChangeCauseAnnotationKey] != tuning.why || newest[sluice.TunedAtAnnotationKey] == "" {
			t.Errorf("revision %d says %v, want %s and %q", i+2, newest, tuning.who, tuning.why)
		}
	}

	// A change of something else is no tuning, and nobody can sign for it.
	s.patch("m", fmt.Sprintf(`{"metadata": {"annotations": {%q: "mallory"}}, "spec": {"splitBy": {"header": "X-User"}}}`, sluice.TunedByAnnotationKey))
	if got := s.tunedModel("m").Annotations[sluice.TunedByAnnotationKey]; got != s.tuner("carol") {
		t.Errorf("it was tuned by %q, want carol", got)
	}

	back := s.chronicled("m", 4)[1]
	newDesk(t, s.namespace, nil).follow(t, []pages.Command{{
		Typed:  `kubectl patch model m --type merge --patch "$(kubectl get controllerrevision ` + back.Name + ` -o jsonpath='{.data}')"`,
		Prints: "model.sluice.dev/m patched",
	}})
	states := s.chronicled("m", 5)
	if newest := states[len(states)-1]; len(states) != 4 || newest.Name != back.Name || newest.Annotations[sluice.TunedByAnnotationKey] == "" {
		t.Errorf("after going back there are %d states, the newest %+v; want 4, and %s", len(states), newest.ObjectMeta, back.Name)
	}
	var patch map[string]any
	if err := json.Unmarshal(back.Data.Raw, &patch); err != nil {
		t.Fatal(err)
	}
	if is, want := v1alpha1.TuningSettings(s.tunedModel("m").TuningPatch()), v1alpha1.TuningSettings(patch); !maps.Equal(is, want) {
		t.Errorf("it is tuned to %v, want %v", is, want)
	}
	if now := s.revisions("m"); !slices.Equal(now, revisions) {
		t.Errorf("revisions %v, were %v", now, revisions)
	}
	s.toldOf(box, "m", tunings)
}

// tuner is the name of somebody of the stage's own.
func (s *stage) tuner(name string) string { return s.namespace + "-" + name }

func (s *stage) tunedModel(name string) *v1alpha1.Model {
	s.Helper()
	m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal("getting a Model:", err)
	}
	return m
}

// tuneAs has somebody tune a Model, its utilization by an annotation too, in another's name.
func (s *stage) tuneAs(model string, by tuningBy, utilization int) {
	s.Helper()
	merge := fmt.Sprintf(`{"metadata": {"annotations": {%q: %q, %q: "mallory", "autoscaling.knative.dev/target-utilization-percentage": "%d"}}, %s}`,
		sluice.ChangeCauseAnnotationKey, by.why, sluice.TunedByAnnotationKey, utilization, by.patch)
	models := s.operator(s.tuner(by.who)).SluiceV1alpha1().Models(s.namespace)
	if _, err := models.Patch(s.Context(), model, types.MergePatchType, []byte(merge), metav1.PatchOptions{}); err != nil {
		s.Fatalf("tuning as %s: %v", by.who, err)
	}
}

// toldOf waits until a mailbox has an event of each tuning of a Model and of going back, and
// checks them.
func (s *stage) toldOf(box *mailbox, model string, tunings []tuningBy) {
	s.Helper()
	var told map[int64]eventing.ModelTuned
	s.until(delivered, "an event of each tuning", func(context.Context) (string, error) {
		var err error
		if told, err = box.tunings(); err != nil || len(told) > len(tunings) {
			return "", err
		}
		return fmt.Sprintf("of %d is told", len(told)), nil
	})
	uid := string(s.tunedModel(model).UID)
	for revision, d := range told {
		if d.Model.Name != model || d.UID != uid || d.Who == "" || len(d.Changes) == 0 {
			s.Errorf("of revision %d is told %+v", revision, d)
		}
	}
	for i, by := range tunings {
		if d := told[int64(i)+2]; d.Who != s.tuner(by.who) || d.Why != by.why {
			s.Errorf("of revision %d is told %+v, want %s and %q", i+2, d, by.who, by.why)
		}
	}
	want := eventing.ChangedSetting{Setting: "spec.limit.headroomPercent", Old: "100", New: "150"}
	if !slices.Contains(told[2].Changes, want) {
		s.Errorf("revision 2 changed %v, want %v among them", told[2].Changes, want)
	}
}

// operator reaches Sluice's kinds as a user who may edit what is in the stage's namespace.
func (s *stage) operator(user string) sluiceclient.Interface {
	s.Helper()
	s.made(s.Kube.RbacV1().RoleBindings(s.namespace).Create(s.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: roleRef("edit"), Subjects: []rbacv1.Subject{userNamed(user)},
	}, metav1.CreateOptions{}))
	s.until(refusedWithin, "the rights of "+user, func(ctx context.Context) (string, error) {
		allowed, err := s.may(ctx, user, ofSluice(s.namespace, "patch", "models"))
		if err != nil || allowed {
			return "", err
		}
		return "may not patch models", nil
	})
	as, err := s.SluiceAs(user)
	if err != nil {
		s.Fatal(err)
	}
	return as
}

// chronicled waits until a Model's history has a revision of a number for its newest, and
// returns it, the newest last.
func (s *stage) chronicled(model string, revision int64) []appsv1.ControllerRevision {
	s.Helper()
	var states []appsv1.ControllerRevision
	s.until(chronicledWithin, fmt.Sprintf("revision %d in the history", revision), func(ctx context.Context) (string, error) {
		list, err := s.Kube.AppsV1().ControllerRevisions(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: sluice.ModelLabelKey + "=" + model})
		if err != nil {
			return "", err
		}
		states = slices.SortedFunc(slices.Values(list.Items), func(a, b appsv1.ControllerRevision) int { return int(a.Revision - b.Revision) })
		if n := len(states); n == 0 || states[n-1].Revision != revision {
			return fmt.Sprintf("%d are there", n), nil
		}
		return "", nil
	})
	return states
}

// tunings are what a mailbox was told of tunings, by revision.
func (m *mailbox) tunings() (map[int64]eventing.ModelTuned, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	told := map[int64]eventing.ModelTuned{}
	for _, event := range m.events {
		if event.Type() != eventing.ModelTunedType {
			continue
		}
		var d eventing.ModelTuned
		if err := event.DataAs(&d); err != nil {
			return nil, fmt.Errorf("reading %s: %w", event.Data(), err)
		}
		told[d.Revision] = d
	}
	return told, nil
}
