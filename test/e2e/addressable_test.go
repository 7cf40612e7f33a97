//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	flowsv1 "knative.dev/eventing/pkg/apis/flows/v1"
	messagingv1 "knative.dev/eventing/pkg/apis/messaging/v1"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/network"
	"knative.dev/pkg/ptr"
	"knative.dev/pkg/tracker"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// delivered bounds the way of an event over a few channels.
const delivered = 30 * time.Second

// Whatever takes a reference in Knative takes a Model: events arrive that a Trigger, a
// Channel's Subscription, a Sequence and a Parallel hand on, and sources and bindings know
// where they send to.
func TestModelIsNamedByReference(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.streams("model"))
	model := newCaller(s.serving("model"), 1)
	to := duckv1.Destination{Ref: s.reference("model"), URI: &apis.URL{Path: "/work"}}

	s.channelTo(to)
	s.flowsTo(to)
	broker := s.broker("events")
	ways := map[string]duckv1.Destination{
		"trigger":      to,
		"subscription": s.at(messagingv1.SchemeGroupVersion.String(), "InMemoryChannel", "channel"),
		"sequence":     s.at(flowsv1.SchemeGroupVersion.String(), "Sequence", "sequence"),
		"parallel":     s.at(flowsv1.SchemeGroupVersion.String(), "Parallel", "parallel"),
	}
	for name, subscriber := range ways {
		s.trigger(s.namespace, name, eventingv1.TriggerSpec{
			Broker: "events", Subscriber: subscriber,
			Filter: &eventingv1.TriggerFilter{Attributes: map[string]string{"type": "dev.sluice.test." + name}},
		})
	}
	s.sourcesTo(to, "http://"+network.GetServiceHostname("model", s.namespace)+"/work")

	token, arrived := s.token(s.namespace, "default", "eventing.knative.dev/broker/"+s.namespace+"/events"), 0
	for name := range ways {
		if err := send(t.Context(), broker, token, "dev.sluice.test."+name, 1); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		took := s.until(delivered, "the event to arrive by "+name, func(ctx context.Context) (string, error) {
			done, err := model.worked(ctx)
			if err != nil || done.Done == arrived {
				return fmt.Sprintf("%d events arrived, error %v", done.Done, err), nil
			}
			arrived = done.Done
			return "", nil
		})
		t.Logf("%s: the event arrived after %.1f s", name, took.Seconds())
	}
}

