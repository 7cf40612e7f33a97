package usage

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/functions/usage/account"
	"sluice.dev/sluice/functions/usage/split"
	"sluice.dev/sluice/reconciler/apis/warmup"
)

// mostChanges bounds what is kept of how a replica came along.
const mostChanges = 32

// extended are the requests of resources beyond Kubernetes' own: those of devices.
func extended(of corev1.ResourceRequirements) corev1.ResourceList {
	var devices corev1.ResourceList
	for _, list := range []corev1.ResourceList{of.Limits, of.Requests} { // a request is the limit where only that is said
		for name, quantity := range list {
			if domain, _, ok := strings.Cut(string(name), "/"); !ok || domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") {
				continue
			}
			if devices == nil {
				devices = corev1.ResourceList{}
			}
			devices[name] = quantity
		}
	}
	return devices
}

// replicaOf is what a pod says of itself.
func replicaOf(pod *corev1.Pod, changes []split.Change) account.Replica {
	r := account.Replica{
		UID: pod.UID, Name: pod.Name, Revision: pod.Labels[serving.RevisionLabelKey],
		Began: scheduled(pod), Devices: map[string]int64{}, Changes: changes,
	}
	for _, c := range pod.Spec.Containers {
		for name, quantity := range c.Resources.Requests {
			r.Devices[string(name)] += quantity.Value()
		}
	}
	return r
}

// scheduled is when a pod got its node, zero if it has none.
func scheduled(pod *corev1.Pod) time.Time {
	if pod.Spec.NodeName == "" {
		return time.Time{}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return pod.CreationTimestamp.Time
}

// ended is when the last container of a pod ended, now where that isn't said of all.
func ended(pod *corev1.Pod, now time.Time) time.Time {
	var last time.Time
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Terminated == nil {
			return now
		}
		if at := c.State.Terminated.FinishedAt.Time; at.After(last) {
			last = at
		}
	}
	if last.IsZero() || last.After(now) {
		return now
	}
	return last
}

// readiness is whether a pod is ready, and since when it is as it is.
func readiness(pod *corev1.Pod) (ready bool, since time.Time) {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue, c.LastTransitionTime.Time
		}
	}
	return false, time.Time{}
}

// told is what a replica's warm-up says, where it has one and could be asked.
type told struct {
	state warmup.State
	// lasted is how long the warm-up took, where it is over.
	lasted time.Duration
}

// noted are a replica's changes with what is known of it now. One that ends still serves what it has.
func noted(changes []split.Change, pod *corev1.Pod, t told, now time.Time) []split.Change {
	last := split.ColdStart
	if len(changes) > 0 {
		last = changes[len(changes)-1].Phase
	}
	ready, since := readiness(pod)
	switch {
	case ready && last == split.Ready || !ready && pod.DeletionTimestamp != nil:
		return changes
	case ready && last == split.ColdStart && t.lasted > 0:
		changes = changed(changes, split.WarmUp, since.Add(-t.lasted), now)
		return changed(changes, split.Ready, since, now)
	case ready:
		return changed(changes, split.Ready, since, now)
	case last == split.Ready:
		return changed(changes, split.ColdStart, since, now)
	case t.state == warmup.Warming && last == split.ColdStart:
		return changed(changes, split.WarmUp, now, now)
	case t.state == warmup.Waiting && last == split.WarmUp:
		return changed(changes, split.ColdStart, now, now)
	}
	return changes
}

// changed are changes with one more. Kubernetes says seconds alone: one that would come before the
// last is of now.
func changed(changes []split.Change, to split.Phase, at, now time.Time) []split.Change {
	if last := len(changes) - 1; at.After(now) || last >= 0 && at.Before(changes[last].At) {
		at = now
	}
	changes = append(changes, split.Change{At: at, Phase: to})
	if over := len(changes) - mostChanges; over > 0 {
		changes = slices.Delete(changes, 0, over)
	}
	return changes
}
