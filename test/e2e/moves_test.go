//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// movesRate is the load while a tenant moves, in requests per second: a little
	// more than the leastRate and leastLoad that have to be shown.
	movesRate = 320
	leastRate = 300
	leastLoad = time.Minute
	// longest is the timeoutSeconds of the Model, and streamed how long its streams
	// are, in seconds. A move drains for as long as the longest request may take.
	longest  = 25
	streamed = 20
	// streamsApart is the time from one stream's start to the next one's, so that
	// several are open whatever happens when.
	streamsApart = 5 * time.Second
	// istioNamespace is where istiod runs.
	istioNamespace = "istio-system"
)

// A tenant moves three times between the shared gateway and one of its own, its
// gateway is restarted, then istiod, all under load: no request is refused, fails or
// is written twice, and no stream breaks.
func TestMovesLoseNothing(t *testing.T) {
	n := newTenants(t, wanted("moving"))[0]
	n.create(n.streams("streams", timeout(longest)))
	endpoint := n.serving("streams")
	addresses := n.addresses()
	sleeper := newCaller(endpoint, 1)
	journal := n.keepJournal()
	finishLoad := n.offerAll(endpoint)
	finishStreams := n.keepStreaming(endpoint)

	for _, change := range []func(*v1alpha1.Tenant){dedicated(2), shared, dedicated(2)} {
		n.wakes(sleeper)
		from := n.now().Status.Gateway
		n.change(change)
		n.settled()
		n.wakes(sleeper)
		n.inOrder(journal.take())
		n.detached(from)
		if now := n.addresses(); !maps.Equal(now, addresses) {
			t.Errorf("addresses are %v, were %v", now, addresses)
		}
	}
	n.restartGateway(gateway.OfTenant(n.name))
	n.restartIstiod()
	n.create(n.streams("afterwards", timeout(longest)))
	n.serving("afterwards")

	streams := finishStreams()
	n.nothingLost(finishLoad())
	n.crossed(streams, journal.switches)
}

// addresses are all addresses of the tenant's Services, by Service.
func (n *tenant) addresses() map[string]string {
	n.Helper()
	addresses := map[string]string{}
	for _, name := range []string{gateway.OfTenant(n.name), gateway.LocalName(gateway.OfTenant(n.name))} {
		service, err := n.Kube.CoreV1().Services(gateway.Namespace).Get(n.Context(), name, metav1.GetOptions{})
		if err != nil {
			n.Fatalf("getting Service %s: %v", name, err)
		}
		addresses[name] = service.Spec.ClusterIP
		for _, ingress := range service.Status.LoadBalancer.Ingress {
			addresses[name] += " " + ingress.IP + ingress.Hostname
		}
	}
	return addresses
}

// wakes asks over a connection that may have been idle for long.
func (n *tenant) wakes(sleeper *caller) {
	n.Helper()
	if status, _, err := sleeper.ask(n.Context(), "/hello", nil); err != nil || status != http.StatusOK {
		n.Errorf("a client that was idle: status %d, error %v", status, err)
	}
}

// journal is what a Tenant's status said of its moves, each change once.
type journal struct {
	mu    sync.Mutex
	steps []v1alpha1.TenantStatus
	// switches are when the address was switched: a moment before, and one after.
	switches [][2]time.Time
}

// keepJournal begins a journal that is kept for as long as the test.
func (n *tenant) keepJournal() *journal {
	n.Helper()
	watcher, err := n.Sluice.SluiceV1alpha1().Tenants().Watch(n.Context(), metav1.ListOptions{
		FieldSelector: "metadata.name=" + n.name, ResourceVersion: n.now().ResourceVersion,
	})
	if err != nil {
		n.Fatal("watching the Tenant:", err)
	}
	n.Cleanup(watcher.Stop)
	j := &journal{}
	go j.keep(watcher)
	return j
}

func (j *journal) keep(watcher watch.Interface) {
	var last string
	for event := range watcher.ResultChan() {
		t, ok := event.Object.(*v1alpha1.Tenant)
		if !ok || phase(t.Status) == last {
			continue
		}
		last = phase(t.Status)
		j.note(t.Status)
	}
}

