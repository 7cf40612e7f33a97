package rollout

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

// Plan is what to do.
type Plan struct {
	// Pending is true while the newest revision isn't known: everything is left as
	// it is.
	Pending bool
	// Targets are the Knative Service's traffic, every revision by its name; nil leaves
	// it as it is.
	Targets []servingv1.TrafficTarget
	// Floors are the least replicas of revisions.
	Floors map[string]int32
	// FirstStep is how many replicas another revision would have to start with.
	FirstStep int32
	// Status is what to tell; nil while there is nothing to tell of.
	Status *v1alpha1.RolloutStatus
	// Again is after which time to look again though nothing happened; 0 for never.
	Again time.Duration
}

// rollout is a decision under way.
type rollout struct {
	*State
	// from serves, or did before, and to is the newest revision.
	from, to string
	// last is what was told last of a rollout between them; empty if it is a new one.
	last v1alpha1.RolloutStatus
	// replicas that serving all requests takes.
	replicas int32
	// goals are the split that is aimed at, shares the one to ask for now.
	goals, shares Split
}

// Decide makes a plan.
//
// All requests take a number of warm replicas, C: what the serving revision had when
// the rollout began, and what the autoscalers have asked for beyond since. A revision
// that is to get more requests gets no more of them than its warm replicas' part of C;
// what it can't carry yet stays with those that have it, which keep their replicas. So
// the split's capacity, the least of warm replicas over share, stays at C.
func Decide(s State) Plan {
	if s.Latest == "" {
		return Plan{Pending: true, Status: s.Before.DeepCopy()}
	}
	r := s.begin()
	r.goals = r.aim()
	r.replicas = r.capacity()
	stuck := len(r.goals) == 0 || s.waits(r.from)
	if r.shares = s.Split; !stuck {
		r.shares = r.allot()
	}
	status := r.status()
	plan := Plan{Status: status, FirstStep: r.firstStep(), Floors: map[string]int32{}}
	if s.holds(status) || len(r.goals) > 0 && !r.settled() {
		plan.Floors = r.floors()
		status.Replicas = r.replicas
	}
	if !stuck && (!s.Floating || r.from != "" || len(s.Targets) > 0) {
		plan.Targets = r.targets(status, plan.Floors)
	}
	plan.Again = s.rest(status)
	return plan
}

// begin finds the revisions of the rollout. The newest one always is what is rolled
// out; what was under way before is given up, and the revision before that one is
// still the one to go back to.
func (s *State) begin() *rollout {
	before := s.Before
	if before == nil {
		before = &v1alpha1.RolloutStatus{}
	}
	r := &rollout{State: s, to: s.Latest, from: before.From.Name()}
	if r.to != before.To.Name() && done(before.Phase) {
		r.from = before.To.Name()
	}
	if !s.ready(r.from) || r.from == r.to {
		if serving := s.serving(r.to); serving != "" {
			r.from = serving
		}
	}
	if _, exists := s.Revisions[r.from]; !exists || r.from == r.to {
		r.from = ""
	}
	if before.From.Name() == r.from && before.To.Name() == r.to {
		r.last = *before
	}
	return r
}

// done tells whether a rollout in this phase has moved all requests.
func done(p v1alpha1.RolloutPhase) bool {
	return p == v1alpha1.RolloutKeepingWarm || p == v1alpha1.RolloutComplete
}

// aim is the split that is asked for, as far as there are ready revisions for it: none
// where neither revision of the rollout is ready. A newest revision that fails once its
// rollout is over is not given up for one that has gone cold.
func (r *rollout) aim() Split {
	goals, rest := Split{}, int32(100)
	for _, t := range r.Targets {
		if t.Percent != nil && r.ready(t.RevisionName) {
			goals.add(t.RevisionName, *t.Percent)
			rest -= *t.Percent
		}
	}
	switch {
	case r.ready(r.to) && r.ready(r.from):
		to := min(r.wanted(goals[r.to]), rest)
		goals.add(r.to, to)
		goals.add(r.from, rest-to)
	case r.ready(r.to):
		goals.add(r.to, rest)
	case r.ready(r.from) && (r.undoes(r.from) || slices.Contains(r.Present, r.from)):
		goals.add(r.from, rest)
	default:
		return nil
	}
	return goals
}

// wanted is the percentage of the newest revision, besides one that is its own
// whatever becomes of the rollout.
func (r *rollout) wanted(own int32) int32 {
	switch {
	case r.undoes(r.from):
		return 0
	case r.Spec.Paused:
		return max(0, r.Split[r.to]-own)
	case r.Spec.Percent != nil:
		return *r.Spec.Percent
	}
	return 100
}

// settled is true when the gateways serve the split that is aimed at, or did: what
// befalls them later is no new rollout.
func (r *rollout) settled() bool {
	rested := r.last.Phase != "" && !moves(r.last.Phase)
	return maps.Equal(r.Split, r.goals) && (r.Routed || rested)
}

