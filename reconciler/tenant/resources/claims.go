package resources

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
)

// Claims are what becomes of the namespaces that a tenant names or selects.
type Claims struct {
	// Mine are those that it may have.
	Mine sets.Set[string]
	// Lost are those that another tenant has, by the name of that tenant.
	Lost map[string]string
	// Missing are those that it names and that don't exist.
	Missing []string
}

// Claim decides, of the namespaces that exist, which are the tenant's: those that
// it asks for and no other tenant holds, or asked for before it. Tenants are all
// there are; t may be among them.
func Claim(t *v1alpha1.Tenant, tenants []*v1alpha1.Tenant, namespaces []*corev1.Namespace) Claims {
	wishes := []wish{wishOf(t)}
	for _, other := range tenants {
		if other.Name != t.Name {
			wishes = append(wishes, wishOf(other))
		}
	}
	claims := Claims{Mine: sets.New[string](), Lost: map[string]string{}}
	exist := sets.New[string]()
	for _, namespace := range namespaces {
		exist.Insert(namespace.Name)
		if !wishes[0].wants(namespace) {
			continue
		}
		if holder := holderOf(namespace, wishes); holder.Name == t.Name {
			claims.Mine.Insert(namespace.Name)
		} else {
			claims.Lost[namespace.Name] = holder.Name
		}
	}
	claims.Missing = sets.List(wishes[0].names.Difference(exist))
	return claims
}

// Concerns tells whether a tenant asks for the namespace, or holds it.
func Concerns(t *v1alpha1.Tenant, namespace *corev1.Namespace) bool {
	return t.Holds(namespace.Name) || wishOf(t).wants(namespace)
}

// wish is what a tenant asks for.
type wish struct {
	*v1alpha1.Tenant
	names    sets.Set[string]
	selector labels.Selector
}

// wishOf is empty for a tenant that is being deleted: all that it holds leaves it.
func wishOf(t *v1alpha1.Tenant) wish {
	w := wish{Tenant: t, selector: labels.Nothing()}
	if t.DeletionTimestamp != nil {
		return w
	}
	w.names = sets.New(t.Spec.Namespaces.Names...)
	// The webhook refuses a selector that is empty or doesn't parse.
	if s := t.Spec.Namespaces.Selector; s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0 {
		if selector, err := metav1.LabelSelectorAsSelector(s); err == nil {
			w.selector = selector
		}
	}
	return w
}

func (w wish) wants(namespace *corev1.Namespace) bool {
	return !v1alpha1.IsReservedNamespace(namespace.Name) &&
		(w.names.Has(namespace.Name) || w.selector.Matches(labels.Set(namespace.Labels)))
}

// holderOf returns whose a namespace is, of which at least one asks for it: of the
// tenants that hold it or, if none does, of those that ask for it the first come.
func holderOf(namespace *corev1.Namespace, wishes []wish) *v1alpha1.Tenant {
	var holder, claimant *v1alpha1.Tenant
	for _, w := range wishes {
		if w.Holds(namespace.Name) {
			holder = firstCome(holder, w.Tenant)
		}
		if w.wants(namespace) {
			claimant = firstCome(claimant, w.Tenant)
		}
	}
	if holder != nil {
		return holder
	}
	return claimant
}

func firstCome(a, b *v1alpha1.Tenant) *v1alpha1.Tenant {
	if a == nil || tenancy.Before(b, a) {
		return b
	}
	return a
}

// Traffic is what was seen of the requests to the namespaces that a tenant holds.
type Traffic struct {
	Now time.Time
	// Exist are the namespaces that there are.
	Exist sets.Set[string]
	// Idle are those in which nothing is served.
	Idle sets.Set[string]
	// Proved are those of which every route and limit was seen on every gateway that
	// the status calls for, and whose address is published.
	Proved sets.Set[string]
	// Drain is how long a request can last that came by an address published before.
	Drain time.Duration
}

// Namespaces returns the namespaces that the tenant holds from now on, by what it
// holds and what it may have, and when to look again, if ever.
func Namespaces(t *v1alpha1.Tenant, claims Claims, seen Traffic) ([]v1alpha1.TenantNamespace, time.Duration) {
	var out []v1alpha1.TenantNamespace
	var again time.Duration
	for _, held := range t.Status.Namespaces {
		next, wait := nextPhase(t, held, claims, seen)
		if next != nil {
			out = append(out, *next)
		}
		if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
	}
	for name := range claims.Mine {
		if t.Holds(name) {
			continue
		}
		joining := enterPhase(v1alpha1.TenantNamespace{Name: name}, v1alpha1.NamespaceJoining, seen.Now)
		if seen.Idle.Has(name) || staysPut(t, true) {
			joining.Phase = v1alpha1.NamespaceHeld
		}
		out = append(out, *joining)
	}
	slices.SortFunc(out, func(a, b v1alpha1.TenantNamespace) int { return strings.Compare(a.Name, b.Name) })
	return out, again
}

// nextPhase returns what becomes of a held namespace, nil where it is let go, and
// how long its phase lasts still, where that is known.
func nextPhase(t *v1alpha1.Tenant, held v1alpha1.TenantNamespace, claims Claims, seen Traffic) (*v1alpha1.TenantNamespace, time.Duration) {
	_, lost := claims.Lost[held.Name]
	if !seen.Exist.Has(held.Name) || lost {
		return nil, 0
	}
	mine, leaving := claims.Mine.Has(held.Name), held.Phase == v1alpha1.NamespaceLeaving
	switch settled := seen.Idle.Has(held.Name) || staysPut(t, mine); {
	case settled && mine:
		return enterPhase(held, v1alpha1.NamespaceHeld, seen.Now), 0
	case settled:
		return nil, 0
	case mine && leaving:
		return enterPhase(held, v1alpha1.NamespaceJoining, seen.Now), 0
	case !mine && !leaving:
		return enterPhase(held, v1alpha1.NamespaceLeaving, seen.Now), 0
	case held.Phase == v1alpha1.NamespaceHeld:
		return &held, 0
	}
	if held.Served == nil {
		if !seen.Proved.Has(held.Name) {
			return &held, 0
		}
		held.Served = since(seen.Now)
	}
	if left := held.Served.Add(seen.Drain).Sub(seen.Now); left > 0 {
		return &held, left
	}
	if leaving {
		return nil, 0
	}
	return enterPhase(held, v1alpha1.NamespaceHeld, seen.Now), 0
}

func enterPhase(held v1alpha1.TenantNamespace, phase v1alpha1.NamespacePhase, now time.Time) *v1alpha1.TenantNamespace {
	if held.Phase == phase {
		return &held
	}
	return &v1alpha1.TenantNamespace{Name: held.Name, Phase: phase, Since: metav1.NewTime(now)}
}

// staysPut tells whether a namespace that joins, or leaves, is served by the shared
// gateway before and after, whichever of the two addresses a client knows. One
// that leaves has to wait if the tenant's address will lead elsewhere, or go.
func staysPut(t *v1alpha1.Tenant, joins bool) bool {
	atShared := t.Status.Move == nil && (t.Status.Gateway == "" || only(t.Status.Attached, gateway.Shared))
	return atShared && (joins || (t.WantedGateway() == gateway.Shared && t.DeletionTimestamp == nil))
}
