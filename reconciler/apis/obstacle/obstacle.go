package obstacle

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// crashes are as many restarts of a container as tell that it won't get ready: one may
	// be bad luck.
	crashes = 2
	// longestMessage bounds what is told, in bytes; longestEnd what of it are a container's
	// last lines.
	longestMessage, longestEnd = 600, 300
)

// Obstacle is what keeps a replica from being ready.
type Obstacle struct {
	// Reason is one word, of those that docs/conditions.md explains.
	Reason string
	// Message is what was seen, and Remedy what to do about it; sentences both.
	Message, Remedy string
	// Pod is the replica that shows it, and Container the one in it; "" where none does.
	Pod, Container string
	// ExitCode is the one that the container ended with; nil if it hasn't.
	ExitCode *int32
	// MayPass is true for what a model shows, too, that has yet to load, or had bad luck.
	MayPass bool
}

// Vague tells whether events may say more of it: what refused an image, or who killed a
// container.
func (o *Obstacle) Vague() bool {
	killed := o.Reason == ContainerExited && o.ExitCode != nil && (*o.ExitCode == 137 || *o.ExitCode == 143)
	return killed || o.Reason == ImagePullFailed
}

// Seen is what was observed of a revision's replicas.
type Seen struct {
	Pods []*corev1.Pod
	// Refusal is why none are made, or no more; empty if they are.
	Refusal Refusal
	// Unscaled is true of one that has no PodAutoscaler.
	Unscaled bool
	// Asked is what more was found out of one that doesn't say itself; nil for nothing.
	Asked *Asked
}

// Refusal is what a condition says of a revision of which there are no replicas: Knative's
// of the revision, which repeats its Deployment's.
type Refusal struct{ Reason, Message string }

// Asked is what was found out about a replica, or about a revision that has none.
type Asked struct {
	// Pod is its name; "" for the revision.
	Pod string
	// Events that speak of it.
	Events []corev1.Event
	// Answer of its port; nil where that wasn't asked.
	Answer *Answer
}

// Of is what keeps a revision's replicas from being ready; nil if nothing is seen that does.
// What one says of itself counts for more than what has to be found out.
func Of(s Seen, now time.Time) *Obstacle {
	pods := slices.Clone(s.Pods)
	slices.SortFunc(pods, ByAge)
	var said *Obstacle
	for _, pod := range pods {
		switch o := OfPod(pod, now); {
		case o == nil:
		case !o.MayPass && !o.Vague():
			return o
		case said == nil:
			said = o
		}
	}
	if o := OfRefusal(s.Refusal); o != nil {
		return o
	}
	if s.Asked != nil {
		if o := s.Asked.obstacle(s, pods, said); o != nil {
			return o
		}
	}
	if said != nil {
		return said
	}
	return ofEnded(pods)
}

// ByAge orders pods, the oldest first.
func ByAge(a, b *corev1.Pod) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// Lives tells whether a pod is, or may become, a replica: a ReplicaSet makes another for
// one that has ended.
func Lives(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded
}

// Ready tells whether a pod serves.
func Ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Starts tells whether a pod is one that isn't ready and doesn't say what for, and since
// when: since its containers run, if they do.
func Starts(pod *corev1.Pod) (since time.Time, running, starts bool) {
	if !Lives(pod) || Ready(pod) {
		return time.Time{}, false, false
	}
	since, running = pod.CreationTimestamp.Time, len(pod.Status.ContainerStatuses) > 0
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running == nil {
			return pod.CreationTimestamp.Time, false, true
		}
		if c.State.Running.StartedAt.After(since) {
			since = c.State.Running.StartedAt.Time
		}
	}
	return since, running, true
}

// FirstUnready is the oldest of those that start; nil if none does.
func FirstUnready(pods []*corev1.Pod) *corev1.Pod {
	var first *corev1.Pod
	for _, pod := range pods {
		if _, _, starts := Starts(pod); starts && (first == nil || ByAge(pod, first) < 0) {
			first = pod
		}
	}
	return first
}

// OfPod is what a pod says itself of what keeps it from being ready; nil if it says
// nothing. A container that ended and runs again counts as long as it hasn't outlived its
// last run; at no time, as long as it doesn't run.
func OfPod(pod *corev1.Pod, now time.Time) *Obstacle {
	if !Lives(pod) || Ready(pod) {
		return nil
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			o := unscheduled(c.Reason, c.Message)
			o.Pod = pod.Name
			return &o
		}
	}
	for _, c := range pod.Status.InitContainerStatuses {
		if c.Ready {
			continue // it has done its work
		}
		if o := ofContainer(pod, c); o != nil {
			return o
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		if c.Ready && !shortLived(c, now) {
			continue
		}
		if o := ofContainer(pod, c); o != nil {
			return o
		}
	}
	return nil
}

// shortLived tells whether a container runs no longer than it did before it ended.
// Knative's containers are ready as soon as they run.
func shortLived(c corev1.ContainerStatus, now time.Time) bool {
	last, run := c.LastTerminationState.Terminated, c.State.Running
	if last == nil || run == nil || now.IsZero() {
		return false
	}
	return now.Sub(run.StartedAt.Time) < 2*last.FinishedAt.Sub(last.StartedAt.Time)+minimalRun
}

// minimalRun is how long one has to run, at least, for its last end to be history.
const minimalRun = 10 * time.Second

// ofEnded is why pods were turned away by their node, where no other is there.
func ofEnded(pods []*corev1.Pod) *Obstacle {
	if slices.ContainsFunc(pods, Lives) {
		return nil
	}
	for _, pod := range slices.Backward(pods) {
		if pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodFailed && pod.Status.Reason != "" {
			o := say(turnedAway, pod.Status.Reason+": "+pod.Status.Message)
			o.Pod, o.Message = pod.Name, "Replica "+pod.Name+" was turned away by its node: "+o.Message
			return &o
		}
	}
	return nil
}

// sentence is a text as one, within its bounds.
func sentence(text string) string {
	text = strings.TrimSpace(strings.Join(strings.Fields(text), " "))
	if len(text) > longestMessage {
		return strings.ToValidUTF8(text[:longestMessage], "") + "…"
	}
	if text != "" && !strings.ContainsAny(text[len(text)-1:], ".!?…") {
		text += "."
	}
	return text
}
