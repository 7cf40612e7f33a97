package model

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/kmeta"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
)

// whenTenantChanges enqueues the Models of the namespaces that a Tenant holds, or
// held. Much of its status, such as the sum of its limits, is no news to them.
func (r *Reconciler) whenTenantChanges(enqueue func(any)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(now any) { r.enqueueModels(enqueue, now) },
		DeleteFunc: func(last any) { r.enqueueModels(enqueue, last) },
		UpdateFunc: func(before, now any) {
			was, had := before.(*v1alpha1.Tenant)
			is, has := now.(*v1alpha1.Tenant)
			if had && has && !equality.Semantic.DeepEqual(newsOf(was), newsOf(is)) {
				r.enqueueModels(enqueue, was, is)
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

func (r *Reconciler) enqueueModels(enqueue func(any), tenants ...any) {
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
		models, _ := r.models.Models(namespace).List(labels.Everything())
		for _, m := range models {
			enqueue(m)
		}
	}
}

// whenRoomIsLeft enqueues the Models that wait for room within their tenant's caps
// when another one of the tenant goes, or asks for less, or has less.
func (r *Reconciler) whenRoomIsLeft(enqueue func(any)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		DeleteFunc: func(last any) {
			if object, err := kmeta.DeletionHandlingAccessor(last); err == nil {
				r.enqueueWaiting(enqueue, object.GetNamespace())
			}
		},
		UpdateFunc: func(before, now any) {
			was, had := before.(metav1.Object)
			is, has := now.(metav1.Object)
			if had && has && mostReplicas(is) < mostReplicas(was) {
				r.enqueueWaiting(enqueue, is.GetNamespace())
			}
		},
	}
}

// mostReplicas is the bound of a Model or a revision.
func mostReplicas(object metav1.Object) int64 {
	if m, ok := object.(*v1alpha1.Model); ok {
		return m.MaxReplicas()
	}
	return v1alpha1.MaxReplicasOf(object.GetAnnotations())
}

func (r *Reconciler) enqueueWaiting(enqueue func(any), namespace string) {
	tenant, err := tenancy.Of(r.tenants, namespace)
	if err != nil || !tenant.CapsModels() {
		return
	}
	claims, err := r.claims(tenant)
	if err != nil {
		return
	}
	for _, claim := range claims {
		if claim.Grows() {
			enqueue(claim.Model)
		}
	}
}