// waits is true while the last split is on its way to the gateways: Routes that change
// faster than they are served would never be. Only a revision that has to go, or
// going back, doesn't wait.
func (s *State) waits(from string) bool {
	return !s.Routed && len(s.Split) > 0 && !s.undoes(from) &&
		!slices.ContainsFunc(s.Present, func(name string) bool { return !s.ready(name) })
}

// allot is the split to ask for now.
func (r *rollout) allot() Split {
	if maps.Equal(r.Split, r.goals) {
		return r.goals
	}
	shares, left := Split{}, int32(100)
	for name, goal := range r.goals {
		shares.add(name, min(goal, r.carries(name)))
		left -= shares[name]
	}
	// What nobody is warm for yet stays with those that are to lose it.
	for _, name := range r.names() {
		if shares[name] == r.goals[name] && r.ready(name) {
			more := min(left, max(r.Split[name], r.carries(name))-shares[name])
			shares.add(name, more)
			left -= max(0, more)
		}
	}
	heir := r.to
	if r.ready(r.from) {
		heir = r.from
	}
	shares.add(heir, left)
	return shares
}

// inOrder are the names, those with a share of their own first: where the callers of a
// split are told apart, a revision keeps its own as long as what stands before it keeps
// its percentage.
func (r *rollout) inOrder() []string {
	var chosen []string
	for _, t := range r.Targets {
		if t.RevisionName != "" && t.Percent != nil && *t.Percent > 0 && !slices.Contains(chosen, t.RevisionName) {
			chosen = append(chosen, t.RevisionName)
		}
	}
	return append(chosen, slices.DeleteFunc(r.names(), func(name string) bool { return slices.Contains(chosen, name) })...)
}

