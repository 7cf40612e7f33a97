package resources

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// What makes a revision and what doesn't: what a new Service of a Model would have that is
// built from it, and whether the one from before is still taken for it.
func TestMetadataThatMakesARevision(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*v1alpha1.Model)
		makes  bool
	}{
		"nothing":                     {func(*v1alpha1.Model) {}, false},
		"private":                     {func(m *v1alpha1.Model) { m.Labels[networking.VisibilityLabelKey] = serving.VisibilityClusterLocal }, false},
		"without a certificate":       {func(m *v1alpha1.Model) { m.Annotations[networking.DisableExternalDomainTLSAnnotationKey] = "true" }, false},
		"a sync of Argo CD":           {func(m *v1alpha1.Model) { m.Annotations["argocd.argoproj.io/tracking-id"] = "x" }, false},
		"another chart":               {func(m *v1alpha1.Model) { m.Labels["helm.sh/chart"], m.Labels["app.kubernetes.io/version"] = "x-2", "2" }, false},
		"kubectl apply":               {func(m *v1alpha1.Model) { m.Annotations["kubectl.kubernetes.io/last-applied-configuration"] = "{}" }, false},
		"what Knative writes":         {func(m *v1alpha1.Model) { m.Annotations[serving.CreatorAnnotation] = "somebody" }, false},
		"the deadline in other words": {func(m *v1alpha1.Model) { m.Annotations[serving.ProgressDeadlineAnnotationKey] = "1200s" }, false},
		"autoscaling":                 {func(m *v1alpha1.Model) { m.Annotations["autoscaling.knative.dev/window"] = "30s" }, false},

		"a restart":           {func(m *v1alpha1.Model) { m.Annotations["kubectl.kubernetes.io/restartedAt"] = "now" }, true},
		"a release":           {func(m *v1alpha1.Model) { m.Annotations["example.com/release"] = "3" }, true},
		"a release taken off": {func(m *v1alpha1.Model) { delete(m.Annotations, "example.com/release") }, true},
		"a label":             {func(m *v1alpha1.Model) { m.Labels["team"] = "ads" }, true},
		"queue-proxy's CPU": {func(m *v1alpha1.Model) {
			m.Annotations[serving.QueueSidecarCPUResourceRequestAnnotationKey] = "20m"
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := model(t, "minimal")
			m.Labels = map[string]string{"team": "search"}
			m.Annotations = map[string]string{"example.com/release": "2", serving.ProgressDeadlineAnnotationKey: "20m"}
			before := Service(m, nil)
			c.change(m)
			if got := !BuiltFrom(m, before); got != c.makes {
				t.Errorf("makes a revision: %t, want %t", got, c.makes)
			}
			diff := cmp.Diff(before.Spec.Template.Labels, Service(m, nil).Spec.Template.Labels)
			for _, key := range []string{"example.com/release", "kubectl.kubernetes.io/restartedAt", serving.QueueSidecarCPUResourceRequestAnnotationKey} {
				if was, is := before.Spec.Template.Annotations[key], Service(m, nil).Spec.Template.Annotations[key]; was != is {
					diff += key
				}
			}
			if (diff != "") != c.makes {
				t.Errorf("the template changes by %q, and it makes a revision: %t", diff, c.makes)
			}
			if again := LabelService(m, nil, before); cmp.Diff(before.Spec, again.Spec) != "" {
				t.Error("without a new revision, the spec changed")
			}
		})
	}
}

