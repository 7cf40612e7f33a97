//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	istiobeta "istio.io/api/networking/v1beta1"
	typebeta "istio.io/api/type/v1beta1"
	istiov1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// saidWithin bounds the wait for a status to say what is wrong.
const saidWithin = 20 * time.Second

// A certificate that is missing or broken is named where it was asked for, costs
// nobody the one that was there before, and is served once it is mended.
func TestBrokenCertificates(t *testing.T) {
	n := newTenants(t, wanted("acme", ownDomain))[0]
	n.create(n.ranker("ranker", fixed("20"), brief))
	inDomain := n.serving("ranker").Host
	n.change(func(of *v1alpha1.Tenant) {
		of.Spec.TLS = &v1alpha1.TenantTLS{SecretName: "of-tenant", SecretNamespace: n.namespace}
	})
	route := n.route("secured", "ranker", "secured."+n.name+".example.org")
	route.Spec.TLS = []netv1alpha1.IngressTLS{{Hosts: route.Spec.Rules[0].Hosts, SecretName: "of-route", SecretNamespace: n.namespace}}
	ingresses := n.Networking.NetworkingV1alpha1().Ingresses(n.namespace)
	if _, err := ingresses.Create(t.Context(), route, metav1.CreateOptions{}); err != nil {
		t.Fatal("creating an Ingress:", err)
	}

	t.Run("OfTenant", func(t *testing.T) {
		certified{n.in(t), "of-tenant", inDomain, newCertificate(t, "*."+n.namespace+"."+n.now().Spec.Domain), func(ctx context.Context) (*apis.Condition, error) {
			got, err := n.Sluice.SluiceV1alpha1().Tenants().Get(ctx, n.name, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			return got.Status.GetCondition(v1alpha1.TenantConditionCertificateReady), nil
		}}.breakAndMend()
	})
	t.Run("OfRoute", func(t *testing.T) {
		certified{n.in(t), "of-route", route.Spec.Rules[0].Hosts[0], newCertificate(t, route.Spec.Rules[0].Hosts...), func(ctx context.Context) (*apis.Condition, error) {
			got, err := ingresses.Get(ctx, route.Name, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			return got.Status.GetCondition(netv1alpha1.IngressConditionReady), nil
		}}.breakAndMend()
	})
}

// certified is a host that is to be served by the certificate of a Secret, and the
// condition that says whether it is.
type certified struct {
	*tenant
	secret, host string
	good         *certificate
	condition    func(context.Context) (*apis.Condition, error)
}

func (c certified) breakAndMend() {
	c.Helper()
	missing := c.says("that the Secret is missing", "")
	garbage := &certificate{cert: []byte("not a certificate"), key: c.good.key}
	c.keep(c.secret, garbage)
	c.says("that it holds no certificate", missing)
	c.keep(c.secret, c.good)
	c.holds()
	c.servesWith(c.host, c.good)

	other := newCertificate(c.T, c.good.leaf.DNSNames...)
	c.keep(c.secret, &certificate{cert: other.cert, key: c.good.key})
	c.says("that certificate and key are strangers", "")
	c.servesWith(c.host, c.good)
	c.keep(c.secret, other)
	c.holds()
	c.servesWith(c.host, other)
}

// says waits until the condition isn't true and names the Secret, with another
// message than before.
func (c certified) says(what, before string) string {
	c.Helper()
	message := ""
	c.until(saidWithin, "the status to say "+what, func(ctx context.Context) (string, error) {
		condition, err := c.condition(ctx)
		if err != nil {
			return "", err
		}
		if condition.IsTrue() || !strings.Contains(condition.GetMessage(), c.secret) || condition.GetMessage() == before {
			return fmt.Sprintf("%+v", condition), nil
		}
		message = condition.GetMessage()
		return "", nil
	})
	c.Logf("%s: %s", what, message)
	return message
}

func (c certified) holds() {
	c.Helper()
	c.until(saidWithin, "the certificate to be served", func(ctx context.Context) (string, error) {
		condition, err := c.condition(ctx)
		if err != nil || condition.IsTrue() {
			return "", err
		}
		return fmt.Sprintf("%+v", condition), nil
	})
}

// A tenant under load keeps every request while its gateway can't start, while the
// controller dies at each step of a move, while its gateway's pods die, and while it
// is deleted, its namespace to go to another.
func TestTenantOutlivesFaults(t *testing.T) {
	n := newTenants(t, wanted("acme"))[0]
	n.create(n.ranker("ranker", fixed("60"), brief))
	endpoint := n.serving("ranker")
	n.predict(endpoint)

	for _, fault := range []struct {
		name string
		of   func(*tenant)
	}{
		{"GatewayThatCannotStart", (*tenant).failToStart},
		{"ControllerKilledAtEachStep", (*tenant).killController},
		{"GatewayPodsKilled", (*tenant).killGatewayPods},
		{"DeletedWhileBusy", (*tenant).bequeath},
	} {
		t.Run(fault.name, func(t *testing.T) {
			n := n.in(t)
			end := n.traffic("ranker")
			fault.of(n)
			end()
		})
		if t.Failed() {
			return
		}
	}
}

// failToStart asks for a gateway whose pods fit no node, and then for one whose
// image isn't there. The tenant stays where it is and says why; mended, it moves.
func (n *tenant) failToStart() {
	n.change(func(of *v1alpha1.Tenant) {
		dedicated(2)(of)
		of.Spec.Gateway.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")}
	})
	n.staysBecause("Insufficient cpu")

	const nowhere = "nowhere"
	restore := n.proxyImage(nowhere)
	n.change(dedicated(2))
	n.change(func(of *v1alpha1.Tenant) { of.Spec.Gateway.Resources = corev1.ResourceRequirements{} })
	n.staysBecause("-" + nowhere)

	restore()
	n.until(settledWithin, "the pods of the missing image to go", func(ctx context.Context) (string, error) {
		return n.deletePodsOf(ctx, "-"+nowhere)
	})
	n.settled()
}

// staysBecause waits until the Tenant's status gives a reason for a move that can't
// go on, and checks that its gateway is still the one before.
func (n *tenant) staysBecause(why string) {
	n.Helper()
	n.until(settledWithin, "the status to say "+why, func(ctx context.Context) (string, error) {
		got, err := n.Sluice.SluiceV1alpha1().Tenants().Get(ctx, n.name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		condition := got.Status.GetCondition(v1alpha1.TenantConditionGatewayReady)
		if got.Status.Gateway != gateway.Shared {
			return "", fmt.Errorf("the gateway is %s", got.Status.Gateway)
		}
		if condition.IsTrue() || !strings.Contains(condition.GetMessage(), why) {
			return fmt.Sprintf("%+v", condition), nil
		}
		n.Logf("%s: %s", condition.Reason, condition.Message)
		return "", nil
	})
}

// proxyImage has istiod inject another kind of image into new pods of the tenant's
// gateway, and returns how to undo it. Both wait until istiod does.
func (n *tenant) proxyImage(kind string) (restore func()) {
	n.Helper()
	configs := n.Istio.NetworkingV1beta1().ProxyConfigs(gateway.Namespace)
	labels := map[string]string{gateway.LabelKey: gateway.OfTenant(n.name)}
	made, err := configs.Create(n.Context(), &istiov1beta1.ProxyConfig{
		ObjectMeta: metav1.ObjectMeta{Name: n.name},
		Spec: istiobeta.ProxyConfig{
			Selector: &typebeta.WorkloadSelector{MatchLabels: labels},
			Image:    &istiobeta.ProxyImage{ImageType: kind},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		n.Fatal("creating a ProxyConfig:", err)
	}
	remove := sync.OnceFunc(func() {
		if err := configs.Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil {
			n.Error("deleting a ProxyConfig:", err)
		}
	})
	n.Cleanup(remove)
	other := func(image string) bool { return strings.HasSuffix(image, "-"+kind) }
	n.injects(other)
	return func() {
		remove()
		n.injects(func(image string) bool { return !other(image) })
	}
}

// injects waits until istiod injects an image that is wanted: it is asked for a pod
// that is never made.
func (n *tenant) injects(wanted func(image string) bool) {
	n.Helper()
	labels := map[string]string{gateway.LabelKey: gateway.OfTenant(n.name), "sidecar.istio.io/inject": "true"}
	n.until(saidWithin, "istiod to know the image", func(ctx context.Context) (string, error) {
		pod, err := n.Kube.CoreV1().Pods(gateway.Namespace).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: "never", Labels: labels, Annotations: map[string]string{"inject.istio.io/templates": "gateway"},
			},
			Spec: corev1.PodSpec{
				ServiceAccountName: gateway.Shared,
				Containers: []corev1.Container{{
					Name: "istio-proxy", Image: "auto", SecurityContext: n.container().SecurityContext,
				}},
			},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return "", fmt.Errorf("asking for a pod: %w", err)
		}
		if image := pod.Spec.Containers[0].Image; !wanted(image) {
			return image, nil
		}
		return "", nil
	})
}

// deletePodsOf deletes the gateway's pods that run an image, and says which there
// were.
func (n *tenant) deletePodsOf(ctx context.Context, image string) (string, error) {
	pods := n.Kube.CoreV1().Pods(gateway.Namespace)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: gateway.LabelKey + "=" + gateway.OfTenant(n.name)})
	if err != nil {
		return "", fmt.Errorf("listing pods: %w", err)
	}
	var names []string
	for _, p := range list.Items {
		if !strings.HasSuffix(p.Spec.Containers[0].Image, image) {
			continue
		}
		names = append(names, p.Name)
		if _, err := gone(pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.Int64(0)})); err != nil {
			return "", fmt.Errorf("deleting pod %s: %w", p.Name, err)
		}
	}
	return strings.Join(names, ", "), nil
}