// names are the revisions that are to have requests, or have them: the one that
// served before, then the newest, then the others.
func (r *rollout) names() []string {
	others := slices.Concat(slices.Collect(maps.Keys(r.Split)), slices.Collect(maps.Keys(r.goals)))
	others = slices.DeleteFunc(others, func(name string) bool { return name == r.from || name == r.to })
	slices.Sort(others)
	names := slices.Concat([]string{r.from, r.to}, slices.Compact(others))
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// carries is the percentage of the requests that a revision's warm replicas are for:
// all of them where no replica is needed, as with a Model at zero.
func (r *rollout) carries(name string) int32 {
	if r.replicas == 0 {
		return 100
	}
	var warm int32
	for _, name := range r.names() {
		if r.ready(name) {
			warm += r.Revisions[name].Warm
		}
	}
	capacity := min(r.replicas, warm)
	if capacity == 0 {
		return 0
	}
	return min(100, r.Revisions[name].Warm*100/capacity)
}

// capacity is how many replicas serving all requests takes. While replicas are held,
// an autoscaler that asks for no more than it is made to says nothing, so what was
// found before stands, and what the demand calls for; one that asks for more is believed,
// unless its revision is on its way out and may just have been made to.
func (r *rollout) capacity() int32 {
	replicas := r.desired()
	if r.Before != nil && r.holds(r.Before) {
		replicas = r.Before.Replicas
		r.shares, r.replicas = r.Split, replicas
		floors, asked := r.floors(), int32(0)
		for name, share := range r.Split {
			made := max(floors[name], r.MinReplicas, r.Revisions[name].Held)
			if name == r.to {
				made = max(made, r.Revisions[name].Initial)
			}
			if d := r.Revisions[name].Desired; r.stays(name) && d > made {
				asked += d * 100
			} else {
				asked += max(share*replicas, r.Revisions[name].Called*100)
			}
		}
		replicas = max(replicas, ceil(asked))
	}
	if most := r.Revisions[r.to].Max; most > 0 {
		replicas = min(replicas, most)
	}
	return replicas
}

// desired is what the autoscalers ask for, none of them made to: together, but no more
// than the one that asks for most would for all requests.
func (r *rollout) desired() int32 {
	var sum, most int32
	for name, share := range r.Split {
		d := r.Revisions[name].Desired
		sum, most = sum+d, max(most, (d*100+share-1)/share)
	}
	return min(sum, most)
}

// stays is true for a revision that requests go on to, or may come back to.
func (r *rollout) stays(name string) bool { return name == r.from || r.goals[name] > 0 }

// floors are the least replicas that revisions are to have: those for their share, for
// the next step of one that is to get more, and for all requests where they would
// come back to the revision from before. They don't fall in the middle of a rollout:
// until its autoscaler has followed, it would seem to ask for more by itself.
func (r *rollout) floors() map[string]int32 {
	floors, step := map[string]int32{}, *r.Spec.StepPercent
	for _, name := range r.names() {
		share, goal := r.shares[name], r.goals[name]
		if name == r.to && !r.ready(name) {
			goal = min(r.wanted(0), 100)
		}
		percent := max(share, min(goal, share+step))
		if name == r.from {
			percent = 100
		}
		floor := ceil(r.replicas * percent)
		if r.stays(name) && r.last.Phase != "" {
			floor = max(floor, r.Revisions[name].Kept)
		}
		if floor > 0 {
			floors[name] = floor
		}
	}
	return floors
}

func (r *rollout) firstStep() int32 {
	if r.Spec.Undo || r.Spec.Paused {
		return 0
	}
	percent := *r.Spec.StepPercent
	if r.Spec.Percent != nil {
		percent = min(percent, *r.Spec.Percent)
	}
	return ceil(r.replicas * percent)
}

// ceil is how many replicas a number of hundredths takes.
func ceil(hundredths int32) int32 { return (hundredths + 99) / 100 }

// targets names every ready revision that has requests, or must not lose its replicas:
// Knative ignores the least scale of one that no Route names.
func (r *rollout) targets(status *v1alpha1.RolloutStatus, floors map[string]int32) []servingv1.TrafficTarget {
	var targets []servingv1.TrafficTarget
	for _, name := range r.inOrder() {
		newest := name == r.to && status.Phase != v1alpha1.RolloutUndone
		if r.ready(name) && (r.shares[name] > 0 || floors[name] > 0 || newest) {
			targets = append(targets, resources.Named(name, r.shares[name], ""))
		}
	}
	for _, t := range r.Targets {
		if name := r.meant(t); t.Tag != "" && r.ready(name) {
			targets = append(targets, resources.Named(name, 0, t.Tag))
		}
	}
	if !r.ready(r.to) && !r.undoes(r.from) && r.ready(r.LatestReady) {
		targets = append(targets, resources.Newest())
	}
	return targets
}

// meant is the revision that a target of the Model means.
func (r *rollout) meant(t v1alpha1.TrafficTarget) string {
	if t.LatestRevision != nil && *t.LatestRevision {
		return r.to
	}
	return t.RevisionName
}

// status tells of the plan.
func (r *rollout) status() *v1alpha1.RolloutStatus {
	status := &v1alpha1.RolloutStatus{
		Phase: r.phase(), From: r.row(r.from), To: r.row(r.to), Percent: r.shares[r.to],
		Since: metav1.NewTime(r.Now.Truncate(time.Second)),
	}
	status.Reason, status.Message = r.explain(status.Phase)
	if r.last.Phase == status.Phase && r.last.Percent == status.Percent {
		status.Since = r.last.Since
	}
	return status
}

func (r *rollout) row(name string) *v1alpha1.RolloutRevision {
	if name == "" {
		return nil
	}
	return &v1alpha1.RolloutRevision{RevisionName: name, Desired: r.Revisions[name].Desired, Warm: r.Revisions[name].Warm}
}

func (r *rollout) phase() v1alpha1.RolloutPhase {
	switch {
	case len(r.goals) == 0 && done(r.last.Phase):
		return r.keeping() // a revision that fails once it serves is no rollout
	case r.undoes(r.from) && r.ready(r.from) && r.settled():
		return v1alpha1.RolloutUndone
	case r.undoes(r.from) && r.Revisions[r.from].Ready == corev1.ConditionFalse:
		return v1alpha1.RolloutFailed
	case r.undoes(r.from):
		return v1alpha1.RolloutUndoing
	case r.Revisions[r.to].Ready == corev1.ConditionFalse:
		return v1alpha1.RolloutFailed
	case !r.ready(r.to):
		return v1alpha1.RolloutProgressing
	case r.settled() && r.wanted(0) < 100 && r.heldBack():
		return v1alpha1.RolloutPaused
	case r.settled():
		return r.keeping()
	case r.Spec.Paused:
		return v1alpha1.RolloutPaused
	}
	return v1alpha1.RolloutProgressing
}

// heldBack is true if the revision from before is to go on serving beside the newest
// one.
func (r *rollout) heldBack() bool {
	own := int32(0)
	for _, t := range r.Targets {
		if t.Percent != nil && t.RevisionName == r.from {
			own += *t.Percent
		}
	}
	return r.ready(r.from) && r.goals[r.from] > own
}

// keeping tells whether the revision from before is still to be kept warm. That begins
// when all requests have moved, and ends for good.
func (r *rollout) keeping() v1alpha1.RolloutPhase {
	switch {
	case r.from == "", r.replicas == 0, r.Spec.KeepWarm.Duration == 0,
		r.last.Phase == v1alpha1.RolloutComplete,
		r.last.Phase == v1alpha1.RolloutKeepingWarm && r.rest(&r.last) == 0:
		return v1alpha1.RolloutComplete
	}
	return v1alpha1.RolloutKeepingWarm
}
