package limit

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/functions/limit/capacity"
)

// byRevision indexes what a revision is made of by its namespace and name.
const byRevision = "revision"

func indexByRevision() cache.Indexers {
	return cache.Indexers{byRevision: func(object any) ([]string, error) {
		m, err := meta.Accessor(object)
		if err != nil {
			return nil, fmt.Errorf("reading the labels of %T: %w", object, err)
		}
		return []string{m.GetNamespace() + "/" + m.GetLabels()[serving.RevisionLabelKey]}, nil
	}}
}

// starts reads how the replicas of a revision come about.
func (c Caches) starts(namespace, revision string) (capacity.Starts, error) {
	pods, err := c.Pods.ByIndex(byRevision, namespace+"/"+revision)
	if err != nil {
		return capacity.Starts{}, fmt.Errorf("looking up the pods of revision %s/%s: %w", namespace, revision, err)
	}
	deployments, err := c.Deployments.ByIndex(byRevision, namespace+"/"+revision)
	if err != nil {
		return capacity.Starts{}, fmt.Errorf("looking up the Deployment of revision %s/%s: %w", namespace, revision, err)
	}
	typed := make([]*corev1.Pod, 0, len(pods))
	for _, p := range pods {
		if pod, ok := p.(*corev1.Pod); ok {
			typed = append(typed, pod)
		}
	}
	for _, d := range deployments {
		if deployment, ok := d.(*appsv1.Deployment); ok {
			return capacity.StartsOf(typed, deployment), nil
		}
	}
	return capacity.StartsOf(typed, nil), nil
}

// expect tells in the replicas of a state how many of those that are desired can't be
// expected to come. How long those took that came is kept, for when there are none.
func (f *Function) expect(s *state, now time.Time) error {
	known, took := make(map[revisionKey]capacity.Progress, len(f.progress)), make(map[revisionKey]time.Duration, len(f.took))
	for _, l := range s.limits {
		revisions := s.replicas[key(l)]
		for i := range revisions {
			r := &revisions[i]
			k := revisionKey{limit: key(l), revision: r.Revision}
			last, isKnown := f.took[k]
			_, came := f.progress[k]
			starts, coming := s.starts[k]
			if coming {
				known[k] = f.progress[k].Next(*r, now)
				r.Missing, r.Why = starts.Missing(*r, known[k], now)
			} else if r.Ready > 0 && (came || !isKnown) {
				var err error
				if starts, err = f.Caches.starts(l.Namespace, r.Revision); err != nil {
					return err
				}
			}
			if quickest, ok := starts.Quickest(); ok {
				took[k] = quickest
			} else if isKnown {
				took[k] = last
			}
		}
	}
	f.progress, f.took = known, took
	return nil
}

// slimPod keeps of a pod what tells how far its replica is, slimDeployment of a
// Deployment why it can't make more: well below 1 kB each.
func slimPod(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	slim := &corev1.Pod{ObjectMeta: slimMeta(pod.ObjectMeta), Status: corev1.PodStatus{Phase: pod.Status.Phase}}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled || c.Type == corev1.PodReady {
			slim.Status.Conditions = append(slim.Status.Conditions, c)
		}
	}
	slim.Status.InitContainerStatuses = slimContainers(pod.Status.InitContainerStatuses)
	slim.Status.ContainerStatuses = slimContainers(pod.Status.ContainerStatuses)
	return slim, nil
}

func slimContainers(all []corev1.ContainerStatus) []corev1.ContainerStatus {
	var slim []corev1.ContainerStatus
	for _, c := range all {
		kept := corev1.ContainerStatus{Name: c.Name, Ready: c.Ready, RestartCount: c.RestartCount, State: corev1.ContainerState{Waiting: c.State.Waiting}}
		if last := c.LastTerminationState.Terminated; last != nil {
			kept.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: last.ExitCode, Reason: last.Reason}
		}
		slim = append(slim, kept)
	}
	return slim
}

func slimDeployment(object any) (any, error) {
	deployment, ok := object.(*appsv1.Deployment)
	if !ok {
		return object, nil
	}
	slim := &appsv1.Deployment{ObjectMeta: slimMeta(deployment.ObjectMeta)}
	slim.Spec.ProgressDeadlineSeconds = deployment.Spec.ProgressDeadlineSeconds
	for _, c := range deployment.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure {
			slim.Status.Conditions = append(slim.Status.Conditions, c)
		}
	}
	return slim, nil
}

func slimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
		Labels: map[string]string{serving.RevisionLabelKey: m.Labels[serving.RevisionLabelKey]},
	}
}
