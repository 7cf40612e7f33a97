//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/eventing/v1alpha1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// heard are the events that somebody was delivered: type and subject of each.
type heard struct {
	mu     sync.Mutex
	events [][2]string
}

// ServeHTTP takes every event.
func (h *heard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event, err := cloudevents.NewEventFromHTTPRequest(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, [2]string{event.Type(), event.Subject()})
	w.WriteHeader(http.StatusAccepted)
}

func (h *heard) all() [][2]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// A team is told of its own Models, by the Trigger that an operator makes for its
// namespace, and of nobody else's.
func TestTeamsHearOfTheirOwnModels(t *testing.T) {
	t.Parallel()
	stages, heards := []*stage{newStage(t), newStage(t)}, []*heard{{}, {}}
	for i, s := range stages {
		s.hear(s.listen(heards[i]))
	}
	for _, s := range stages {
		s.create(s.ranker("ranker", fixed("20")))
	}
	for i, s := range stages {
		s.serving("ranker")
		s.until(delivered, "events of the own Model", func(context.Context) (string, error) {
			all := heards[i].all()
			if !slices.Contains(all, [2]string{eventing.RevisionScaledType, s.namespace + "/ranker"}) {
				return fmt.Sprintf("it isn't among %v", all), nil
			}
			return "", nil
		})
	}
	for i, s := range stages {
		all := heards[i].all()
		t.Logf("%s heard %d events", s.namespace, len(all))
		for _, event := range all {
			if !strings.HasPrefix(event[1], s.namespace+"/") {
				t.Errorf("%s heard %v", s.namespace, event)
			}
		}
	}
}

// hear has the events of the stage's own Models and Batches delivered to its own Broker, and by that to
// an address, as docs/events.md says.
func (s *stage) hear(address string) {
	s.Helper()
	to, err := apis.ParseURL(address)
	if err != nil {
		s.Fatal(err)
	}
	s.broker("models")
	if s.authenticates() {
		s.made(s.Eventing.EventingV1alpha1().EventPolicies(s.namespace).Create(s.Context(), &v1alpha1.EventPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "models"},
			Spec: v1alpha1.EventPolicySpec{
				To: []v1alpha1.EventPolicySpecTo{{Ref: &v1alpha1.EventPolicyToReference{
					APIVersion: eventingv1.SchemeGroupVersion.String(), Kind: "Broker", Name: "models",
				}}},
				From: []v1alpha1.EventPolicySpecFrom{{Sub: ptr.String("system:serviceaccount:" + sluice.SystemNamespace + ":*")}},
			},
		}, metav1.CreateOptions{}))
	}
	s.trigger(s.namespace, "models", eventingv1.TriggerSpec{Broker: "models", Subscriber: duckv1.Destination{URI: to}})
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.DeleteTrigger(ctx, sluice.SystemNamespace, eventing.BrokerName, s.namespace); err != nil {
			s.Error(err)
		}
	})
	s.trigger(sluice.SystemNamespace, s.namespace, eventingv1.TriggerSpec{
		Broker:     eventing.BrokerName,
		Filters:    []eventingv1.SubscriptionsAPIFilter{{Prefix: map[string]string{"subject": s.namespace + "/"}}},
		Subscriber: s.at(eventingv1.SchemeGroupVersion.String(), "Broker", "models"),
	})
}
