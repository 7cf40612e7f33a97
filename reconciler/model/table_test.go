package model

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubescheme "k8s.io/client-go/kubernetes/scheme"
	appsv1listers "k8s.io/client-go/listers/apps/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	fakekubeclient "knative.dev/pkg/client/injection/kube/client/fake"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	"knative.dev/pkg/reconciler"
	rtesting "knative.dev/pkg/reconciler/testing"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	servingconfig "knative.dev/serving/pkg/apis/config"
	servingapi "knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingfake "knative.dev/serving/pkg/client/clientset/versioned/fake"
	fakeservingclient "knative.dev/serving/pkg/client/injection/client/fake"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
	fakesluiceclient "sluice.dev/sluice/reconciler/client/injection/client/fake"
	modelreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/model"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

const (
	namespace = "search"
	name      = "ranker"
	key       = namespace + "/" + name
	first     = "ranker-00001"
	second    = "ranker-00002"
)

func TestReconcile(t *testing.T) {
	slices.Concat(lifeRows(), changeRows(), metadataRows(), failureRows(), tenantRows(), capRows(), warmUpRows(), uptakeRows(), trialRows(), keptRows(), historyRows()).Test(t, factory)
}

// lifeRows take a Model from its creation to rest.
func lifeRows() rtesting.TableTest {
	return rtesting.TableTest{{
		Name: "bad key",
		Key:  "too/many/parts",
	}, {
		Name: "gone",
		Key:  key,
	}, {
		Name:    "being deleted",
		Key:     key,
		Objects: []runtime.Object{model(func(m *v1alpha1.Model) { m.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} })},
	}, {
		Name:        "new",
		Key:         key,
		Objects:     []runtime.Object{model()},
		WantCreates: []runtime.Object{resources.Service(model(), nil), resources.RateLimit(model(), nil, service())},
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeNormal, "Created", "Created Knative Service %q", name)},
		WantStatusUpdates: status(model(observed, written, outOfDate, withConditions(
			unknown(v1alpha1.ModelConditionLimited, "Pending", "The limiter has not said yet whether the limit is enforced."),
		))),
	}, {
		Name: "Knative is not there yet",
		Key:  key,
		Objects: []runtime.Object{
			model(observed, written),
			service(withGeneration(1)),
			rateLimit(service()),
		},
		WantStatusUpdates: status(model(observed, written, outOfDate, withConditions(
			unknown(v1alpha1.ModelConditionLimited, "Pending", "The limiter has not said yet whether the limit is enforced."),
		))),
	}, {
		Name: "ready, and limited by the traffic there is",
		Key:  key,
		Objects: []runtime.Object{
			model(observed, written), service(withGeneration(1), ready), revision(first),
			rateLimit(service(), func(l *v1alpha1.RateLimit) { l.Generation = 3 }, limited),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: rateLimit(service(ready), func(l *v1alpha1.RateLimit) { l.Generation = 3 }, limited),
		}},
		WantStatusUpdates: status(model(observed, written, serving, withConditions(
			isTrue(v1alpha1.ModelConditionRevisionReady), isTrue(v1alpha1.ModelConditionRolledOut), isTrue(v1alpha1.ModelConditionRouted), isTrue(v1alpha1.ModelConditionLimited),
		))),
	}, {
		Name: "at rest, nothing is written",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready, defaulted), revision(first), rateLimit(service(ready), limited),
		},
	}, {
		Name: "the limit in force is not the one asked for last",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready), revision(first),
			rateLimit(service(ready), limited, func(l *v1alpha1.RateLimit) { l.Generation = 4 }),
		},
		WantStatusUpdates: status(model(observed, written, serving, withConditions(
			isTrue(v1alpha1.ModelConditionRevisionReady), isTrue(v1alpha1.ModelConditionRolledOut), isTrue(v1alpha1.ModelConditionRouted),
			unknown(v1alpha1.ModelConditionLimited, "Pending", "The limiter has not taken up the Model's latest limit yet."),
		))),
	}}
}

