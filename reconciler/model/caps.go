package model

import (
	"fmt"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// caps are what a Model's tenant lets it have.
type caps struct {
	services  servinglisters.ServiceLister
	revisions servinglisters.RevisionLister
	models    sluicelisters.ModelLister
	// tenants are indexed by tenancy.Index.
	tenants cache.Indexer
}

// begin is a pass of a Model: whose it is, and whether there is room for it.
func (c *caps) begin(m *v1alpha1.Model) (*pass, error) {
	tenant, err := tenancy.Of(c.tenants, m.Namespace)
	if err != nil {
		return nil, err
	}
	p := &pass{Model: m, tenant: tenant, most: m.ClaimedReplicas()}
	if !tenant.CapsModels() {
		m.Status.MaxReplicas = nil
		return p, nil
	}
	claim, err := c.claim(m)
	if err != nil {
		return nil, err
	}
	if p.refusal, err = c.refuseGrowth(claim, tenant); err != nil {
		return nil, err
	}
	if p.refusal != nil && claim.InForce != nil {
		p.most = *claim.InForce
	}
	if p.refusal == nil || claim.InForce != nil {
		m.Status.Allow(p.most)
	}
	return p, nil
}

// refuseGrowth says why the tenant's caps keep the Model from what it asks for, or
// nil. The webhook has refused most of it already, but not what was written at the
// same moment, or came with a namespace that joined.
func (c *caps) refuseGrowth(claim v1alpha1.CapClaim, tenant *v1alpha1.Tenant) (*apis.FieldError, error) {
	if !claim.Grows() {
		return nil, nil
	}
	claims, err := c.claims(tenant)
	if err != nil {
		return nil, err
	}
	return tenant.RefuseGrowth(claim, claims), nil
}

// claims are those of all Models of a tenant.
func (c *caps) claims(tenant *v1alpha1.Tenant) ([]v1alpha1.CapClaim, error) {
	models, err := tenant.Models(func(namespace string) ([]*v1alpha1.Model, error) {
		return c.models.Models(namespace).List(labels.Everything())
	})
	if err != nil {
		return nil, err
	}
	claims := make([]v1alpha1.CapClaim, 0, len(models))
	for _, m := range models {
		claim, err := c.claim(m)
		if err != nil {
			return nil, err
		}
		claims = append(claims, claim)
	}
	return claims, nil
}

// claim compares a Model with what there is of it: a Knative Service is the Model
// let in, and its status has the bound that was last let through. What its revisions say
// counts until that is known, and no longer: whoever edits the namespace may change it.
func (c *caps) claim(m *v1alpha1.Model) (v1alpha1.CapClaim, error) {
	claim := v1alpha1.CapClaim{Model: m}
	service, err := c.services.Services(m.Namespace).Get(m.Name)
	if apierrs.IsNotFound(err) || err == nil && !metav1.IsControlledBy(service, m) {
		return claim, nil
	}
	if err != nil {
		return claim, fmt.Errorf("getting Knative Service %q: %w", m.Name, err)
	}
	if most, ok := m.Status.Allowed(); ok {
		claim.InForce = &most
		return claim, nil
	}
	most, err := c.maxReplicas(service)
	claim.InForce = &most
	return claim, err
}

// maxReplicas is the highest bound of the Service's live revisions; that of its
// template until one of them is known.
func (c *caps) maxReplicas(service *servingv1.Service) (int64, error) {
	var most int64
	for _, name := range liveRevisions(service) {
		revision, err := c.revisions.Revisions(service.Namespace).Get(name)
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
