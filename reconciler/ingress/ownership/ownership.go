// Package ownership tells whose an Ingress is, whose replicas a Service leads to, and
// where a Model's limit was proved: all that the ingress knows of Models and limits.
//
// Whoever may edit a namespace's Knative kinds can give them any label and owner, but
// can't write an Ingress, a Model or a RateLimit. So an Ingress is a Model's only by a
// chain of names and UIDs from one to the other, while for a revision to count as a
// Model's a single mark will do.
package ownership

import (
	"fmt"
	"slices"
	"strings"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"
	resourcenames "knative.dev/serving/pkg/reconciler/revision/resources/names"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// Registry finds owners in the caches of all that they can be.
type Registry struct {
	Models     sluicelisters.ModelLister
	RateLimits sluicelisters.RateLimitLister
	Services   servinglisters.ServiceLister
	Routes     servinglisters.RouteLister
	Revisions  servinglisters.RevisionLister
}

// Owner is whose an Ingress is.
type Owner struct {
	// Routed tells that a Knative Route has it, whose backends are revisions.
	Routed bool
	// Model is the one whose Knative Service has it; nil where it is no Model's.
	Model *v1alpha1.Model
	// Unseen names what it says to belong to and isn't there, "" if nothing: that is
	// about to come into the caches, or has just gone and takes the Ingress along.
	Unseen string
}

// link is an owner in the chain from an Ingress to its Model. All have one name.
type link struct {
	kind schema.GroupKind
	get  func(namespace, name string) (metav1.Object, error)
}

func (r Registry) chain() []link {
	return []link{
		{servingv1.Kind("Route"), func(namespace, name string) (metav1.Object, error) { return r.Routes.Routes(namespace).Get(name) }},
		{servingv1.Kind("Service"), func(namespace, name string) (metav1.Object, error) { return r.Services.Services(namespace).Get(name) }},
		{v1alpha1.SchemeGroupVersion.WithKind("Model").GroupKind(), func(namespace, name string) (metav1.Object, error) {
			return r.Models.Models(namespace).Get(name)
		}},
	}
}

// OwnerOf finds whose an Ingress is. A Route or Service that only says to be of the
// next is taken over by that one's controller, so it may as well be believed.
func (r Registry) OwnerOf(ing metav1.Object) (Owner, error) {
	owner, object := Owner{}, ing
	for i, link := range r.chain() {
		ref := metav1.GetControllerOf(object)
		if ref == nil || ref.Name != ing.GetName() || schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind() != link.kind {
			return owner, nil
		}
		owner.Routed = owner.Routed || i == 0
		next, err := link.get(ing.GetNamespace(), ref.Name)
		if apierrs.IsNotFound(err) || err == nil && next.GetUID() != ref.UID {
			owner.Unseen = link.kind.Kind + " " + ref.Name
			return owner, nil
		}
		if err != nil {
			return owner, fmt.Errorf("getting %s %s/%s: %w", link.kind.Kind, ing.GetNamespace(), ref.Name, err)
		}
		object = next
	}
	owner.Model, _ = object.(*v1alpha1.Model)
	return owner, nil
}

// generatedPrefix is how much of the prefix of a generated name Kubernetes keeps, which
// leaves room for its own five characters in 63.
const generatedPrefix = 58

// RevisionsOf names the revisions of a namespace that some of its pods are replicas of.
// A pod's name begins with that of its Deployment, and nobody can change it.
func (r Registry) RevisionsOf(namespace string, pods sets.Set[string]) (sets.Set[string], error) {
	names := sets.New[string]()
	if pods.Len() == 0 {
		return names, nil
	}
	revisions, err := r.Revisions.Revisions(namespace).List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing the revisions of namespace %s: %w", namespace, err)
	}
	for _, revision := range revisions {
		prefix := resourcenames.Deployment(revision) + "-"
		prefix = prefix[:min(len(prefix), generatedPrefix)]
		for pod := range pods {
			if strings.HasPrefix(pod, prefix) {
				names.Insert(revision.Name)
			}
		}
	}
	return names, nil
}

// ModelsOf names the Models that a revision belongs to by any mark: its labels, its
// owner, or the RateLimit that speaks of it, which alone nobody else can change. It is
// known if there is such a revision.
func (r Registry) ModelsOf(namespace, name string) (models sets.Set[string], known bool, err error) {
	models = sets.New[string]()
	revision, err := r.Revisions.Revisions(namespace).Get(name)
	if err != nil && !apierrs.IsNotFound(err) {
		return nil, false, fmt.Errorf("getting revision %s/%s: %w", namespace, name, err)
	}
	known = err == nil
	if known {
		if err := r.addMarked(models, revision); err != nil {
			return nil, false, err
		}
	}
	limits, err := r.RateLimits.RateLimits(namespace).List(labels.Everything())
	if err != nil {
		return nil, false, fmt.Errorf("listing the rate limits of namespace %s: %w", namespace, err)
	}
	for _, limit := range limits {
		if !slices.ContainsFunc(limit.Spec.Traffic, func(t v1alpha1.RevisionTraffic) bool { return t.Revision == name }) {
			continue
		}
		if model, err := r.model(namespace, limit.Name); err != nil {
			return nil, false, err
		} else if model != nil && metav1.IsControlledBy(limit, model) {
			models.Insert(limit.Name)
		}
	}
	return models, known, nil
}

// addMarked adds the Models that a revision belongs to by its labels and its owner:
// our own label names one, the others the Knative Service of one.
func (r Registry) addMarked(models sets.Set[string], revision *servingv1.Revision) error {
	services := sets.New(revision.Labels[serving.ServiceLabelKey], revision.Labels[serving.ConfigurationLabelKey])
	if ref := metav1.GetControllerOf(revision); ref != nil {
		services.Insert(ref.Name)
	}
	services.Delete("")
	for name := range sets.New(revision.Labels[sluice.ModelLabelKey]).Union(services) {
		model, err := r.model(revision.Namespace, name)
		if err != nil {
			return err
		}
		if model == nil {
			continue
		}
		service, err := r.Services.Services(revision.Namespace).Get(name)
		if err != nil && !apierrs.IsNotFound(err) {
			return fmt.Errorf("getting Knative Service %s/%s: %w", revision.Namespace, name, err)
		}
		if name == revision.Labels[sluice.ModelLabelKey] || err == nil && metav1.IsControlledBy(service, model) {
			models.Insert(name)
		}
	}
	return nil
}

// model is a Model, nil where there is none of that name.
func (r Registry) model(namespace, name string) (*v1alpha1.Model, error) {
	if name == "" {
		return nil, nil
	}
	model, err := r.Models.Models(namespace).Get(name)
	if apierrs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getting Model %s/%s: %w", namespace, name, err)
	}
	return model, nil
}

// Unproved returns those of some gateways at which a Model's limit was not proved: its
// own RateLimit's, as it is now.
func (r Registry) Unproved(namespace, name string, gateways []string) ([]string, error) {
	model, err := r.model(namespace, name)
	if err != nil {
		return nil, err
	}
	limit, err := r.RateLimits.RateLimits(namespace).Get(name)
	if err != nil && !apierrs.IsNotFound(err) {
		return nil, fmt.Errorf("getting RateLimit %s/%s: %w", namespace, name, err)
	}
	own := err == nil && model != nil && metav1.IsControlledBy(limit, model)
	return slices.DeleteFunc(slices.Clone(gateways), func(gateway string) bool { return own && limit.ProvedAt(gateway) }), nil
}