// moment is a step of a move, as the API server tells of it.
type moment struct {
	name string
	// watch begins to watch the object that shows it, which is seen by arrived.
	watch   func(context.Context) (watch.Interface, error)
	arrived watchtools.ConditionFunc
}

// phase is a move that is first seen in a phase.
func (n *tenant) phase(of v1alpha1.MovePhase) moment {
	return moment{
		name: string(of),
		watch: func(ctx context.Context) (watch.Interface, error) {
			return n.Sluice.SluiceV1alpha1().Tenants().Watch(ctx, metav1.SingleObject(metav1.ObjectMeta{Name: n.name}))
		},
		arrived: func(event watch.Event) (bool, error) {
			t, ok := event.Object.(*v1alpha1.Tenant)
			return ok && t.Status.Move != nil && t.Status.Move.Phase == of, nil
		},
	}
}

// flip is the switch of the tenant's address to another gateway, which the status
// only tells of afterwards.
func (n *tenant) flip(to string) moment {
	return moment{
		name: "flip",
		watch: func(ctx context.Context) (watch.Interface, error) {
			return n.Kube.CoreV1().Services(gateway.Namespace).Watch(ctx, metav1.SingleObject(metav1.ObjectMeta{Name: gateway.OfTenant(n.name)}))
		},
		arrived: func(event watch.Event) (bool, error) {
			s, ok := event.Object.(*corev1.Service)
			return ok && s.Spec.Selector[gateway.LabelKey] == to, nil
		},
	}
}

