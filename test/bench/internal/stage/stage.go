// Package stage is what benchmarks set up and take away alike.
package stage

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	networkingv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
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

// readyWithin bounds the wait for a Model that was just created, its image pulled.
const readyWithin = 2 * time.Minute

// Deploy creates a Model and waits until it is Ready, at a gateway's address.
func Deploy(ctx context.Context, clients *platform.Clients, gateway string, m *v1alpha1.Model) (platform.Endpoint, error) {
	models := clients.Sluice.SluiceV1alpha1().Models(m.Namespace)
	if _, err := models.Create(ctx, m, metav1.CreateOptions{}); err != nil {
		return platform.Endpoint{}, fmt.Errorf("creating Model %s: %w", m.Name, err)
	}
	host, err := Ready(ctx, clients, m.Namespace, m.Name, readyWithin)
	return platform.Endpoint{Address: gateway, Host: host}, err
}

// Ready waits until a Model is Ready, and returns its host.
func Ready(ctx context.Context, clients *platform.Clients, namespace, name string, within time.Duration) (string, error) {
	host := ""
	err := platform.Until(ctx, within, "Model "+name+" to be Ready", func(ctx context.Context) (string, error) {
		m, err := clients.Sluice.SluiceV1alpha1().Models(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting it: %w", err)
		}
		if !m.IsReady() || m.Status.URL == nil {
			return fmt.Sprintf("conditions %v", m.Status.Conditions), nil
		}
		host = m.Status.URL.Host
		return "", nil
	})
	return host, err
}

// ActivatorIn says that the activator is in a revision's path, while it is.
func ActivatorIn(ctx context.Context, clients *platform.Clients, namespace, revision string) (string, error) {
	service, err := clients.Networking.NetworkingV1alpha1().ServerlessServices(namespace).Get(ctx, revision, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("getting serverless service %s: %w", revision, err)
	}
	if !service.Status.GetCondition(networkingv1alpha1.ActivatorEndpointsPopulated).IsFalse() {
		return "the activator is in the path", nil
	}
	return "", nil
}

// Strike removes the Models and Knative Services of a namespace and then it, and waits until it
// is gone: routes go before their pods, which drain.
func Strike(ctx context.Context, clients *platform.Clients, namespace string, within time.Duration) error {
	remove := metav1.DeleteOptions{}
	if err := errors.Join(
		IgnoreNotFound(clients.Sluice.SluiceV1alpha1().Models(namespace).DeleteCollection(ctx, remove, metav1.ListOptions{})),
		IgnoreNotFound(clients.Serving.ServingV1().Services(namespace).DeleteCollection(ctx, remove, metav1.ListOptions{})),
	); err != nil {
		return fmt.Errorf("deleting what is served: %w", err)
	}
	if err := platform.Until(ctx, time.Minute, "routes and limits to go", NoRoutesLeft(clients, namespace)); err != nil {
		return err
	}
	if err := IgnoreNotFound(clients.Kube.CoreV1().Namespaces().Delete(ctx, namespace, remove)); err != nil {
		return fmt.Errorf("deleting namespace %s: %w", namespace, err)
	}
	return platform.Until(ctx, within, "namespace "+namespace+" to go", func(ctx context.Context) (string, error) {
		_, err := clients.Kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		switch {
		case apierrs.IsNotFound(err):
			return "", nil
		case err != nil:
			return "", fmt.Errorf("getting it: %w", err)
		}
		return "it is there", nil
	})
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
