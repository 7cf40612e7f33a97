package model

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	appsv1listers "k8s.io/client-go/listers/apps/v1"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	rtesting "knative.dev/pkg/reconciler/testing"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

// pastOf is the history that a row's Model begins with: what it is, unless the row has another.
func pastOf(row *rtesting.TableRow) []*appsv1.ControllerRevision {
	if past, ok := row.OtherTestData["past"].([]*appsv1.ControllerRevision); ok {
		return past
	}
	var m *v1alpha1.Model
	var t *v1alpha1.Tenant
	for _, object := range row.Objects {
		switch object := object.(type) {
		case *v1alpha1.Model:
			if object.Name == name && object.Namespace == namespace {
				m = object.DeepCopy()
			}
		case *v1alpha1.Tenant:
			if slices.ContainsFunc(object.Status.Namespaces, func(held v1alpha1.TenantNamespace) bool { return held.Name == namespace }) {
				t = object
			}
		}
	}
	if m == nil {
		return nil
	}
	m.SetDefaults(context.Background())
	state, err := resources.Recorded(m, t, nil, noon)
	if err != nil {
		panic(err)
	}
	return []*appsv1.ControllerRevision{state}
}

// past is the history of a Model that was tuned to one state after the other, no two alike, all
// of which was told.
func past(models ...*v1alpha1.Model) []*appsv1.ControllerRevision {
	var states []*appsv1.ControllerRevision
	for _, m := range models {
		states = append(states, resources.Told(next(m, states)))
	}
	return states
}

// next is the state that a Model's history is to have for the newest.
func next(m *v1alpha1.Model, states []*appsv1.ControllerRevision) *appsv1.ControllerRevision {
	state, err := resources.Recorded(m, nil, states, noon)
	if err != nil {
		panic(err)
	}
	return state
}

// by is a Model that somebody tuned to what it is.
func by(who string) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, sluice.TunedByAnnotationKey, who)
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, sluice.TunedStateAnnotationKey, m.TuningHash()+"@"+who)
	}
}

func why(cause string) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		metav1.SetMetaDataAnnotation(&m.ObjectMeta, sluice.ChangeCauseAnnotationKey, cause)
	}
}

func headroom(percent int32) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) { m.Spec.Limit.HeadroomPercent = &percent }
}