// changeRows change something of a Model at rest.
func changeRows() rtesting.TableTest {
	tuned := func(m *v1alpha1.Model) {
		m.Spec.Autoscaling.MaxReplicas = ptr(int32(9))
		m.Annotations = map[string]string{"autoscaling.knative.dev/window": "30s"}
	}
	delayed := func(m *v1alpha1.Model) { m.Spec.Autoscaling.ScaleDownDelay = &metav1.Duration{Duration: time.Minute} }
	image := func(m *v1alpha1.Model) { m.Spec.Container.Image = "registry.example/ranker:2" }
	byHand := func(s *servingv1.Service) {
		s.Generation, s.Status.ObservedGeneration = 2, 2
		s.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "DEBUG", Value: "1"}}
		s.Spec.Template.Annotations["client.knative.dev/user"] = "somebody"
	}
	routedToBoth := routed(resources.Named(first, 100, ""), resources.Named(second, 0, ""), resources.Named(second, 0, "next"))
	tagged := func(m *v1alpha1.Model) {
		m.Spec.Rollout.Paused = true
		m.Spec.Traffic = []v1alpha1.TrafficTarget{{LatestRevision: ptr(true), Tag: "next"}}
		rolling(v1alpha1.RolloutPaused, 0, noon.Add(-time.Hour))(m)
		because("Paused", `Revision "ranker-00002" is held at 0 percent; unset spec.rollout.paused to go on.`)(m)
	}
	// The limiter sees a demand for four replicas, until a time.
	floor := func(until time.Time) func(*v1alpha1.RateLimit) {
		return func(l *v1alpha1.RateLimit) {
			l.Status.Revisions[0].Needed, l.Status.NeededUntil = 4, &metav1.Time{Time: until}
		}
	}
	floored := func(m *v1alpha1.Model) {
		m.Status.Revisions[0].Needed, m.Status.Floors = 4, []v1alpha1.RevisionFloor{{RevisionName: first, Demand: 4}}
	}
	leftOver := func(m *v1alpha1.Model) { m.Status.Revisions[0].Needed = 4 }
	ofClass := func(class string) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) { m.Annotations = map[string]string{"autoscaling.knative.dev/class": class} }
	}
	clusterKeeps := func(replicas string) *corev1.ConfigMap {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "knative-serving", Name: config.AutoscalerName}, Data: map[string]string{"min-scale": replicas},
		}
	}
	unheard := func(s *servingv1.Service) { s.Status.ObservedGeneration = 0 }
	raised := func(r *servingv1.Revision) { r.Annotations["autoscaling.knative.dev/min-scale"] = "4" }
	return rtesting.TableTest{{
		Name: "more demand than the autoscaler sees",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready, defaulted), revision(first),
			rateLimit(service(ready), limited, floor(noon.Add(time.Minute))),
		},
		OtherTestData:     map[string]any{"again": time.Minute},
		WantPatches:       []clientgotesting.PatchActionImpl{patch(first, `{"metadata":{"annotations":{"autoscaling.knative.dev/min-scale":"4"}}}`)},
		WantStatusUpdates: status(restingModel(floored)),
	}, {
		Name: "of no more replicas than the cluster keeps",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready, defaulted), revision(first), clusterKeeps("4"),
			rateLimit(service(ready), limited, floor(noon.Add(time.Minute))),
		},
		OtherTestData:     map[string]any{"again": time.Minute},
		WantStatusUpdates: status(restingModel(floored)),
	}, {
		Name: "of more replicas than the cluster keeps",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready, defaulted), revision(first), clusterKeeps("3"),
			rateLimit(service(ready), limited, floor(noon.Add(time.Minute))),
		},
		OtherTestData:     map[string]any{"again": time.Minute},
		WantPatches:       []clientgotesting.PatchActionImpl{floorOf(first, 4)},
		WantStatusUpdates: status(restingModel(floored)),
	}, {
		Name: "that the limiter told of too long ago",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(floored), service(withGeneration(1), ready, defaulted), revision(first, raised),
			rateLimit(service(ready), limited, floor(noon)),
		},
		WantPatches:       []clientgotesting.PatchActionImpl{floorOf(first, 0)},
		WantStatusUpdates: status(restingModel(leftOver)),
	}, {
		Name: "that can't be told to be the newest revision's",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(floored), service(withGeneration(1), ready, defaulted, unheard), revision(first, raised), rateLimit(service(ready), limited),
		},
		WantPatches:       []clientgotesting.PatchActionImpl{floorOf(first, 0)},
		WantStatusUpdates: status(restingModel(outOfDate)),
	}, {
		Name: "of a revision that nothing is routed to any more",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready, defaulted), revision("ranker-00000", raised), revision(first), rateLimit(service(ready), limited),
		},
		WantPatches: []clientgotesting.PatchActionImpl{floorOf("ranker-00000", 0)},
	}, {
		Name: "of a revision of a class that the Model has no more",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(floored, ofClass("hpa.autoscaling.knative.dev")), service(withGeneration(1), ready, defaulted), revision(first, raised),
			rateLimit(service(ready), limited, floor(noon.Add(time.Minute))),
		},
		OtherTestData:     map[string]any{"again": time.Minute},
		WantPatches:       []clientgotesting.PatchActionImpl{floorOf(first, 0)},
		WantStatusUpdates: status(restingModel(leftOver, ofClass("hpa.autoscaling.knative.dev"), awaiting("metadata.annotations[autoscaling.knative.dev/class]"))),
	}, {
		Name: "what the revision can't take up is left out of it, and told",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(tuned, delayed), service(withGeneration(1), ready, defaulted), revision(first), rateLimit(service(ready), limited),
		},
		WantPatches: []clientgotesting.PatchActionImpl{patch(first,
			`{"metadata":{"annotations":{"autoscaling.knative.dev/max-scale":"9","autoscaling.knative.dev/window":"30s"}}}`)},
		WantEvents:        []string{rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", first)},
		WantStatusUpdates: status(restingModel(tuned, delayed, awaiting("spec.autoscaling.scaleDownDelay"))),
	}, {
		Name: "what awaited this revision does so no more",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(delayed, awaiting("spec.autoscaling.scaleDownDelay")), service(withGeneration(1), ready, defaulted),
			revision(first, func(r *servingv1.Revision) { r.Annotations = model(delayed).AutoscalingAnnotations() }), rateLimit(service(ready), limited),
		},
		WantStatusUpdates: status(restingModel(delayed)),
	}, {
		Name: "without its RateLimit, which comes back",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(floored), service(withGeneration(1), ready, defaulted), revision(first, raised),
		},
		WantPatches:       []clientgotesting.PatchActionImpl{floorOf(first, 0)},
		WantCreates:       []runtime.Object{rateLimit(service(ready))},
		WantStatusUpdates: status(restingModel(func(m *v1alpha1.Model) { m.Status.PropagateRateLimit(rateLimit(service(ready))) })),
	}, {
		Name: "while Knative refuses the Model's latest change, and the limit follows it",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(floored, image, policyReady), service(withGeneration(1), ready, defaulted), revision(first, raised), rateLimit(service(ready), limited),
		},
		WithReactors: []clientgotesting.ReactionFunc{failing("update", "services", apierrs.NewBadRequest("no"))},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: resources.RebuildService(model(image), nil, service(withGeneration(1), ready, defaulted)),
		}, {
			Object: rateLimit(service(ready), limited, func(l *v1alpha1.RateLimit) { l.Spec.Policy = v1alpha1.PolicyReady }),
		}},
		WantErr:     true,
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeWarning, "InternalError", "reconciling the Knative Service: updating %q: no", name)},
		WantPatches: []clientgotesting.PatchActionImpl{floorOf(first, 0)},
		WantStatusUpdates: status(restingModel(image, policyReady, withConditions(
			isFalse(v1alpha1.ModelConditionRevisionReady, "Refused", `Knative Service "ranker" was refused: updating "ranker": no`),
		))),
	}, {
		Name: "that has gone",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(floored), service(withGeneration(1), ready, defaulted), revision(first, raised), rateLimit(service(ready), limited),
		},
		WantPatches:       []clientgotesting.PatchActionImpl{patch(first, `{"metadata":{"annotations":{"autoscaling.knative.dev/min-scale":null}}}`)},
		WantStatusUpdates: status(restingModel()),
	}, {
		Name: "replicas that don't come",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready, defaulted), revision(first), rateLimit(service(ready), limited, lacking),
		},
		WantStatusUpdates: status(restingModel(func(m *v1alpha1.Model) {
			row := &m.Status.Revisions[0]
			row.Missing, row.Reason, row.Message = 1, "Unschedulable", "0/1 nodes are available"
			m.GetConditionSet().Manage(&m.Status).MarkFalse(v1alpha1.ModelConditionScaled, "Unschedulable",
				"1 of 3 replicas of revision ranker-00001 aren't coming: 0/1 nodes are available")
		})),
	}, {
		Name: "tuning patches the live revision and nothing else",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(tuned), service(withGeneration(1), ready, defaulted), rateLimit(service(ready), limited),
			revision(first, func(r *servingv1.Revision) {
				r.Annotations["autoscaling.knative.dev/min-scale"] = "2"
				r.Annotations["serving.knative.dev/routes"] = name
			}),
		},
		WantPatches: []clientgotesting.PatchActionImpl{patch(first,
			`{"metadata":{"annotations":{"autoscaling.knative.dev/max-scale":"9","autoscaling.knative.dev/min-scale":null,"autoscaling.knative.dev/window":"30s"}}}`)},
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", first)},
	}, {
		Name: "tuning reaches every live revision",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(tuned, tagged, func(m *v1alpha1.Model) { m.Annotations = nil }),
			service(withGeneration(1), ready, routedToBoth), rateLimit(service(ready, routedToBoth), limited),
			revision(first), revision(second), revision("ranker-00000"),
		},
		WantPatches: []clientgotesting.PatchActionImpl{
			patch(first, `{"metadata":{"annotations":{"autoscaling.knative.dev/max-scale":"9"}}}`),
			patch(second, `{"metadata":{"annotations":{"autoscaling.knative.dev/max-scale":"9"}}}`),
		},
		WantEvents: []string{
			rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", first),
			rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", second),
		},
	}, {
		Name: "a tag is told to the limiter",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(tagged), service(withGeneration(1), ready, defaulted, routedToBoth), rateLimit(service(ready), limited),
			revision(first), revision(second),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: rateLimit(service(ready), limited, func(l *v1alpha1.RateLimit) {
				l.Spec.Traffic = append(l.Spec.Traffic, v1alpha1.RevisionTraffic{Revision: second, Tagged: true})
			}),
		}},
	}, {
		Name: "another limit changes the RateLimit and nothing else",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(policyReady), service(withGeneration(1), ready, defaulted), revision(first), rateLimit(service(ready), limited),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: rateLimit(service(ready), limited, func(l *v1alpha1.RateLimit) { l.Spec.Policy = v1alpha1.PolicyReady }),
		}},
	}, {
		Name: "another container rebuilds the template, today's autoscaling in it",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(tuned, image), service(withGeneration(1), ready, defaulted), rateLimit(service(ready), limited),
			revision(first, func(r *servingv1.Revision) { r.Annotations = model(tuned).AutoscalingAnnotations() }),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: resources.RebuildService(model(tuned, image), nil, service(withGeneration(1), ready, defaulted)),
		}},
		WantStatusUpdates: status(restingModel(tuned, image, outOfDate, func(m *v1alpha1.Model) { m.Status.ServiceGeneration = 2 })),
	}, {
		Name: "a change by hand is undone, with the autoscaling that was there",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready, byHand), revision(first), rateLimit(service(ready), limited),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: service(withGeneration(2), ready, pinnedToFirst, func(s *servingv1.Service) { s.Status.ObservedGeneration = 2 }),
		}},
		WantStatusUpdates: status(restingModel(outOfDate, func(m *v1alpha1.Model) { m.Status.ServiceGeneration = 3 })),
	}, {
		Name: "a Service that only Knative has changed keeps its revision",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(func(m *v1alpha1.Model) { m.Status.ServiceGeneration = 0 }),
			service(withGeneration(1), ready, defaulted), revision(first), rateLimit(service(ready), limited),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: service(withGeneration(1), ready, pinnedToFirst, func(s *servingv1.Service) { s.Annotations = service(defaulted).Annotations }),
		}},
		WantStatusUpdates: status(restingModel(outOfDate, func(m *v1alpha1.Model) { m.Status.ServiceGeneration = 2 })),
	}, {
		Name: "labels and class are put back",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), revision(first), rateLimit(service(ready), limited, func(l *v1alpha1.RateLimit) { l.Labels = nil }),
			service(withGeneration(1), ready, defaulted, func(s *servingv1.Service) {
				s.Labels = map[string]string{"team": "search"}
				delete(s.Annotations, "networking.knative.dev/ingress-class")
			}),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: service(withGeneration(1), ready, defaulted, func(s *servingv1.Service) { s.Labels["team"] = "search" }),
		}, {
			Object: rateLimit(service(ready), limited),
		}},
	}}
}