func (j *journal) note(status v1alpha1.TenantStatus) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.steps = append(j.steps, status)
	now := time.Now()
	switch v1alpha1.MovePhase(phase(status)) {
	case v1alpha1.MoveSwitching:
		j.switches = append(j.switches, [2]time.Time{now})
	case v1alpha1.MoveDraining:
		if i := len(j.switches) - 1; i >= 0 && j.switches[i][1].IsZero() {
			j.switches[i][1] = now
		}
	}
}

// take returns the steps since the last time.
func (j *journal) take() []v1alpha1.TenantStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	steps := j.steps
	j.steps = nil
	return steps
}

func phase(status v1alpha1.TenantStatus) string {
	if status.Move == nil {
		return ""
	}
	return string(status.Move.Phase)
}

// inOrder checks that a move went through its phases, each once, and that the
// address never led to a gateway without the tenant's routes.
func (n *tenant) inOrder(steps []v1alpha1.TenantStatus) {
	n.Helper()
	var phases []string
	for _, s := range steps {
		phases = append(phases, phase(s))
		if !slices.Contains(s.Attached, s.Gateway) {
			n.Errorf("in phase %q the address led to %s, and routes were on %v", phase(s), s.Gateway, s.Attached)
		}
	}
	want := []string{
		string(v1alpha1.MovePreparing), string(v1alpha1.MoveAttaching), string(v1alpha1.MoveSwitching), string(v1alpha1.MoveDraining), "",
	}
	if !slices.Equal(phases, want) {
		n.Errorf("phases %q, want %q", phases, want)
	}
}

// detached checks that the gateway before has nothing of the tenant any more, and
// that it is gone if it was the tenant's own.
func (n *tenant) detached(from string) {
	n.Helper()
	took := n.until(time.Minute, "gateway "+from+" to be rid of the tenant", func(ctx context.Context) (string, error) {
		if from != gateway.Shared {
			return n.partsOf(ctx, from)
		}
		return n.routesOn(ctx, from)
	})
	n.Logf("gateway %s was rid of the tenant after %.1f s more", from, took.Seconds())
}

// partsOf says what there is of a gateway.
func (n *tenant) partsOf(ctx context.Context, name string) (string, error) {
	own := metav1.ListOptions{LabelSelector: gateway.LabelKey + "=" + name}
	deployments, err := n.Kube.AppsV1().Deployments(gateway.Namespace).List(ctx, own)
	if err != nil {
		return "", err
	}
	pods, err := n.Kube.CoreV1().Pods(gateway.Namespace).List(ctx, own)
	if err != nil {
		return "", err
	}
	gateways, err := n.Istio.NetworkingV1().Gateways(gateway.Namespace).List(ctx, own)
	if err != nil {
		return "", err
	}
	filters, err := n.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).List(ctx, own)
	if err != nil {
		return "", err
	}
	if len(deployments.Items)+len(pods.Items)+len(gateways.Items)+len(filters.Items) == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d Deployments, %d pods, %d Istio Gateways and %d EnvoyFilters are left",
		len(deployments.Items), len(pods.Items), len(gateways.Items), len(filters.Items)), nil
}

