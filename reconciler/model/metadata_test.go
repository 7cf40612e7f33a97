package model

import (
	"k8s.io/apimachinery/pkg/runtime"
	clientgotesting "k8s.io/client-go/testing"
	"knative.dev/networking/pkg/apis/networking"
	rtesting "knative.dev/pkg/reconciler/testing"
	servingapi "knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

// metadataRows change the labels and annotations of a Model at rest.
func metadataRows() rtesting.TableTest {
	private := func(m *v1alpha1.Model) {
		m.Labels = map[string]string{networking.VisibilityLabelKey: servingapi.VisibilityClusterLocal}
	}
	restarted := func(m *v1alpha1.Model) { m.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"} }
	synced := func(m *v1alpha1.Model) {
		m.Labels = map[string]string{"app.kubernetes.io/instance": "search"}
		m.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "x"}
	}
	here := func() *servingv1.Service { return service(withGeneration(1), ready, defaulted) }
	return rtesting.TableTest{{
		Name:    "private: no new revision",
		Key:     key,
		Objects: []runtime.Object{restingModel(private), here(), revision(first), rateLimit(service(ready), limited)},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: resources.LabelService(model(private), nil, here()),
		}},
	}, {
		Name: "public again: no new revision",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), resources.LabelService(model(private), nil, here()), revision(first), rateLimit(service(ready), limited),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: here()}},
	}, {
		Name:    "a tool that keeps its books on the Model",
		Key:     key,
		Objects: []runtime.Object{restingModel(synced), here(), revision(first), rateLimit(service(ready), limited)},
	}, {
		Name:    "an annotation by which it is deployed again",
		Key:     key,
		Objects: []runtime.Object{restingModel(restarted), here(), revision(first), rateLimit(service(ready), limited)},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: resources.RebuildService(model(restarted), nil, here()),
		}},
		WantStatusUpdates: status(restingModel(restarted, outOfDate, func(m *v1alpha1.Model) { m.Status.ServiceGeneration = 2 })),
	}}
}
