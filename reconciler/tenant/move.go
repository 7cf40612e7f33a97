package tenant

import (
	"context"
	"fmt"
	"slices"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/tenant/resources"
)

// reconcileMove takes the tenant one step further to the gateway that it wants, and
// marks GatewayReady.
func (r *Reconciler) reconcileMove(ctx context.Context, t *v1alpha1.Tenant, p *pass) error {
	if p.services == nil {
		return nil // where the address leads isn't known; its phase says why
	}
	target, err := r.target(ctx, t)
	if err != nil {
		return err
	}
	seen, err := r.seen(t, p)
	if err != nil {
		return err
	}
	seen.Unready = target.unready
	step := resources.Next(t.Status, seen)
	if step.Select != "" {
		return r.flip(ctx, t, step.Select)
	}
	t.Status = step.Status
	p.lookAgain(step.Wait)
	return r.markGateway(t, target)
}

// flip has the address select a gateway. What a cache says of the Tenant may be
// older than what was decided since, so the live one has to be the same.
func (r *Reconciler) flip(ctx context.Context, t *v1alpha1.Tenant, to string) error {
	live, err := r.sluice.SluiceV1alpha1().Tenants().Get(ctx, t.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("getting the tenant before its address is switched: %w", err)
	}
	if live.ResourceVersion != t.ResourceVersion {
		return apierrs.NewConflict(v1alpha1.Resource("tenants"), t.Name, fmt.Errorf("changed since version %s", t.ResourceVersion))
	}
	if err := r.selectGateway(ctx, t, to); err != nil {
		return fmt.Errorf("switching the address to gateway %s: %w", to, err)
	}
	return nil
}

// target is the gateway that a move goes to.
type target struct {
	// unready says what it waits for; empty where it can be attached.
	unready string
	// broken is true where that needs a person to act.
	broken bool
}

func (r *Reconciler) target(ctx context.Context, t *v1alpha1.Tenant) (target, error) {
	if t.Status.Move == nil {
		return target{}, nil
	}
	gw, err := r.gateway(t.Status.Move.To)
	if err != nil {
		return target{}, err
	}
	unready, broken := gw.Unready(leastPods(ctx, t, gw.Name))
	return target{unready: unready, broken: broken}, nil
}

// leastPods is how many pods a gateway is to have at least.
func leastPods(ctx context.Context, t *v1alpha1.Tenant, name string) int32 {
	if least := t.Spec.Gateway.Replicas.Min; least != nil && name != gateway.Shared {
		return *least
	}
	return config.GatewayFromContext(ctx).Replicas
}

func (r *Reconciler) gateway(name string) (resources.Gateway, error) {
	gw := resources.Gateway{Name: name}
	deployment, err := r.deployments.Deployments(gateway.Namespace).Get(name)
	if err != nil && !apierrs.IsNotFound(err) {
		return gw, fmt.Errorf("getting the Deployment of gateway %s: %w", name, err)
	}
	if err == nil {
		gw.Deployment = deployment
	}
	gw.Pods, err = r.pods.Pods(gateway.Namespace).List(labels.SelectorFromSet(labels.Set{gateway.LabelKey: name}))
	if err != nil {
		return gw, fmt.Errorf("listing the pods of gateway %s: %w", name, err)
	}
	return gw, nil
}

// seen is what the next step goes by, without what is missing to the target's pods.
func (r *Reconciler) seen(t *v1alpha1.Tenant, p *pass) (resources.Seen, error) {
	seen := resources.Seen{
		Now: p.now, Wanted: t.WantedGateway(), Drain: p.drain,
		Selected: resources.Selected(p.services),
	}
	var err error
	if seen.LeadsTo, err = r.leadsTo(p); err != nil {
		return seen, err
	}
	if seen.Unproved, err = r.unproved(t, p); err != nil {
		return seen, err
	}
	return seen, nil
}

