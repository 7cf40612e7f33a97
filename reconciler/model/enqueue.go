package model

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/kmeta"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// wake enqueues the Models that a change of something else concerns.
type wake struct {
	models sluicelisters.ModelLister
	caps   *caps
}

// whenReplicasChange enqueues the Model that an object's label names, whose status counts
// replicas: at once while something waits for them, and once they have settled otherwise.
func (w *wake) whenReplicasChange(enqueue func(types.NamespacedName, time.Duration)) cache.ResourceEventHandler {
	return byLabel(func(key types.NamespacedName) { enqueue(key, w.patience(key)) })
}

// byLabel enqueues the Model that an object's label names. Labels are anybody's to set: an
// empty one names none.
func byLabel(enqueue func(types.NamespacedName)) cache.ResourceEventHandler {
	return controller.HandleAll(func(object any) {
		if of, err := kmeta.DeletionHandlingAccessor(object); err == nil && of.GetLabels()[sluice.ModelLabelKey] != "" {
			enqueue(types.NamespacedName{Namespace: of.GetNamespace(), Name: of.GetLabels()[sluice.ModelLabelKey]})
		}
	})
}

// whenLimitChanges enqueues the Model of a RateLimit of its name. That numbers follow the
// replicas can wait; what doesn't hold any more can't, nor that it is gone.
func (w *wake) whenLimitChanges(enqueue func(types.NamespacedName, time.Duration)) cache.ResourceEventHandler {
	now := func(object any) {
		if l, err := kmeta.DeletionHandlingAccessor(object); err == nil {
			enqueue(types.NamespacedName{Namespace: l.GetNamespace(), Name: l.GetName()}, 0)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: now, DeleteFunc: now,
		UpdateFunc: func(before, after any) {
			was, had := before.(*v1alpha1.RateLimit)
			is, has := after.(*v1alpha1.RateLimit)
			if had && has && equality.Semantic.DeepEqual(besidesNumbers(was), besidesNumbers(is)) {
				key := types.NamespacedName{Namespace: is.Namespace, Name: is.Name}
				enqueue(key, w.patience(key))
				return
			}
			now(after)
		},
	}
}

// besidesNumbers leaves of a RateLimit what a Model is Ready by, and what ends its trial.
func besidesNumbers(l *v1alpha1.RateLimit) *v1alpha1.RateLimit {
	rest := &v1alpha1.RateLimit{Spec: l.Spec}
	rest.Generation, rest.OwnerReferences, rest.DeletionTimestamp = l.Generation, l.OwnerReferences, l.DeletionTimestamp
	rest.Status.Status, rest.Status.Breach = l.Status.Status, l.Status.Breach
	return rest
}

// patience is how long a Model's status may wait. A replica that starts changes several
// objects, while a caller may wait for it, and every write then takes cores from it; but
// what isn't Ready, or rolls out, follows at once.
func (w *wake) patience(key types.NamespacedName) time.Duration {
	m, err := w.models.Models(key.Namespace).Get(key.Name)
	if err != nil || m.Status.ObservedGeneration != m.Generation || !m.IsReady() {
		return 0
	}
	if rollout := m.Status.Rollout; rollout == nil || rollout.Phase != v1alpha1.RolloutComplete {
		return 0
	}
	return settle
}

// whenTenantChanges enqueues the Models of the namespaces that a Tenant holds, or
// held. Much of its status, such as the sum of its limits, is no news to them.
func (w *wake) whenTenantChanges(enqueue func(any)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(now any) { w.enqueueModels(enqueue, now) },
		DeleteFunc: func(last any) { w.enqueueModels(enqueue, last) },
		UpdateFunc: func(before, now any) {
			was, had := before.(*v1alpha1.Tenant)
			is, has := now.(*v1alpha1.Tenant)
			if had && has && !equality.Semantic.DeepEqual(newsOf(was), newsOf(is)) {
				w.enqueueModels(enqueue, was, is)
			}
		},
	}
}

// newsOf leaves of a Tenant what its Models depend on.
func newsOf(t *v1alpha1.Tenant) *v1alpha1.Tenant {
	news := &v1alpha1.Tenant{Spec: t.Spec}
	news.Status.Namespaces, news.Status.Attached = t.Status.Namespaces, t.Status.Attached
	if certificate := t.Status.GetCondition(v1alpha1.TenantConditionCertificateReady); certificate != nil {
		news.Status.Conditions = duckv1.Conditions{*certificate}
	}
	return news
}

func (w *wake) enqueueModels(enqueue func(any), tenants ...any) {
	var namespaces []string
	for _, object := range tenants {
		if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = last.Obj
		}
		if tenant, ok := object.(*v1alpha1.Tenant); ok {
			for _, held := range tenant.Status.Namespaces {
				namespaces = append(namespaces, held.Name)
			}
		}
	}
	slices.Sort(namespaces)
	for _, namespace := range slices.Compact(namespaces) {
		// A lister that reads a cache doesn't fail.
		models, _ := w.models.Models(namespace).List(labels.Everything())
		for _, m := range models {
			enqueue(m)
		}
	}
}

// whenRoomIsLeft enqueues the Models that wait for room within their tenant's caps
// when another one of the tenant goes, or asks for less, or has less.
func (w *wake) whenRoomIsLeft(enqueue func(any)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		DeleteFunc: func(last any) {
			if object, err := kmeta.DeletionHandlingAccessor(last); err == nil {
				w.enqueueWaiting(enqueue, object.GetNamespace())
			}
		},
		UpdateFunc: func(before, now any) {
			was, had := before.(metav1.Object)
			is, has := now.(metav1.Object)
			if had && has && mostReplicas(is) < mostReplicas(was) {
				w.enqueueWaiting(enqueue, is.GetNamespace())
			}
		},
	}
}

// mostReplicas is the bound of a Model, as it was let through or is asked for, or of a
// revision.
func mostReplicas(object metav1.Object) int64 {
	if m, ok := object.(*v1alpha1.Model); ok {
		most, _ := m.Status.Allowed()
		return max(most, m.ClaimedReplicas())
	}
	return v1alpha1.MaxReplicasOf(object.GetAnnotations())
}

func (w *wake) enqueueWaiting(enqueue func(any), namespace string) {
	tenant, err := tenancy.Of(w.caps.tenants, namespace)
	if err != nil || !tenant.CapsModels() {
		return
	}
	claims, err := w.caps.claims(tenant)
	if err != nil {
		return
	}
	for _, claim := range claims {
		if claim.Grows() {
			enqueue(claim.Model)
		}
	}
}