// historyRows tune a Model, of which all but its history is at rest.
func historyRows() rtesting.TableTest {
	atRest := func(m *v1alpha1.Model) []runtime.Object {
		return []runtime.Object{
			m, service(withGeneration(1), ready, defaulted), revision(first),
			rateLimit(service(ready), limited, func(l *v1alpha1.RateLimit) { l.Spec.HeadroomPercent = *m.Spec.Limit.HeadroomPercent }),
		}
	}
	update := func(states ...*appsv1.ControllerRevision) []clientgotesting.UpdateActionImpl {
		var updates []clientgotesting.UpdateActionImpl
		for _, state := range states {
			updates = append(updates, clientgotesting.UpdateActionImpl{Object: state})
		}
		return updates
	}
	made, tuned := restingModel(by("alice")), restingModel(headroom(50), by("bob"), why("a sale"))
	madeOnly, both := past(made), past(made, tuned)
	untold := slices.Clone(both)
	untold[1] = next(tuned, madeOnly)
	const toldOfTuned = `2 by "bob" as "a sale": [{spec.limit.headroomPercent 100 50}]`
	said := rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "bob changed spec.limit.headroomPercent from 100 to 50: a sale")

	var ten []*v1alpha1.Model
	for i := range int32(resources.HistoryKept) {
		ten = append(ten, restingModel(headroom(i), by("alice")))
	}
	full := past(ten...)

	foreign := next(tuned, madeOnly)
	foreign.OwnerReferences[0].UID = "another's"
	foreign.Labels = nil
	ofTheOther := next(tuned, madeOnly)
	ofTheOther.Name, ofTheOther.Revision, ofTheOther.OwnerReferences[0].UID = "ranker-other", 7, "another's"

	// Who brings a state back is who signs it then, and nobody where it is past the webhook.
	brought := restingModel(by("carol"))
	back, unsigned := next(brought, both), next(made, both)
	stale := tuned.DeepCopy()
	headroom(60)(stale)

	return rtesting.TableTest{{
		Name:          "a new Model begins its history, of which nobody is told",
		Key:           key,
		Objects:       atRest(made),
		OtherTestData: map[string]any{"past": []*appsv1.ControllerRevision{}},
		WantCreates:   []runtime.Object{madeOnly[0]},
	}, {
		Name:          "a history at rest",
		Key:           key,
		Objects:       atRest(tuned),
		OtherTestData: map[string]any{"past": both},
	}, {
		Name:          "tuned",
		Key:           key,
		Objects:       atRest(tuned),
		OtherTestData: map[string]any{"past": madeOnly, "told": []string{toldOfTuned}},
		WantCreates:   []runtime.Object{untold[1]},
		WantUpdates:   update(both[1]),
		WantEvents:    []string{said},
	}, {
		Name:          "tuned past the webhook",
		Key:           key,
		Objects:       atRest(stale),
		OtherTestData: map[string]any{"past": both, "told": []string{`3 by "" as "a sale": [{spec.limit.headroomPercent 50 60}]`}},
		WantCreates:   []runtime.Object{next(stale, both)},
		WantUpdates:   update(resources.Told(next(stale, both))),
		WantEvents:    []string{rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Somebody changed spec.limit.headroomPercent from 50 to 60: a sale")},
	}, {
		Name:          "tuned while the Broker is away",
		Key:           key,
		Objects:       atRest(tuned),
		OtherTestData: map[string]any{"past": madeOnly, "the Broker says": errors.New("away"), "again": lookAgain},
		WantCreates:   []runtime.Object{untold[1]},
		WantEvents:    []string{said},
	}, {
		Name:          "what couldn't be told is told later",
		Key:           key,
		Objects:       atRest(tuned),
		OtherTestData: map[string]any{"past": untold, "told": []string{toldOfTuned}},
		WantUpdates:   update(both[1]),
	}, {
		Name:          "a state that comes back",
		Key:           key,
		Objects:       atRest(brought),
		OtherTestData: map[string]any{"past": both, "told": []string{`3 by "carol" as "": [{spec.limit.headroomPercent 50 100}]`}},
		WantUpdates:   update(back, resources.Told(back)),
		WantEvents:    []string{rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "carol changed spec.limit.headroomPercent from 50 to 100")},
	}, {
		Name:          "a state that comes back past the webhook",
		Key:           key,
		Objects:       atRest(made),
		OtherTestData: map[string]any{"past": both, "told": []string{`3 by "" as "": [{spec.limit.headroomPercent 50 100}]`}},
		WantUpdates:   update(unsigned, resources.Told(unsigned)),
		WantEvents:    []string{rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Somebody changed spec.limit.headroomPercent from 50 to 100")},
	}, {
		Name:          "of what changes beside, why is no news",
		Key:           key,
		Objects:       atRest(restingModel(by("alice"), why("a release"))),
		OtherTestData: map[string]any{"past": madeOnly},
	}, {
		Name:          "the eleventh state",
		Key:           key,
		Objects:       atRest(tuned),
		OtherTestData: map[string]any{"past": full, "told": []string{`11 by "bob" as "a sale": [{spec.limit.headroomPercent 9 50}]`}},
		WantCreates:   []runtime.Object{next(tuned, full)},
		WantUpdates:   update(resources.Told(next(tuned, full))),
		WantDeletes:   []clientgotesting.DeleteActionImpl{deletionOf(full[0])},
		WantEvents:    []string{rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "bob changed spec.limit.headroomPercent from 9 to 50: a sale")},
	}, {
		Name:          "the history of another Model of that name",
		Key:           key,
		Objects:       atRest(made),
		OtherTestData: map[string]any{"past": []*appsv1.ControllerRevision{ofTheOther}},
		WantCreates:   []runtime.Object{madeOnly[0]},
	}, {
		Name:          "somebody else's ControllerRevision is left alone",
		Key:           key,
		Objects:       append(atRest(tuned), foreign),
		OtherTestData: map[string]any{"past": madeOnly, "again": lookAgain},
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "HistoryNotKept",
			"keeping the history: ControllerRevision %s/%s exists and is not owned by ranker: delete or rename it", namespace, foreign.Name)},
	}, {
		Name:          "a history that can't be written",
		Key:           key,
		Objects:       atRest(tuned),
		OtherTestData: map[string]any{"past": full},
		WithReactors:  []clientgotesting.ReactionFunc{failing("create", "controllerrevisions", errors.New("no luck"))},
		WantErr:       true,
		WantCreates:   []runtime.Object{next(tuned, full)},
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "InternalError",
			"keeping the history: creating ControllerRevision %s: no luck", next(tuned, full).Name)},
	}, {
		Name:          "a cache that is behind",
		Key:           key,
		Objects:       atRest(brought),
		OtherTestData: map[string]any{"past": both, "again": historyAgain},
		WithReactors: []clientgotesting.ReactionFunc{failing("update", "controllerrevisions",
			apierrs.NewConflict(schema.GroupResource{Resource: "controllerrevisions"}, back.Name, errors.New("changed")))},
		WantUpdates: update(back),
	}, {
		Name:          "a Model that can't be served has its history all the same",
		Key:           key,
		Objects:       []runtime.Object{restingModel(by("alice")), foreignService()},
		OtherTestData: map[string]any{"past": []*appsv1.ControllerRevision{}},
		WantErr:       true,
		WantCreates:   []runtime.Object{madeOnly[0]},
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "InternalError",
			"reconciling the Knative Service: %q is not owned by the Model", name)},
		WantStatusUpdates: status(model(by("alice"), observed, written, withConditions(
			isFalse(v1alpha1.ModelConditionRevisionReady, "NotOwned", `There is a Knative Service "ranker" that this Model does not own; delete it or rename the Model.`),
			unknown(v1alpha1.ModelConditionWarm, "NotOwned", "There is no Knative Service of this Model."),
			unknown(v1alpha1.ModelConditionRolledOut, "NotOwned", "There is no Knative Service of this Model."),
			unknown(v1alpha1.ModelConditionRouted, "NotOwned", "There is no Knative Service of this Model."),
			unknown(v1alpha1.ModelConditionLimited, "NotOwned", "There is no Knative Service of this Model."),
		))),
	}}
}