// killController moves the tenant to the shared gateway and back, and kills the
// controller at the first sight of each step, one that waits and one that doesn't.
func (n *tenant) killController() {
	n.moveKilling(shared, n.phase(v1alpha1.MoveAttaching), n.phase(v1alpha1.MoveSwitching), n.phase(v1alpha1.MoveDraining))
	n.moveKilling(dedicated(2), n.phase(v1alpha1.MovePreparing), n.flip(gateway.OfTenant(n.name)))
}

func (n *tenant) moveKilling(move func(*v1alpha1.Tenant), at ...moment) {
	n.Helper()
	ctx, cancel := context.WithTimeout(n.Context(), settledWithin)
	defer cancel()
	begun := false
	for _, m := range at {
		watcher, err := m.watch(ctx)
		if err != nil {
			n.Fatalf("watching for %s: %v", m.name, err)
		}
		if !begun {
			begun = true
			n.change(move)
		}
		if _, err := watchtools.UntilWithoutRetry(ctx, watcher, m.arrived); err != nil {
			n.Fatalf("waiting for %s: %v; the move is %+v", m.name, err, n.now().Status.Move)
		}
		killed, err := n.kill(ctx)
		if err != nil {
			n.Fatal(err)
		}
		n.Logf("%s: killed %s", m.name, killed)
	}
	n.settled()
}

