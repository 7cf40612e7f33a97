package tenant

import (
	"context"
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/tenant/resources"
)

// reconcileReport marks what is for information alone: GatewayScaling and
// WithinCaps, the Models and the sum of their limits.
func (r *Reconciler) reconcileReport(_ context.Context, t *v1alpha1.Tenant, _ *pass) error {
	if err := r.markScaling(t); err != nil {
		return err
	}
	var models []*v1alpha1.Model
	var ingresses []*netv1alpha1.Ingress
	sum, limited := resource.Quantity{}, false
	for _, held := range t.Status.Namespaces {
		found, err := r.models.Models(held.Name).List(labels.Everything())
		if err != nil {
			return fmt.Errorf("listing the Models of namespace %s: %w", held.Name, err)
		}
		models = append(models, found...)
		limits, err := r.rateLimits.RateLimits(held.Name).List(labels.Everything())
		if err != nil {
			return fmt.Errorf("listing the limits of namespace %s: %w", held.Name, err)
		}
		routed, err := r.ingresses.Ingresses(held.Name).List(labels.Everything())
		if err != nil {
			return fmt.Errorf("listing the ingresses of namespace %s: %w", held.Name, err)
		}
		ingresses = append(ingresses, routed...)
		for _, limit := range limits {
			if limit.Status.Limit != nil {
				sum.Add(limit.Status.Limit.RequestsPerSecond.Quantity)
				limited = true
			}
		}
	}
	t.Status.Models, t.Status.RequestsPerSecond = int32(len(models)), nil
	if limited {
		t.Status.RequestsPerSecond = &v1alpha1.Rate{Quantity: sum}
	}
	t.Status.MarkCaps(resources.OverCaps(t.Spec.Limits, models), resources.NotCapped(ingresses))
	return nil
}

// markScaling hands on what the autoscaler of the tenant's own gateway says.
func (r *Reconciler) markScaling(t *v1alpha1.Tenant) error {
	own := gateway.OfTenant(t.Name)
	if t.WantedGateway() != own {
		t.Status.MarkScaling("NotNeeded", "The shared gateway's pods are ConfigMap config-gateway's.")
		return nil
	}
	autoscaler, err := r.autoscalers.HorizontalPodAutoscalers(gateway.Namespace).Get(own)
	switch replicas := t.Spec.Gateway.Replicas; {
	case err != nil && !apierrs.IsNotFound(err):
		return fmt.Errorf("getting the autoscaler of gateway %s: %w", own, err)
	case replicas.Max == nil, replicas.Min != nil && *replicas.Max <= *replicas.Min:
		t.Status.MarkScaling("NotNeeded", "The gateway always has the same number of pods.")
	case err != nil:
		t.Status.MarkScalingPending("Waiting for the gateway's autoscaler to be made.")
	default:
		markActive(&t.Status, autoscaler)
	}
	return nil
}

func markActive(s *v1alpha1.TenantStatus, autoscaler *autoscalingv2.HorizontalPodAutoscaler) {
	for _, c := range autoscaler.Status.Conditions {
		switch {
		case c.Type != autoscalingv2.ScalingActive:
		case c.Status == corev1.ConditionTrue:
			s.MarkScaling(c.Reason, c.Message)
			return
		case strings.HasPrefix(c.Reason, "FailedGet"):
			s.MarkNotScaling("NoMetrics", "The gateway keeps its least number of pods, because the cluster has no figures of their CPU: "+
				"install a metrics API (metrics-server, for one), or set spec.gateway.replicas.max to min. "+c.Message)
			return
		default:
			s.MarkNotScaling(c.Reason, c.Message)
			return
		}
	}
	s.MarkScalingPending("The gateway's autoscaler has not said yet whether it works.")
}