// leadsTo returns the gateways that the address selects, and those of the pods that
// are behind it still.
func (r *Reconciler) leadsTo(p *pass) ([]string, error) {
	var names []string
	for _, service := range p.services {
		names = append(names, service.Name)
	}
	of, err := labels.NewRequirement(discoveryv1.LabelServiceName, selection.In, names)
	if err != nil {
		return nil, fmt.Errorf("selecting the endpoints of the address: %w", err)
	}
	endpoints, err := r.endpointSlices.EndpointSlices(gateway.Namespace).List(labels.NewSelector().Add(*of))
	if err != nil {
		return nil, fmt.Errorf("listing the endpoints of the address: %w", err)
	}
	return resources.LeadsTo(p.services, endpoints, func(name string) string {
		pod, err := r.pods.Pods(gateway.Namespace).Get(name)
		if err != nil {
			return "" // gone, or so new that its event brings us back
		}
		return pod.Labels[gateway.LabelKey]
	}), nil
}

// unproved says which of the tenant's routes and limits were not seen where they
// are to be; it is asked for only while a move is under way.
func (r *Reconciler) unproved(t *v1alpha1.Tenant, p *pass) (string, error) {
	if t.Status.Move == nil {
		return "", nil
	}
	var missing []string
	for _, held := range t.Status.Namespaces {
		routes, err := r.routes(held.Name)
		if err != nil {
			return "", err
		}
		missing = append(missing, routes.Unproved(t.GatewaysOf(held.Name), t.AddressOf(held.Name))...)
	}
	if len(missing) == 0 {
		return p.uncertified, nil
	}
	return resources.Awaiting(missing, t.Status.Attached), nil
}

// markGateway says how far the tenant has come to the gateway that it wants.
func (r *Reconciler) markGateway(t *v1alpha1.Tenant, target target) error {
	serving, err := r.gateway(t.Status.Gateway)
	if err != nil {
		return err
	}
	t.Status.GatewayPods = serving.Ready()
	move, wanted := t.Status.Move, t.WantedGateway()
	switch {
	case t.Status.Gateway == wanted && t.Status.GatewayPods > 0:
		t.Status.MarkGatewayReady()
	case t.Status.Gateway == wanted:
		why, _ := serving.Unready(1)
		t.Status.MarkNoGatewayPods(why)
	case move == nil:
		t.Status.MarkGatewayPending("Moving", "Going to move to gateway "+wanted+".")
	case target.broken && move.To == wanted:
		t.Status.MarkGatewayFailed(target.unready)
	default:
		t.Status.MarkGatewayPending(string(move.Phase), move.Message)
	}
	return nil
}

// defaultTimeout is Knative's, of a revision that sets none.
const defaultTimeout = 300 * time.Second

// drainTime returns how long a request can last that came by a connection, or an
// address, of before: the connection's age at most, once more while it is told to
// end, and the longest request that any revision allows.
func (r *Reconciler) drainTime(ctx context.Context, t *v1alpha1.Tenant) (time.Duration, error) {
	var longest time.Duration
	for _, held := range t.Status.Namespaces {
		revisions, err := r.revisions.Revisions(held.Name).List(labels.Everything())
		if err != nil {
			return 0, fmt.Errorf("listing the revisions of namespace %s: %w", held.Name, err)
		}
		for _, revision := range revisions {
			timeout := defaultTimeout
			if seconds := revision.Spec.TimeoutSeconds; seconds != nil {
				timeout = time.Duration(*seconds) * time.Second
			}
			longest = max(longest, timeout)
		}
	}
	return 2*config.GatewayFromContext(ctx).MaxConnectionDuration + longest, nil
}

// moves tells whether a tenant's move, or a namespace that comes or goes, waits for
// proof.
func moves(t *v1alpha1.Tenant) bool {
	return t.Status.Move != nil || t.DeletionTimestamp != nil ||
		slices.ContainsFunc(t.Status.Namespaces, func(n v1alpha1.TenantNamespace) bool { return n.Phase != v1alpha1.NamespaceHeld })
}
