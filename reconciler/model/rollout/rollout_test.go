package rollout

import (
	"fmt"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// world plays Knative: revisions with their autoscalers and pods, a Route that
// freezes, a Service that is a little behind.
type world struct {
	spec    v1alpha1.RolloutSpec
	traffic []v1alpha1.TrafficTarget
	demand  int32 // replicas that all requests take
	now     time.Time

	revisions   map[string]*simulated
	made        int
	latestReady string
	// split asked for, present names, and what the gateways serve.
	split    Split
	present  []string
	floating bool
	served   Split
	tail     bool
	// lost is true while the gateways can't be seen to serve anything.
	lost   bool
	status *v1alpha1.RolloutStatus
}

type simulated struct {
	Revision
	floor, initial int32
	// broken ones never become ready; others were, once.
	broken, was bool
}

func newWorld(demand int32) *world {
	w := &world{now: time.Unix(1_000_000, 0), demand: demand, revisions: map[string]*simulated{}, split: Split{}, served: Split{}, floating: true}
	w.spec.StepPercent, w.spec.KeepWarm = new(int32), &metav1.Duration{Duration: 5 * time.Minute}
	*w.spec.StepPercent = 25
	return w
}

func (w *world) latest() string { return fmt.Sprintf("m-%05d", w.made) }

// deploy makes a revision, pinning what serves in the same write.
func (w *world) deploy(broken bool) {
	first := int32(0)
	if w.made > 0 {
		first = Decide(w.state()).FirstStep
	}
	if w.floating && len(w.served) > 0 {
		w.floating, w.split = false, maps.Clone(w.served)
		w.present = nil
		for name := range w.split {
			w.present = append(w.present, name)
		}
	}
	w.tail = !w.floating
	w.made++
	w.revisions[w.latest()] = &simulated{Revision: Revision{Ready: corev1.ConditionUnknown}, initial: max(1, first), broken: broken}
}

func (w *world) state() State {
	s := State{
		Spec: w.spec, Targets: w.traffic, Before: w.status.DeepCopy(), Latest: w.latest(), LatestReady: w.latestReady,
		Revisions: map[string]Revision{}, Split: maps.Clone(w.split), Present: w.present, Floating: w.floating,
		Routed: maps.Equal(w.split, w.served) && len(w.served) > 0 && !w.lost, Now: w.now,
	}
	for name, r := range w.revisions {
		s.Revisions[name] = r.Revision
		if seen := s.Revisions[name]; r.floor > 0 {
			seen.Kept = r.floor
			s.Revisions[name] = seen
		}
	}
	return s
}

// reconcile decides and applies.
func (w *world) reconcile() Plan {
	plan := Decide(w.state())
	w.status = plan.Status
	for name, r := range w.revisions {
		r.floor = plan.Floors[name]
	}
	if plan.Targets == nil {
		return plan
	}
	w.floating, w.tail, w.split, w.present = false, false, Split{}, nil
	for _, t := range plan.Targets {
		name := t.RevisionName
		if name == "" {
			w.tail, name = true, w.latestReady
		}
		w.split.add(name, int32(*t.Percent))
		w.present = append(w.present, name)
	}
	return plan
}

func (w *world) routed(name string) bool {
	for _, p := range w.present {
		if p == name {
			return true
		}
	}
	return (w.floating || w.tail) && name == w.latest()
}

// route is Knative's Route and the gateways.
func (w *world) route() {
	if w.floating {
		if w.latestReady != "" && w.revisions[w.latestReady].Ready == corev1.ConditionTrue {
			w.served = Split{w.latestReady: 100}
			w.split, w.present = maps.Clone(w.served), []string{w.latestReady}
		}
		return
	}
	for _, name := range w.present {
		if w.revisions[name].Ready != corev1.ConditionTrue {
			return // frozen
		}
	}
	w.served = maps.Clone(w.split)
}

// scale is the autoscaler.
func (w *world) scale() {
	for name, r := range w.revisions {
		wanted := (w.demand*w.served[name] + 99) / 100
		if w.routed(name) {
			wanted = max(wanted, r.floor)
		}
		if r.Ready == corev1.ConditionUnknown {
			wanted = max(wanted, r.initial) // its Deployment was made with as many
		}
		r.Desired = wanted
		if r.Warm > wanted {
			r.Warm = wanted
		}
	}
}

// warm gets one pod of a revision ready.
func (w *world) warm(name string) {
	r := w.revisions[name]
	if r.broken {
		r.Ready = corev1.ConditionFalse
		return
	}
	if r.Warm < r.Desired {
		r.Warm++
	}
	if r.Ready != corev1.ConditionTrue && r.Warm >= min(r.initial, max(1, r.Desired)) && (r.Warm > 0 || r.Desired == 0) {
		r.Ready, r.was = corev1.ConditionTrue, true
	}
	if r.Ready == corev1.ConditionTrue && name > w.latestReady {
		w.latestReady = name
	}
}

func (w *world) settle() Plan {
	var plan Plan
	for range 400 {
		plan = w.reconcile()
		w.route()
		w.scale()
		for name := range w.revisions {
			w.warm(name)
		}
		if plan.Again > 0 {
			w.now = w.now.Add(time.Second * 20)
		}
	}
	return plan
}

// capacityOf is how many replicas a split's revisions have for all of the requests.
func (w *world) capacityOf(s Split) int32 {
	least := int32(1 << 20)
	for name, share := range s {
		least = min(least, w.revisions[name].Warm*100/share)
	}
	return least
}

func (w *world) warmOf(splits ...Split) (warm int32) {
	names := map[string]bool{}
	for _, s := range splits {
		for name := range s {
			names[name] = true
		}
	}
	for name := range names {
		warm += w.revisions[name].Warm
	}
	return warm
}

func isTag(revision, tag string) func(servingv1.TrafficTarget) bool {
	return func(t servingv1.TrafficTarget) bool { return t.RevisionName == revision && t.Tag == tag }
}

func TestFromFirstToSecond(t *testing.T) {
	t.Parallel()
	w := newWorld(8)
	w.deploy(false)
	w.settle()
	if w.status.Phase != v1alpha1.RolloutComplete || !w.floating {
		t.Fatalf("first revision: %+v", w.status)
	}
	w.deploy(false)
	if got := w.revisions["m-00002"].initial; got != 2 {
		t.Errorf("it starts with %d replicas, want 2 of 8", got)
	}
	var percents []int32
	for range 60 {
		w.reconcile()
		if last := len(percents) - 1; last < 0 || percents[last] != w.status.Percent {
			percents = append(percents, w.status.Percent)
		}
		w.route()
		w.scale()
		w.warm("m-00001")
		w.warm("m-00002")
	}
	if w.status.Phase != v1alpha1.RolloutKeepingWarm || w.revisions["m-00001"].Warm != 8 || w.revisions["m-00002"].Warm != 8 {
		t.Errorf("after the rollout: %+v, split %v", w.status, w.split)
	}
	if len(percents) < 4 || percents[len(percents)-1] != 100 {
		t.Errorf("percentages: %v", percents)
	}
	w.spec.Undo = true
	w.reconcile()
	if !maps.Equal(w.split, Split{"m-00001": 100}) {
		t.Errorf("undone, the split is %v", w.split)
	}
	w.settle()
	if w.status.Phase != v1alpha1.RolloutUndone || w.revisions["m-00002"].Warm != 0 {
		t.Errorf("undone: %+v", w.status)
	}
	w.spec.Undo = false
	w.settle()
	if w.status.Phase != v1alpha1.RolloutComplete || w.status.Percent != 100 || w.revisions["m-00001"].Warm != 0 {
		t.Errorf("done again: %+v", w.status)
	}
}

func TestAnySequence(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.SampledFrom([]int32{0, 1, 3, 8, 20}).Draw(t, "demand"))
		*w.spec.StepPercent = rapid.Int32Range(1, 100).Draw(t, "step")
		w.deploy(false)
		w.settle()
		names := func() []string {
			var out []string
			for i := range w.made {
				out = append(out, fmt.Sprintf("m-%05d", i+1))
			}
			return out
		}
		t.Repeat(map[string]func(*rapid.T){
			"deploy": func(t *rapid.T) {
				if w.made == 6 {
					t.Skip("enough")
				}
				w.deploy(rapid.Bool().Draw(t, "broken"))
			},
			"reconcile": func(t *rapid.T) { w.check(t) },
			"route":     func(*rapid.T) { w.route() },
			"scale":     func(*rapid.T) { w.scale() },
			"warm":      func(t *rapid.T) { w.warm(rapid.SampledFrom(names()).Draw(t, "revision")) },
			"wait":      func(*rapid.T) { w.now = w.now.Add(time.Minute) },
			"undo":      func(*rapid.T) { w.spec.Undo = !w.spec.Undo },
			"pause":     func(*rapid.T) { w.spec.Paused = !w.spec.Paused },
			"percent": func(t *rapid.T) {
				w.spec.Percent = nil
				if p := rapid.Int32Range(0, 100).Draw(t, "percent"); p%2 == 0 {
					w.spec.Percent = &p
				}
			},
			"demand": func(t *rapid.T) { w.demand = rapid.Int32Range(0, 20).Draw(t, "demand") },
			"crash": func(t *rapid.T) {
				r := w.revisions[rapid.SampledFrom(names()).Draw(t, "revision")]
				if r.Warm = 0; r.Desired > 0 {
					r.Ready = corev1.ConditionFalse
				}
			},
			"lose the gateways": func(*rapid.T) { w.lost = !w.lost },
			"killed":            func(t *rapid.T) { w.status = nil },
			"":                  func(*rapid.T) {},
		})
		w.spec.Paused, w.spec.Percent, w.lost = false, nil, false
		w.settle()
		w.checkRest(t)
	})
}