// failureRows are what a person may have to act on.
func failureRows() rtesting.TableTest {
	foreign := func(o metav1.Object) { o.SetOwnerReferences(nil) }
	foreignService := service(withGeneration(1), ready)
	foreign(foreignService)
	foreignLimit := rateLimit(service(ready), limited)
	foreign(foreignLimit)
	refusal := apierrs.NewBadRequest("admission webhook denied: spec.template.spec.nodeSelector")
	notServed := func(s *servingv1.Service) {
		s.Status.Conditions = duckv1.Conditions{
			{Type: servingv1.ServiceConditionConfigurationsReady, Status: corev1.ConditionFalse, Reason: "RevisionFailed", Message: "Image not found: 100% sure."},
			{Type: servingv1.ServiceConditionRoutesReady, Status: corev1.ConditionUnknown, Reason: "IngressNotConfigured", Message: "Waiting."},
		}
	}
	notProved := func(l *v1alpha1.RateLimit) {
		l.Status.Conditions = duckv1.Conditions{{Type: apis.ConditionReady, Status: corev1.ConditionFalse, Reason: "GatewayPodsLag", Message: "shared-1 lags."}}
	}
	return rtesting.TableTest{{
		Name:    "somebody else's Knative Service is left alone",
		Key:     key,
		Objects: []runtime.Object{restingModel(held(4)), foreignService, rateLimit(service(ready), limited)},
		WantErr: true,
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "InternalError",
			"reconciling the Knative Service: %q is not owned by the Model", name)},
		WantStatusUpdates: status(model(observed, written, withConditions(
			isFalse(v1alpha1.ModelConditionRevisionReady, "NotOwned", `There is a Knative Service "ranker" that this Model does not own; delete it or rename the Model.`),
			unknown(v1alpha1.ModelConditionWarm, "NotOwned", "There is no Knative Service of this Model."),
			unknown(v1alpha1.ModelConditionRolledOut, "NotOwned", "There is no Knative Service of this Model."),
			unknown(v1alpha1.ModelConditionRouted, "NotOwned", "There is no Knative Service of this Model."),
			unknown(v1alpha1.ModelConditionLimited, "NotOwned", "There is no Knative Service of this Model."),
		))),
	}, {
		Name:       "somebody else's RateLimit is left alone",
		Key:        key,
		Objects:    []runtime.Object{restingModel(), service(withGeneration(1), ready), revision(first), foreignLimit},
		WantErr:    true,
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "InternalError", "RateLimit %q is not owned by the Model", name)},
		WantStatusUpdates: status(restingModel(withConditions(
			isTrue(v1alpha1.ModelConditionRevisionReady), isTrue(v1alpha1.ModelConditionRolledOut), isTrue(v1alpha1.ModelConditionRouted),
			isFalse(v1alpha1.ModelConditionLimited, "NotOwned", `There is a RateLimit "ranker" that this Model does not own; delete it or rename the Model.`),
		))),
	}, {
		Name:         "Knative refuses the Service",
		Key:          key,
		Objects:      []runtime.Object{model()},
		WithReactors: []clientgotesting.ReactionFunc{failing("create", "services", refusal)},
		WantCreates:  []runtime.Object{resources.Service(model(), nil)},
		WantErr:      true,
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "InternalError",
			"reconciling the Knative Service: creating %q: %v", name, refusal)},
		WantStatusUpdates: status(model(observed, withConditions(
			isFalse(v1alpha1.ModelConditionRevisionReady, "Refused", `Knative Service "ranker" was refused: creating "ranker": `+refusal.Error()),
			unknown(v1alpha1.ModelConditionRolledOut, "", ""), unknown(v1alpha1.ModelConditionRouted, "", ""), unknown(v1alpha1.ModelConditionLimited, "", ""),
		), func(m *v1alpha1.Model) { m.Status.ServiceGeneration = 0 })),
	}, {
		Name: "what Knative and the limiter say is handed on",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready, notServed), revision(first), rateLimit(service(ready), limited, notProved),
		},
		WantStatusUpdates: status(restingModel(withConditions(
			isFalse(v1alpha1.ModelConditionRevisionReady, "RevisionFailed", "Image not found: 100% sure."),
			unknown(v1alpha1.ModelConditionRouted, "IngressNotConfigured", "Waiting."),
			isFalse(v1alpha1.ModelConditionLimited, "GatewayPodsLag", "shared-1 lags."),
		))),
	}, {
		Name: "a revision that can't be tuned doesn't hold up the limit",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(policyReady), service(withGeneration(1), ready), rateLimit(service(ready), limited),
			revision(first, func(r *servingv1.Revision) { r.Annotations = nil }),
		},
		WithReactors: []clientgotesting.ReactionFunc{failing("patch", "revisions", errors.New("no luck"))},
		WantErr:      true,
		WantPatches:  []clientgotesting.PatchActionImpl{patch(first, `{"metadata":{"annotations":{"autoscaling.knative.dev/metric":"concurrency"}}}`)},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: rateLimit(service(ready), limited, func(l *v1alpha1.RateLimit) { l.Spec.Policy = v1alpha1.PolicyReady }),
		}},
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "InternalError",
			"changing the autoscaling of revision %q: no luck", first)},
		WantStatusUpdates: status(restingModel(policyReady, withConditions(
			unknown(v1alpha1.ModelConditionRevisionReady, "AutoscalingNotApplied", `Autoscaling could not be changed on revision "ranker-00001": no luck`),
			isTrue(v1alpha1.ModelConditionRouted), isTrue(v1alpha1.ModelConditionLimited),
		))),
	}, {
		Name: "a Model from before the webhook has no rate",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(func(m *v1alpha1.Model) { m.Spec.Limit.RequestsPerSecondPerReplica = nil }),
			service(withGeneration(1), ready), revision(first), rateLimit(service(ready), limited),
		},
		WantStatusUpdates: status(restingModel(func(m *v1alpha1.Model) { m.Spec.Limit.RequestsPerSecondPerReplica = nil }, withConditions(
			isTrue(v1alpha1.ModelConditionRevisionReady), isTrue(v1alpha1.ModelConditionRolledOut), isTrue(v1alpha1.ModelConditionRouted),
			isFalse(v1alpha1.ModelConditionLimited, "RateMissing", "Set spec.limit.requestsPerSecondPerReplica: what one warm replica serves."),
		))),
	}, {
		Name:         "a race lost says nothing of the Model",
		Key:          key,
		Objects:      []runtime.Object{restingModel(), revision(first), rateLimit(service(ready), limited), service(withGeneration(2), ready, defaulted)},
		WithReactors: []clientgotesting.ReactionFunc{failing("update", "services", apierrs.NewConflict(servingv1.Resource("services"), name, errors.New("stale")))},
		WantUpdates:  []clientgotesting.UpdateActionImpl{{Object: service(withGeneration(2), ready, pinnedToFirst, func(s *servingv1.Service) { s.Annotations = service(defaulted).Annotations })}},
		WantErr:      true,
	}}
}

