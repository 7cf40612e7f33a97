package ingress

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/network"
	"knative.dev/pkg/tracker"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// behind is what stands behind the Services that an Ingress sends to.
type behind struct {
	// aliases are, by Service, the hosts of our own cluster-local entry that they are
	// only another name for, as Knative gives to its routes.
	aliases map[types.NamespacedName]string
	// empty are the hosts of Services that have no endpoint yet.
	empty sets.Set[string]
	// models are those whose replicas requests would come to.
	models sets.Set[types.NamespacedName]
	// past are the Services that lead past our entries: all that there are but other names
	// for one.
	past sets.Set[types.NamespacedName]
	// missing are those that aren't there, unknown those of which no revision is known.
	missing, unknown sets.Set[types.NamespacedName]
}

// lookBehind looks at the Services that an Ingress sends to, whose changes bring it
// back. Those that are only another name for our own entry are followed there. They may
// still name the address that was published before the present one.
func (r *Reconciler) lookBehind(s *asked) (behind, error) {
	b := behind{
		aliases: map[types.NamespacedName]string{}, empty: sets.New[string](), models: sets.New[types.NamespacedName](),
		past: sets.New[types.NamespacedName](), missing: sets.New[types.NamespacedName](), unknown: sets.New[types.NamespacedName](),
	}
	own := sets.New(network.GetServiceHostname(gateway.LocalName(gateway.Shared), gateway.Namespace))
	if s.tenant != nil {
		own.Insert(network.GetServiceHostname(gateway.LocalName(gateway.OfTenant(s.tenant.Name)), gateway.Namespace))
	}
	for _, name := range servicesOf(s.Ingress) {
		if err := r.track(s.Ingress, name); err != nil {
			return b, err
		}
		service, err := r.services.Services(name.Namespace).Get(name.Name)
		switch {
		case apierrs.IsNotFound(err):
			b.missing.Insert(name)
			service = nil
		case err != nil:
			return b, fmt.Errorf("getting service %s: %w", name, err)
		default:
			b.past.Insert(name)
		}
		if service == nil || service.Spec.Type != corev1.ServiceTypeExternalName {
			if err := r.lookAt(&b, name); err != nil {
				return b, err
			}
			continue
		}
		if own.Has(service.Spec.ExternalName) {
			b.aliases[name] = service.Spec.ExternalName
		}
		if err := r.follow(&b, name, service.Spec.ExternalName); err != nil {
			return b, err
		}
	}
	return b, nil
}

// track has the Ingress reconciled when a Service, or the revision of its name, changes.
func (r *Reconciler) track(ing *v1alpha1.Ingress, name types.NamespacedName) error {
	for _, kind := range []struct{ version, name string }{{"v1", "Service"}, {servingv1.SchemeGroupVersion.String(), "Revision"}} {
		if err := r.tracker.TrackReference(tracker.Reference{
			APIVersion: kind.version, Kind: kind.name, Namespace: name.Namespace, Name: name.Name,
		}, ing); err != nil {
			return fmt.Errorf("tracking %s %s: %w", kind.name, name, err)
		}
	}
	return nil
}

// follow goes on to what a Service is another name for. That of an entry of ours leads
// to a route which has its own limit.
func (r *Reconciler) follow(b *behind, name types.NamespacedName, host string) error {
	target := strings.Split(strings.TrimSuffix(strings.TrimSuffix(host, "."), "."+network.GetClusterDomainName()), ".")
	inside := len(target) == 3 && target[2] == "svc"
	if !inside {
		return nil
	}
	if target[1] == gateway.Namespace {
		b.past.Delete(name)
		return nil
	}
	_, err := r.addModels(b, types.NamespacedName{Namespace: target[1], Name: target[0]})
	return err
}

// lookAt looks at the endpoints of a Service. Those of a revision may be the activator's;
// any other's may be replicas of a revision that it happens to select.
func (r *Reconciler) lookAt(b *behind, name types.NamespacedName) error {
	endpoints, err := r.endpointSlices.EndpointSlices(name.Namespace).List(labels.SelectorFromSet(labels.Set{
		discoveryv1.LabelServiceName: name.Name,
	}))
	if err != nil {
		return fmt.Errorf("listing the endpoints of service %s: %w", name, err)
	}
	if !slices.ContainsFunc(endpoints, answers) {
		b.empty.Insert(network.GetServiceHostname(name.Name, name.Namespace))
	}
	known, err := r.addModels(b, name)
	if known || err != nil {
		return err
	}
	b.unknown.Insert(name)
	revisions, err := r.owners.RevisionsOf(name.Namespace, podsOf(endpoints))
	if err != nil {
		return err
	}
	for revision := range revisions {
		if _, err := r.addModels(b, types.NamespacedName{Namespace: name.Namespace, Name: revision}); err != nil {
			return err
		}
	}
	return nil
}

// addModels adds the Models of the revision of that name, if there is one.
func (r *Reconciler) addModels(b *behind, name types.NamespacedName) (known bool, err error) {
	models, known, err := r.owners.ModelsOf(name.Namespace, name.Name)
	for model := range models {
		b.models.Insert(types.NamespacedName{Namespace: name.Namespace, Name: model})
	}
	return known, err
}

// podsOf names the pods among endpoints.
func podsOf(endpoints []*discoveryv1.EndpointSlice) sets.Set[string] {
	pods := sets.New[string]()
	for _, slice := range endpoints {
		for _, e := range slice.Endpoints {
			if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
				pods.Insert(e.TargetRef.Name)
			}
		}
	}
	return pods
}
