package main

import (
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	fakesluiceclient "sluice.dev/sluice/reconciler/client/injection/client/fake"
	modelinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model"
	tenantinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/tenant"
)

// What is written by `kubectl scale` is judged as the Model that comes of it, as it is in the
// cluster and not in a cache, and whoever scales is told what that sets.
func TestScaleIsJudged(t *testing.T) {
	ctx := contextWith(t)
	ctx, _ = fakesluiceclient.With(ctx)
	webhook := admissionOf(ctx, t, newValidation(servingNamespace))
	ranker := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: "ranker"}}
	ranker.Spec.Container.Image = "registry.example/ranker:1"
	ranker.Spec.Autoscaling.MaxReplicas = ptr(int32(4))
	ranker.Spec.Limit.RequestsPerSecondPerReplica = ptr(resource.MustParse("50"))
	ranker.SetDefaults(ctx)
	older := ranker.DeepCopy()
	older.Spec.Autoscaling.MaxReplicas = ptr(int32(9))
	add(t, modelinformer.Get(ctx).Informer(), older)
	if err := fakesluiceclient.Get(ctx).Tracker().Add(ranker); err != nil {
		t.Fatal(err)
	}
	acme := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}
	acme.Spec.Limits.MaxReplicas = ptr(int32(9))
	acme.Status.Namespaces = []v1alpha1.TenantNamespace{{Name: "search"}}
	add(t, tenantinformer.Get(ctx).Informer(), acme)

	for _, c := range []struct {
		name    string
		request *admissionv1.AdmissionRequest
		refused string // part of the message; "" for admitted
		warns   string
	}{
		{"some", scaleTo("ranker", "3"), "", "sets it to 3, which are kept without any demand"},
		{"above what the Model may have now", scaleTo("ranker", "5"), "must not be above maxReplicas, which is 4: spec.autoscaling.minReplicas", ""},
		{"one that isn't there", scaleTo("judge", "1"), `getting Model "judge"`, ""},
		{"what can't be read", scaleTo("ranker", `"3"`), "decoding the Scale", ""},
	} {
		got := webhook.Admit(ctx, c.request)
		expect(t, c.name, got, c.refused)
		if said := strings.Join(got.Warnings, "; "); (c.warns == "") != (said == "") || !strings.Contains(said, c.warns) {
			t.Errorf("%s: warns %q, want %q", c.name, said, c.warns)
		}
	}
}

// The API server asks about a Model's scale, and about its status it doesn't.
func TestScaleIsAsked(t *testing.T) {
	model := &v1alpha1.Model{}
	var resources []string
	for _, part := range model.SupportedSubResources() {
		resources = append(resources, "models"+part)
	}
	if got := strings.Join(resources, " "); got != "models models/scale" {
		t.Errorf("asked about %s", got)
	}
	if verbs := model.SupportedVerbs(); len(verbs) != 2 || verbs[1] != admissionregistrationv1.Update {
		t.Errorf("asked at %v", verbs)
	}
}

func scaleTo(model, replicas string) *admissionv1.AdmissionRequest {
	scale := func(replicas string) runtime.RawExtension {
		return runtime.RawExtension{Raw: fmt.Appendf(nil,
			`{"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": %q, "namespace": "search"}, "spec": {"replicas": %s}}`, model, replicas)}
	}
	return &admissionv1.AdmissionRequest{
		Operation: admissionv1.Update, SubResource: "scale", Namespace: "search", Name: model,
		Kind:     metav1.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"},
		Resource: metav1.GroupVersionResource{Group: "sluice.dev", Version: "v1alpha1", Resource: "models"},
		Object:   scale(replicas), OldObject: scale("1"),
	}
}
