// Package stage is what benchmarks set up and take away alike.
package stage

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/test/platform"
)

// ReadyPath is the ranker's own readiness endpoint, and its cheapest answer.
const ReadyPath = "/v2/health/ready"

// Ranker is a container of the ranker's image that asks for so much CPU.
func Ranker(image, cpu string) corev1.Container {
	return corev1.Container{
		Image: image,
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse(cpu),
			corev1.ResourceMemory: resource.MustParse("32Mi"),
		}},
		ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: ReadyPath},
		}},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.Bool(false),
			RunAsNonRoot:             ptr.Bool(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
}

// NoRoutesLeft is met once the gateway has nothing of a namespace to forget any more.
func NoRoutesLeft(clients *platform.Clients, namespace string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		limits, err := clients.Sluice.SluiceV1alpha1().RateLimits(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", fmt.Errorf("listing rate limits: %w", err)
		}
		ingresses, err := clients.Networking.NetworkingV1alpha1().Ingresses(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", fmt.Errorf("listing ingresses: %w", err)
		}
		if r, l := len(ingresses.Items), len(limits.Items); r+l > 0 {
			return fmt.Sprintf("%d routes and %d limits are left", r, l), nil
		}
		return "", nil
	}
}

// IgnoreNotFound is for deletions: what isn't there needs none.
func IgnoreNotFound(err error) error {
	if apierrs.IsNotFound(err) {
		return nil
	}
	return err
}
