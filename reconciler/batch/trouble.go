package batch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/obstacle"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

const (
	// lookAgain is when a run is looked at again that waits for what nothing may tell of.
	lookAgain = 10 * time.Second
	// startsFor is how long a pod may start before its events are asked for, inquiriesAtOnce
	// how many are a second.
	startsFor       = 4 * time.Second
	inquiriesAtOnce = 5
)

// follow says whether a Job's pods work, or what keeps them from it.
func (r *Reconciler) follow(ctx context.Context, p *pass, job *batchv1.Job, pods []*corev1.Pod) error {
	if slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return obstacle.Lives(pod) && obstacle.Ready(pod) }) {
		r.gaps.end(p.UID)
		switch {
		case !p.Status.IsPlanned():
			p.Status.MarkPlanning()
		case p.starves:
			p.Status.MarkNoSlack()
		default:
			p.Status.MarkRunning()
		}
		return nil
	}
	r.later(p.Batch, lookAgain)
	// That a container has ended is told before its pod is said to have.
	pods = slices.DeleteFunc(slices.Clone(pods), endedWell)
	found, known, err := r.troubles.of(ctx, job, pods)
	if err != nil || !known {
		return err // what was said last stands
	}
	switch failed, has := lastFailure(pods); {
	case found != nil:
		p.Status.MarkHeld(found.Reason, found.Message+" "+remedyOf(found))
	case has && failed.report.Reason != task.Interrupted && !slices.ContainsFunc(pods, obstacle.Lives):
		p.Status.MarkHeld(failed.reason(), failed.sentence()+" It is tried again on its own.")
	case p.Status.IsAsking() && r.gaps.lasts(p.UID, r.Now()) < unknownFor:
		// Workers that end together are followed by others at once: it would be said and taken back
		// with every few shards.
		p.Status.MarkRunning()
	default:
		p.Status.MarkStarting()
	}
	return nil
}

// endedWell is true of a pod whose worker has reached its end.
func endedWell(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Terminated != nil && c.State.Terminated.ExitCode == 0
	})
}

// troubles find out what keeps pods from starting.
type troubles struct {
	kube   kubernetes.Interface
	clock  clock.PassiveClock
	budget flowcontrol.PassiveRateLimiter
}

func newTroubles(kube kubernetes.Interface, c clock.PassiveClock) *troubles {
	return &troubles{kube: kube, clock: c, budget: flowcontrol.NewTokenBucketPassiveRateLimiter(inquiriesAtOnce, 2*inquiriesAtOnce)}
}

// of is what keeps a Job's pods from starting; nil for nothing, and not known where it is too
// early, or too much was asked, to tell.
func (t *troubles) of(ctx context.Context, job *batchv1.Job, pods []*corev1.Pod) (found *obstacle.Obstacle, known bool, err error) {
	seen := obstacle.Seen{Pods: pods}
	if found = obstacle.Of(seen, t.clock.Now()); found != nil && !found.Vague() {
		return inWords(found), true, nil
	}
	object, since := job.UID, job.CreationTimestamp.Time
	pod := obstacle.FirstUnready(pods)
	if pod != nil {
		object, since = pod.UID, pod.CreationTimestamp.Time
	}
	switch {
	case t.clock.Since(since) < startsFor:
		return inWords(found), true, nil
	case !t.budget.TryAccept():
		return nil, false, nil
	}
	list, err := t.kube.CoreV1().Events(job.Namespace).List(ctx, obstacle.EventsOf(object))
	if err != nil {
		return nil, false, fmt.Errorf("listing events: %w", err)
	}
	events := list.Items
	if pod != nil {
		seen.Asked = &obstacle.Asked{Pod: pod.Name, Events: events}
	} else {
		seen.Refusal = refusal(events)
	}
	return inWords(obstacle.Of(seen, t.clock.Now())), true, nil
}

// refusal is why a Job's pods aren't made, which its events alone say. One that was made
// since takes it back.
func refusal(events []corev1.Event) obstacle.Refusal {
	latest := slices.SortedFunc(slices.Values(events), func(a, b corev1.Event) int { return obstacle.When(b).Compare(obstacle.When(a)) })
	for _, e := range latest {
		switch e.Reason {
		case "FailedCreate":
			return obstacle.Refusal{Reason: e.Reason, Message: strings.TrimPrefix(e.Message, "Error creating: ")}
		case "SuccessfulCreate", "Resumed":
			return obstacle.Refusal{}
		}
	}
	return obstacle.Refusal{}
}

// inWords has an obstacle speak of pods: a replica is a Model's.
func inWords(o *obstacle.Obstacle) *obstacle.Obstacle {
	if o == nil {
		return nil
	}
	out := *o
	out.Message = ofPods.Replace(o.Message)
	return &out
}

var ofPods = strings.NewReplacer("No replica ", "No pod ", "Replica ", "Pod ", " replica ", " pod ", " a replica:", " a pod:")

// slim keeps of a run's pod what tells how far it is, and of a namespace whether it goes.
func slim(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Pod:
		o.ManagedFields, o.Annotations = nil, nil
		containers := make([]corev1.Container, len(o.Spec.Containers))
		for i, c := range o.Spec.Containers {
			containers[i].Name = c.Name
		}
		o.Spec = corev1.PodSpec{Containers: containers}
	case *batchv1.Job:
		o.ManagedFields = nil
	case *corev1.Namespace:
		o.ManagedFields, o.Annotations, o.Labels = nil, nil, nil
	}
	return object, nil
}

// batchOf is the name of the Batch whose run an object is part of; "" for none.
func batchOf(object metav1.Object) string { return object.GetLabels()[sluice.BatchLabelKey] }