// check decides once, and holds what is decided to the rules.
func (w *world) check(t *rapid.T) {
	before, s := maps.Clone(w.split), w.state()
	plan := w.reconcile()
	if b := s.Before; b != nil && b.Phase == v1alpha1.RolloutComplete && b.To.Name() == s.Latest && !s.Spec.Undo && s.Spec.Percent == nil && len(plan.Floors) > 0 {
		t.Fatalf("replicas are kept after the rollout: %v, %+v", plan.Floors, plan.Status)
	}
	if plan.Targets == nil {
		return
	}
	w.checkTargets(t)
	w.checkWarmth(t, before, s, plan.Status.Replicas)
}

// checkTargets checks that nothing freezes the Route.
func (w *world) checkTargets(t *rapid.T) {
	sum := int32(0)
	for name, share := range w.split {
		sum += share
		if w.revisions[name].Ready != corev1.ConditionTrue {
			t.Fatalf("%s is targeted and not ready: %v", name, w.split)
		}
	}
	for _, name := range w.present {
		if w.revisions[name].Ready != corev1.ConditionTrue {
			t.Fatalf("%s is named and not ready", name)
		}
	}
	if sum != 100 {
		t.Fatalf("the shares add up to %d: %v", sum, w.split)
	}
}

// checkWarmth checks that requests move to warm replicas only, c of which they take.
func (w *world) checkWarmth(t *rapid.T, before Split, s State, c int32) {
	readyBefore := true
	for name := range before {
		readyBefore = readyBefore && s.ready(name)
	}
	if maps.Equal(before, w.split) || !readyBefore || c == 0 {
		return
	}
	// The newest revision never gains more than its warm replicas' part.
	if to := w.latest(); w.split[to] > before[to] && len(w.split) > 1 {
		if warm := w.revisions[to].Warm; warm*100 < w.split[to]*min(c, w.warmOf(before, w.split)) {
			t.Fatalf("%s has %d warm replicas, of %d, and is given %d percent: %v to %v", to, warm, c, w.split[to], before, w.split)
		}
	}
	if w.split[w.latest()] == 100 && w.revisions[w.latest()].Warm == 0 && w.warmOf(before) > 0 {
		t.Fatalf("a cold revision is given all requests: before %v", before)
	}
	if was, is := w.capacityOf(before), w.capacityOf(w.split); is < min(c, was) {
		t.Fatalf("the capacity falls from %d to %d of %d: %v to %v", was, is, c, before, w.split)
	}
}

