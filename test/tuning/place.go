package tuning

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/ptr"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/test/platform"
)

const (
	// graceful is Knative's scale-to-zero-grace-period, and a second more.
	graceful = 31 * time.Second
	// RetainedWithin bounds the wait for Retained: that, and the end of the window.
	RetainedWithin = graceful + time.Minute
)

// Place is a Model with one revision.
type Place struct {
	Clients          *platform.Clients
	Namespace, Model string
}

// AsksFor says what is missing until its revision is made to have so many replicas.
func (p Place) AsksFor(ctx context.Context, replicas int32) (string, error) {
	pa, err := p.autoscaler(ctx)
	if err != nil {
		return "", err
	}
	deployment, err := p.Clients.Kube.AppsV1().Deployments(p.Namespace).Get(ctx, pa.Spec.ScaleTargetRef.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("getting the revision's Deployment: %w", err)
	}
	if asked := ptr.Int32Value(deployment.Spec.Replicas); asked != replicas {
		return fmt.Sprintf("%d replicas are asked for, want %d; the autoscaler wants %d", asked, replicas, ptr.Int32Value(pa.Status.DesiredScale)), nil
	}
	return "", nil
}

// autoscaler is that of its first revision.
func (p Place) autoscaler(ctx context.Context) (*autoscalingv1alpha1.PodAutoscaler, error) {
	pa, err := p.Clients.Serving.AutoscalingV1alpha1().PodAutoscalers(p.Namespace).Get(ctx, kmeta.ChildName(p.Model, "-00001"), metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("getting the revision's PodAutoscaler: %w", err)
	}
	return pa, nil
}

// pastTheReplicas says what is missing until requests go to the activator and to no replica.
func (p Place) pastTheReplicas(ctx context.Context) (string, error) {
	pa, err := p.autoscaler(ctx)
	if err != nil {
		return "", err
	}
	routed, err := p.Clients.Kube.DiscoveryV1().EndpointSlices(p.Namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + pa.Status.ServiceName})
	if err != nil {
		return "", fmt.Errorf("listing the revision's endpoints: %w", err)
	}
	pods, err := p.pods(ctx)
	if err != nil {
		return "", err
	}
	replicas := map[string]bool{}
	for i := range pods {
		replicas[pods[i].Status.PodIP] = true
	}
	others := 0
	for _, slice := range routed.Items {
		for _, endpoint := range slice.Endpoints {
			for _, address := range endpoint.Addresses {
				if replicas[address] {
					return "a replica is in the route, at " + address, nil
				}
				others++
			}
		}
	}
	if others == 0 {
		return "nothing is in the route", nil
	}
	return "", nil
}

// Retained says what is missing until nothing but the time for which the last replica is kept
// keeps it.
func (p Place) Retained(ctx context.Context) (string, error) {
	pa, err := p.autoscaler(ctx)
	if err != nil {
		return "", err
	}
	sks, err := p.Clients.Networking.NetworkingV1alpha1().ServerlessServices(p.Namespace).Get(ctx, pa.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("getting the revision's ServerlessService: %w", err)
	}
	if !pa.Status.IsInactive() || sks.Status.ProxyFor() < graceful {
		return fmt.Sprintf("inactive: %t; the activator has been in the path for %s", pa.Status.IsInactive(), sks.Status.ProxyFor()), nil
	}
	return p.AsksFor(ctx, 1)
}

// Standing is what no tuning changes.
type Standing struct {
	// Revisions are the Model's, by name.
	Revisions []string
	// Restarts are how many times each container of its running pods has started anew, by pod.
	Restarts map[string]int32
}

// Standing reads it.
func (p Place) Standing(ctx context.Context) (Standing, error) {
	list, err := p.Clients.Serving.ServingV1().Revisions(p.Namespace).List(ctx, metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=" + p.Model})
	if err != nil {
		return Standing{}, fmt.Errorf("listing revisions: %w", err)
	}
	pods, err := p.pods(ctx)
	if err != nil {
		return Standing{}, err
	}
	s := Standing{Restarts: map[string]int32{}}
	for i := range list.Items {
		s.Revisions = append(s.Revisions, list.Items[i].Name)
	}
	for i := range pods {
		pod := &pods[i]
		if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		s.Restarts[pod.Name] = 0
		for _, container := range pod.Status.ContainerStatuses {
			s.Restarts[pod.Name] += container.RestartCount
		}
	}
	return s, nil
}

// Gone are the pods that aren't there any more, or of which a container has started anew.
func (s Standing) Gone(now Standing) []string {
	var gone []string
	for pod, times := range s.Restarts {
		if after, there := now.Restarts[pod]; !there || after != times {
			gone = append(gone, pod)
		}
	}
	return gone
}

func (p Place) pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := p.Clients.Kube.CoreV1().Pods(p.Namespace).List(ctx, metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=" + p.Model})
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	return list.Items, nil
}
