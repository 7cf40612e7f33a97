//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/networking/pkg/http/header"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/ptr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingv1beta1 "knative.dev/serving/pkg/apis/serving/v1beta1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
)

// shortTimeout is the timeoutSeconds of the Model that is to time out.
const shortTimeout = 3

// What Knative's networking contract asks of an ingress, and more, seen by clients
// through the gateway: one Model that is spoken to over HTTP/1.1, and one over
// HTTP/2, through the activator.
func TestProtocols(t *testing.T) {
	s := newStage(t)
	s.create(s.streams("plain"))
	s.create(s.streams("modern", overHTTP2, timeout(shortTimeout), behindActivator))
	plain, modern := s.serving("plain"), s.serving("modern")
	for name, check := range map[string]func(context.Context) error{
		"HTTP/1.1":           func(ctx context.Context) error { return arrives(ctx, newCaller(plain, 1), "HTTP/1.1") },
		"HTTP/1.1 to HTTP/2": func(ctx context.Context) error { return arrives(ctx, newCaller(modern, 1), "HTTP/2.0") },
		"HTTP/2":             func(ctx context.Context) error { return arrives(ctx, newCaller(modern, 2), "HTTP/2.0") },
		"HTTP/2 to HTTP/1.1": func(ctx context.Context) error { return arrives(ctx, newCaller(plain, 2), "HTTP/1.1") },
		"gRPC":               func(ctx context.Context) error { return newCaller(modern, 2).unary(ctx) },
		"gRPC both ways":     func(ctx context.Context) error { return newCaller(modern, 2).bothWays(ctx, 20) },
		"WebSocket": func(ctx context.Context) error {
			return newCaller(plain, 1).converse(ctx, func(n int) bool { return n <= 20 })
		},
		"events":               func(ctx context.Context) error { return oneByOne(ctx, newCaller(plain, 1)) },
		"events over HTTP/2":   func(ctx context.Context) error { return oneByOne(ctx, newCaller(plain, 2)) },
		"download":             func(ctx context.Context) error { return newCaller(plain, 1).download(ctx, 20) },
		"download over HTTP/2": func(ctx context.Context) error { return newCaller(plain, 2).download(ctx, 20) },
		"timeout":              func(ctx context.Context) error { return timesOut(ctx, newCaller(modern, 1)) },
		"timeout over HTTP/2":  func(ctx context.Context) error { return timesOut(ctx, newCaller(modern, 2)) },
		"HTTP/1.0":             func(ctx context.Context) error { return servesOld(ctx, newCaller(plain, 1)) },
		"trailing dot":         func(ctx context.Context) error { return servesRooted(ctx, newCaller(plain, 1)) },
		"unwanted upgrade":     func(ctx context.Context) error { return servesWithoutUpgrade(ctx, newCaller(plain, 1)) },
		"headers":              func(ctx context.Context) error { return headersAreKnatives(ctx, newCaller(modern, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// behindActivator keeps the activator in the way of a Model's requests.
func behindActivator(m *v1alpha1.Model) { m.Spec.Autoscaling.TargetBurstCapacity = ptr.Int32(-1) }

// arrives checks that a request comes to the Model over a protocol, at its host.
func arrives(ctx context.Context, c *caller, protocol string) error {
	got, err := c.mirror(ctx, nil)
	if err == nil && (got.Protocol != protocol || got.Host != c.Host) {
		err = fmt.Errorf("came over %s to host %s, want %s to %s", got.Protocol, got.Host, protocol, c.Host)
	}
	return err
}

// oneByOne checks that events come as they are sent, not all at the end.
func oneByOne(ctx context.Context, c *caller) error {
	const seconds = 3
	var first, last time.Time
	err := c.events(ctx, seconds, func(int) bool {
		last = time.Now()
		if first.IsZero() {
			first = last
		}
		return true
	})
	if err == nil && last.Sub(first) < seconds*time.Second/2 {
		err = fmt.Errorf("events of %d s came within %v", seconds, last.Sub(first))
	}
	return err
}

// timesOut checks that a Model's timeoutSeconds ends a request, not before its time.
func timesOut(ctx context.Context, c *caller) error {
	status, _, err := c.ask(ctx, fmt.Sprint("/hello?seconds=", shortTimeout-1), nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("within the timeout: status %d", status)
	}
	start := time.Now()
	status, _, err = c.ask(ctx, fmt.Sprint("/hello?seconds=", 4*shortTimeout), nil)
	if err != nil {
		return err
	}
	took := time.Since(start)
	if status != http.StatusGatewayTimeout || took < shortTimeout*time.Second || took > 2*shortTimeout*time.Second {
		return fmt.Errorf("beyond the timeout: status %d after %v", status, took)
	}
	return nil
}

// headersAreKnatives checks that callers from outside can't send the headers by
// which Knative's components speak to each other, however they spell them, but for
// those that its contract lets through.
func headersAreKnatives(ctx context.Context, c *caller) error {
	// Set by hand: Header.Set would spell them canonically.
	removed := []string{"Knative-Foo", "K-Foo", "KNATIVE-SERVING-REVISION", "k-passthrough-lb", "knative-serving-tags", "K-Network-Prober", "K-"}
	passed := map[string]string{header.RouteTagKey: "unknown", "X-K-Foo": "kept", "Knativefoo": "kept"}
	sent := http.Header{}
	for _, name := range removed {
		sent[name] = []string{"forged"}
	}
	for name, value := range passed {
		sent[name] = []string{value}
	}
	got, err := c.mirror(ctx, sent)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range removed {
		if value := got.Headers.Get(name); value != "" {
			errs = append(errs, fmt.Errorf("%s: %s came through", name, value))
		}
	}
	for name, want := range passed {
		if value := got.Headers.Get(name); value != want {
			errs = append(errs, fmt.Errorf("%s: %s came as %q", name, want, value))
		}
	}
	// The activator answers what has these two headers, by the second of them.
	probe, err := c.get(ctx, "/hello", http.Header{header.ProbeKey: {header.ProbeValue}, header.HashKey: {"0123"}})
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer probe.Body.Close()
	if got := probe.Header.Get(header.HashKey); got != "0123" {
		errs = append(errs, fmt.Errorf("a probe of the activator was answered by %s, %s %q", probe.Status, header.HashKey, got))
	}
	return errors.Join(errs...)
}

// A cluster-local Service is not there for callers outside, however they name it.
// A DomainMapping, which leads to its name inside the cluster, makes it reachable
// over HTTP and WebSocket.
func TestVisibility(t *testing.T) {
	s := newStage(t)
	inside := s.plain("inside", s.streamsContainer(), map[string]string{networking.VisibilityLabelKey: "cluster-local"})
	c := newCaller(platform.Endpoint{Address: cluster.address, Host: inside}, 1)
	short, _, _ := strings.Cut(inside, ".svc.")
	for _, host := range []string{
		inside, inside + ":80", inside + ":8081", inside + ".", strings.ToUpper(inside), strings.ToUpper(inside[:1]) + inside[1:],
		short, short + ".svc", short + ".", "inside", "inside." + s.publicDomain(), gateway.LocalName(gateway.Shared) + "." + gateway.Namespace + ".svc.cluster.local",
	} {
		if status, body, err := c.ask(t.Context(), "/hello", http.Header{"Host": {host}}); err != nil || status != http.StatusNotFound {
			t.Errorf("host %s: status %d, %.100q, error %v, want 404", host, status, body, err)
		}
	}

	mapped := newCaller(platform.Endpoint{Address: cluster.address, Host: s.mapTo("inside")}, 1)
	if got, err := mapped.mirror(t.Context(), nil); err != nil || got.Protocol != "HTTP/1.1" {
		t.Errorf("through the DomainMapping: %+v, error %v", got, err)
	}
	if err := mapped.converse(t.Context(), func(n int) bool { return n <= 20 }); err != nil {
		t.Errorf("WebSocket through the DomainMapping: %v", err)
	}
}

// publicDomain is the domain that the namespace's public hosts end in.
func (s *stage) publicDomain() string {
	s.Helper()
	config, err := s.Kube.CoreV1().ConfigMaps(servingNamespace).Get(s.Context(), "config-domain", metav1.GetOptions{})
	if err != nil {
		s.Fatal("getting Knative's domain:", err)
	}
	for domain, selector := range config.Data {
		if selector == "" {
			return s.namespace + "." + domain
		}
	}
	s.Fatalf("Knative has no domain of its own: %v", config.Data)
	return ""
}

// mapTo makes a DomainMapping to a Knative Service and returns its host.
func (s *stage) mapTo(service string) string {
	s.Helper()
	host := "mapped." + s.namespace + ".example.com"
	claim := &netv1alpha1.ClusterDomainClaim{
		ObjectMeta: metav1.ObjectMeta{Name: host},
		Spec:       netv1alpha1.ClusterDomainClaimSpec{Namespace: s.namespace},
	}
	mapping := &servingv1beta1.DomainMapping{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: host,
			Annotations: map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName},
		},
		Spec: servingv1beta1.DomainMappingSpec{Ref: duckv1.KReference{Kind: "Service", Name: service, APIVersion: servingv1.SchemeGroupVersion.String()}},
	}
	claims, mappings := s.Networking.NetworkingV1alpha1().ClusterDomainClaims(), s.Serving.ServingV1beta1().DomainMappings(s.namespace)
	s.Cleanup(func() {
		if err := errors.Join(
			mappings.Delete(context.Background(), host, metav1.DeleteOptions{}),
			claims.Delete(context.Background(), host, metav1.DeleteOptions{})); err != nil {
			s.Error("removing the DomainMapping:", err)
		}
	})
	if _, err := claims.Create(s.Context(), claim, metav1.CreateOptions{}); err != nil {
		s.Fatal("claiming a domain:", err)
	}
	if _, err := mappings.Create(s.Context(), mapping, metav1.CreateOptions{}); err != nil {
		s.Fatal("creating a DomainMapping:", err)
	}
	s.until(readyWithin, "the DomainMapping to be Ready", func(ctx context.Context) (string, error) {
		got, err := mappings.Get(ctx, host, metav1.GetOptions{})
		if err != nil || got.IsReady() {
			return "", err
		}
		return fmt.Sprintf("%+v", got.Status.GetCondition(servingv1beta1.DomainMappingConditionReady)), nil
	})
	return host
}

const (
	// passing is how many Models come and go.
	passing = 50
	// atOnce is how many of them there are at a time.
	atOnce = 10
	// openFor is how long the streams stay open at least.
	openFor = time.Minute
)

// listenerFigures count the changes of Envoy's listeners, each of which drains
// connections.
var listenerFigures = []string{
	"envoy_listener_manager_listener_added",
	"envoy_listener_manager_listener_modified",
	"envoy_listener_manager_listener_in_place_updated",
	"envoy_listener_manager_listener_removed",
}

// Models that come and go change no listener of the gateway: streams to another
// Model live on.
func TestStreamsOutliveOtherModels(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.streams("lasting", timeout(600)))
	endpoint := s.serving("lasting")
	s.allowInitialZero()
	before := s.listeners()

	var over atomic.Bool
	var heard, echoed atomic.Int64
	lasting := map[string]func(context.Context) error{
		"events": func(ctx context.Context) error {
			return newCaller(endpoint, 1).events(ctx, 600, func(n int) bool { heard.Store(int64(n)); return !over.Load() })
		},
		"events over HTTP/2": func(ctx context.Context) error {
			return newCaller(endpoint, 2).events(ctx, 600, func(int) bool { return !over.Load() })
		},
		"WebSocket": func(ctx context.Context) error {
			return newCaller(endpoint, 1).converse(ctx, func(n int) bool { echoed.Store(int64(n)); return !over.Load() })
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var open sync.WaitGroup
	for name, last := range lasting {
		open.Go(func() {
			if err := last(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	start := time.Now()
	for first := 0; first < passing; first += atOnce {
		s.comeAndGo(first)
	}
	t.Logf("%d Models came and went in %.1f s", passing, time.Since(start).Seconds())
	s.until(2*openFor, "as many events and messages as fit in a minute", func(context.Context) (string, error) {
		if events, messages := heard.Load(), echoed.Load(); min(events, messages) < int64(openFor/beat) {
			return fmt.Sprintf("%d events, %d messages", events, messages), nil
		}
		return "", nil
	})
	over.Store(true)
	open.Wait()
	t.Logf("streams of %.1f s: %d events, %d messages", time.Since(start).Seconds(), heard.Load(), echoed.Load())

	for pod, figures := range s.listeners() {
		for figure, now := range figures {
			if was := before[pod][figure]; now != was {
				t.Errorf("%s of gateway pod %s is %v, was %v", figure, pod, now, was)
			}
		}
	}
}

// comeAndGo makes some Models without replicas, waits until they are served, and
// deletes them.
func (s *stage) comeAndGo(first int) {
	s.Helper()
	var names []string
	for i := range atOnce {
		names = append(names, "passing-"+strconv.Itoa(first+i))
		s.create(s.streams(names[i], asleep))
	}
	s.until(readyWithin, "Models to be Ready", func(ctx context.Context) (string, error) {
		for _, name := range names {
			m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			if !m.IsReady() {
				return fmt.Sprintf("%s: %+v", name, m.Status.GetCondition(v1alpha1.ModelConditionReady)), nil
			}
		}
		return "", nil
	})
	for _, name := range names {
		if err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Delete(s.Context(), name, metav1.DeleteOptions{}); err != nil {
			s.Fatalf("deleting Model %s: %v", name, err)
		}
	}
	s.until(30*time.Second, "their routes to go", func(ctx context.Context) (string, error) {
		for _, name := range names {
			_, err := s.Istio.NetworkingV1().VirtualServices(gateway.Namespace).Get(ctx, gateway.VirtualServiceName(s.namespace, name), metav1.GetOptions{})
			if isGone, err := gone(err); !isGone {
				return "that of " + name + " is there", err
			}
		}
		return "", nil
	})
}

// asleep starts a Model without any replica.
func asleep(m *v1alpha1.Model) {
	m.Spec.Autoscaling.MinReplicas, m.Spec.Autoscaling.InitialReplicas = ptr.Int32(0), ptr.Int32(0)
}

// allowInitialZero lets Models start without replicas, for as long as the test.
func (s *stage) allowInitialZero() {
	s.Helper()
	const autoscaler, key = "config-autoscaler", "allow-zero-initial-scale"
	before := configure(s.T, servingNamespace, autoscaler, key, ptr.String("true"))
	s.Cleanup(func() { configure(s.T, servingNamespace, autoscaler, key, before) })
	m := s.streams("dry-run", asleep)
	s.until(answerWithin, "Models without replicas to be allowed", func(ctx context.Context) (string, error) {
		if _, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Create(ctx, m, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			return err.Error(), nil //nolint:nilerr // what is waited for
		}
		return "", nil
	})
}

// listeners are what the shared gateway's pods tell of their listeners.
func (s *stage) listeners() map[string]map[string]float64 {
	s.Helper()
	stats, err := s.GatewayStats(s.Context(), gateway.Shared, listenerFigures...)
	if err != nil {
		s.Fatal(err)
	}
	for pod, figures := range stats {
		if len(figures) != len(listenerFigures) {
			s.Fatalf("gateway pod %s shows only %v", pod, figures)
		}
	}
	return stats
}
