//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// worked is what a Model tells of its work.
type worked struct{ Done, Most int }

// A Model that may let requests wait takes 200 events that come all at once through a
// Broker, forty seconds' work: none is refused, none is lost, none comes twice, and its
// replica works on one at a time. Callers from outside have their short burst as ever.
func TestQueueTakesEventsAtOnce(t *testing.T) {
	t.Parallel()
	const events, wait = 200, time.Minute
	s := newStage(t)
	s.create(s.streams("slow", fixed("5"), func(m *v1alpha1.Model) {
		m.Spec.ContainerConcurrency = ptr.Int64(1)
		m.Spec.Limit.Queue = &v1alpha1.QueueSpec{Wait: metav1.Duration{Duration: wait}}
	}))
	broker := s.broker("events")
	s.trigger(s.namespace, "events", eventingv1.TriggerSpec{
		Broker: "events", Subscriber: duckv1.Destination{Ref: s.reference("slow"), URI: &apis.URL{Path: "/work"}},
	})
	external := newCaller(s.serving("slow"), 1)

	refused := 0
	for range 20 {
		status, _, err := external.ask(t.Context(), "/hello", nil)
		if err != nil {
			t.Fatal(err)
		}
		if status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 {
		t.Error("none of 20 requests from outside, one after another, was refused")
	}

	token, began := s.token(s.namespace, "default", "eventing.knative.dev/broker/"+s.namespace+"/events"), time.Now()
	sending, ctx := errgroup.WithContext(t.Context())
	for i := range events {
		sending.Go(func() error { return send(ctx, broker, token, "dev.sluice.test", i) })
	}
	if err := sending.Wait(); err != nil {
		t.Fatal(err)
	}
	var done worked
	s.until(2*wait, "all events to be worked on", func(ctx context.Context) (string, error) {
		var err error
		if done, err = external.worked(ctx); err != nil || done.Done < events {
			return fmt.Sprintf("%d are, error %v", done.Done, err), nil
		}
		return "", nil
	})
	t.Logf("%d events were worked on within %.1f s, at most %d at a time", done.Done, time.Since(began).Seconds(), done.Most)
	if done.Done != events || done.Most != 1 {
		t.Errorf("%d events were worked on, at most %d at a time, want %d and 1", done.Done, done.Most, events)
	}
	offered, refusedInside := s.insideOf("slow")
	if offered != events || refusedInside != 0 {
		t.Errorf("%v requests came from inside the cluster and %v were refused, want %d and none", offered, refusedInside, events)
	}
}

// insideOf are a Model's requests at the shared gateway's entry for callers inside the
// cluster.
func (s *stage) insideOf(name string) (offered, refused float64) {
	s.Helper()
	pods, err := s.gatewayPods(s.Context(), gateway.Shared)
	if err != nil {
		s.Fatal(err)
	}
	for _, pod := range pods {
		families, err := s.gatewayCounters(s.Context(), pod)
		if err != nil {
			s.Fatal(err)
		}
		for metric, sum := range map[string]*float64{gateway.OfferedMetric: &offered, gateway.RefusedMetric: &refused} {
			*sum += ofRoute(atEntry(families["envoy_"+metric], gateway.Local), gateway.VirtualServiceMetadata(gateway.VirtualServiceName(s.namespace, name)))
		}
	}
	return offered, refused
}

// atEntry is what is counted at an entry.
func atEntry(family *dto.MetricFamily, entry gateway.Entry) *dto.MetricFamily {
	out := &dto.MetricFamily{}
	for _, metric := range family.GetMetric() {
		if slices.ContainsFunc(metric.GetLabel(), func(l *dto.LabelPair) bool {
			return l.GetName() == gateway.EntryTag && l.GetValue() == entry.Name
		}) {
			out.Metric = append(out.Metric, metric)
		}
	}
	return out
}

// worked asks the Model what it has worked on.
func (c *caller) worked(ctx context.Context) (worked, error) {
	var done worked
	status, body, err := c.ask(ctx, "/worked", nil)
	if err != nil {
		return done, err
	}
	if status != http.StatusOK {
		return done, fmt.Errorf("it answers %d", status)
	}
	if err := json.Unmarshal(body, &done); err != nil {
		return done, fmt.Errorf("reading %s: %w", body, err)
	}
	return done, nil
}

// broker makes a Broker and returns its address.
func (s *stage) broker(name string) string {
	s.Helper()
	s.made(s.Eventing.EventingV1().Brokers(s.namespace).Create(s.Context(),
		&eventingv1.Broker{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
	return "http://" + s.clusterIP(eventingNamespace, "broker-ingress") + "/" + s.namespace + "/" + name
}

// trigger makes a Trigger, and waits until its Broker delivers to the subscriber.
func (s *stage) trigger(namespace, name string, spec eventingv1.TriggerSpec) {
	s.Helper()
	triggers := s.Eventing.EventingV1().Triggers(namespace)
	s.made(triggers.Create(s.Context(), &eventingv1.Trigger{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{}))
	s.until(readyWithin, "Trigger "+name, func(ctx context.Context) (string, error) {
		got, err := triggers.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if !got.Status.IsReady() {
			return fmt.Sprintf("%+v", got.Status.Conditions), nil
		}
		return "", nil
	})
}

// send hands an event without data to a Broker.
func send(ctx context.Context, broker, token, eventType string, id int) error {
	return hand(ctx, broker, token, fmt.Sprintf(`{"specversion":"1.0","type":%q,"source":"/test","id":"%d"}`, eventType, id))
}

// hand hands an event to a Broker, which may answer only once it is delivered.
func hand(ctx context.Context, broker, token, event string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, broker, strings.NewReader(event))
	if err != nil {
		return fmt.Errorf("building a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/cloudevents+json")
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Timeout: 2 * time.Minute}).Do(request)
	if err != nil {
		return fmt.Errorf("sending event %s: %w", event, err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("event %s was answered by %s", event, response.Status)
	}
	return nil
}