// tenantRows are what a tenant gives to a Model, and takes from it.
func tenantRows() rtesting.TableTest {
	secure := func(t *v1alpha1.Tenant) {
		t.Status.Domain, t.Spec.TLS = "acme.example", &v1alpha1.TenantTLS{SecretName: "acme"}
	}
	certified := func(t *v1alpha1.Tenant) {
		t.Status.Conditions = duckv1.Conditions{{Type: v1alpha1.TenantConditionCertificateReady, Status: corev1.ConditionTrue}}
	}
	at := func(url *apis.URL) func(*servingv1.Service) {
		return func(s *servingv1.Service) { s.Status.URL = url }
	}
	reached := func(url *apis.URL) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) { m.Status.URL = url }
	}
	moving := func(t *v1alpha1.Tenant) { t.Status.Attached = []string{"shared", "tenant-acme"} }
	capped := func(t *v1alpha1.Tenant) { t.Spec.Limits.RequestsPerSecond = ptr(resource.MustParse("90")) }
	hosted := apis.HTTP("ranker.search.acme.example")
	return rtesting.TableTest{{
		Name:        "new, within a tenant",
		Key:         key,
		Objects:     []runtime.Object{model(), tenant(capped)},
		WantCreates: []runtime.Object{resources.Service(model(), tenant()), resources.RateLimit(model(), tenant(capped), service())},
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeNormal, "Created", "Created Knative Service %q", name)},
		WantStatusUpdates: status(model(observed, written, outOfDate, withConditions(
			unknown(v1alpha1.ModelConditionLimited, "Pending", "The limiter has not said yet whether the limit is enforced."),
		))),
	}, {
		Name: "its namespace comes to a tenant",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready, defaulted), revision(first), rateLimit(service(ready), limited), tenant(capped),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{
			{Object: service(withGeneration(1), ready, defaulted, labelled)},
			{Object: rateLimit(service(ready), limited, placed(tenant(capped)))},
		},
	}, {
		Name: "its tenant is moved",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready, defaulted, labelled), revision(first),
			rateLimit(service(ready), limited, placed(tenant())), tenant(moving),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: rateLimit(service(ready), limited, placed(tenant(moving))),
		}},
	}, {
		Name: "its tenant lets it go",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready, defaulted, labelled), revision(first),
			rateLimit(service(ready), limited, placed(tenant(capped))), tenant(func(t *v1alpha1.Tenant) { t.Status.Namespaces = nil }),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{
			{Object: service(withGeneration(1), ready, defaulted)},
			{Object: rateLimit(service(ready), limited)},
		},
	}, {
		Name: "its tenant's certificate is served",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(reached(hosted)), service(withGeneration(1), ready, defaulted, labelled, at(hosted)), revision(first),
			rateLimit(service(ready), limited, placed(tenant())), tenant(secure, certified),
		},
		WantStatusUpdates: status(restingModel(reached(apis.HTTPS("ranker.search.acme.example")))),
	}, {
		Name: "its tenant's certificate is not served",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(reached(apis.HTTPS("ranker.search.acme.example"))), service(withGeneration(1), ready, defaulted, labelled, at(hosted)),
			revision(first), rateLimit(service(ready), limited, placed(tenant())), tenant(secure),
		},
		WantStatusUpdates: status(restingModel(reached(hosted))),
	}, {
		Name: "its tenant's certificate is for other hosts",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(), service(withGeneration(1), ready, defaulted, labelled), revision(first),
			rateLimit(service(ready), limited, placed(tenant())), tenant(secure, certified),
		},
	}}
}

