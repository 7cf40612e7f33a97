package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/model/resources"
)

// What Sluice makes of the Model and what is routed by hand must be the same
// revision, or the comparison says nothing.
func TestBothArmsRunTheSameRevision(t *testing.T) {
	m := ranker("any", "registry.example.com/ranker:1")
	m.SetDefaults(t.Context())
	// It warns of the benchmark's own label, which is to stay on the Model.
	if err := m.Validate(t.Context()).Filter(apis.ErrorLevel); err != nil {
		t.Fatal("the webhook would say:", err)
	}
	ours, byHand := resources.Service(m, nil), plainService(m)
	same(t, "annotations", ours.Spec.Template.Annotations, byHand.Spec.Template.Annotations)
	same(t, "spec", ours.Spec.Template.Spec, byHand.Spec.Template.Spec)
	if class := byHand.Annotations[networking.IngressClassAnnotationKey]; class == "" || class == sluice.IngressClassName {
		t.Errorf("by hand, the class is %q", class)
	}
}

// istiod translates the port number of a Gateway by whichever Service exposes it.
func TestMinimalGatewayHasItsOwnPort(t *testing.T) {
	servers := minimalGateway().Spec.Servers
	target := minimalService().Spec.Ports[0].TargetPort.IntVal
	if len(servers) != 1 || servers[0].Port.Number != uint32(target) {
		t.Errorf("servers %v, the Service leads to %d", servers, target)
	}
	for _, entry := range gateway.Entries() {
		if entry.Port == servers[0].Port.Number {
			t.Errorf("port %d is that of entry %s", entry.Port, entry.Name)
		}
	}
	for _, port := range minimalService().Spec.Ports {
		if port.Port == target {
			t.Errorf("the Service exposes %d, the bind port", port.Port)
		}
	}
}

func TestRoutesAreValid(t *testing.T) {
	ing := ingress("route-001")
	ing.SetDefaults(t.Context())
	if err := ing.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	service, slice := backend("route-001")
	if service.Spec.Selector != nil || service.Spec.ClusterIP == corev1.ClusterIPNone {
		t.Errorf("service %+v, want a ClusterIP without a selector", service.Spec)
	}
	if *slice.Ports[0].Name != service.Spec.Ports[0].Name {
		t.Error("its endpoints are of another port")
	}
}

func TestTenantsAreValid(t *testing.T) {
	for i := range tenants {
		tenant := tenant(i)
		tenant.SetDefaults(t.Context())
		if err := tenant.Validate(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestAllThatOutlivesTheNamespaceIsLabelled(t *testing.T) {
	for _, labels := range []map[string]string{
		minimalGateway().Labels, minimalService().Labels, handRoute("any", "any-00001").Labels, tenant(0).Labels,
	} {
		if labels[labelKey] == "" {
			t.Errorf("labels %v, want %s", labels, labelKey)
		}
	}
}

func same(t *testing.T, what string, a, b any) {
	t.Helper()
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("%s differ (-ours +by hand):\n%s", what, diff)
	}
}
