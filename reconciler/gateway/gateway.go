// Package gateway keeps the gateways: the Envoys in namespace sluice-gateways,
// what they listen on, and the fixed slots that the limiter fills. It writes no
// slot and no route of a Model.
package gateway

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istioclientset "istio.io/client-go/pkg/clientset/versioned"
	istiov1listers "istio.io/client-go/pkg/listers/networking/v1"
	istiov1alpha3listers "istio.io/client-go/pkg/listers/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	appsv1listers "k8s.io/client-go/listers/apps/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	policyv1listers "k8s.io/client-go/listers/policy/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	pkgreconciler "knative.dev/pkg/reconciler"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/gateway/resources"
)

// Reconciler keeps the objects of every gateway. Its keys are gateway names.
type Reconciler struct {
	pkgreconciler.LeaderAwareFuncs

	kube   kubernetes.Interface
	istio  istioclientset.Interface
	config configStore
	// probePath begins the path of our own prober's requests.
	probePath string

	deployments     appsv1listers.DeploymentLister
	services        corev1listers.ServiceLister
	serviceAccounts corev1listers.ServiceAccountLister
	budgets         policyv1listers.PodDisruptionBudgetLister
	gateways        istiov1listers.GatewayLister
	virtualServices istiov1listers.VirtualServiceLister
	envoyFilters    istiov1alpha3listers.EnvoyFilterLister
}

// configStore attaches the present configuration to a context.
type configStore interface {
	ToContext(ctx context.Context) context.Context
}

var (
	_ controller.Reconciler     = (*Reconciler)(nil)
	_ pkgreconciler.LeaderAware = (*Reconciler)(nil)
)

// errSlotsMissing keeps a gateway from being started; it isn't a failure.
var errSlotsMissing = errors.New("waiting for the limiter to write the gateway's slots")

// Reconcile brings the gateway of that name to its desired state, in an order in
// which no pod ever runs with less than its whole configuration.
func (r *Reconciler) Reconcile(ctx context.Context, key string) error {
	if !r.IsLeaderFor(types.NamespacedName{Name: key}) {
		return controller.NewSkipKey(key)
	}
	gw, ok := r.desiredGateway(r.config.ToContext(ctx), key)
	if !ok {
		return nil // nothing asks for a gateway of that name
	}
	for _, phase := range []func(context.Context, resources.Gateway) error{
		r.ensureEnvoyFilters,
		r.ensureIstioGateways,
		r.ensureServices,
		r.ensureProbeRoute,
		r.ensureIdentity,
		r.ensureSlots,
		r.ensureDeployment,
	} {
		err := phase(ctx, gw)
		if errors.Is(err, errSlotsMissing) {
			// The slots' own events bring it back.
			logging.FromContext(ctx).Infof("Gateway %s: %v", key, err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("reconciling gateway %s: %w", key, err)
		}
	}
	return nil
}

// gatewayNames lists the gateways that are wanted.
func gatewayNames() []string { return []string{gateway.Shared} }

func (r *Reconciler) desiredGateway(ctx context.Context, name string) (resources.Gateway, bool) {
	if name != gateway.Shared {
		return resources.Gateway{}, false
	}
	cfg := config.GatewayFromContext(ctx)
	return resources.Gateway{
		Name:                  name,
		Replicas:              cfg.Replicas,
		CPURequest:            cfg.CPURequest,
		MemoryRequest:         cfg.MemoryRequest,
		MemoryLimit:           cfg.MemoryLimit,
		DrainDuration:         cfg.DrainDuration,
		MaxConnectionDuration: cfg.MaxConnectionDuration,
		ProbePath:             r.probePath,
	}, true
}

func (r *Reconciler) ensureEnvoyFilters(ctx context.Context, gw resources.Gateway) error {
	slots, err := resources.SlotFilters(gw)
	if err != nil {
		return err
	}
	connections, err := resources.ConnectionFilters(gw)
	if err != nil {
		return err
	}
	filters := kind[*istiov1alpha3.EnvoyFilter]{
		name:   "EnvoyFilter",
		get:    r.envoyFilters.EnvoyFilters(gateway.Namespace).Get,
		writer: r.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace),
		adopt:  func(existing, desired *istiov1alpha3.EnvoyFilter) { desired.Spec.DeepCopyInto(&existing.Spec) },
		equal: func(existing, desired *istiov1alpha3.EnvoyFilter) bool {
			return proto.Equal(&existing.Spec, &desired.Spec)
		},
		copy: (*istiov1alpha3.EnvoyFilter).DeepCopy,
	}
	return errors.Join(filters.ensure(ctx, slots), filters.ensure(ctx, connections))
}

func (r *Reconciler) ensureIstioGateways(ctx context.Context, gw resources.Gateway) error {
	gateways := kind[*istiov1.Gateway]{
		name:   "Gateway",
		get:    r.gateways.Gateways(gateway.Namespace).Get,
		writer: r.istio.NetworkingV1().Gateways(gateway.Namespace),
		adopt:  func(existing, desired *istiov1.Gateway) { desired.Spec.DeepCopyInto(&existing.Spec) },
		equal:  func(existing, desired *istiov1.Gateway) bool { return proto.Equal(&existing.Spec, &desired.Spec) },
		copy:   (*istiov1.Gateway).DeepCopy,
	}
	var errs []error
	for _, desired := range resources.IstioGateways(gw) {
		errs = append(errs, gateways.ensure(ctx, desired))
	}
	return errors.Join(errs...)
}

