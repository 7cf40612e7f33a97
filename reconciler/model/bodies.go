package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

// bodiesAge is how old a copy of bodies has to be to be taken for one that no
// revision will ever need: Knative may be about to make that revision.
const bodiesAge = 10 * time.Minute

// lackError says what a warm-up can't be made without, for a person to mend.
type lackError struct{ reason, message string }

func (e *lackError) Error() string { return e.message }

// pins are what a revision is warmed up by that its Model doesn't say.
type pins struct {
	// image is that of the container.
	image string
	// probing tells whether Knative probes more than one container of a pod.
	probing func() bool
	// startsWithin tells how long Knative lets revisions take to start.
	startsWithin func() time.Duration
	// resources are what the container has where the Model doesn't say otherwise.
	resources func() corev1.ResourceRequirements
	bodies    *bodyCopies
}

// settle settles what the Model's next revision is warmed up by.
func (p *pins) settle(ctx context.Context, m *v1alpha1.Model) (resources.WarmUpPins, error) {
	out := resources.WarmUpPins{Image: p.image, StartWithin: p.startsWithin()}
	if m.Spec.WarmUp == nil {
		return out, nil
	}
	if p.image == "" {
		return out, &lackError{"WarmUpImageUnset", "The controller has no image for warm-ups: set WARM_UP_IMAGE in its Deployment."}
	}
	if !p.probing() {
		return out, &lackError{"ProbingDisabled", "Knative doesn't probe more than one container of a pod. " + probingRemedy}
	}
	out.Resources = resources.WarmUpResources(m, p.resources())
	copied, err := p.bodies.of(ctx, m)
	if err != nil || copied == nil {
		return out, err
	}
	out.Bodies = copied.Name
	return out, p.bodies.keep(ctx, m, copied)
}

// bodyCopies are those of what warm-ups send that a template has no room for.
type bodyCopies struct {
	kube      kubernetes.Interface
	revisions servinglisters.RevisionLister
	clock     clock.PassiveClock
}

// sources are the ConfigMaps that there are of those that bodies come from.
func (b *bodyCopies) sources(ctx context.Context, m *v1alpha1.Model) (map[string]*corev1.ConfigMap, error) {
	sources := map[string]*corev1.ConfigMap{}
	for _, name := range resources.WarmUpSources(m.Spec.WarmUp) {
		// As of the API server's cache, which is cheap.
		source, err := b.kube.CoreV1().ConfigMaps(m.Namespace).Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
		if apierrs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("getting ConfigMap %q: %w", name, err)
		}
		sources[name] = source
	}
	return sources, nil
}

// of are those that the Model's warm-up has now.
func (b *bodyCopies) of(ctx context.Context, m *v1alpha1.Model) (*corev1.ConfigMap, error) {
	sources, err := b.sources(ctx, m)
	if err != nil {
		return nil, err
	}
	copied, err := resources.WarmUpBodies(m, sources)
	var tooLarge *apis.FieldError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &lackError{"BodiesTooLarge", err.Error()}
	case err != nil:
		return nil, &lackError{"BodyMissing", fmt.Sprintf("spec.warmUp: %s. Create it, or name another one.", strings.TrimRight(err.Error(), "."))}
	}
	return copied, nil
}

// keep has a copy of bodies be there.
func (b *bodyCopies) keep(ctx context.Context, m *v1alpha1.Model, copied *corev1.ConfigMap) error {
	existing, err := b.kube.CoreV1().ConfigMaps(m.Namespace).Get(ctx, copied.Name, metav1.GetOptions{})
	switch {
	case apierrs.IsNotFound(err):
		if _, err := b.kube.CoreV1().ConfigMaps(m.Namespace).Create(ctx, copied, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating ConfigMap %q: %w", copied.Name, err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("getting ConfigMap %q: %w", copied.Name, err)
	case !metav1.IsControlledBy(existing, m):
		return &lackError{"NotOwned", fmt.Sprintf("There is a ConfigMap %q that this Model does not own; delete it.", copied.Name)}
	}
	return nil
}

// sweep deletes the copies that belong to no revision any more.
func (b *bodyCopies) sweep(ctx context.Context, m *v1alpha1.Model, service *servingv1.Service) error {
	of := labels.SelectorFromSet(labels.Set{sluice.ModelLabelKey: m.Name})
	revisions, err := b.revisions.Revisions(m.Namespace).List(of)
	if err != nil {
		return fmt.Errorf("listing the revisions: %w", err)
	}
	copies, err := b.kube.CoreV1().ConfigMaps(m.Namespace).List(ctx, metav1.ListOptions{LabelSelector: of.String()})
	if err != nil {
		return fmt.Errorf("listing the copies of bodies: %w", err)
	}
	used := func(name string) bool {
		return name == resources.WarmUpPinsOf(service).Bodies || slices.ContainsFunc(revisions, func(revision *servingv1.Revision) bool {
			return slices.ContainsFunc(revision.Spec.Volumes, func(v corev1.Volume) bool { return v.ConfigMap != nil && v.ConfigMap.Name == name })
		})
	}
	for _, c := range copies.Items {
		if !metav1.IsControlledBy(&c, m) || used(c.Name) || b.clock.Since(c.CreationTimestamp.Time) < bodiesAge {
			continue
		}
		if err := b.kube.CoreV1().ConfigMaps(m.Namespace).Delete(ctx, c.Name, *metav1.NewPreconditionDeleteOptions(string(c.UID))); err != nil && !apierrs.IsNotFound(err) {
			return fmt.Errorf("deleting ConfigMap %q: %w", c.Name, err)
		}
	}
	return nil
}