func foreignService() runtime.Object {
	s := service(withGeneration(1), ready)
	s.OwnerReferences = nil
	return s
}

func deletionOf(state *appsv1.ControllerRevision) clientgotesting.DeleteActionImpl {
	d := clientgotesting.DeleteActionImpl{Name: state.Name}
	d.Namespace, d.Resource = state.Namespace, appsv1.SchemeGroupVersion.WithResource("controllerrevisions")
	return d
}

// chronicle is a history whose cache has what it is given.
type chronicle struct {
	*history

	ctx    context.Context
	kube   *kubefake.Clientset
	cached cache.Indexer
	clock  *clocktesting.FakePassiveClock
}

func newChronicle(t *testing.T, objects ...runtime.Object) *chronicle {
	t.Helper()
	c := &chronicle{
		ctx:  logging.WithLogger(controller.WithEventRecorder(t.Context(), record.NewFakeRecorder(100)), logtesting.TestLogger(t)),
		kube: kubefake.NewClientset(objects...), clock: clocktesting.NewFakePassiveClock(noon),
		cached: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}),
	}
	version := 0
	versions := func(action clientgotesting.Action) (bool, runtime.Object, error) {
		if write, ok := action.(clientgotesting.CreateAction); ok { // updates have the same shape
			version++
			write.GetObject().(metav1.Object).SetResourceVersion(strconv.Itoa(version))
		}
		return false, nil, nil
	}
	c.kube.PrependReactor("create", "controllerrevisions", versions)
	c.kube.PrependReactor("update", "controllerrevisions", versions)
	tellings := newTellings(&sender{}, func(types.NamespacedName) {}, c.clock)
	tellings.beside = func(work func()) { work() }
	s := schedule{PassiveClock: c.clock, later: func(any, time.Duration) {}}
	c.history = &history{
		client: c.kube.AppsV1(), states: appsv1listers.NewControllerRevisionLister(c.cached), written: newWrittenStates(c.clock), tellings: tellings, schedule: s,
	}
	return c
}

func (c *chronicle) see(t *testing.T, m *v1alpha1.Model) {
	t.Helper()
	if err := c.reconcile(c.ctx, m, nil); err != nil {
		t.Fatal(err)
	}
}

