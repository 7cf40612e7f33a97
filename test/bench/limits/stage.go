package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// tenantName is of the tenant whose gateway is the benchmark's.
	tenantName = "bench-limits"
	// mostPods is how many pods that gateway comes to have.
	mostPods = 3
	// writers make and change objects at the same time.
	writers = 20
)

// ownGateway is the gateway of the benchmark's tenant.
var ownGateway = gateway.OfTenant(tenantName)

// own lists what carries the benchmark's label.
var own = metav1.ListOptions{LabelSelector: labels.SelectorFromSet(ownLabels).String()}

// probeToken is the installation's.
func probeToken(ctx context.Context, c *platform.Clients) (string, error) {
	secret, err := c.Kube.CoreV1().Secrets(sluice.SystemNamespace).Get(ctx, gateway.ProbeTokenSecret, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("getting the installation's token: %w", err)
	}
	return string(secret.Data[gateway.ProbeTokenKey]), nil
}

func (b *bench) setUp(ctx context.Context) error {
	for _, name := range namespaces {
		if _, err := b.clients.Kube.CoreV1().Namespaces().Create(ctx, ownNamespace(name), metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating namespace %s: %w", name, err)
		}
	}
	return nil
}

// bringUp sees to it that the benchmark's gateway has that many pods at least.
func (b *bench) bringUp(ctx context.Context, pods int32) error {
	if len(b.doors) >= int(pods) {
		return nil
	}
	b.Sayf("bringing up gateway %s with %d pods", ownGateway, pods)
	client := b.clients.Sluice.SluiceV1alpha1().Tenants()
	_, err := client.Create(ctx, tenant(tenantName, pods), metav1.CreateOptions{})
	if apierrs.IsAlreadyExists(err) {
		patch := fmt.Appendf(nil, `{"spec": {"gateway": {"replicas": {"min": %d, "max": %d}}}}`, pods, pods)
		_, err = client.Patch(ctx, tenantName, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	if err != nil {
		return fmt.Errorf("asking for %d gateway pods: %w", pods, err)
	}
	err = platform.Until(ctx, 2*time.Minute, "the gateway's pods", func(ctx context.Context) (string, error) {
		t, err := client.Get(ctx, tenantName, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting the tenant: %w", err)
		}
		if t.Status.Gateway != ownGateway || t.Status.GatewayPods != pods {
			return fmt.Sprintf("gateway %q, %d pods, move %+v", t.Status.Gateway, t.Status.GatewayPods, t.Status.Move), nil
		}
		return "", nil
	})
	if err != nil {
		return err
	}
	if b.address, err = b.addressOf(ctx, ownGateway, externalPort); err != nil {
		return err
	}
	return b.openDoors(ctx)
}

// openDoors gives each ready pod of the gateway an address of its own.
func (b *bench) openDoors(ctx context.Context) error {
	pods, err := b.clients.Kube.CoreV1().Pods(gateway.Namespace).List(ctx, metav1.ListOptions{LabelSelector: gateway.LabelKey + "=" + ownGateway})
	if err != nil {
		return fmt.Errorf("listing gateway pods: %w", err)
	}
	b.doors = nil
	for i := range pods.Items {
		opened, err := b.openDoor(ctx, &pods.Items[i])
		if err != nil {
			return err
		}
		b.doors = append(b.doors, opened)
	}
	return nil
}

func (b *bench) openDoor(ctx context.Context, pod *corev1.Pod) (door, error) {
	service, slice := podService(pod)
	if _, err := b.clients.Kube.CoreV1().Services(service.Namespace).Create(ctx, service, metav1.CreateOptions{}); ignoreExists(err) != nil {
		return door{}, fmt.Errorf("creating service %s: %w", service.Name, err)
	}
	if _, err := b.clients.Kube.DiscoveryV1().EndpointSlices(slice.Namespace).Create(ctx, slice, metav1.CreateOptions{}); ignoreExists(err) != nil {
		return door{}, fmt.Errorf("creating the endpoints of %s: %w", service.Name, err)
	}
	external, err := b.addressOf(ctx, service.Name, externalPort)
	if err != nil {
		return door{}, err
	}
	local, err := b.addressOf(ctx, service.Name, localPort)
	if err != nil {
		return door{}, err
	}
	return newDoor(pod.Name, external, local), nil
}

// addressOf waits for the address that a Service of the gateways' namespace was
// given, which must be this machine's own.
func (b *bench) addressOf(ctx context.Context, service string, port uint16) (string, error) {
	var address string
	err := platform.Until(ctx, 30*time.Second, "an address of service "+service, func(ctx context.Context) (string, error) {
		got, err := b.clients.Kube.CoreV1().Services(gateway.Namespace).Get(ctx, service, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting service %s: %w", service, err)
		}
		for _, ingress := range got.Status.LoadBalancer.Ingress {
			if ip, err := netip.ParseAddr(ingress.IP); err == nil {
				address = netip.AddrPortFrom(ip, port).String()
				return "", nil
			}
		}
		return "its status names none", nil
	})
	if err != nil {
		return "", err
	}
	if _, err := load.LoopbackAddress(address); err != nil {
		return "", fmt.Errorf("service %s: %w", service, err)
	}
	return address, nil
}

// enact makes subjects with fixed limits and waits until they are enforced.
func (b *bench) enact(ctx context.Context, subjects ...subject) error {
	for _, s := range subjects {
		if err := b.create(ctx, s); err != nil {
			return err
		}
	}
	return b.proved(ctx, subjects...)
}

// create makes a subject's objects, without those that its limit follows.
func (b *bench) create(ctx context.Context, s subject) error {
	if _, err := b.clients.Istio.NetworkingV1().VirtualServices(gateway.Namespace).Create(ctx, s.route(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the route of %s: %w", s.name, err)
	}
	if _, err := b.clients.AsController.SluiceV1alpha1().RateLimits(namespace).Create(ctx, s.rateLimit(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the rate limit of %s: %w", s.name, err)
	}
	return nil
}

// proved waits until the limits of subjects are enforced and their routes served.
func (b *bench) proved(ctx context.Context, subjects ...subject) error {
	return platform.Until(ctx, 30*time.Second, "limits to be proved", func(ctx context.Context) (string, error) {
		for _, s := range subjects {
			l, err := b.clients.Sluice.SluiceV1alpha1().RateLimits(namespace).Get(ctx, s.name, metav1.GetOptions{})
			if err != nil {
				return "", fmt.Errorf("getting a rate limit: %w", err)
			}
			if !l.IsReady() {
				return fmt.Sprintf("%s: %+v", s.name, l.Status.Conditions), nil
			}
			for _, d := range b.doors {
				if status, err := d.status(ctx, s.host()); err != nil || status == 404 {
					return fmt.Sprintf("%s answers %d on %s, error %v", s.name, status, d.pod, err), nil
				}
			}
		}
		return "", nil
	})
}

// dismiss removes subjects. Nothing waits for it: gateways forget them soon.
func (b *bench) dismiss(ctx context.Context, subjects ...subject) error {
	removing, ctx := errgroup.WithContext(ctx)
	removing.SetLimit(writers)
	remove := metav1.DeleteOptions{}
	for _, s := range subjects {
		removing.Go(func() error {
			return errors.Join(
				stage.IgnoreNotFound(b.clients.Istio.NetworkingV1().VirtualServices(gateway.Namespace).Delete(ctx, s.virtualService(), remove)),
				stage.IgnoreNotFound(b.clients.Sluice.SluiceV1alpha1().RateLimits(namespace).Delete(ctx, s.name, remove)),
				stage.IgnoreNotFound(b.clients.Serving.AutoscalingV1alpha1().PodAutoscalers(namespace).Delete(ctx, s.revision(), remove)),
				stage.IgnoreNotFound(b.clients.Kube.DiscoveryV1().EndpointSlices(namespace).Delete(ctx, s.endpointsName(), remove)),
			)
		})
	}
	if err := removing.Wait(); err != nil {
		return fmt.Errorf("removing what was limited: %w", err)
	}
	return nil
}

// clean removes all that the benchmark makes, whoever left it, and waits until it
// is gone. Routes go first: of a namespace that is deleted as a whole they go only
// after its pods, which drain.
func (b *bench) clean(ctx context.Context) error {
	remove := metav1.DeleteOptions{}
	err := errors.Join(
		b.deleteTrigger(ctx),
		stage.IgnoreNotFound(b.clients.Sluice.SluiceV1alpha1().Models(modelsNamespace).DeleteCollection(ctx, remove, metav1.ListOptions{})),
		stage.IgnoreNotFound(b.clients.Sluice.SluiceV1alpha1().Models(scarceNamespace).DeleteCollection(ctx, remove, metav1.ListOptions{})),
		b.deleteSubjects(ctx),
		b.deleteGateways(ctx),
		b.deleteDoors(ctx),
	)
	if err != nil {
		return fmt.Errorf("deleting what the benchmark made: %w", err)
	}
	for _, name := range namespaces {
		if err := b.clients.Kube.CoreV1().Namespaces().Delete(ctx, name, remove); stage.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting namespace %s: %w", name, err)
		}
	}
	return platform.Until(ctx, cleanWithin, "namespaces and tenants to go", b.left)
}

// deleteSubjects removes all that is limited without pods.
func (b *bench) deleteSubjects(ctx context.Context) error {
	remove := metav1.DeleteOptions{}
	return errors.Join(
		b.clients.Istio.NetworkingV1().VirtualServices(gateway.Namespace).DeleteCollection(ctx, remove, own),
		b.deleteLimits(ctx),
		stage.IgnoreNotFound(b.clients.Serving.AutoscalingV1alpha1().PodAutoscalers(namespace).DeleteCollection(ctx, remove, own)),
		stage.IgnoreNotFound(b.clients.Kube.DiscoveryV1().EndpointSlices(namespace).DeleteCollection(ctx, remove, own)),
	)
}

// deleteLimits deletes all RateLimits. Of thousands the API server may not get to the
// end in the time that it has for a request.
func (b *bench) deleteLimits(ctx context.Context) (err error) {
	for range 5 {
		err = stage.IgnoreNotFound(b.clients.Sluice.SluiceV1alpha1().RateLimits(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, own))
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// deleteGateways asks the tenants, and what was added to their gateways, to go.
func (b *bench) deleteGateways(ctx context.Context) error {
	b.address, b.doors = "", nil
	remove := metav1.DeleteOptions{}
	return errors.Join(
		b.clients.Sluice.SluiceV1alpha1().Tenants().DeleteCollection(ctx, remove, own),
		b.clients.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).DeleteCollection(ctx, remove, own),
	)
}

// deleteDoors removes the Services of single pods; their kind has no deletion of
// collections.
func (b *bench) deleteDoors(ctx context.Context) error {
	services := b.clients.Kube.CoreV1().Services(gateway.Namespace)
	list, err := services.List(ctx, own)
	if err != nil {
		return fmt.Errorf("listing services: %w", err)
	}
	errs := []error{b.clients.Kube.DiscoveryV1().EndpointSlices(gateway.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, own)}
	for _, service := range list.Items {
		errs = append(errs, stage.IgnoreNotFound(services.Delete(ctx, service.Name, metav1.DeleteOptions{})))
	}
	return errors.Join(errs...)
}

// left says what is still there.
func (b *bench) left(ctx context.Context) (string, error) {
	var left []string
	for _, name := range namespaces {
		_, err := b.clients.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if stage.IgnoreNotFound(err) != nil {
			return "", fmt.Errorf("getting namespace %s: %w", name, err)
		}
		if err == nil {
			left = append(left, "namespace "+name)
		}
	}
	tenants, err := b.clients.Sluice.SluiceV1alpha1().Tenants().List(ctx, own)
	if err != nil {
		return "", fmt.Errorf("listing tenants: %w", err)
	}
	for _, t := range tenants.Items {
		left = append(left, "tenant "+t.Name)
	}
	slices.Sort(left)
	return strings.Join(left[:min(len(left), 5)], ", "), nil
}

func ignoreExists(err error) error {
	if apierrs.IsAlreadyExists(err) {
		return nil
	}
	return err
}