// routesOn says which of the tenant's VirtualServices are bound to a gateway.
func (n *tenant) routesOn(ctx context.Context, name string) (string, error) {
	list, err := n.Istio.NetworkingV1().VirtualServices(gateway.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, vs := range list.Items {
		if !strings.HasPrefix(vs.Name, n.namespace+".") {
			continue
		}
		if slices.Contains(vs.Spec.Gateways, name) || slices.Contains(vs.Spec.Gateways, gateway.LocalName(name)) {
			return fmt.Sprintf("VirtualService %s is bound to %v", vs.Name, vs.Spec.Gateways), nil
		}
	}
	return "", nil
}

// offerAll begins the load, over every kind of connection at once; what it returns
// ends it.
func (n *tenant) offerAll(endpoint platform.Endpoint) (finish func() *load.Report) {
	n.Helper()
	brief, err := time.ParseDuration(briefConnections)
	if err != nil {
		n.Fatal(err)
	}
	stop := make(chan struct{})
	p := load.Plan{
		Target:      load.Target{Address: endpoint.Address, Host: endpoint.Host, Method: http.MethodGet, Path: "/hello"},
		Schedule:    load.Schedule{load.Hold(movesRate, 10*time.Minute)},
		Bounds:      load.Bounds{Requests: 200_000, Duration: 11 * time.Minute, InFlight: 1024},
		Connections: []load.Connection{load.KeepAlive, load.HTTP2, load.Fresh},
		Lanes:       24,
		IdleTimeout: brief * 2 / 3,
		Stop:        stop,
	}
	var report *load.Report
	var loading sync.WaitGroup
	loading.Go(func() { report, err = p.Run(n.Context()) })
	return func() *load.Report {
		n.Helper()
		close(stop)
		loading.Wait()
		if err != nil {
			n.Fatal(err)
		}
		return report
	}
}

// nothingLost checks that there was enough load, and that every request was
// answered with 2xx the first time that it was written.
func (n *tenant) nothingLost(report *load.Report) {
	n.Helper()
	total := report.Total
	lasted := time.Duration(total.Index) * time.Second
	for kind, sum := range report.Connections {
		n.Logf("%-22s %6d offered, %6d admitted, %d refused, %d failed, %d errored, %d repeated, %d dropped; p50 %v, p99 %v", kind,
			sum.Offered, sum.Admitted, sum.Limited, sum.Failed, sum.Errored, sum.Repeated, sum.Dropped, sum.P50, sum.P99)
	}
	lost := total.Offered - total.Admitted + total.Repeated
	n.Logf("%d requests in %v, %.0f/s: %d lost", total.Offered, lasted, float64(total.Offered)/lasted.Seconds(), lost)
	if lasted < leastLoad || float64(total.Offered) < leastRate*lasted.Seconds() {
		n.Errorf("%d requests in %v, want at least %d/s for %v", total.Offered, lasted, leastRate, leastLoad)
	}
	if lost == 0 {
		return
	}
	n.Errorf("%d requests lost: %+v, codes %v, errors %q", lost, total, report.Codes, report.Errors)
	for _, s := range report.Seconds {
		if s.Limited+s.Failed+s.Errored+s.Repeated+s.Dropped > 0 {
			n.Logf("%s: %+v", report.Start.Add(time.Duration(s.Index)*time.Second).Format(time.TimeOnly), s)
		}
	}
}

// stream is one long request, or WebSocket.
type stream struct {
	kind       string
	start, end time.Time
	err        error
}

// keepStreaming begins a download, a stream of events over HTTP/2 and a WebSocket
// every few seconds; what it returns ends that and waits for those that are open.
func (n *tenant) keepStreaming(endpoint platform.Endpoint) (finish func() []stream) {
	kinds := map[string]func(context.Context) error{
		"download": func(ctx context.Context) error { return newCaller(endpoint, 1).download(ctx, streamed) },
		"events": func(ctx context.Context) error {
			return newCaller(endpoint, 2).events(ctx, streamed, func(int) bool { return true })
		},
		"WebSocket": func(ctx context.Context) error {
			// As long as a request may take, however many messages fit into that.
			began := time.Now()
			return newCaller(endpoint, 1).converse(ctx, func(int) bool { return time.Since(began) < streamed*time.Second })
		},
	}
	var mu sync.Mutex
	var streams []stream
	var open sync.WaitGroup
	begin := func(kind string) {
		s := stream{kind: kind, start: time.Now()}
		s.err = kinds[kind](n.Context())
		s.end = time.Now()
		mu.Lock()
		defer mu.Unlock()
		streams = append(streams, s)
	}
	ctx, stop := context.WithCancel(n.Context())
	n.Cleanup(stop)
	open.Go(func() {
		tick := time.NewTicker(streamsApart)
		defer tick.Stop()
		for {
			for kind := range kinds {
				open.Go(func() { begin(kind) })
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() []stream {
		stop()
		open.Wait()
		return streams
	}
}

// crossed checks that no stream broke, and that of each kind some were open all the
// while that an address was switched.
func (n *tenant) crossed(streams []stream, switches [][2]time.Time) {
	n.Helper()
	kinds := map[string]int{}
	for _, s := range streams {
		kinds[s.kind]++
		if s.err != nil {
			n.Errorf("%s from %s to %s: %v", s.kind, s.start.Format(time.TimeOnly), s.end.Format(time.TimeOnly), s.err)
		}
	}
	n.Logf("streams of %d s: %v", streamed, kinds)
	if len(switches) != 3 {
		n.Errorf("%d switches of the address were seen, want 3", len(switches))
	}
	for _, at := range switches {
		across := map[string]int{}
		for _, s := range streams {
			if s.start.Before(at[0]) && s.end.After(at[1]) {
				across[s.kind]++
			}
		}
		n.Logf("open across the switch at %s: %v", at[1].Format(time.TimeOnly), across)
		if len(across) != len(kinds) {
			n.Errorf("across the switch from %s to %s: %v, want some of each of %v", at[0].Format(time.TimeOnly), at[1].Format(time.TimeOnly), across, kinds)
		}
	}
}

// restartGateway replaces a gateway's pods one after the other, as kubectl rollout
// restart does, and waits until those before are gone.
func (s *stage) restartGateway(name string) {
	s.Helper()
	before := s.podNames(gateway.Namespace, gateway.LabelKey+"="+name)
	at := time.Now().Format(time.RFC3339)
	patch := `{"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "` + at + `"}}}}}`
	if _, err := s.Kube.AppsV1().Deployments(gateway.Namespace).Patch(
		s.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		s.Fatal("restarting the gateway:", err)
	}
	took := s.until(2*time.Minute, "gateway "+name+" to be restarted", func(ctx context.Context) (string, error) {
		return s.replaced(ctx, gateway.Namespace, gateway.LabelKey+"="+name, before)
	})
	s.Logf("gateway %s was restarted after %.1f s", name, took.Seconds())
	deployment, err := s.Kube.AppsV1().Deployments(gateway.Namespace).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal("getting the gateway's Deployment:", err)
	}
	if got := deployment.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"]; got != at {
		s.Errorf("the restart was undone: restarted at %q, want %q", got, at)
	}
}

// restartIstiod deletes istiod's pods and waits until others are ready.
func (n *tenant) restartIstiod() {
	n.Helper()
	const selector = "app=istiod"
	before := n.podNames(istioNamespace, selector)
	for _, name := range before {
		if err := n.Kube.CoreV1().Pods(istioNamespace).Delete(n.Context(), name, metav1.DeleteOptions{}); err != nil {
			n.Fatal("deleting istiod's pod:", err)
		}
	}
	took := n.until(2*time.Minute, "istiod to be restarted", func(ctx context.Context) (string, error) {
		return n.replaced(ctx, istioNamespace, selector, before)
	})
	n.Logf("istiod was restarted after %.1f s", took.Seconds())
}

func (s *stage) podNames(namespace, selector string) []string {
	s.Helper()
	list, err := s.Kube.CoreV1().Pods(namespace).List(s.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		s.Fatal("listing pods:", err)
	}
	var names []string
	for _, pod := range list.Items {
		names = append(names, pod.Name)
	}
	if len(names) == 0 {
		s.Fatalf("namespace %s has no pods of %s", namespace, selector)
	}
	return names
}

// replaced says what keeps the pods from being as many others, all ready.
func (s *stage) replaced(ctx context.Context, namespace, selector string, before []string) (string, error) {
	list, err := s.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return "", err
	}
	if len(list.Items) < len(before) {
		return fmt.Sprintf("there are %d pods, want %d", len(list.Items), len(before)), nil
	}
	for _, pod := range list.Items {
		if slices.Contains(before, pod.Name) {
			return "pod " + pod.Name + " is there still", nil
		}
		if !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}) {
			return "pod " + pod.Name + " is not ready", nil
		}
	}
	return "", nil
}