// capRows are Models that their tenant's caps have no room for.
func capRows() rtesting.TableTest {
	const (
		noRoom = `invalid value: its tenant "acme" may have 1 Models (spec.limits.models of the Tenant) and has 1: metadata.namespace
delete one of them, or have the operator raise the cap`
		tooMany = `invalid value: must be from 1 to 5, is 6: tenant "acme" may have 9 replicas (spec.limits.maxReplicas of the Tenant), of which its other Models claim 4: spec.autoscaling.maxReplicas
lower that of another Model of the tenant, or have the operator raise the cap`
		noBound = `invalid value: must be from 1 to 9, is not set: tenant "acme" may have 9 replicas (spec.limits.maxReplicas of the Tenant), of which its other Models claim 0: spec.autoscaling.maxReplicas
lower that of another Model of the tenant, or have the operator raise the cap`
		without = "There is no Knative Service of this Model."
	)
	notLetIn := func(refusal string) []clientgotesting.UpdateActionImpl {
		return status(model(observed, withConditions(
			isFalse(v1alpha1.ModelConditionRevisionReady, "TenantCap", refusal),
			unknown(v1alpha1.ModelConditionWarm, "TenantCap", without),
			unknown(v1alpha1.ModelConditionRolledOut, "TenantCap", without),
			unknown(v1alpha1.ModelConditionRouted, "TenantCap", without), unknown(v1alpha1.ModelConditionLimited, "TenantCap", without),
		)))
	}
	oneModel := func(t *v1alpha1.Tenant) { t.Spec.Limits.Models = ptr(int32(1)) }
	nineReplicas := func(t *v1alpha1.Tenant) { t.Spec.Limits.MaxReplicas = ptr(int32(9)) }
	upTo := func(replicas int32) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) { m.Spec.Autoscaling.MaxReplicas = &replicas }
	}
	allowed := func(most int32) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) { m.Status.MaxReplicas = &most }
	}
	image := func(m *v1alpha1.Model) { m.Spec.Container.Image = "registry.example/ranker:2" }
	// The other Model is the older one by name, or by its age.
	another := func(changes ...func(*v1alpha1.Model)) *v1alpha1.Model {
		m := model(changes...)
		m.Name, m.UID = "judge", "uid of judge"
		return m
	}
	running := func(m *v1alpha1.Model) *servingv1.Service { return resources.Service(m, tenant()) }
	tooManyFor := withConditions(isFalse(v1alpha1.ModelConditionRevisionReady, "TenantCap", tooMany))
	demanded := func(m *v1alpha1.Model) { m.Status.Floors = []v1alpha1.RevisionFloor{{RevisionName: first, Demand: 4}} }
	needed := func(l *v1alpha1.RateLimit) {
		l.Status.Revisions[0].Needed, l.Status.NeededUntil = 4, &metav1.Time{Time: noon.Add(time.Minute)}
	}
	young := func(m *v1alpha1.Model) { m.CreationTimestamp = metav1.Unix(1000, 0) }
	return rtesting.TableTest{{
		Name:              "no room for another Model",
		Key:               key,
		Objects:           []runtime.Object{model(), another(young), running(another()), tenant(oneModel)},
		WantStatusUpdates: notLetIn(noRoom),
	}, {
		Name:              "the last place is an older Model's, though nothing is made of it yet",
		Key:               key,
		Objects:           []runtime.Object{model(), another(), tenant(oneModel)},
		WantStatusUpdates: notLetIn(noRoom),
	}, {
		Name:        "the last place is not a younger Model's",
		Key:         key,
		Objects:     []runtime.Object{model(), another(young), tenant(oneModel)},
		WantCreates: []runtime.Object{resources.Service(model(), tenant()), resources.RateLimit(model(), tenant(), service())},
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeNormal, "Created", "Created Knative Service %q", name)},
		WantStatusUpdates: status(model(observed, written, outOfDate, allowed(0), withConditions(
			unknown(v1alpha1.ModelConditionLimited, "Pending", "The limiter has not said yet whether the limit is enforced."),
		))),
	}, {
		Name:              "no bound where there is a cap",
		Key:               key,
		Objects:           []runtime.Object{model(), tenant(nineReplicas)},
		WantStatusUpdates: notLetIn(noBound),
	}, {
		Name: "more replicas than there is room for: what runs goes on, and moves with the tenant",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(upTo(6), image), another(upTo(4)), running(another(upTo(4))), tenant(nineReplicas),
			service(withGeneration(1), ready, defaulted), bounded(first, "5"), rateLimit(service(ready), limited),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{
			{Object: service(withGeneration(1), ready, defaulted, labelled)},
			{Object: rateLimit(service(ready), limited, placed(tenant()))},
		},
		WantStatusUpdates: status(restingModel(upTo(6), image, allowed(5), withConditions(
			isFalse(v1alpha1.ModelConditionRevisionReady, "TenantCap", tooMany),
		))),
	}, {
		Name: "held back, it isn't held at what the demand called for once",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(upTo(6), tooManyFor, demanded, allowed(5)), another(upTo(4)), running(another(upTo(4))), tenant(nineReplicas),
			service(withGeneration(1), ready, defaulted, labelled), bounded(first, "5", kept(4)), rateLimit(service(ready), limited, placed(tenant())),
		},
		WantPatches:       []clientgotesting.PatchActionImpl{floorOf(first, 0)},
		WantStatusUpdates: status(restingModel(upTo(6), tooManyFor, allowed(5))),
	}, {
		Name: "nor by a version of Sluice that didn't tell what for",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(upTo(6), tooManyFor, allowed(5)), another(upTo(4)), running(another(upTo(4))), tenant(nineReplicas),
			service(withGeneration(1), ready, defaulted, labelled), bounded(first, "5", kept(4)), rateLimit(service(ready), limited, placed(tenant())),
		},
		WantPatches: []clientgotesting.PatchActionImpl{floorOf(first, 0)},
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", first)},
	}, {
		Name: "held back, it has what the demand calls for within the bound that it has",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(upTo(6), tooManyFor, allowed(3)), another(upTo(4)), running(another(upTo(4))), tenant(nineReplicas),
			service(withGeneration(1), ready, defaulted, labelled), bounded(first, "3"), rateLimit(service(ready), limited, placed(tenant()), needed),
		},
		OtherTestData:     map[string]any{"again": time.Minute},
		WantPatches:       []clientgotesting.PatchActionImpl{floorOf(first, 3)},
		WantStatusUpdates: status(restingModel(upTo(6), tooManyFor, demanded, allowed(3), func(m *v1alpha1.Model) { m.Status.Revisions[0].Needed = 4 })),
	}, {
		Name: "held back, a bound that somebody else raised is no room that was given, and is put back",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(upTo(6), tooManyFor, allowed(5)), another(upTo(4)), running(another(upTo(4))), tenant(nineReplicas),
			service(withGeneration(1), ready, defaulted, labelled), bounded(first, "6"), rateLimit(service(ready), limited, placed(tenant())),
		},
		WantPatches: []clientgotesting.PatchActionImpl{patch(first, `{"metadata":{"annotations":{"autoscaling.knative.dev/max-scale":"5"}}}`)},
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", first)},
	}, {
		Name: "a bound that somebody else raised is put back, whatever class the revision says it has",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(upTo(4)), service(withGeneration(1), ready, defaulted), rateLimit(service(ready), limited),
			bounded(first, "50", func(r *servingv1.Revision) {
				r.Annotations[autoscaling.ClassAnnotationKey] = autoscaling.HPA
			}),
		},
		OtherTestData:     map[string]any{"unscaled": true},
		WantPatches:       []clientgotesting.PatchActionImpl{patch(first, `{"metadata":{"annotations":{"autoscaling.knative.dev/max-scale":"4"}}}`)},
		WantEvents:        []string{rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", first)},
		WantStatusUpdates: status(restingModel(upTo(4), awaiting("metadata.annotations["+autoscaling.ClassAnnotationKey+"]"))),
	}, {
		Name: "room for more replicas once another Model has less",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(upTo(6), allowed(5), withConditions(isFalse(v1alpha1.ModelConditionRevisionReady, "TenantCap", tooMany))),
			another(upTo(3)), running(another(upTo(3))), tenant(nineReplicas),
			service(withGeneration(1), ready, defaulted, labelled), bounded(first, "5"),
			rateLimit(service(ready), limited, placed(tenant())),
		},
		WantPatches: []clientgotesting.PatchActionImpl{patch(first, `{"metadata":{"annotations":{"autoscaling.knative.dev/max-scale":"6"}}}`)},
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", first)},
		WantStatusUpdates: status(restingModel(upTo(6), allowed(6), withConditions(
			isTrue(v1alpha1.ModelConditionRevisionReady),
		))),
	}, {
		Name: "caps lowered below what runs take nothing away",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(allowed(0)), another(upTo(40)), running(another(upTo(40))), tenant(oneModel, nineReplicas),
			service(withGeneration(1), ready, defaulted, labelled), revision(first), rateLimit(service(ready), limited, placed(tenant())),
		},
	}, {
		Name: "caps lowered below what runs don't hold up another image",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(image), another(upTo(40)), running(another(upTo(40))), tenant(oneModel, nineReplicas),
			service(withGeneration(1), ready, defaulted, labelled), revision(first), rateLimit(service(ready), limited, placed(tenant())),
		},
		WantUpdates: []clientgotesting.UpdateActionImpl{{
			Object: resources.RebuildService(model(image), tenant(), service(withGeneration(1), ready, defaulted)),
		}},
		WantStatusUpdates: status(restingModel(image, outOfDate, allowed(0), func(m *v1alpha1.Model) { m.Status.ServiceGeneration = 2 })),
	}}
}