// checkRest checks that a rollout left alone ends.
func (w *world) checkRest(t *rapid.T) {
	to, from := w.revisions[w.latest()], w.revisions[w.status.From.Name()]
	switch {
	case w.spec.Undo && from != nil && from.Ready == corev1.ConditionTrue:
		if w.status.Phase != v1alpha1.RolloutUndone || !maps.Equal(w.split, Split{w.status.From.Name(): 100}) {
			t.Fatalf("not undone: %+v, split %v", w.status, w.split)
		}
	case w.spec.Undo && from != nil:
		if w.status.Phase != v1alpha1.RolloutFailed {
			t.Fatalf("undone from a revision that isn't ready: %+v", w.status)
		}
	case to.Ready == corev1.ConditionTrue:
		if w.status.Phase != v1alpha1.RolloutComplete || !maps.Equal(w.split, Split{w.latest(): 100}) {
			t.Fatalf("not complete: %+v, split %v", w.status, w.split)
		}
	case w.status.Phase == v1alpha1.RolloutComplete && !to.was:
		t.Fatalf("complete, and never ready: %+v", w.status)
	}
	for name, r := range w.revisions {
		if r.floor > 0 {
			t.Fatalf("revision %s is left with a floor of %d: %+v", name, r.floor, w.status)
		}
	}
}

