package capacity

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/reconciler/apis/obstacle"
)

// defaultDeadline is Knative's (serving pkg/deployment, ProgressDeadlineDefault).
const defaultDeadline = 10 * time.Minute

// StartsOf reads a revision's pods and its Deployment, nil if it isn't known.
func StartsOf(pods []*corev1.Pod, deployment *appsv1.Deployment) Starts {
	s := Starts{Deadline: defaultDeadline}
	for _, pod := range pods {
		if obstacle.Lives(pod) {
			s.Pods = append(s.Pods, podOf(pod))
		}
	}
	slices.SortFunc(s.Pods, func(a, b Pod) int { return cmp.Or(a.Made.Compare(b.Made), cmp.Compare(a.Name, b.Name)) })
	if deployment == nil {
		return s
	}
	if seconds := deployment.Spec.ProgressDeadlineSeconds; seconds != nil {
		s.Deadline = time.Duration(*seconds) * time.Second
	}
	for _, c := range deployment.Status.Conditions {
		if c.Type != appsv1.DeploymentReplicaFailure || c.Status != corev1.ConditionTrue {
			continue
		}
		if o := obstacle.OfRefusal(obstacle.Refusal{Reason: c.Reason, Message: c.Message}); o != nil {
			s.Refused = told(o, c.LastTransitionTime.Time)
		}
	}
	return s
}

func podOf(pod *corev1.Pod) Pod {
	p := Pod{Name: pod.Name, Made: pod.CreationTimestamp.Time}
	for _, c := range pod.Status.Conditions {
		switch {
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue:
			p.Scheduled = c.LastTransitionTime.Time
		case c.Type == corev1.PodReady:
			p.Ready, p.Since = c.Status == corev1.ConditionTrue, c.LastTransitionTime.Time
		}
	}
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		p.Restarted = p.Restarted || c.RestartCount > 0
	}
	if o := obstacle.OfPod(pod, time.Time{}); o != nil && !o.MayPass {
		p.Obstacle = told(o, p.began())
	}
	return p
}

// told is an obstacle since it was there first.
func told(o *obstacle.Obstacle, since time.Time) *Obstacle {
	return &Obstacle{Reason: o.Reason, Message: o.Message + " " + o.Remedy, Since: since}
}