// noon is now.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// factory builds the reconciler over fakes that hold the row's objects.
func factory(t *testing.T, row *rtesting.TableRow) (controller.Reconciler, rtesting.ActionRecorderList, rtesting.EventList) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{servingfake.AddToScheme, sluicefake.AddToScheme, kubescheme.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	objects := rtesting.NewObjectSorter(scheme)
	objects.AddObjects(row.Objects...)
	for _, state := range pastOf(row) {
		objects.AddObjects(state)
	}
	handOn(t, row, objects.IndexerForObjectType(&servingv1.Revision{}), objects.IndexerForObjectType(&autoscalingv1alpha1.PodAutoscaler{}))

	tenants := objects.IndexerForObjectType(&v1alpha1.Tenant{})
	if err := tenancy.Index(tenants); err != nil {
		t.Fatal(err)
	}

	recorder := record.NewFakeRecorder(10)
	ctx := logging.WithLogger(context.Background(), logtesting.TestLogger(t))
	ctx = controller.WithEventRecorder(ctx, recorder)
	ctx, servingClient := fakeservingclient.With(ctx, objects.ObjectsForSchemeFunc(servingfake.AddToScheme)...)
	ctx, sluiceClient := fakesluiceclient.With(ctx, objects.ObjectsForSchemeFunc(sluicefake.AddToScheme)...)

	models := sluicelisters.NewModelLister(objects.IndexerForObjectType(&v1alpha1.Model{}))
	ctx, kube := fakekubeclient.With(ctx, objects.ObjectsForSchemeFunc(kubescheme.AddToScheme)...)
	warmth := newWarmth(func(types.NamespacedName) {}, clocktesting.NewFakePassiveClock(noon))
	warmth.beside = func(work func()) { work() }
	if known, ok := row.OtherTestData["seen"].(map[types.UID]*seen); ok {
		warmth.seen = known
	}
	sender := &sender{}
	sender.err, _ = row.OtherTestData["the Broker says"].(error)
	tellings := newTellings(sender, func(types.NamespacedName) {}, clocktesting.NewFakePassiveClock(noon))
	tellings.beside = warmth.beside

	c := modelreconciler.NewReconciler(ctx, logging.FromContext(ctx), sluiceClient, models, recorder, newReconciler(cluster{
		sluice:      sluiceClient,
		serving:     servingClient,
		kube:        kube,
		pods:        corev1listers.NewPodLister(objects.IndexerForObjectType(&corev1.Pod{})),
		states:      appsv1listers.NewControllerRevisionLister(objects.IndexerForObjectType(&appsv1.ControllerRevision{})),
		models:      models,
		tenants:     tenants,
		services:    servinglisters.NewServiceLister(objects.IndexerForObjectType(&servingv1.Service{})),
		revisions:   servinglisters.NewRevisionLister(objects.IndexerForObjectType(&servingv1.Revision{})),
		autoscalers: autoscalinglisters.NewPodAutoscalerLister(objects.IndexerForObjectType(&autoscalingv1alpha1.PodAutoscaler{})),
		slices:      discoverylisters.NewEndpointSliceLister(objects.IndexerForObjectType(&discoveryv1.EndpointSlice{})),
		rateLimits:  sluicelisters.NewRateLimitLister(objects.IndexerForObjectType(&v1alpha1.RateLimit{})),
		autoscaling: scalingBy(corev1listers.NewConfigMapLister(objects.IndexerForObjectType(&corev1.ConfigMap{})).ConfigMaps("knative-serving")),
	}, warming{
		image:   warmUpImage,
		probing: func() bool { return row.OtherTestData["not probing"] == nil },
		startsWithin: func() time.Duration {
			within, _ := row.OtherTestData["starts within"].(time.Duration)
			return within
		},
		resources: func() corev1.ResourceRequirements {
			if has, ok := row.OtherTestData["resources"].(corev1.ResourceRequirements); ok {
				return has
			}
			return config.DefaultWarmUp().Resources
		},
		warmth: warmth,
		sender: sender,
	}, foundBy(row), tellings, schedule{
		PassiveClock: clocktesting.NewFakePassiveClock(noon),
		later: func(_ any, after time.Duration) {
			if want, ok := row.OtherTestData["again"].([]time.Duration); ok && slices.Contains(want, after) {
				return
			}
			if want := row.OtherTestData["again"]; want != after {
				t.Errorf("looks again after %v, want %v", after, want)
			}
		},
	}))
	if leader, ok := c.(reconciler.LeaderAware); ok {
		if err := leader.Promote(reconciler.UniversalBucket(), func(reconciler.Bucket, types.NamespacedName) {}); err != nil {
			t.Fatal(err)
		}
	}
	servingClient.PrependReactor("*", "services", knative(objects.IndexerForObjectType(&servingv1.Service{})))
	for _, reactor := range row.WithReactors {
		servingClient.PrependReactor("*", "*", reactor)
		sluiceClient.PrependReactor("*", "*", reactor)
		kube.PrependReactor("*", "*", reactor)
	}
	row.Ctx = ctx
	row.PostConditions = append(row.PostConditions, func(t *testing.T, row *rtesting.TableRow) {
		want, _ := row.OtherTestData["told"].([]string)
		if !slices.Equal(want, sender.sent) {
			t.Errorf("told %q, want %q", sender.sent, want)
		}
	})
	return c, rtesting.ActionRecorderList{servingClient, sluiceClient, kube}, rtesting.EventList{Recorder: recorder}
}