// kill kills the controller's pods.
func (s *stage) kill(ctx context.Context) (string, error) {
	pods := s.Kube.CoreV1().Pods(sluice.SystemNamespace)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=controller"})
	if err != nil {
		return "", fmt.Errorf("listing the controller's pods: %w", err)
	}
	var names []string
	for _, p := range list.Items {
		if err := pods.Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.Int64(0)}); err != nil {
			return "", fmt.Errorf("killing pod %s: %w", p.Name, err)
		}
		names = append(names, p.Name)
	}
	if len(names) == 0 {
		return "", errors.New("the controller has no pod")
	}
	return strings.Join(names, ", "), nil
}

// killGatewayPods ends the pods of the tenant's gateway one after the other, as a
// drained node would.
func (n *tenant) killGatewayPods() {
	own := gateway.OfTenant(n.name)
	before, err := n.gatewayPods(n.Context(), own)
	if err != nil || len(before) != 2 {
		n.Fatalf("gateway pods %v, error %v, want two", before, err)
	}
	pods := n.Kube.CoreV1().Pods(gateway.Namespace)
	for _, pod := range before {
		if err := pods.Delete(n.Context(), pod, metav1.DeleteOptions{}); err != nil {
			n.Fatalf("deleting pod %s: %v", pod, err)
		}
		took := n.until(settledWithin, "pod "+pod+" to be replaced", func(ctx context.Context) (string, error) {
			now, err := n.gatewayPods(ctx, own)
			if err != nil {
				return "", err
			}
			_, err = pods.Get(ctx, pod, metav1.GetOptions{})
			if isGone, err := gone(err); err != nil || (isGone && len(now) == len(before)) {
				return "", err
			}
			return fmt.Sprintf("ready pods %v", now), nil
		})
		n.Logf("%s was replaced after %.1f s", pod, took.Seconds())
	}
}

// bequeath deletes the tenant, whose namespace another Tenant asks for already: that
// one says so, waits, and has it in the end.
func (n *tenant) bequeath() {
	heir := &tenant{stage: n.stage, name: "heir" + strings.TrimPrefix(n.namespace, "e2e")}
	// By a label, since the webhook refuses to name what is another's.
	heir.make([]func(*v1alpha1.Tenant){func(of *v1alpha1.Tenant) {
		of.Spec.Namespaces = v1alpha1.TenantNamespaces{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{testLabelKey: n.namespace}}}
	}})
	label := fmt.Sprintf(`{"metadata": {"labels": {%q: %q}}}`, testLabelKey, n.namespace)
	if _, err := n.Kube.CoreV1().Namespaces().Patch(n.Context(), n.namespace, types.MergePatchType, []byte(label), metav1.PatchOptions{}); err != nil {
		n.Fatal("labelling the namespace:", err)
	}
	n.until(saidWithin, "the heir to say that the namespace is taken", func(ctx context.Context) (string, error) {
		got, err := n.Sluice.SluiceV1alpha1().Tenants().Get(ctx, heir.name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		condition := got.Status.GetCondition(v1alpha1.TenantConditionNamespacesHeld)
		if !condition.IsFalse() || !strings.Contains(condition.GetMessage(), n.namespace) {
			return fmt.Sprintf("%+v", condition), nil
		}
		n.Logf("%s: %s", condition.Reason, condition.Message)
		return "", nil
	})

	tenants := n.Sluice.SluiceV1alpha1().Tenants()
	if err := tenants.Delete(n.Context(), n.name, metav1.DeleteOptions{}); err != nil {
		n.Fatal("deleting the Tenant:", err)
	}
	took := n.until(settledWithin, "Tenant "+n.name+" to go", func(ctx context.Context) (string, error) {
		got, err := tenants.Get(ctx, n.name, metav1.GetOptions{})
		if isGone, err := gone(err); err != nil || isGone {
			return "", err
		}
		return fmt.Sprintf("move %+v, namespaces %v", got.Status.Move, got.Status.Namespaces), nil
	})
	n.Logf("Tenant %s was gone after %.1f s", n.name, took.Seconds())
	heir.settled()
	if !heir.now().Holds(n.namespace) {
		n.Errorf("the heir holds %v", heir.now().Status.Namespaces)
	}
	n.until(settledWithin, "what the Tenant had to go", n.leftovers)
}