// A Service has what its Model has, as long as the Model has it, beside what others gave it.
func TestServiceFollowsItsModel(t *testing.T) {
	t.Parallel()
	m := model(t, "minimal")
	service := Service(m, nil)
	service.Labels["by"] = "hand"
	plain := service.DeepCopy()

	m.Labels = map[string]string{networking.VisibilityLabelKey: serving.VisibilityClusterLocal, "team": "search"}
	m.Annotations = map[string]string{networking.HTTPProtocolAnnotationKey: "Redirected", "argocd.argoproj.io/tracking-id": "x"}
	service = LabelService(m, nil, service)
	want := map[string]string{
		networking.VisibilityLabelKey: serving.VisibilityClusterLocal, "team": "search", "by": "hand",
		sluice.ModelLabelKey: m.Name, sluice.ManagedByLabelKey: sluice.ManagedBy,
	}
	if diff := cmp.Diff(want, service.Labels); diff != "" {
		t.Error("labels (-want, +got):", diff)
	}
	if got := service.Annotations[networking.HTTPProtocolAnnotationKey]; got != "Redirected" {
		t.Errorf("http-protocol = %q", got)
	}
	if _, copied := service.Annotations["argocd.argoproj.io/tracking-id"]; copied {
		t.Error("Argo CD would take the Service for one that it made")
	}

	m.Labels, m.Annotations = nil, nil
	if diff := cmp.Diff(plain, LabelService(m, nil, service)); diff != "" {
		t.Error("the Model has them no more (-want, +got):", diff)
	}
}

// Whoever made a Service private by hand keeps it so, since the Model never said so.
func TestVisibilityOfOthersStays(t *testing.T) {
	t.Parallel()
	m := model(t, "minimal")
	service := Service(m, nil)
	service.Labels[networking.VisibilityLabelKey] = serving.VisibilityClusterLocal
	if got := LabelService(m, nil, service).Labels[networking.VisibilityLabelKey]; got != serving.VisibilityClusterLocal {
		t.Errorf("visibility = %q, want it left alone", got)
	}
}

// A Service of before Sluice handed metadata on has none in its template. The upgrade makes
// no revision, and neither does a template that is put right; the next change does.
func TestUpgradeMakesNoRevisionOfMetadata(t *testing.T) {
	t.Parallel()
	m := model(t, "minimal")
	old := Service(m, nil)
	delete(old.Annotations, sluice.TemplateMetadataAnnotationKey)
	m.Labels = map[string]string{"team": "search"}
	m.Annotations = map[string]string{"example.com/release": "2"}

	if !BuiltFrom(m, old) {
		t.Error("the upgrade makes a revision")
	}
	if diff := cmp.Diff(old.Spec, RestoreService(m, nil, old).Spec); diff != "" {
		t.Error("restored at the upgrade (-want, +got):", diff)
	}
	adopted := LabelService(m, nil, old)
	if !BuiltFrom(m, adopted) {
		t.Error("the look after the upgrade makes a revision")
	}
	if diff := cmp.Diff(old.Spec, RestoreService(m, nil, adopted).Spec); diff != "" {
		t.Error("restored later (-want, +got):", diff)
	}
	m.Annotations["example.com/release"] = "3"
	if BuiltFrom(m, LabelService(m, nil, adopted)) {
		t.Error("a release after the upgrade makes no revision")
	}
	if got := RebuildService(m, nil, adopted).Spec.Template.Annotations["example.com/release"]; got != "3" {
		t.Errorf("release of the template = %q, want 3", got)
	}
}

// Our own labels can't be taken by a Model's.
func TestOwnLabelsWin(t *testing.T) {
	t.Parallel()
	m := model(t, "minimal")
	m.Labels = map[string]string{sluice.ModelLabelKey: "rival", sluice.TenantLabelKey: "rival", sluice.ManagedByLabelKey: "Helm"}
	service := Service(m, nil)
	want := map[string]string{sluice.ModelLabelKey: m.Name, sluice.ManagedByLabelKey: sluice.ManagedBy}
	if diff := cmp.Diff(want, service.Labels); diff != "" {
		t.Error("labels of the Service (-want, +got):", diff)
	}
	if diff := cmp.Diff(map[string]string{sluice.ModelLabelKey: m.Name}, service.Spec.Template.Labels); diff != "" {
		t.Error("labels of the template (-want, +got):", diff)
	}
}