// knative does to a Service what the API server and Knative's webhook do: default
// and validate it, and count its generations.
func knative(existing cache.Indexer) clientgotesting.ReactionFunc {
	return func(action clientgotesting.Action) (bool, runtime.Object, error) {
		write, ok := action.(clientgotesting.CreateAction) // updates have the same shape
		if !ok || action.GetSubresource() != "" {
			return false, nil, nil
		}
		written, ok := write.GetObject().DeepCopyObject().(*servingv1.Service)
		if !ok {
			return false, nil, nil
		}
		features := servingconfig.FromContextOrDefaults(context.Background())
		features.Features.MultiContainerProbing = servingconfig.Enabled
		allowing := servingconfig.ToContext(context.Background(), features)
		ctx := apis.WithinCreate(allowing)
		if action.GetVerb() == "update" {
			// Knative defaults some fields of a Service that is created only.
			ctx = apis.WithinUpdate(allowing, written.DeepCopy())
		}
		written.SetDefaults(ctx)
		if err := written.Validate(allowing).Filter(apis.ErrorLevel); err != nil {
			return true, nil, err
		}
		before, found, err := existing.Get(written)
		if err != nil {
			return true, nil, err
		}
		if !found || !equality.Semantic.DeepEqual(before.(*servingv1.Service).Spec, written.Spec) {
			written.Generation++
		}
		return true, written, nil
	}
}

func failing(verb, resource string, err error) clientgotesting.ReactionFunc {
	return func(action clientgotesting.Action) (bool, runtime.Object, error) {
		return action.Matches(verb, resource) && action.GetSubresource() == "", nil, err
	}
}

func status(m *v1alpha1.Model) []clientgotesting.UpdateActionImpl {
	return []clientgotesting.UpdateActionImpl{{Object: m}}
}

func patch(revision, text string) clientgotesting.PatchActionImpl {
	p := clientgotesting.PatchActionImpl{Name: revision, Patch: []byte(text)}
	p.Namespace = namespace
	return p
}

func model(changes ...func(*v1alpha1.Model)) *v1alpha1.Model {
	rate := resource.MustParse("50")
	m := &v1alpha1.Model{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, UID: "uid", Generation: 1},
		Spec: v1alpha1.ModelSpec{
			Container: corev1.Container{Image: "registry.example/ranker:1"},
			Limit:     v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate},
		},
	}
	m.SetDefaults(context.Background())
	for _, change := range changes {
		change(m)
	}
	m.Status.SettleReady(nil)
	return m
}

// restingModel is one that nothing is left to do for.
func restingModel(changes ...func(*v1alpha1.Model)) *v1alpha1.Model {
	settled := withConditions(isTrue(v1alpha1.ModelConditionRevisionReady), isTrue(v1alpha1.ModelConditionWarm), isTrue(v1alpha1.ModelConditionRolledOut),
		isTrue(v1alpha1.ModelConditionRouted), isTrue(v1alpha1.ModelConditionLimited))
	return model(append([]func(*v1alpha1.Model){observed, written, serving, settled}, changes...)...)
}

// awaiting is a Model of which these fields await its next revision.
func awaiting(fields ...string) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) { m.Status.NextRevision = fields }
}

func observed(m *v1alpha1.Model) { m.Status.InitializeConditions(); m.Status.ObservedGeneration = 1 }

func outOfDate(m *v1alpha1.Model) {
	const message = "Knative has not taken up the Model's latest change yet."
	withConditions(
		unknown(v1alpha1.ModelConditionRevisionReady, "OutOfDate", message), unknown(v1alpha1.ModelConditionRolledOut, "OutOfDate", message), unknown(v1alpha1.ModelConditionRouted, "OutOfDate", message),
	)(m)
}

func written(m *v1alpha1.Model) {
	m.Status.ServiceGeneration = 1
	if m.Spec.WarmUp == nil {
		m.Status.MarkNoWarmUp()
	}
}

func policyReady(m *v1alpha1.Model) { m.Spec.Limit.Policy = v1alpha1.PolicyReady }

