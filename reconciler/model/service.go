package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/controller"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingclientset "knative.dev/serving/pkg/client/clientset/versioned"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/model/resources"
	"sluice.dev/sluice/reconciler/model/rollout"
)

// services keep the Model's Knative Service, with the split of its requests, and mark
// RevisionReady, RolledOut and Routed.
type services struct {
	client    servingclientset.Interface
	lister    servinglisters.ServiceLister
	obstacles *obstacles
	rollouts  *rollouts
	pins      *pins
	behind    *behind
	later     func(m any, after time.Duration)
}

// reconcile finds the pass its Service and plan. There is no Service yet, and no error,
// where the tenant's caps keep it from being made, or its warm-up lacks something; where
// it couldn't be changed, it is as it was, and its rollout is to be planned anew.
func (s *services) reconcile(ctx context.Context, p *pass) error {
	if err := s.keep(ctx, p); err != nil {
		return fmt.Errorf("reconciling the Knative Service: %w", err)
	}
	return nil
}

func (s *services) keep(ctx context.Context, p *pass) error {
	p.plan = rollout.Plan{Pending: true}
	existing, err := s.own(p)
	if existing == nil {
		p.Status.Floors, p.Status.Obstacle, p.Status.NextRevision = nil, nil, nil // nothing is there to be held, or kept
	}
	if err != nil || existing == nil && p.refusal != nil {
		return err
	}
	if existing != nil {
		if err = s.obstacles.find(ctx, p.Model, existing); err != nil {
			return fmt.Errorf("finding what keeps the newest revision: %w", err)
		}
		if p.plan, err = s.rollouts.plan(p.Model, existing); err != nil {
			return fmt.Errorf("planning the rollout: %w", err)
		}
	}
	desired, err := s.desired(ctx, p, existing)
	var lack *lackError
	if errors.As(err, &lack) {
		s.later(p.Model, lookForMissing)
		if existing == nil {
			p.Status.MarkNothingWithoutWarmUp(lack.reason, lack.message)
			return nil
		}
		desired, err = goOn(p, existing), nil
	}
	if err != nil {
		return fmt.Errorf("settling the warm-up: %w", err)
	}
	written, err := s.write(ctx, p, existing, desired)
	if err != nil {
		p.Status.MarkServiceNotWritten(p.Name, err)
		p.service, p.plan = existing, rollout.Plan{Pending: true}
		return err
	}
	p.service = written
	// What others changed is put right once the Model is not held back any more.
	if p.refusal == nil || existing.Generation == p.Status.ServiceGeneration {
		p.Status.ServiceGeneration = written.Generation
		if existing == nil || written.Generation != existing.Generation {
			s.behind.note(p.UID, written.Generation)
		}
	}
	p.Status.PropagateService(written)
	p.Status.PropagateTenant(p.tenant)
	s.rollouts.mark(ctx, p.Model, p.plan)
	if lack != nil {
		p.Status.MarkWarmUpLacking(lack.reason, lack.message)
	}
	return nil
}

// own is the Model's Knative Service; nil where there is none yet.
func (s *services) own(p *pass) (*servingv1.Service, error) {
	existing, err := s.lister.Services(p.Namespace).Get(p.Name)
	absent := apierrs.IsNotFound(err)
	switch {
	case err != nil && !absent:
		return nil, fmt.Errorf("getting %q: %w", p.Name, err)
	case p.refusal != nil && (absent || !metav1.IsControlledBy(existing, p.Model)):
		p.Status.MarkNotLetIn(p.refusal)
		return nil, nil
	case absent:
		return nil, nil
	case !metav1.IsControlledBy(existing, p.Model):
		p.Status.MarkServiceNotOwned(p.Name)
		// Its change or removal will bring us back here; trying again would not.
		return nil, controller.NewPermanentError(fmt.Errorf("%q is not owned by the Model", p.Name))
	}
	return existing, nil
}

func (s *services) write(ctx context.Context, p *pass, existing, desired *servingv1.Service) (*servingv1.Service, error) {
	client := s.client.ServingV1().Services(p.Namespace)
	if existing == nil {
		written, err := client.Create(ctx, desired, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("creating %q: %w", p.Name, err)
		}
		controller.GetEventRecorder(ctx).Eventf(p.Model, corev1.EventTypeNormal, "Created", "Created Knative Service %q", p.Name)
		return written, nil
	}
	if equality.Semantic.DeepEqual(existing, desired) {
		return existing, nil
	}
	written, err := client.Update(ctx, desired, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("updating %q: %w", p.Name, err)
	}
	if resources.WarmUpPinsOf(existing) == resources.WarmUpPinsOf(desired) {
		return written, nil
	}
	return written, s.pins.bodies.sweep(ctx, p.Model, written)
}

// desired decides how much of the existing Service to write anew. Its
// template holds what Knative defaulted, which only Knative knows; so it is not
// compared with what the Model asks for. It is rebuilt when the hash of the Model
// it was built from is another, restored when its generation, which counts every
// change of its spec, is not the one that we wrote last, and else left as it is.
// Its traffic is what is planned. Where a new revision may come of it, the traffic stays
// where it is, and the rollout is to be planned anew. Where the Model is held back, none
// may.
func (s *services) desired(ctx context.Context, p *pass, existing *servingv1.Service) (*servingv1.Service, error) {
	switch {
	case existing == nil:
		return s.rebuild(ctx, p, resources.EmptyService(p.Model))
	case p.refusal != nil:
		return goOn(p, existing), nil //nolint:nilerr // the Model's condition says it
	case !resources.BuiltFrom(p.Model, existing):
		rebuilt, err := s.rebuild(ctx, p, existing)
		if err != nil {
			return nil, err
		}
		resources.StartWith(rebuilt, p.plan.FirstStep, s.rollouts.autoscaling().InitialScale)
		p.plan.Pending = true
		return rebuilt, nil
	case existing.Generation != p.Status.ServiceGeneration:
		existing = resources.RestoreService(p.Model, p.tenant, existing)
		p.plan.Pending = true
	}
	return goOn(p, existing), nil
}

// rebuild is the Service with the template that the Model asks for now, its warm-up
// settled; the error is a *lackError where it can't be.
func (s *services) rebuild(ctx context.Context, p *pass, existing *servingv1.Service) (*servingv1.Service, error) {
	pins, err := s.pins.settle(ctx, p.Model)
	if err != nil {
		return nil, err
	}
	rebuilt := resources.RebuildService(p.Model, p.tenant, resources.PinWarmUp(p.Model, existing, pins))
	resources.OfClass(p.Model, rebuilt, s.rollouts.autoscaling().PodAutoscalerClass)
	return rebuilt, nil
}

// goOn is the existing Service with the requests split as planned, and no new revision.
func goOn(p *pass, existing *servingv1.Service) *servingv1.Service {
	out := resources.LabelService(p.Model, p.tenant, existing)
	if p.plan.Targets != nil {
		out.Spec.Traffic = p.plan.Targets
	}
	return out
}

// liveRevisions are those that a Service's routes name, and the newest one, which
// they may not name yet; in order, each once.
func liveRevisions(service *servingv1.Service) []string {
	names := []string{service.Status.LatestCreatedRevisionName}
	for _, target := range service.Status.Traffic {
		names = append(names, target.RevisionName)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}
