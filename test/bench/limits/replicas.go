package main

import (
	"context"
	"encoding/json"
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// scaled is a subject whose limit follows an autoscaler and endpoints.
type scaled struct {
	subject
	// ready and desired are what these say; 0 desired is an autoscaler that hasn't
	// decided yet, which wants what is ready.
	ready, desired int
}

// following is a subject with one ready replica.
func following(s subject, desired int) *scaled {
	s.follows = true
	return &scaled{subject: s, ready: 1, desired: desired}
}

// populate makes what a subject's limit follows, and then the subject.
func (b *bench) populate(ctx context.Context, s *scaled) error {
	if _, err := b.clients.Serving.AutoscalingV1alpha1().PodAutoscalers(namespace).Create(ctx, s.autoscaler(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the autoscaler of %s: %w", s.name, err)
	}
	if s.desired > 0 {
		if err := b.decide(ctx, s, s.desired); err != nil {
			return err
		}
	}
	if _, err := b.clients.Kube.DiscoveryV1().EndpointSlices(namespace).Create(ctx, s.endpoints(s.ready), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the endpoints of %s: %w", s.name, err)
	}
	return b.create(ctx, s.subject)
}

// decide is what an autoscaler does.
func (b *bench) decide(ctx context.Context, s *scaled, desired int) error {
	patch := fmt.Appendf(nil, `{"status": {"desiredScale": %d}}`, desired)
	_, err := b.clients.Serving.AutoscalingV1alpha1().PodAutoscalers(namespace).Patch(
		ctx, s.revision(), types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("deciding the scale of %s: %w", s.name, err)
	}
	s.desired = desired
	return nil
}

// become is what happens when replicas become ready, or go.
func (b *bench) become(ctx context.Context, s *scaled, ready int) error {
	patch, err := json.Marshal(map[string][]discoveryv1.Endpoint{"endpoints": addresses(ready)})
	if err != nil {
		return fmt.Errorf("writing endpoints: %w", err)
	}
	_, err = b.clients.Kube.DiscoveryV1().EndpointSlices(namespace).Patch(
		ctx, s.endpointsName(), types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("changing the endpoints of %s: %w", s.name, err)
	}
	s.ready = ready
	return nil
}
