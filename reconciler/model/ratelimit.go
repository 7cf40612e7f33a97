package model

import (
	"context"
	"errors"
	"fmt"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/controller"

	"sluice.dev/sluice/reconciler/accessor"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluiceclientset "sluice.dev/sluice/reconciler/client/clientset/versioned"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

// limits tell the limiter what the Model can serve, how its requests are split and
// where they arrive, and mark Limited.
type limits struct {
	client     sluiceclientset.Interface
	rateLimits sluicelisters.RateLimitLister
}

func (l *limits) reconcile(ctx context.Context, p *pass) error {
	m := p.Model
	if m.Spec.Limit.RequestsPerSecondPerReplica == nil {
		m.Status.MarkRateMissing()
		return nil
	}
	desired := resources.RateLimit(m, p.tenant, p.service)
	desired.Spec.Bounds = p.bounds
	limit, _, err := l.kind(m).Ensure(ctx, desired)
	var other *accessor.NotOwnedError
	switch {
	case errors.As(err, &other):
		m.Status.MarkRateLimitNotOwned(m.Name)
		return controller.NewPermanentError(fmt.Errorf("RateLimit %q is not owned by the Model", m.Name))
	case err != nil:
		m.Status.MarkRateLimitNotWritten(m.Name, err)
		return err
	}
	m.Status.PropagateRateLimit(limit)
	return nil
}

func (l *limits) kind(m *v1alpha1.Model) accessor.Kind[*v1alpha1.RateLimit] {
	return accessor.Kind[*v1alpha1.RateLimit]{
		Name:    "RateLimit",
		Get:     l.rateLimits.RateLimits(m.Namespace).Get,
		Client:  l.client.SluiceV1alpha1().RateLimits(m.Namespace),
		Owner:   accessor.ControlledBy(m),
		Content: accessor.Content[*v1alpha1.RateLimit]{Adopt: func(existing, desired *v1alpha1.RateLimit) { existing.Spec = desired.Spec }},
	}
}

// demandOf tells the replicas that the demand calls for, as the limiter sees it. They
// are needed for a while only.
func demandOf(m *v1alpha1.Model, rateLimits sluicelisters.RateLimitLister) (*v1alpha1.RateLimitStatus, error) {
	limit, err := rateLimits.RateLimits(m.Namespace).Get(m.Name)
	if apierrs.IsNotFound(err) || (err == nil && !metav1.IsControlledBy(limit, m)) {
		return &v1alpha1.RateLimitStatus{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getting RateLimit %q: %w", m.Name, err)
	}
	return &limit.Status, nil
}