// The replica with which a revision starts is no demand: a Model at zero is rolled out
// without any of the revision before.
func TestInitialReplicasAreNoDemand(t *testing.T) {
	percent, step := int32(100), int32(25)
	row := func(name string) *v1alpha1.RolloutRevision { return &v1alpha1.RolloutRevision{RevisionName: name} }
	ready := Revision{Ready: corev1.ConditionTrue, Initial: 1}
	started := ready
	started.Desired, started.Warm = 1, 1
	s := State{
		Spec:   v1alpha1.RolloutSpec{StepPercent: &step, KeepWarm: &metav1.Duration{Duration: time.Minute}},
		Before: &v1alpha1.RolloutStatus{Phase: v1alpha1.RolloutProgressing, From: row("m-1"), To: row("m-2"), Percent: percent},
		Latest: "m-2", LatestReady: "m-2", Revisions: map[string]Revision{"m-1": ready, "m-2": started},
		Split: Split{"m-2": percent}, Present: []string{"m-1", "m-2"}, Routed: true, Now: time.Unix(1000, 0),
	}
	if plan := Decide(s); plan.Status.Phase != v1alpha1.RolloutComplete || len(plan.Floors) > 0 {
		t.Errorf("%+v with floors %v, want a rollout that is complete and keeps nothing", plan.Status, plan.Floors)
	}
	started.Desired = 3 // by demand
	s.Revisions["m-2"] = started
	if plan := Decide(s); plan.Status.Phase != v1alpha1.RolloutKeepingWarm || plan.Floors["m-1"] != 3 {
		t.Errorf("%+v with floors %v, want what the demand takes kept", plan.Status, plan.Floors)
	}
}

// What the demand calls for counts for the capacity while it is called for. An autoscaler
// that was made to desire it says nothing beyond, and nothing of it is kept.
func TestWhatTheDemandCallsFor(t *testing.T) {
	step := int32(25)
	row := func(name string) *v1alpha1.RolloutRevision { return &v1alpha1.RolloutRevision{RevisionName: name} }
	of := func(kept, held, called, desired int32) Revision {
		return Revision{Ready: corev1.ConditionTrue, Warm: 4, Kept: kept, Held: held, Called: called, Desired: desired}
	}
	s := State{
		Spec: v1alpha1.RolloutSpec{StepPercent: &step, KeepWarm: &metav1.Duration{Duration: time.Minute}},
		Before: &v1alpha1.RolloutStatus{
			Phase: v1alpha1.RolloutProgressing, From: row("m-1"), To: row("m-2"), Percent: 50, Replicas: 4, Since: metav1.NewTime(time.Unix(990, 0)),
		},
		Latest: "m-2", LatestReady: "m-2", Split: Split{"m-1": 50, "m-2": 50}, Present: []string{"m-1", "m-2"}, Now: time.Unix(1000, 0),
	}
	for name, c := range map[string]struct {
		first, second Revision
		replicas      int32
	}{
		"as before":           {of(4, 4, 0, 4), of(3, 3, 0, 3), 4},
		"called for":          {of(4, 4, 6, 4), of(3, 3, 6, 3), 12},
		"and made to":         {of(4, 6, 6, 6), of(3, 6, 6, 6), 12},
		"no more":             {of(4, 6, 0, 6), of(3, 6, 0, 6), 4},
		"no more than it has": {of(4, 4, 0, 4), of(3, 3, 2, 3), 4},
		"asked for by itself": {of(4, 4, 0, 4), of(3, 3, 0, 5), 7},
	} {
		s.Revisions = map[string]Revision{"m-1": c.first, "m-2": c.second}
		if plan := Decide(s); plan.Status.Replicas != c.replicas || plan.Floors["m-1"] != c.replicas {
			t.Errorf("%s: %d replicas and floors %v, want %d", name, plan.Status.Replicas, plan.Floors, c.replicas)
		}
	}
}

// What to do about a revision that fails is what fits what was seen of it.
func TestRemedyIsTold(t *testing.T) {
	t.Parallel()
	const why, remedy = "No node takes a replica", "Ask for less, or add nodes."
	for name, test := range map[string]struct {
		ready  corev1.ConditionStatus
		remedy string
		second bool
		want   string
	}{
		"it waits":          {corev1.ConditionUnknown, remedy, false, `Revision "m-00001" is not ready yet. No node takes a replica. Ask for less, or add nodes.`},
		"it has failed":     {corev1.ConditionFalse, remedy, false, `Revision "m-00001" is not ready: No node takes a replica. Ask for less, or add nodes.`},
		"none is known":     {corev1.ConditionFalse, "", false, `Revision "m-00001" is not ready: No node takes a replica. Change the Model to mend it.`},
		"beside one before": {corev1.ConditionFalse, remedy, true, `Revision "m-00002" is not ready: No node takes a replica. Ask for less, or add nodes. Revision "m-00001" serves meanwhile; set spec.rollout.undo to stay with it.`},
	} {
		w := newWorld(1)
		w.deploy(false)
		if test.second {
			w.settle()
			w.deploy(false)
		}
		s := w.state()
		seen := s.Revisions[s.Latest]
		seen.Ready, seen.Warm, seen.Why, seen.Remedy = test.ready, 0, why, test.remedy
		s.Revisions[s.Latest] = seen
		if got := Decide(s).Status.Message; got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
