package ingress

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/gateway"
	sluicev1alpha1 "sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/ingress/ownership"
)

// acmePath begins the paths of challenges by which a certificate's issuer knows a host's
// owner. Their solvers serve nothing else.
const acmePath = "/.well-known/acme-challenge/"

// admit lets the requests of an Ingress come to where it sends them, nil if they may not, and
// finds the gateways at which they have to wait for their limit. A Model's replicas are
// for the Ingress of its name, whose limit they are behind; and in a namespace whose
// tenant has caps, only what can be held to them is served: Models.
func (r *Reconciler) admit(ctx context.Context, c *claimed) (*admitted, error) {
	behind, err := r.lookBehind(&c.asked)
	if err != nil {
		return nil, err
	}
	s := &admitted{claimed: *c, behind: behind}
	if err := s.foreignReplicas(); err != nil {
		return nil, r.refuse(ctx, s.Ingress, "ReplicasOfModel", err)
	}
	owner, err := r.owners.OwnerOf(s.Ingress)
	if err != nil {
		return nil, err
	}
	if unseen := s.unseen(owner); unseen != "" {
		if s.existing == nil || !wasReady(s.Ingress) {
			manage(s.Ingress).MarkUnknown(v1alpha1.IngressConditionNetworkConfigured, "OwnerNotSeen",
				"Waiting for %s, by which to tell whose limit this is under.", unseen)
		}
		return nil, nil // what is served goes on as it is
	}
	if past := s.unbounded(); owner.Model == nil && s.tenant.HasCaps() && len(past) > 0 {
		return nil, r.refuse(ctx, s.Ingress, sluicev1alpha1.ReasonTenantCapped, fmt.Errorf(
			"tenant %s has caps (spec.limits of the Tenant), which only Models can be held to, and this is no Model's and leads to %s: "+
				"make it a Model, or have it served by another class (annotation %s)",
			s.tenant.Name, strings.Join(first(past, 10), ", "), networking.IngressClassAnnotationAltKey))
	}
	if owner.Model != nil || s.behind.models.Has(keyOf(s.Ingress)) {
		s.limited = s.Name
		if s.held, err = r.owners.Unproved(s.Namespace, s.limited, s.fresh()); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// foreignReplicas returns an error where requests would come to the replicas of a Model,
// but not in its limit, which is that of the virtual service of its own Ingress.
func (s *admitted) foreignReplicas() error {
	for _, model := range sortedNames(s.behind.models) {
		switch {
		case model == keyOf(s.Ingress):
		case model.Namespace != s.Namespace:
			return errors.New("it leads to replicas of a Model of another namespace, past the Model's limit: send requests to the Model's own host")
		default:
			return fmt.Errorf("it leads to replicas of Model %s, past the Model's limit: send requests to the Model's own host, or map a domain to Knative Service %s",
				model.Name, model.Name)
		}
	}
	return nil
}

// unseen names what has to be seen before it can be told whose an Ingress is, or whether
// it leads past a limit. What serves already isn't waited for.
func (s *admitted) unseen(owner ownership.Owner) string {
	switch {
	case owner.Unseen != "":
		return owner.Unseen
	case s.existing != nil:
		return ""
	case owner.Routed && s.behind.unknown.Len() > 0:
		return "revision " + sortedNames(s.behind.unknown)[0].Name
	case s.tenant.HasCaps() && s.behind.missing.Len() > 0:
		return "service " + sortedNames(s.behind.missing)[0].Name
	}
	return ""
}

// unbounded are the Services, sorted, that lead past our entries, and so past every
// limit, to something else than the solver of a certificate's challenge.
func (s *admitted) unbounded() []string {
	names := sets.New[string]()
	for _, rule := range s.Spec.Rules {
		for _, path := range rule.HTTP.Paths {
			if strings.HasPrefix(path.Path, acmePath) {
				continue
			}
			for _, split := range path.Splits {
				if s.behind.past.Has(types.NamespacedName{Namespace: split.ServiceNamespace, Name: split.ServiceName}) {
					names.Insert("Service " + split.ServiceName)
				}
			}
		}
	}
	return sets.List(names)
}

// fresh are the gateways that are to have the routes and don't yet. A route that is there
// is never taken away for want of a proof.
func (s *asked) fresh() []string {
	return slices.DeleteFunc(s.gateways(), func(name string) bool {
		return s.existing != nil && (slices.Contains(s.existing.Spec.Gateways, qualified(name)) ||
			slices.Contains(s.existing.Spec.Gateways, qualified(gateway.LocalName(name))))
	})
}

// markUnlimited says that requests wait for their limit.
func (s *admitted) markUnlimited(condition apis.ConditionType) {
	manage(s.Ingress).MarkUnknown(condition, "LimitNotProved",
		"Waiting for the limit of Model %s to be proved at gateway %s before requests go there. See condition Limited of the Model.",
		s.limited, strings.Join(s.held, ", "))
}

func sortedNames(names sets.Set[types.NamespacedName]) []types.NamespacedName {
	return slices.SortedFunc(slices.Values(names.UnsortedList()), func(a, b types.NamespacedName) int {
		return strings.Compare(a.String(), b.String())
	})
}
