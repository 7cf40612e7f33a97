package tenant

import (
	"context"
	"fmt"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	"sluice.dev/sluice/reconciler/tenant/resources"
)

// reconcileNamespaces claims the namespaces that the tenant asks for, lets go of
// those that it doesn't, and marks NamespacesHeld.
func (r *Reconciler) reconcileNamespaces(_ context.Context, t *v1alpha1.Tenant, p *pass) error {
	tenants, err := r.tenants.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing tenants: %w", err)
	}
	namespaces, err := r.namespaces.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing namespaces: %w", err)
	}
	claims := resources.Claim(t, tenants, namespaces)
	seen := resources.Traffic{Now: p.now, Drain: p.drain, Exist: sets.New[string](), Idle: sets.New[string](), Proved: sets.New[string]()}
	for _, namespace := range namespaces {
		seen.Exist.Insert(namespace.Name)
	}
	for _, name := range concerned(t, claims) {
		routes, err := r.routes(name)
		if err != nil {
			return err
		}
		if routes.Idle() {
			seen.Idle.Insert(name)
		}
		if len(routes.Unproved(t.GatewaysOf(name), t.AddressOf(name))) == 0 {
			seen.Proved.Insert(name)
		}
	}
	held, again := resources.Namespaces(t, claims, seen)
	t.Status.Namespaces = held
	p.lookAgain(again)
	if len(claims.Lost) > 0 {
		t.Status.MarkNamespacesLost(claims.Lost)
	} else {
		t.Status.MarkNamespacesHeld(claims.Missing)
	}
	return nil
}

// concerned are the namespaces of which it matters what is served there.
func concerned(t *v1alpha1.Tenant, claims resources.Claims) []string {
	names := claims.Mine.Clone()
	for _, held := range t.Status.Namespaces {
		names.Insert(held.Name)
	}
	return sets.List(names)
}

const (
	// servedIndex is the index of VirtualServices by the namespace of the Ingress
	// that each serves.
	servedIndex = "sluice.dev/served-namespace"
	// boundIndex is the index of VirtualServices by the Istio Gateways that each is
	// bound to.
	boundIndex = "sluice.dev/bound-gateway"
)

// routes returns what is served in a namespace.
func (r *Reconciler) routes(namespace string) (resources.Routes, error) {
	var out resources.Routes
	ingresses, err := r.ingresses.Ingresses(namespace).List(labels.Everything())
	if err != nil {
		return out, fmt.Errorf("listing the ingresses of namespace %s: %w", namespace, err)
	}
	for _, ing := range ingresses {
		if tenancy.Serves(ing) {
			out.Ingresses = append(out.Ingresses, ing)
		}
	}
	served, err := r.virtualServices.ByIndex(servedIndex, namespace)
	if err != nil {
		return out, fmt.Errorf("listing the routes of namespace %s: %w", namespace, err)
	}
	for _, object := range served {
		if vs, ok := object.(*istiov1.VirtualService); ok {
			out.VirtualServices = append(out.VirtualServices, vs)
		}
	}
	if out.RateLimits, err = r.rateLimits.RateLimits(namespace).List(labels.Everything()); err != nil {
		return out, fmt.Errorf("listing the limits of namespace %s: %w", namespace, err)
	}
	return out, nil
}