func (r *Reconciler) ensureServices(ctx context.Context, gw resources.Gateway) error {
	services := kind[*corev1.Service]{
		name:   "Service",
		get:    r.services.Services(gateway.Namespace).Get,
		writer: r.kube.CoreV1().Services(gateway.Namespace),
		// The address, node ports and families are the cluster's to choose.
		adopt: func(existing, desired *corev1.Service) {
			existing.Spec.Type, existing.Spec.Selector = desired.Spec.Type, desired.Spec.Selector
			existing.Spec.Ports = withNodePorts(desired.Spec.Ports, existing.Spec.Ports)
		},
		equal: func(existing, desired *corev1.Service) bool {
			return covers(desired.Spec, existing.Spec) && len(existing.Spec.Selector) == len(desired.Spec.Selector)
		},
		copy: (*corev1.Service).DeepCopy,
	}
	var errs []error
	for _, desired := range resources.Services(gw) {
		errs = append(errs, services.ensure(ctx, desired))
	}
	return errors.Join(errs...)
}

// withNodePorts keeps the node ports that the cluster chose, by the port's name.
func withNodePorts(desired, existing []corev1.ServicePort) []corev1.ServicePort {
	chosen := map[string]int32{}
	for _, port := range existing {
		chosen[port.Name] = port.NodePort
	}
	out := make([]corev1.ServicePort, 0, len(desired))
	for _, port := range desired {
		port.NodePort = chosen[port.Name]
		out = append(out, port)
	}
	return out
}

func (r *Reconciler) ensureProbeRoute(ctx context.Context, gw resources.Gateway) error {
	return kind[*istiov1.VirtualService]{
		name:   "VirtualService",
		get:    r.virtualServices.VirtualServices(gateway.Namespace).Get,
		writer: r.istio.NetworkingV1().VirtualServices(gateway.Namespace),
		adopt:  func(existing, desired *istiov1.VirtualService) { desired.Spec.DeepCopyInto(&existing.Spec) },
		equal: func(existing, desired *istiov1.VirtualService) bool {
			return proto.Equal(&existing.Spec, &desired.Spec)
		},
		copy: (*istiov1.VirtualService).DeepCopy,
	}.ensure(ctx, resources.ProbeVirtualService(gw))
}

// ensureIdentity keeps what pods run as, and how many may go at once.
func (r *Reconciler) ensureIdentity(ctx context.Context, gw resources.Gateway) error {
	accounts := kind[*corev1.ServiceAccount]{
		name:   "ServiceAccount",
		get:    r.serviceAccounts.ServiceAccounts(gateway.Namespace).Get,
		writer: r.kube.CoreV1().ServiceAccounts(gateway.Namespace),
		adopt: func(existing, desired *corev1.ServiceAccount) {
			existing.AutomountServiceAccountToken = desired.AutomountServiceAccountToken
		},
		equal: func(existing, desired *corev1.ServiceAccount) bool {
			return covers(desired.AutomountServiceAccountToken, existing.AutomountServiceAccountToken)
		},
		copy: (*corev1.ServiceAccount).DeepCopy,
	}
	budgets := kind[*policyv1.PodDisruptionBudget]{
		name:   "PodDisruptionBudget",
		get:    r.budgets.PodDisruptionBudgets(gateway.Namespace).Get,
		writer: r.kube.PolicyV1().PodDisruptionBudgets(gateway.Namespace),
		adopt:  func(existing, desired *policyv1.PodDisruptionBudget) { existing.Spec = desired.Spec },
		equal:  func(existing, desired *policyv1.PodDisruptionBudget) bool { return covers(desired.Spec, existing.Spec) },
		copy:   (*policyv1.PodDisruptionBudget).DeepCopy,
	}
	return errors.Join(
		accounts.ensure(ctx, resources.ServiceAccount(gw)),
		budgets.ensure(ctx, resources.DisruptionBudget(gw)))
}

// ensureSlots returns errSlotsMissing while any slot of a gateway that doesn't
// run yet has no content: its pods would neither listen nor become ready.
func (r *Reconciler) ensureSlots(ctx context.Context, gw resources.Gateway) error {
	var missing []string
	for _, entry := range gateway.Entries() {
		for slot := range gateway.Slots {
			name := gateway.SlotObjectName(gw.Name, entry, slot)
			_, err := r.envoyFilters.EnvoyFilters(gateway.Namespace).Get(name)
			if apierrs.IsNotFound(err) {
				missing = append(missing, name)
			} else if err != nil {
				return fmt.Errorf("getting slot %s: %w", name, err)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := r.deployments.Deployments(gateway.Namespace).Get(gw.Name); err == nil {
		// Running pods keep their last limits; new ones fail closed.
		logging.FromContext(ctx).Warnf("Gateway %s runs, but slots %q are gone: new pods won't become ready", gw.Name, missing)
	}
	return fmt.Errorf("%w: %d of them, first %s", errSlotsMissing, len(missing), missing[0])
}

func (r *Reconciler) ensureDeployment(ctx context.Context, gw resources.Gateway) error {
	return kind[*appsv1.Deployment]{
		name:   "Deployment",
		get:    r.deployments.Deployments(gateway.Namespace).Get,
		writer: r.kube.AppsV1().Deployments(gateway.Namespace),
		adopt:  func(existing, desired *appsv1.Deployment) { desired.Spec.DeepCopyInto(&existing.Spec) },
		equal:  func(existing, desired *appsv1.Deployment) bool { return covers(desired.Spec, existing.Spec) },
		copy:   (*appsv1.Deployment).DeepCopy,
	}.ensure(ctx, resources.Deployment(gw))
}
