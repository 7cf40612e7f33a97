package capacity

import (
	"fmt"
	"slices"
	"time"
)

const (
	// hopeless is how long a replica may be held up that says by what.
	hopeless = 30 * time.Second
	// unsaid is the least that one may take to start that says nothing: its node may
	// have to pull what others have.
	unsaid = 2 * time.Minute
	// startsVary is by how much longer a start may take than those before it.
	startsVary = 3
)

// Starts is what is known of a revision's replicas that its autoscaler wants.
type Starts struct {
	// Pods are those of its replicas, ready or not, but none that is leaving.
	Pods []Pod
	// Refused is why no more of them can be made, nil if they can.
	Refused *Obstacle
	// Deadline is the longest that a start may take: Knative's progress deadline.
	Deadline time.Duration
}

// Pod is a replica.
type Pod struct {
	Name string
	// Made is when it was asked for, Scheduled when it got a node: zero without one.
	Made, Scheduled time.Time
	// Ready is true if it serves. Since is when it began or ceased to, or zero if it
	// never has.
	Ready bool
	Since time.Time
	// Restarted is true once a container of it was started again: when it began to serve then
	// tells nothing of how long its start took.
	Restarted bool
	// Obstacle is what holds it up, nil if it says nothing.
	Obstacle *Obstacle
}

// Obstacle is what keeps a replica from coming.
type Obstacle struct {
	// Reason is one word, Message says more.
	Reason, Message string
	// Since is when it was there first.
	Since time.Time
}

// Progress is when a revision last got closer to the replicas that are desired. The
// zero value is of one that has them.
type Progress struct {
	ready int32
	at    time.Time
}

// Next is the progress of a revision as it is now.
func (p Progress) Next(r Replicas, now time.Time) Progress {
	switch {
	case r.Ready >= r.Desired:
		return Progress{}
	case p.at.IsZero() || r.Ready > p.ready:
		return Progress{ready: r.Ready, at: now}
	}
	return p
}

// Missing tells of the replicas that are desired and not ready how many can't be
// expected to come any more, and why.
//
// One is expected for as long as starts took until now, and somewhat longer; one that
// says what holds it up for a short time only. When one is known not to come, neither
// is another that is held up, or begins after it, until it is there. Whatever the pods say, there has
// to be some progress within the deadline.
func (s Starts) Missing(r Replicas, p Progress, now time.Time) (int32, Obstacle) {
	short := r.Desired - r.Ready
	if short <= 0 {
		return 0, Obstacle{}
	}
	if !p.at.IsZero() && now.Sub(p.at) >= s.Deadline {
		return short, s.stalled(p)
	}
	found, why := s.firstStuck()
	if found.IsZero() || now.Before(found) {
		return 0, Obstacle{}
	}
	missing := max(0, r.Desired-int32(len(s.Pods))) // nothing is there of these
	for _, pod := range s.Pods {
		late := !now.Before(s.until(pod))
		if !pod.Ready && (late || pod.Obstacle != nil || pod.began().After(found)) {
			missing++
		}
	}
	return min(short, missing), why
}

// firstStuck is when the first replica is known not to come, and why; zero for never.
func (s Starts) firstStuck() (at time.Time, why Obstacle) {
	if s.Refused != nil {
		at, why = s.Refused.Since.Add(hopeless), *s.Refused
	}
	for _, pod := range s.Pods {
		if pod.Ready {
			continue
		}
		if until := s.until(pod); at.IsZero() || until.Before(at) {
			at, why = until, pod.obstacle()
		}
	}
	return at, why
}

// until is how long a replica that isn't ready is expected.
func (s Starts) until(pod Pod) time.Time {
	patience := s.Deadline
	switch usual, known := s.usual(Pod.starting); {
	case pod.Scheduled.IsZero():
		scheduling, _ := s.usual(Pod.scheduling)
		patience = max(hopeless, startsVary*scheduling)
	case pod.Obstacle != nil:
		patience = hopeless
	case known:
		patience = max(unsaid, startsVary*usual)
	}
	return pod.began().Add(min(patience, s.Deadline))
}

// Quickest is the least time that a replica that is ready took to start, from when it was asked
// for; false if none is known. One that ceased to be ready and is again seems to have taken
// longer than it did, and none has taken longer than the deadline.
func (s Starts) Quickest() (took time.Duration, known bool) {
	for _, pod := range s.Pods {
		if !pod.Ready || pod.Restarted {
			continue
		}
		if of := pod.scheduling() + pod.starting(); of <= s.Deadline && (!known || of < took) {
			took, known = of, true
		}
	}
	return took, known
}

// usual is what a part of their starts took most of the replicas that are ready; false
// if none is.
func (s Starts) usual(of func(Pod) time.Duration) (time.Duration, bool) {
	var took []time.Duration
	for _, pod := range s.Pods {
		if pod.Ready {
			took = append(took, of(pod))
		}
	}
	if len(took) == 0 {
		return 0, false
	}
	slices.Sort(took)
	return took[len(took)/2], true
}

// stalled is why replicas are given up at the deadline.
func (s Starts) stalled(p Progress) Obstacle {
	if at, why := s.firstStuck(); !at.IsZero() && why.Reason != notReady {
		return why
	}
	return Obstacle{
		Reason: "ProgressDeadlineExceeded", Since: p.at,
		Message: fmt.Sprintf("no replica became ready within the progress deadline of %s", s.Deadline),
	}
}

// scheduling is how long the pod of a ready replica waited for its node, and starting
// how long it took from there.
func (p Pod) scheduling() time.Duration { return max(0, p.Scheduled.Sub(p.Made)) }
func (p Pod) starting() time.Duration   { return max(0, p.Since.Sub(p.Scheduled)) }

// began is when the start began that the replica is in: it may have served before.
func (p Pod) began() time.Time {
	return slices.MaxFunc([]time.Time{p.Made, p.Scheduled, p.Since}, time.Time.Compare)
}

// notReady is the reason of a replica that doesn't say what holds it up.
const notReady = "NotReady"

func (p Pod) obstacle() Obstacle {
	if p.Obstacle != nil {
		return *p.Obstacle
	}
	return Obstacle{
		Reason: notReady, Since: p.began(),
		Message: fmt.Sprintf("replica %s began to start at %s and isn't ready", p.Name, p.began().UTC().Format(time.RFC3339)),
	}
}
