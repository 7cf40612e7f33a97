package model

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	servingapi "knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/model/rollout"
)

// crashes is how often a container has to have ended for it to be taken for one that
// doesn't start: once may be bad luck.
const crashes = 2

// withCrash has a revision that isn't ready yet be one that fails, as long as a container
// of it ends again and again. Knative looks at a revision's pods when its Deployment
// changes, which a container's end is not, and then at its progress deadline.
func (r *Reconciler) withCrash(seen rollout.Revision, namespace, name string) (rollout.Revision, error) {
	if seen.Ready != corev1.ConditionUnknown || seen.Warm > 0 {
		return seen, nil
	}
	pods, err := r.pods.Pods(namespace).List(labels.SelectorFromSet(labels.Set{servingapi.RevisionLabelKey: name}))
	if err != nil {
		return seen, fmt.Errorf("listing its replicas: %w", err)
	}
	pods = slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return crashing(p) == nil })
	if len(pods) == 0 {
		return seen, nil
	}
	first := slices.MinFunc(pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	end := crashing(first)
	seen.Ready = corev1.ConditionFalse
	seen.Why = fmt.Sprintf("Container %s of replica %s ends again and again, with exit code %d: see its log.",
		end.Name, first.Name, end.LastTerminationState.Terminated.ExitCode)
	return seen, nil
}

// crashing is the container of a pod that ends again and again, nil if none does.
func crashing(pod *corev1.Pod) *corev1.ContainerStatus {
	if pod.DeletionTimestamp != nil {
		return nil
	}
	for i := range pod.Status.ContainerStatuses {
		if c := &pod.Status.ContainerStatuses[i]; c.RestartCount >= crashes && !c.Ready && c.LastTerminationState.Terminated != nil {
			return c
		}
	}
	return nil
}
