package model

import (
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	rtesting "knative.dev/pkg/reconciler/testing"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

// handOn has the PodAutoscalers of a row that say nothing have what their revisions say, as
// Knative does, and revisions that are ready have one, unless the row says that they don't.
func handOn(t *testing.T, row *rtesting.TableRow, revisions, autoscalers cache.Indexer) {
	t.Helper()
	said := map[string]map[string]string{}
	for _, o := range revisions.List() {
		r, ok := o.(*servingv1.Revision)
		if !ok {
			continue
		}
		said[r.Name] = r.Annotations
		if _, made, _ := autoscalers.GetByKey(r.Namespace + "/" + r.Name); made || !r.IsReady() || row.OtherTestData["unscaled"] == true {
			continue
		}
		if err := autoscalers.Add(&autoscalingv1alpha1.PodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range autoscalers.List() {
		if a, ok := o.(*autoscalingv1alpha1.PodAutoscaler); ok && a.Annotations == nil {
			a = a.DeepCopy()
			a.Annotations = maps.Clone(said[a.Name])
			if err := autoscalers.Update(a); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// uptakeRows are of revisions that Knative doesn't scale as they say.
func uptakeRows() rtesting.TableTest {
	const (
		denied  = `failed to update PA "ranker-00001": admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: expected 1 <= 9 <= 5: metadata.annotations.autoscaling.knative.dev/max-scale`
		refuses = `Knative refuses how revision "ranker-00001" is to scale, and goes on with what it was told before: `
		behind  = `Knative has not taken up how revision "ranker-00001" is to scale: `
	)
	tuned := func(m *v1alpha1.Model) { m.Spec.Autoscaling.MaxReplicas = ptr(int32(9)) }
	autoscaler := func(of *v1alpha1.Model) *autoscalingv1alpha1.PodAutoscaler {
		return &autoscalingv1alpha1.PodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: first, Annotations: of.AutoscalingAnnotations()}}
	}
	changed := func(ago time.Duration) *servingv1.Revision {
		return revision(first, func(r *servingv1.Revision) {
			r.Annotations = model(tuned).AutoscalingAnnotations()
			r.ManagedFields = []metav1.ManagedFieldsEntry{
				{Time: &metav1.Time{Time: noon.Add(-time.Hour)}}, {Time: &metav1.Time{Time: noon.Add(-ago)}},
				{Time: &metav1.Time{Time: noon}, Subresource: "status"},
			}
		})
	}
	event := func(ago time.Duration, message string) *corev1.Event {
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "event"}, Type: corev1.EventTypeWarning,
			Reason: "InternalError", Message: message, LastTimestamp: metav1.NewTime(noon.Add(-ago)),
		}
	}
	objects := func(more ...runtime.Object) []runtime.Object {
		return append([]runtime.Object{restingModel(tuned), service(withGeneration(1), ready, defaulted), rateLimit(service(ready), limited)}, more...)
	}
	says := func(m mark) []clientgotesting.UpdateActionImpl { return status(restingModel(tuned, withConditions(m))) }
	again := map[string]any{"again": lookAgain}
	refusal := apierrs.NewBadRequest(denied)
	return rtesting.TableTest{{
		Name:          "Knative has a moment to take a change up",
		Key:           key,
		Objects:       objects(changed(2*time.Second), autoscaler(model()), event(0, denied)),
		OtherTestData: map[string]any{"again": takenUpWithin - 2*time.Second},
	}, {
		Name:    "it has taken it up",
		Key:     key,
		Objects: objects(changed(time.Minute), autoscaler(model(tuned)), event(0, denied)),
	}, {
		Name:          "it refuses it",
		Key:           key,
		Objects:       objects(changed(time.Minute), autoscaler(model()), event(time.Second, denied)),
		OtherTestData: again,
		WantStatusUpdates: says(isFalse(v1alpha1.ModelConditionRevisionReady, "AutoscalingRefused",
			refuses+denied+". Correct spec.autoscaling.maxReplicas.")),
	}, {
		Name:          "a policy refuses it",
		Key:           key,
		Objects:       objects(changed(time.Minute), autoscaler(model()), event(time.Second, `failed to update PA "x": podautoscalers "x" is forbidden: no`)),
		OtherTestData: again,
		WantStatusUpdates: says(isFalse(v1alpha1.ModelConditionRevisionReady, "AutoscalingRefused",
			refuses+`failed to update PA "x": podautoscalers "x" is forbidden: no. Change what it names in the Model, or have the rule changed that refuses it.`)),
	}, {
		Name:          "it can't ask whether to refuse it",
		Key:           key,
		Objects:       objects(changed(time.Minute), autoscaler(model()), event(time.Second, `failed to update PA "x": failed calling webhook`)),
		OtherTestData: again,
		WantStatusUpdates: says(unknown(v1alpha1.ModelConditionRevisionReady, "AutoscalingNotApplied",
			behind+`failed to update PA "x": failed calling webhook.`)),
	}, {
		Name:          "what it refused before is another matter",
		Key:           key,
		Objects:       objects(changed(time.Minute), autoscaler(model()), event(2*time.Minute, denied)),
		OtherTestData: again,
		WantStatusUpdates: says(unknown(v1alpha1.ModelConditionRevisionReady, "AutoscalingNotApplied",
			behind+"its PodAutoscaler isn't there or has other annotations, and no event says why.")),
	}, {
		Name:          "it refuses to make what would scale a revision that it takes for ready",
		Key:           key,
		Objects:       objects(changed(time.Minute), event(time.Second, `failed to create PA "x": podautoscalers "x" is forbidden: exceeded quota`)),
		OtherTestData: map[string]any{"again": lookAgain, "unscaled": true},
		WantStatusUpdates: says(isFalse(v1alpha1.ModelConditionRevisionReady, "AutoscalingRefused",
			`Knative can't scale revision "ranker-00001": failed to create PA "x": podautoscalers "x" is forbidden: exceeded quota. `+
				`Change what it names in the Model, or have the rule changed that refuses it.`)),
	}, {
		Name:         "the revision itself is refused",
		Key:          key,
		Objects:      objects(revision(first)),
		WithReactors: []clientgotesting.ReactionFunc{failing("patch", "revisions", refusal)},
		WantErr:      true,
		WantPatches:  []clientgotesting.PatchActionImpl{patch(first, `{"metadata":{"annotations":{"autoscaling.knative.dev/max-scale":"9"}}}`)},
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "InternalError",
			"changing the autoscaling of revision %q: %v", first, refusal)},
		WantStatusUpdates: says(isFalse(v1alpha1.ModelConditionRevisionReady, "AutoscalingRefused",
			refuses+denied+". Correct spec.autoscaling.maxReplicas.")),
	}, {
		Name: "a Model that names the class that the cluster gives its revision",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(tuned, ofClass(autoscaling.HPA)), service(withGeneration(1), ready, defaulted), rateLimit(service(ready), limited),
			revision(first), classOfCluster(autoscaling.HPA),
		},
		WantPatches: []clientgotesting.PatchActionImpl{patch(first, `{"metadata":{"annotations":{"autoscaling.knative.dev/max-scale":"9","autoscaling.knative.dev/metric":null}}}`)},
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", first)},
	}, {
		Name: "a revision that was made when the cluster's class was another is bounded, and else left alone",
		Key:  key,
		Objects: []runtime.Object{
			restingModel(tuned, ofClass(autoscaling.HPA)), service(withGeneration(1), ready, defaulted), rateLimit(service(ready), limited),
			revision(first), classOfCluster(autoscaling.HPA), autoscaler(model(ofClass(autoscaling.KPA))),
		},
		WantPatches:       []clientgotesting.PatchActionImpl{patch(first, `{"metadata":{"annotations":{"autoscaling.knative.dev/max-scale":"9"}}}`)},
		WantEvents:        []string{rtesting.Eventf(corev1.EventTypeNormal, "Tuned", "Changed the autoscaling of revision %q", first)},
		WantStatusUpdates: status(restingModel(tuned, ofClass(autoscaling.HPA), awaiting("metadata.annotations["+autoscaling.ClassAnnotationKey+"]"))),
	}, {
		Name:        "a template for the cluster's class has no metric of Knative's own",
		Key:         key,
		Objects:     []runtime.Object{model(), classOfCluster(autoscaling.HPA)},
		WantCreates: []runtime.Object{service(withoutMetric), resources.RateLimit(model(), nil, service())},
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeNormal, "Created", "Created Knative Service %q", name)},
		WantStatusUpdates: status(model(observed, written, outOfDate, withConditions(
			unknown(v1alpha1.ModelConditionLimited, "Pending", "The limiter has not said yet whether the limit is enforced."),
		))),
	}}
}

func ofClass(class string) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) { m.Annotations = map[string]string{autoscaling.ClassAnnotationKey: class} }
}

func withoutMetric(s *servingv1.Service) {
	delete(s.Spec.Template.Annotations, autoscaling.MetricAnnotationKey)
}

// classOfCluster is what the cluster's operator says of autoscalers.
func classOfCluster(class string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "knative-serving", Name: config.AutoscalerName},
		Data:       map[string]string{"pod-autoscaler-class": class},
	}
}
