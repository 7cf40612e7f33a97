package revisionscale

import (
	"context"
	"errors"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/controller"
	pkgreconciler "knative.dev/pkg/reconciler"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

type sender struct {
	err  error
	sent []cloudevents.Event
}

func (s *sender) Send(ctx context.Context, e cloudevents.Event) error {
	if s.err == nil {
		s.sent = append(s.sent, eventing.WithTrace(ctx, e))
	}
	return s.err
}

type source struct {
	*Reconciler
	*sender
	t             *testing.T
	spans         *tracetest.SpanRecorder
	pas, slices   cache.Indexer
	namespaceName string
}

func newSource(t *testing.T) *source {
	indexers := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
	s := &source{
		t: t, sender: &sender{}, spans: tracetest.NewSpanRecorder(), namespaceName: "team/ranker-00001",
		pas: cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers), slices: cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers),
	}
	s.Reconciler = &Reconciler{
		autoscalers: autoscalinglisters.NewPodAutoscalerLister(s.pas), slices: discoverylisters.NewEndpointSliceLister(s.slices),
		sender: s.sender, tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans)).Tracer("test"), sent: map[types.NamespacedName]eventing.Scale{},
	}
	if err := s.Promote(pkgreconciler.UniversalBucket(), func(pkgreconciler.Bucket, types.NamespacedName) {}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *source) scale(desired int32, addresses ...string) {
	s.t.Helper()
	meta := metav1.ObjectMeta{Namespace: "team", Name: "ranker-00001", ResourceVersion: "9", Labels: map[string]string{sluice.ModelLabelKey: "ranker"}}
	pa := &autoscalingv1alpha1.PodAutoscaler{ObjectMeta: meta, Status: autoscalingv1alpha1.PodAutoscalerStatus{DesiredScale: &desired}}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: "team", Name: "x", ResourceVersion: "11", Labels: map[string]string{discoveryv1.LabelServiceName: "ranker-00001-private"},
	}}
	unready := false
	slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.99"}, Conditions: discoveryv1.EndpointConditions{Ready: &unready}}}
	for _, a := range addresses {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	if err := errors.Join(s.pas.Update(pa), s.slices.Update(slice)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *source) reconcile() error { return s.Reconcile(s.t.Context(), s.namespaceName) }

func TestTellsEachChangeOnce(t *testing.T) {
	s := newSource(t)
	s.scale(1, "10.0.0.1")
	for range 2 {
		if err := s.reconcile(); err != nil {
			t.Fatal(err)
		}
	}
	s.scale(3, "10.0.0.1", "10.0.0.2", "10.0.0.1")
	if err := s.reconcile(); err != nil {
		t.Fatal(err)
	}
	if len(s.sender.sent) != 2 {
		t.Fatalf("%d events, want one for each change", len(s.sender.sent))
	}
	d, err := eventing.ParseRevisionScaled(s.sender.sent[1])
	want := eventing.Scale{Desired: 3, Ready: 2}
	if err != nil || d.Scale != want || d.Previous == nil || *d.Previous != (eventing.Scale{Desired: 1, Ready: 1}) || d.ResourceVersion != "11" {
		t.Errorf("data = %+v, %v; want %+v", d, err, want)
	}
}

func TestTriesAgainWhatTheBrokerDidNotTake(t *testing.T) {
	s := newSource(t)
	s.scale(1)
	s.sender.err = errors.New("the broker is down")
	if err := s.reconcile(); err == nil {
		t.Error("no error, so the work queue won't try again")
	}
	s.sender.err = nil
	if err := s.reconcile(); err != nil || len(s.sender.sent) != 1 {
		t.Errorf("%d events, %v; want the one that was not taken", len(s.sender.sent), err)
	}
}

// An event that failed may have come to some all the same: that all is as it was before is
// news to them.
func TestTellsOfTheWayBackFromWhatFailed(t *testing.T) {
	s := newSource(t)
	s.scale(1, "10.0.0.1")
	if err := s.reconcile(); err != nil {
		t.Fatal(err)
	}
	s.scale(2, "10.0.0.1", "10.0.0.2")
	s.sender.err = errors.New("no answer in time")
	if err := s.reconcile(); err == nil {
		t.Error("no error, so the work queue won't try again")
	}
	s.sender.err = nil
	s.scale(1, "10.0.0.1")
	if err := s.reconcile(); err != nil || len(s.sender.sent) != 2 {
		t.Errorf("%d events, %v; want the way back told", len(s.sender.sent), err)
	}
}

// However long the Broker was away, what it didn't take is tried again soon.
func TestTriesAgainSoon(t *testing.T) {
	queue := retries()
	for range 100 {
		if after := queue.When("team/ranker-00001"); after > lastRetry {
			t.Fatalf("the next try is in %v, want at most %v", after, lastRetry)
		}
	}
}

// Labels are anybody's to set: what one of them keeps from being told isn't tried again.
func TestDoesNotTryAgainWhatCannotBeTold(t *testing.T) {
	for name, change := range map[string]func(*autoscalingv1alpha1.PodAutoscaler){
		"no Model's name": func(pa *autoscalingv1alpha1.PodAutoscaler) { pa.Labels[sluice.ModelLabelKey] = "" },
		"what its schema refuses": func(pa *autoscalingv1alpha1.PodAutoscaler) {
			pa.Labels[sluice.ModelLabelKey] = strings.Repeat("m", 254)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t)
			s.scale(1)
			object, _, err := s.pas.GetByKey(s.namespaceName)
			if err != nil {
				t.Fatal(err)
			}
			change(object.(*autoscalingv1alpha1.PodAutoscaler))
			if err := s.reconcile(); err != nil && !controller.IsPermanentError(err) || len(s.sender.sent) != 0 {
				t.Errorf("%d events, and the work queue tries again after %v", len(s.sender.sent), err)
			}
		})
	}
}

