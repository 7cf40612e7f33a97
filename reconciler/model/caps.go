package model

import (
	"context"
	"errors"
	"fmt"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// refuseGrowth says why the tenant's caps keep the Model from what it asks for, or
// nil. The webhook has refused most of it already, but not what was written at the
// same moment, or came with a namespace that joined.
func (r *Reconciler) refuseGrowth(m *v1alpha1.Model, tenant *v1alpha1.Tenant) (*apis.FieldError, error) {
	if !tenant.CapsModels() {
		return nil, nil
	}
	claim, err := r.claim(m)
	if err != nil || !claim.Grows() {
		return nil, err
	}
	claims, err := r.claims(tenant)
	if err != nil {
		return nil, err
	}
	return tenant.RefuseGrowth(claim, claims), nil
}

// claims are those of all Models of a tenant.
func (r *Reconciler) claims(tenant *v1alpha1.Tenant) ([]v1alpha1.CapClaim, error) {
	models, err := tenant.Models(func(namespace string) ([]*v1alpha1.Model, error) {
		return r.models.Models(namespace).List(labels.Everything())
	})
	if err != nil {
		return nil, err
	}
	claims := make([]v1alpha1.CapClaim, 0, len(models))
	for _, m := range models {
		claim, err := r.claim(m)
		if err != nil {
			return nil, err
		}
		claims = append(claims, claim)
	}
	return claims, nil
}

// claim compares a Model with what there is of it: a Knative Service is the Model
// let in, and its live revisions have the bound that was last let through.
func (r *Reconciler) claim(m *v1alpha1.Model) (v1alpha1.CapClaim, error) {
	claim := v1alpha1.CapClaim{Model: m}
	service, err := r.services.Services(m.Namespace).Get(m.Name)
	if apierrs.IsNotFound(err) || err == nil && !metav1.IsControlledBy(service, m) {
		return claim, nil
	}
	if err != nil {
		return claim, fmt.Errorf("getting Knative Service %q: %w", m.Name, err)
	}
	most, err := r.maxReplicas(service)
	claim.InForce = &most
	return claim, err
}

// maxReplicas is the highest bound of the Service's live revisions; that of its
// template until one of them is known.
func (r *Reconciler) maxReplicas(service *servingv1.Service) (int64, error) {
	var most int64
	for _, name := range liveRevisions(service) {
		revision, err := r.revisions.Revisions(service.Namespace).Get(name)
		if apierrs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("getting revision %q: %w", name, err)
		}
		most = max(most, v1alpha1.MaxReplicasOf(revision.Annotations))
	}
	if most == 0 {
		most = v1alpha1.MaxReplicasOf(service.Spec.Template.Annotations)
	}
	return most, nil
}

// holdBack leaves a Model as it is, or uncreated. What there is of it goes on: its
// limit follows its replicas, and moves with its tenant; a rollout goes as far as the
// replicas that it has carry it.
func (r *Reconciler) holdBack(ctx context.Context, m *v1alpha1.Model, tenant *v1alpha1.Tenant, refusal *apis.FieldError) error {
	existing, err := r.services.Services(m.Namespace).Get(m.Name)
	if apierrs.IsNotFound(err) || err == nil && !metav1.IsControlledBy(existing, m) {
		m.Status.MarkNotLetIn(refusal)
		return nil
	}
	if err != nil {
		return fmt.Errorf("getting Knative Service %q: %w", m.Name, err)
	}
	plan, err := r.planRollout(m, existing)
	if err != nil {
		return fmt.Errorf("planning the rollout: %w", err)
	}
	service, err := r.updateService(ctx, existing, goOn(m, tenant, existing, plan))
	if err != nil {
		m.Status.MarkServiceNotWritten(m.Name, err)
		return fmt.Errorf("updating the Knative Service: %w", err)
	}
	if existing.Generation == m.Status.ServiceGeneration {
		m.Status.ServiceGeneration = service.Generation
	}
	m.Status.PropagateService(service)
	m.Status.PropagateTenant(tenant)
	r.markRollout(ctx, m, plan)
	err = errors.Join(
		r.reconcileWarmUp(ctx, m, service),
		r.reconcileRateLimit(ctx, m, tenant, service),
	)
	m.Status.MarkHeldBack(refusal)
	return err
}