// stored are the states that there are, the newest last.
func (c *chronicle) stored(t *testing.T) []*appsv1.ControllerRevision {
	t.Helper()
	list, err := c.kube.AppsV1().ControllerRevisions(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var states []*appsv1.ControllerRevision
	for i := range list.Items {
		states = append(states, &list.Items[i])
	}
	return resources.History(states)
}

// catchUp has the cache have what there is.
func (c *chronicle) catchUp(t *testing.T) {
	t.Helper()
	var objects []any
	for _, state := range c.stored(t) {
		objects = append(objects, state)
	}
	if err := c.cached.Replace(objects, ""); err != nil {
		t.Fatal(err)
	}
}

// What was written isn't written again by a pass that comes before the cache has it, nor is
// anything once it has.
func TestHistoryIsAheadOfItsCache(t *testing.T) {
	c := newChronicle(t)
	m := model(by("alice"))
	c.see(t, m)
	for i, tuned := range []*v1alpha1.Model{model(headroom(50), by("bob")), model(by("alice")), model(headroom(50), by("bob"))} {
		c.kube.ClearActions()
		for range 3 {
			c.see(t, tuned)
		}
		writes := 0
		for _, action := range c.kube.Actions() {
			if action.GetVerb() != "get" {
				writes++
			}
		}
		if writes != 2 {
			t.Errorf("tuned for the %d. time, with %d writes, want that of the state and that it was told: %v", i+1, writes, c.kube.Actions())
		}
		states := c.stored(t)
		if newest := states[len(states)-1]; len(states) != 2 || newest.Revision != int64(i+2) || !resources.IsTold(newest) {
			t.Errorf("tuned for the %d. time there are %d states, the newest %+v", i+1, len(states), newest.ObjectMeta)
		}
		if i == 1 {
			c.catchUp(t)
		}
	}
	c.catchUp(t)
	c.kube.ClearActions()
	c.see(t, model(headroom(50), by("bob")))
	if actions := c.kube.Actions(); len(actions) > 0 {
		t.Errorf("at rest: %v", actions)
	}
	if n := len(c.written.of[m.UID]); n != 0 {
		t.Errorf("%d states are remembered that the cache has", n)
	}
}

// What fails for good in a history ends no tries of the pass that it is of.
func TestHistoryEndsNoTries(t *testing.T) {
	m := model(by("alice"))
	foreign := next(m, nil)
	foreign.OwnerReferences, foreign.Labels = nil, nil
	c := newChronicle(t, foreign)
	c.catchUp(t)
	var again []time.Duration
	c.later = func(_ any, after time.Duration) { again = append(again, after) }
	beside := errors.New("no luck")
	if err := errors.Join(beside, c.reconcile(c.ctx, m, nil)); controller.IsPermanentError(err) || !errors.Is(err, beside) {
		t.Errorf("a pass that failed beside ends its tries: %v", err)
	}
	if !slices.Equal(again, []time.Duration{lookAgain}) {
		t.Errorf("looks again after %v, want %s", again, lookAgain)
	}
	if states := c.stored(t); len(states) != 1 || len(states[0].OwnerReferences) != 0 {
		t.Errorf("another's was changed: %v", states)
	}
}

// A state that somebody took away comes back, as the one that it was.
func TestHistoryThatWasTakenAway(t *testing.T) {
	c := newChronicle(t)
	tuned := model(headroom(50), by("bob"))
	c.see(t, model(by("alice")))
	c.see(t, tuned)
	c.catchUp(t)
	before := c.stored(t)
	c.see(t, tuned)
	if err := c.kube.AppsV1().ControllerRevisions(namespace).Delete(t.Context(), before[1].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.catchUp(t)
	c.see(t, tuned)
	after := c.stored(t)
	if len(after) != 2 || after[1].Name != before[1].Name || after[1].Revision != before[1].Revision || string(after[1].Data.Raw) != string(before[1].Data.Raw) {
		t.Errorf("there is %v, was %v", after, before)
	}
}

// However often a Model is tuned, the last ten states are kept, the present one among them.
func TestHistoryIsBounded(t *testing.T) {
	c := newChronicle(t)
	for i := range int32(30) {
		m := model(headroom(i%13), by("alice"))
		for range 3 { // a pass removes what the cache has
			c.see(t, m)
			c.catchUp(t)
		}
		states := c.stored(t)
		if want := min(int(i)+1, resources.HistoryKept); len(states) != want {
			t.Fatalf("after %d states %d are kept, want %d", i+1, len(states), want)
		}
		if newest := states[len(states)-1]; newest.Revision != int64(i)+1 || newest.Name != next(m, states).Name {
			t.Fatalf("the newest of %d is %s, %d", i+1, newest.Name, newest.Revision)
		}
	}
	c.clock.SetTime(noon.Add(2 * behindFor))
	c.written.note(model(func(m *v1alpha1.Model) { m.UID = "other" }), next(model(), nil))
	if len(c.written.of) != 1 {
		t.Errorf("%d Models are remembered, want the one that was written within the minute", len(c.written.of))
	}
}