// leftovers says what is left of the tenant's gateway and address.
func (n *tenant) leftovers(ctx context.Context) (string, error) {
	_, err := n.Kube.CoreV1().Services(gateway.Namespace).Get(ctx, gateway.OfTenant(n.name), metav1.GetOptions{})
	if isGone, err := gone(err); err != nil || !isGone {
		return "the address", err
	}
	return n.partsOf(ctx, gateway.OfTenant(n.name))
}

const (
	// trafficRate is of the load that goes on during faults, in requests per second.
	trafficRate = 20
	// stretch is how long a client keeps the address that it found, and its
	// connections: less than a drain lasts.
	stretch = 4 * time.Second
)

// traffic offers a Model predictions over pooled and new connections until the
// returned function is called, which checks that none was lost or refused. Its
// clients go to the address that the Model's Ingress publishes, as if by DNS.
func (n *tenant) traffic(model string) (end func()) {
	stop := make(chan struct{})
	var reports []*load.Report
	var failed error
	var loading sync.WaitGroup
	start := time.Now()
	loading.Go(func() {
		for failed == nil {
			select {
			case <-stop:
				return
			case <-n.Context().Done():
				return
			default:
			}
			report, err := n.stretchOf(model, stop)
			if report != nil {
				reports = append(reports, report)
			}
			failed = err
		}
	})
	return sync.OnceFunc(func() {
		n.Helper()
		close(stop)
		loading.Wait()
		if failed != nil {
			n.Error("loading:", failed)
		}
		var sum load.Second
		for _, r := range reports {
			sum = load.Sum([]load.Second{sum, r.Total})
			if t := r.Total; t.Admitted < t.Offered || t.Repeated > 0 {
				n.Errorf("lost, %.1f s after the start: %+v, codes %v, errors %q", r.Start.Sub(start).Seconds(), t, r.Codes, r.Errors)
			}
		}
		n.Logf("%d of %d requests answered with 200 in %.0f s", sum.Admitted, sum.Offered, time.Since(start).Seconds())
	})
}

// stretchOf is one stretch of traffic.
func (n *tenant) stretchOf(model string, stop <-chan struct{}) (*load.Report, error) {
	// What has begun is answered, also when the test ends meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.Context()), stretch+10*time.Second)
	defer cancel()
	endpoint, err := n.published(ctx, model)
	if err != nil {
		return nil, err
	}
	p := plan(endpoint, load.Schedule{load.Hold(trafficRate, stretch)})
	p.Connections = []load.Connection{load.KeepAlive, load.HTTP2, load.Fresh}
	p.Lanes, p.IdleTimeout = 12, stretch/2
	p.Stop = stop
	return p.Run(ctx)
}

// published is where a Model is reached by what its Ingress says.
func (n *tenant) published(ctx context.Context, model string) (platform.Endpoint, error) {
	ingress, err := n.Networking.NetworkingV1alpha1().Ingresses(n.namespace).Get(ctx, model, metav1.GetOptions{})
	if err != nil {
		return platform.Endpoint{}, fmt.Errorf("getting the Model's Ingress: %w", err)
	}
	public := ingress.Status.PublicLoadBalancer
	external := slices.IndexFunc(ingress.Spec.Rules, func(r netv1alpha1.IngressRule) bool {
		return r.Visibility == netv1alpha1.IngressVisibilityExternalIP
	})
	if public == nil || len(public.Ingress) == 0 || external < 0 {
		return platform.Endpoint{}, errors.New("the Model's Ingress says nothing of where it is")
	}
	service, _, _ := strings.Cut(public.Ingress[0].DomainInternal, ".")
	address, err := n.serviceAddress(ctx, service, 80)
	return platform.Endpoint{Address: address, Host: ingress.Spec.Rules[external].Hosts[0]}, err
}