// serving is what the status takes over from ready and limited.
func serving(m *v1alpha1.Model) {
	s, l := service(ready), rateLimit(service(ready), limited)
	m.Status.URL, m.Status.Address, m.Status.LatestReadyRevision = s.Status.URL, s.Status.Address, first
	m.Status.DesiredReplicas, m.Status.ReadyReplicas = 3, 2
	m.Status.Rollout = &v1alpha1.RolloutStatus{
		Phase: v1alpha1.RolloutComplete, To: &v1alpha1.RolloutRevision{RevisionName: first}, Percent: 100, Since: metav1.NewTime(noon),
	}
	m.Status.Revisions, m.Status.Limit = l.Status.Revisions, l.Status.Limit
}

type mark func(apis.ConditionManager)

func withConditions(marks ...mark) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		manager := m.GetConditionSet().Manage(&m.Status)
		for _, mark := range marks {
			mark(manager)
		}
	}
}

func isTrue(c apis.ConditionType) mark { return func(m apis.ConditionManager) { m.MarkTrue(c) } }

func isFalse(c apis.ConditionType, reason, message string) mark {
	return func(m apis.ConditionManager) { m.MarkFalse(c, reason, "%s", message) }
}

func unknown(c apis.ConditionType, reason, message string) mark {
	return func(m apis.ConditionManager) { m.MarkUnknown(c, reason, "%s", message) }
}

func service(changes ...func(*servingv1.Service)) *servingv1.Service {
	s := resources.Service(model(), nil)
	for _, change := range changes {
		change(s)
	}
	return s
}

func withGeneration(g int64) func(*servingv1.Service) {
	return func(s *servingv1.Service) { s.Generation = g }
}

// defaulted is what Knative's webhook makes of a Service.
func defaulted(s *servingv1.Service) {
	s.SetDefaults(apis.WithinCreate(context.Background()))
}

func ready(s *servingv1.Service) {
	s.Status.ObservedGeneration = 1
	s.Status.URL = apis.HTTP("ranker.search.example.com")
	s.Status.Address = &duckv1.Addressable{URL: apis.HTTP("ranker.search.svc.cluster.local")}
	s.Status.LatestCreatedRevisionName, s.Status.LatestReadyRevisionName = first, first
	s.Status.Traffic = []servingv1.TrafficTarget{{RevisionName: first, LatestRevision: ptr(true), Percent: ptr(int64(100))}}
	s.Status.Conditions = duckv1.Conditions{
		{Type: servingv1.ServiceConditionConfigurationsReady, Status: corev1.ConditionTrue},
		{Type: servingv1.ServiceConditionRoutesReady, Status: corev1.ConditionTrue},
	}
}

// pinnedToFirst names the first revision, and expects another.
func pinnedToFirst(s *servingv1.Service) {
	s.Spec.Traffic = []servingv1.TrafficTarget{resources.Named(first, 100, ""), resources.Newest()}
}

// routed is a Service of two revisions whose targets are served.
func routed(targets ...servingv1.TrafficTarget) func(*servingv1.Service) {
	return func(s *servingv1.Service) {
		s.Status.LatestCreatedRevisionName, s.Status.LatestReadyRevisionName = second, second
		s.Spec.Traffic, s.Status.Traffic = targets, nil
		for _, t := range targets {
			if t.RevisionName == "" {
				s.Status.LatestReadyRevisionName, t.RevisionName = first, first
			}
			s.Status.Traffic = append(s.Status.Traffic, t)
		}
	}
}

// rolling is a Model in a phase of the rollout from its first revision to its second.
func rolling(phase v1alpha1.RolloutPhase, percent int32, since time.Time) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		m.Status.LatestReadyRevision = second
		m.Status.Rollout = &v1alpha1.RolloutStatus{
			Phase: phase, From: &v1alpha1.RolloutRevision{RevisionName: first}, To: &v1alpha1.RolloutRevision{RevisionName: second},
			Percent: percent, Since: metav1.NewTime(since),
		}
	}
}

// because is why the rollout is no further.
func because(reason, message string) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		m.Status.Rollout.Reason, m.Status.Rollout.Message = reason, message
		m.Status.PropagateRollout(m.Status.Rollout)
	}
}

func revision(name string, changes ...func(*servingv1.Revision)) *servingv1.Revision {
	r := &servingv1.Revision{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: namespace,
		Labels:      map[string]string{sluice.ModelLabelKey: "ranker", servingapi.ServiceLabelKey: "ranker"},
		Annotations: model().AutoscalingAnnotations(),
	}}
	r.Status.Conditions = duckv1.Conditions{{Type: servingv1.RevisionConditionReady, Status: corev1.ConditionTrue}}
	for _, change := range changes {
		change(r)
	}
	return r
}

func rateLimit(s *servingv1.Service, changes ...func(*v1alpha1.RateLimit)) *v1alpha1.RateLimit {
	l := resources.RateLimit(model(), nil, s)
	for _, change := range changes {
		change(l)
	}
	return l
}

// tenant holds the Model's namespace.
func tenant(changes ...func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
	t := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}
	t.Status.Namespaces = []v1alpha1.TenantNamespace{{Name: namespace, Phase: v1alpha1.NamespaceHeld}}
	t.Status.Gateway, t.Status.Attached = "tenant-acme", []string{"tenant-acme"}
	for _, change := range changes {
		change(t)
	}
	return t
}

// labelled is a Service of the tenant.
func labelled(s *servingv1.Service) { s.Labels[sluice.TenantLabelKey] = "acme" }

// placed is a RateLimit of a tenant.
func placed(t *v1alpha1.Tenant) func(*v1alpha1.RateLimit) {
	return func(l *v1alpha1.RateLimit) {
		l.Labels[sluice.TenantLabelKey] = t.Name
		l.Spec.Gateways = t.Status.Attached
		if q := t.Spec.Limits.RequestsPerSecond; q != nil {
			l.Spec.Cap = &v1alpha1.RateLimitCap{Name: t.Name, RequestsPerSecond: *q}
		}
	}
}

func limited(l *v1alpha1.RateLimit) {
	l.Status.ObservedGeneration = l.Generation
	l.Status.Conditions = duckv1.Conditions{{Type: apis.ConditionReady, Status: corev1.ConditionTrue}}
	l.Status.Revisions = []v1alpha1.RevisionCapacity{{Name: first, Percent: 100, Desired: 3, Ready: 2, RequestsPerSecond: v1alpha1.Rate{Quantity: resource.MustParse("150")}}}
	l.Status.Limit = &v1alpha1.LimitStatus{RequestsPerSecond: v1alpha1.Rate{Quantity: resource.MustParse("300")}, GatewayPods: 2, ProvedGatewayPods: 2}
}

// lacking is a limit of a revision that lacks a replica.
func lacking(l *v1alpha1.RateLimit) {
	row := &l.Status.Revisions[0]
	row.Missing, row.Reason, row.Message = 1, "Unschedulable", "0/1 nodes are available"
}

func ptr[T any](v T) *T { return &v }