func TestForgetsRevisionsThatAreGone(t *testing.T) {
	s := newSource(t)
	s.scale(1)
	if err := s.reconcile(); err != nil {
		t.Fatal(err)
	}
	if err := s.pas.Replace(nil, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.reconcile(); err != nil || len(s.sent()) != 0 {
		t.Errorf("remembers %v, %v", s.sent(), err)
	}
}

func (s *source) sent() map[types.NamespacedName]eventing.Scale { return s.Reconciler.sent }

func TestFollowersSayNothing(t *testing.T) {
	s := newSource(t)
	s.scale(1)
	s.Demote(pkgreconciler.UniversalBucket())
	if err := s.reconcile(); err != nil || len(s.sender.sent) != 0 {
		t.Errorf("%d events, %v; want none from a follower", len(s.sender.sent), err)
	}
}

// Each event begins a trace, which it takes along.
func TestEachEventHasATraceOfItsOwn(t *testing.T) {
	s := newSource(t)
	s.scale(1, "10.0.0.1")
	if err := s.reconcile(); err != nil {
		t.Fatal(err)
	}
	s.scale(2, "10.0.0.1")
	s.sender.err = errors.New("the broker is down")
	if err := s.reconcile(); err == nil {
		t.Fatal("no error")
	}
	s.sender.err = nil
	if err := s.reconcile(); err != nil {
		t.Fatal(err)
	}
	spans, seen := s.spans.Ended(), map[trace.TraceID]bool{}
	for i, want := range []codes.Code{codes.Unset, codes.Error, codes.Unset} {
		if got := spans[i].Status().Code; spans[i].Name() != "scale event" || got != want || spans[i].Parent().IsValid() {
			t.Errorf("span %d is %q, status %v, of parent %s; want a root with status %v", i, spans[i].Name(), got, spans[i].Parent().SpanID(), want)
		}
		seen[spans[i].SpanContext().TraceID()] = true
	}
	if len(spans) != 3 || len(seen) != 3 {
		t.Errorf("%d spans of %d traces, want three of as many", len(spans), len(seen))
	}
	for i, of := range []int{0, 2} {
		carried := trace.SpanContextFromContext(eventing.TraceOf(t.Context(), s.sender.sent[i]))
		if carried.SpanID() != spans[of].SpanContext().SpanID() {
			t.Errorf("event %d goes on with span %s, want %s", i, carried.SpanID(), spans[of].SpanContext().SpanID())
		}
	}
}
