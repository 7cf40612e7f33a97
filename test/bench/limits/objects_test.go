package main

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/revision"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func TestAllCarryTheLabel(t *testing.T) {
	s := subject{name: "s", gateway: ownGateway, rate: 10, policy: v1alpha1.PolicyReady, cap: "c"}
	service, slice := podService(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}})
	insertion, err := insertion()
	if err != nil {
		t.Fatal(err)
	}
	byHand, _, err := (&byHand{}).next("")
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []metav1.Object{
		s.route(), s.rateLimit(), s.autoscaler(), s.endpoints(3), tenant("t", 2), withoutPods("w"),
		service, slice, insertion, byHand, trigger(s, "10.0.0.1:1"), ownNamespace(namespace),
	} {
		if object.GetLabels()[labelKey] != "limits" {
			t.Errorf("%T %s would be left behind: %v", object, object.GetName(), object.GetLabels())
		}
	}
}

// Who watches what limits follow goes by these labels and names.
func TestWhatLimitsFollowIsFound(t *testing.T) {
	s := subject{name: "s", gateway: ownGateway, follows: true}
	slice, pa := s.endpoints(3), s.autoscaler()
	if got := revision.Ready([]*discoveryv1.EndpointSlice{slice}); got != 3 {
		t.Errorf("%d ready, want 3", got)
	}
	for _, object := range []metav1.Object{slice, pa} {
		if object.GetLabels()[sluice.ModelLabelKey] != s.name {
			t.Errorf("%T: labels %v", object, object.GetLabels())
		}
	}
	if revision.WithEndpoints(slice) != pa.Name || s.rateLimit().Spec.Traffic[0].Revision != pa.Name {
		t.Errorf("revision %s, endpoints %v", pa.Name, slice.Labels)
	}
	if err := pa.Spec.Validate(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNothingOfASubjectReachesABackend(t *testing.T) {
	route := subject{name: "s", gateway: ownGateway}.route()
	last := route.Spec.Http[len(route.Spec.Http)-1]
	if last.GetDirectResponse().GetStatus() != 200 || len(last.Match) != 0 || len(last.Route) != 0 {
		t.Errorf("%v answers, want Envoy", last)
	}
	if first := route.Spec.Http[0]; len(first.Route) != 1 || len(first.Match) != 1 {
		t.Error("there is no way on to a backend, so the subject would have no share of its limit")
	}
	if route.Spec.Gateways[0] != gateway.Namespace+"/"+ownGateway {
		t.Errorf("gateways %v", route.Spec.Gateways)
	}
}
