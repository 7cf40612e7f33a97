package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/platform"
)

// own lists what carries the benchmark's label.
var own = metav1.ListOptions{LabelSelector: labels.SelectorFromSet(ownLabels).String()}

// addressOf waits for the address, with port 80, that a Service of the gateways'
// namespace was given.
func (b *bench) addressOf(ctx context.Context, service string) (string, error) {
	var address string
	err := platform.Until(ctx, 30*time.Second, "an address of service "+service, func(ctx context.Context) (string, error) {
		got, err := b.clients.Kube.CoreV1().Services(gateway.Namespace).Get(ctx, service, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting service %s: %w", service, err)
		}
		for _, ingress := range got.Status.LoadBalancer.Ingress {
			if ip, err := netip.ParseAddr(ingress.IP); err == nil {
				address = netip.AddrPortFrom(ip, 80).String()
				return "", nil
			}
		}
		return "its status names none", nil
	})
	return address, err
}

// clean removes all that the benchmark makes, whoever left it, and waits until it
// is gone. Routes go first: of a namespace that is deleted as a whole they go only
// after its pods, which drain.
func (b *bench) clean(ctx context.Context) error {
	if err := b.deleteHandMade(ctx); err != nil {
		return err
	}
	if err := b.deleteRoutes(ctx); err != nil {
		return err
	}
	if err := b.removeFlood(ctx); err != nil {
		return err
	}
	err := b.clients.Kube.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
	if stage.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting namespace %s: %w", namespace, err)
	}
	return platform.Until(ctx, cleanWithin, "namespace "+namespace+" and the tenants to go", b.stageLeft)
}

// deleteRoutes removes what is served, Models and all, and asks the tenants to go.
func (b *bench) deleteRoutes(ctx context.Context) error {
	if err := b.deleteOwners(ctx); err != nil {
		return err
	}
	return platform.Until(ctx, time.Minute, "routes and limits to go", stage.NoRoutesLeft(b.clients, namespace))
}

// deleteOwners deletes what others make objects of.
func (b *bench) deleteOwners(ctx context.Context) error {
	remove := metav1.DeleteOptions{}
	return errors.Join(
		stage.IgnoreNotFound(b.clients.Sluice.SluiceV1alpha1().Models(namespace).DeleteCollection(ctx, remove, metav1.ListOptions{})),
		stage.IgnoreNotFound(b.clients.Serving.ServingV1().Services(namespace).DeleteCollection(ctx, remove, metav1.ListOptions{})),
		stage.IgnoreNotFound(b.clients.Networking.NetworkingV1alpha1().Ingresses(namespace).DeleteCollection(ctx, remove, metav1.ListOptions{})),
		b.clients.Sluice.SluiceV1alpha1().Tenants().DeleteCollection(ctx, remove, own),
	)
}

// deleteHandMade deletes what was made by hand in the gateways' namespace.
func (b *bench) deleteHandMade(ctx context.Context) error {
	remove := metav1.DeleteOptions{}
	return errors.Join(
		b.clients.Istio.NetworkingV1().VirtualServices(gateway.Namespace).DeleteCollection(ctx, remove, own),
		b.clients.Istio.NetworkingV1().Gateways(gateway.Namespace).DeleteCollection(ctx, remove, own),
		stage.IgnoreNotFound(b.clients.Kube.CoreV1().Services(gateway.Namespace).Delete(ctx, minimalName, remove)),
	)
}

// stageLeft says whether the namespace and the tenants are still there.
func (b *bench) stageLeft(ctx context.Context) (string, error) {
	left, err := b.clients.Sluice.SluiceV1alpha1().Tenants().List(ctx, own)
	if err != nil {
		return "", fmt.Errorf("listing tenants: %w", err)
	}
	_, err = b.clients.Kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	switch {
	case apierrs.IsNotFound(err) && len(left.Items) == 0:
		return "", nil
	case stage.IgnoreNotFound(err) != nil:
		return "", fmt.Errorf("getting namespace %s: %w", namespace, err)
	default:
		return fmt.Sprintf("namespace gone: %t, %d tenants left", err != nil, len(left.Items)), nil
	}
}
