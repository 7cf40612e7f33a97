package resources

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Gateway is what runs of a gateway.
type Gateway struct {
	Name string
	// Deployment is nil where there is none.
	Deployment *appsv1.Deployment
	Pods       []*corev1.Pod
}

// Ready is how many of its pods are.
func (g Gateway) Ready() int32 {
	if g.Deployment == nil {
		return 0
	}
	return g.Deployment.Status.ReadyReplicas
}

// Unready says what is missing to so many ready pods, and whether that needs a
// person to act; empty where nothing is missing.
func (g Gateway) Unready(pods int32) (message string, broken bool) {
	if why := g.brokenPods(); g.Ready() < pods && len(why) > 0 {
		return fmt.Sprintf("Gateway %s has %d of %d pods ready: %s.", g.Name, g.Ready(), pods, strings.TrimRight(strings.Join(why, "; "), ".")), true
	}
	switch d := g.Deployment; {
	case d == nil:
		return fmt.Sprintf("Waiting for gateway %s to be built; its pods are started once its limits' slots are there.", g.Name), false
	case d.Status.ObservedGeneration != d.Generation:
		return fmt.Sprintf("Waiting for the latest change of gateway %s to be rolled out.", g.Name), false
	case g.Ready() < pods:
		return fmt.Sprintf("Waiting for the pods of gateway %s: %d of %d are ready.", g.Name, g.Ready(), pods), false
	}
	return "", false
}

// brokenPods says why pods don't come up, each reason once, the first few of them.
func (g Gateway) brokenPods() []string {
	var why []string
	if g.Deployment != nil {
		for _, c := range g.Deployment.Status.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
				why = append(why, c.Reason+": "+c.Message)
			}
		}
	}
	for _, pod := range g.Pods {
		why = append(why, podProblems(pod)...)
	}
	for i := range why {
		why[i] = strings.TrimSuffix(why[i], ".")
	}
	slices.Sort(why)
	why = slices.Compact(why)
	return why[:min(shown, len(why))]
}

// underway are reasons for which a container waits that pass by themselves.
var underway = []string{"", "PodInitializing", "ContainerCreating"}

func podProblems(pod *corev1.Pod) []string {
	var why []string
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			why = append(why, c.Reason+": "+c.Message)
		}
	}
	for _, c := range append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...) {
		if w := c.State.Waiting; w != nil && !slices.Contains(underway, w.Reason) {
			why = append(why, strings.TrimSuffix(w.Reason+": "+w.Message, ": "))
		}
	}
	return why
}
