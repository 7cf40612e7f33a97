package gateway

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// takeDown deletes the gateway of that name, in an order in which no pod ever runs
// without its limits: pods first, once they have ended what they began; then what
// makes the limiter write slots; then the slots. Each object that goes brings the
// gateway back here. What others wrote for the gateway is theirs to delete.
func (r *Reconciler) takeDown(ctx context.Context, name string) error {
	for _, phase := range []func(context.Context, string) (gone bool, err error){
		r.removePods, r.removeEntries, r.removeRest,
	} {
		if gone, err := phase(ctx, name); err != nil {
			return fmt.Errorf("taking down gateway %s: %w", name, err)
		} else if !gone {
			return nil
		}
	}
	return nil
}

func (r *Reconciler) removePods(ctx context.Context, name string) (bool, error) {
	autoscaler, errAutoscaler := r.autoscalerKind(name).Remove(ctx, name)
	deployment, errDeployment := r.deploymentKind(name).Remove(ctx, name)
	// A Deployment may have been deleted without its pods, by hand.
	pods, errPods := r.pods.Pods(gateway.Namespace).List(of(name))
	return autoscaler && deployment && len(pods) == 0, errors.Join(errAutoscaler, errDeployment, errPods)
}

func (r *Reconciler) removeEntries(ctx context.Context, name string) (bool, error) {
	route, errRoute := r.virtualServiceKind(name).Remove(ctx, gateway.ProbeVirtualService(name))
	local, errLocal := r.istioGatewayKind(name).Remove(ctx, gateway.LocalName(name))
	external, errExternal := r.istioGatewayKind(name).Remove(ctx, name)
	return route && local && external, errors.Join(errRoute, errLocal, errExternal)
}

func (r *Reconciler) removeRest(ctx context.Context, name string) (bool, error) {
	filters, err := r.envoyFilters.EnvoyFilters(gateway.Namespace).List(of(name))
	errs := []error{err}
	for _, filter := range filters {
		_, err := r.envoyFilterKind(name).Remove(ctx, filter.Name)
		errs = append(errs, err)
	}
	errs = append(errs, r.removeSlots(ctx, name, func(metav1.Object) bool { return true }))
	_, errBudget := r.budgetKind(name).Remove(ctx, name)
	_, errAccount := r.serviceAccountKind(name).Remove(ctx, name)
	return true, errors.Join(append(errs, errBudget, errAccount)...)
}

// of selects what is labelled as the gateway's.
func of(name string) labels.Selector {
	return labels.SelectorFromSet(labels.Set{gateway.LabelKey: name})
}