// reference names a Model of the stage.
func (s *stage) reference(model string) *duckv1.KReference {
	return &duckv1.KReference{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Model", Namespace: s.namespace, Name: model}
}

func (s *stage) at(apiVersion, kind, name string) duckv1.Destination {
	return duckv1.Destination{Ref: &duckv1.KReference{APIVersion: apiVersion, Kind: kind, Namespace: s.namespace, Name: name}}
}

// made ends the test if an object could not be created.
func (s *stage) made(_ any, err error) {
	s.Helper()
	if err != nil {
		s.Fatal("creating an object:", err)
	}
}

// channelTo makes a channel whose only subscriber is somebody.
func (s *stage) channelTo(to duckv1.Destination) {
	s.Helper()
	messaging := s.Eventing.MessagingV1()
	s.made(messaging.InMemoryChannels(s.namespace).Create(s.Context(),
		&messagingv1.InMemoryChannel{ObjectMeta: metav1.ObjectMeta{Name: "channel"}}, metav1.CreateOptions{}))
	s.made(messaging.Subscriptions(s.namespace).Create(s.Context(), &messagingv1.Subscription{
		ObjectMeta: metav1.ObjectMeta{Name: "subscription"},
		Spec: messagingv1.SubscriptionSpec{
			Channel:    duckv1.KReference{APIVersion: messagingv1.SchemeGroupVersion.String(), Kind: "InMemoryChannel", Name: "channel"},
			Subscriber: &to,
		},
	}, metav1.CreateOptions{}))
	s.until(readyWithin, "the Subscription", func(ctx context.Context) (string, error) {
		got, err := messaging.Subscriptions(s.namespace).Get(ctx, "subscription", metav1.GetOptions{})
		if err != nil || got.Status.IsReady() {
			return "", err
		}
		return fmt.Sprintf("%+v", got.Status.Conditions), nil
	})
}

// flowsTo makes a Sequence of one step and a Parallel of one branch, which are somebody.
func (s *stage) flowsTo(to duckv1.Destination) {
	s.Helper()
	flows := s.Eventing.FlowsV1()
	s.made(flows.Sequences(s.namespace).Create(s.Context(), &flowsv1.Sequence{
		ObjectMeta: metav1.ObjectMeta{Name: "sequence"},
		Spec:       flowsv1.SequenceSpec{Steps: []flowsv1.SequenceStep{{Destination: to}}},
	}, metav1.CreateOptions{}))
	s.made(flows.Parallels(s.namespace).Create(s.Context(), &flowsv1.Parallel{
		ObjectMeta: metav1.ObjectMeta{Name: "parallel"},
		Spec:       flowsv1.ParallelSpec{Branches: []flowsv1.ParallelBranch{{Subscriber: to}}},
	}, metav1.CreateOptions{}))
	s.until(readyWithin, "the Sequence and the Parallel", func(ctx context.Context) (string, error) {
		sequence, err := flows.Sequences(s.namespace).Get(ctx, "sequence", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		parallel, err := flows.Parallels(s.namespace).Get(ctx, "parallel", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if !sequence.Status.IsReady() || !parallel.Status.IsReady() {
			return fmt.Sprintf("%+v; %+v", sequence.Status.Conditions, parallel.Status.Conditions), nil
		}
		return "", nil
	})
}

// sourcesTo makes sources that send to somebody, never in a test's time, and waits until
// they know the address.
func (s *stage) sourcesTo(to duckv1.Destination, address string) {
	s.Helper()
	sources, sink := s.Eventing.SourcesV1(), duckv1.SourceSpec{Sink: to}
	s.restingPings()
	s.made(sources.PingSources(s.namespace).Create(s.Context(), &sourcesv1.PingSource{
		ObjectMeta: metav1.ObjectMeta{Name: "ping"},
		Spec:       sourcesv1.PingSourceSpec{SourceSpec: sink, Schedule: "0 0 29 2 *"},
	}, metav1.CreateOptions{}))
	s.made(sources.ApiServerSources(s.namespace).Create(s.Context(), &sourcesv1.ApiServerSource{
		ObjectMeta: metav1.ObjectMeta{Name: "changes"},
		Spec:       sourcesv1.ApiServerSourceSpec{SourceSpec: sink, Resources: []sourcesv1.APIVersionKindSelector{{APIVersion: "v1", Kind: "ConfigMap"}}},
	}, metav1.CreateOptions{}))
	s.made(s.Kube.AppsV1().Deployments(s.namespace).Create(s.Context(), sender(), metav1.CreateOptions{}))
	s.made(sources.SinkBindings(s.namespace).Create(s.Context(), &sourcesv1.SinkBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "binding"},
		Spec: sourcesv1.SinkBindingSpec{SourceSpec: sink, BindingSpec: duckv1.BindingSpec{Subject: tracker.Reference{
			APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment", Namespace: s.namespace, Name: "sender",
		}}},
	}, metav1.CreateOptions{}))
	s.until(readyWithin, "sources to know the Model's address", func(ctx context.Context) (string, error) {
		ping, err := sources.PingSources(s.namespace).Get(ctx, "ping", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		changes, err := sources.ApiServerSources(s.namespace).Get(ctx, "changes", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		bound, err := s.Kube.AppsV1().Deployments(s.namespace).Get(ctx, "sender", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		told := ""
		for _, v := range bound.Spec.Template.Spec.Containers[0].Env {
			if v.Name == "K_SINK" {
				told = v.Value
			}
		}
		if a, b := ping.Status.SinkURI.String(), changes.Status.SinkURI.String(); a != address || b != address || told != address {
			return fmt.Sprintf("PingSource %q, ApiServerSource %q, SinkBinding %q; want %q", a, b, told, address), nil
		}
		return "", nil
	})
}

// sender is a Deployment without a pod, whom a SinkBinding tells where to send to.
func sender() *appsv1.Deployment {
	labels := map[string]string{"app": "sender"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "sender"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.Int32(0), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "sender", Image: cluster.streams}}},
			},
		},
	}
}

// restingPings has the adapter of PingSources, which Knative starts with the first of them
// and never ends, be at as many replicas afterwards as before.
func (s *stage) restingPings() {
	s.Helper()
	const adapter = "pingsource-mt-adapter"
	before, err := s.Kube.AppsV1().Deployments(eventingNamespace).Get(s.Context(), adapter, metav1.GetOptions{})
	if err != nil {
		s.Fatal("getting the adapter of PingSources:", err)
	}
	s.Cleanup(func() {
		ctx := context.Background() // the test has ended
		if err := s.Eventing.SourcesV1().PingSources(s.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			s.Error("deleting PingSources:", err)
		}
		s.resize(ctx, eventingNamespace, adapter, *before.Spec.Replicas)
	})
}
