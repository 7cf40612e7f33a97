// Package gateway keeps the gateways: the Envoys in namespace sluice-gateways,
// what they listen on, and the fixed slots that the limiter fills. It writes no
// slot and no route of a Model.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"

	istioclientset "istio.io/client-go/pkg/clientset/versioned"
	istiov1listers "istio.io/client-go/pkg/listers/networking/v1"
	istiov1alpha3listers "istio.io/client-go/pkg/listers/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	appsv1listers "k8s.io/client-go/listers/apps/v1"
	autoscalingv2listers "k8s.io/client-go/listers/autoscaling/v2"
	corev1listers "k8s.io/client-go/listers/core/v1"
	policyv1listers "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/metadata/metadatalister"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	pkgreconciler "knative.dev/pkg/reconciler"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	listers "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/gateway/resources"
)

// Reconciler keeps the objects of every gateway. Its keys are gateway names.
type Reconciler struct {
	pkgreconciler.LeaderAwareFuncs

	kube   kubernetes.Interface
	istio  istioclientset.Interface
	config configStore
	// recorder tells of a number of slots that grows.
	recorder record.EventRecorder
	// probePath begins the path of our own prober's requests.
	probePath string

	deployments     appsv1listers.DeploymentLister
	services        corev1listers.ServiceLister
	serviceAccounts corev1listers.ServiceAccountLister
	budgets         policyv1listers.PodDisruptionBudgetLister
	autoscalers     autoscalingv2listers.HorizontalPodAutoscalerLister
	pods            corev1listers.PodLister
	gateways        istiov1listers.GatewayLister
	virtualServices istiov1listers.VirtualServiceLister
	// slots are EnvoyFilters, too, without their content; envoyFilters are the others.
	slots        metadatalister.NamespaceLister
	envoyFilters istiov1alpha3listers.EnvoyFilterLister
	tenants      listers.TenantLister
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
	gw, err := r.desiredGateway(r.config.ToContext(ctx), key)
	if err != nil {
		return fmt.Errorf("reconciling gateway %s: %w", key, err)
	}
	if gw == nil {
		return r.takeDown(ctx, key)
	}
	if gw.Slots, err = r.slotsOf(key, gw.Slots); err != nil {
		return fmt.Errorf("reconciling gateway %s: %w", key, err)
	}
	for _, phase := range []func(context.Context, resources.Gateway) error{
		r.ensureEnvoyFilters,
		r.ensureIstioGateways,
		r.ensureServices,
		r.ensureProbeRoute,
		r.ensureIdentity,
		r.ensureSlots,
		r.ensureAutoscaler,
		r.ensureDeployment,
		r.retireSlots,
	} {
		err := phase(ctx, *gw)
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

// desiredGateway returns the gateway of that name, or nil where nobody needs it.
func (r *Reconciler) desiredGateway(ctx context.Context, name string) (*resources.Gateway, error) {
	cfg := config.GatewayFromContext(ctx)
	gw := &resources.Gateway{
		Name:           name,
		MinReplicas:    cfg.Replicas,
		MaxReplicas:    cfg.Replicas,
		CPUUtilization: cfg.CPUUtilization,
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: cfg.CPURequest, corev1.ResourceMemory: cfg.MemoryRequest},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: cfg.MemoryLimit},
		},
		DrainDuration:         cfg.DrainDuration,
		MaxConnectionDuration: cfg.MaxConnectionDuration,
		Traces:                resources.Traces(cfg.Traces()),
		Slots:                 int(cfg.LimitSlots),
		ProbePath:             r.probePath,
	}
	if cfg.AccessLog == config.AccessLogOn {
		gw.AccessLog = &resources.AccessLog{SuccessSample: cfg.SuccessSample}
	}
	if name == gateway.Shared {
		return gw, nil
	}
	tenant, err := r.tenantOf(name)
	if err != nil || tenant == nil || !tenant.NeedsDedicated() {
		return nil, err
	}
	own := tenant.Spec.Gateway
	gw.Tenant = tenant.Name
	if own.Replicas.Min != nil {
		gw.MinReplicas = max(1, *own.Replicas.Min)
	}
	gw.MaxReplicas = max(gw.MinReplicas, ptr.Deref(own.Replicas.Max, 0))
	gw.Resources = resources.PodResources(gw.Resources, own.Resources)
	return gw, nil
}

// tenantOf returns the Tenant whose own gateway has that name, or nil.
func (r *Reconciler) tenantOf(name string) (*v1alpha1.Tenant, error) {
	of, ok := strings.CutPrefix(name, gateway.OfTenant(""))
	if !ok {
		return nil, nil
	}
	tenant, err := r.tenants.Get(of)
	if apierrs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getting tenant %s: %w", of, err)
	}
	return tenant, nil
}

// ensureEnvoyFilters writes last the filters that a pod's startup waits for:
// istiod sees objects of one kind in the order in which they were written.
func (r *Reconciler) ensureEnvoyFilters(ctx context.Context, gw resources.Gateway) error {
	requests, err := resources.HTTPFilters(gw)
	if err != nil {
		return err
	}
	connections, err := resources.ConnectionFilters(gw)
	if err != nil {
		return err
	}
	return ensure(ctx, r.envoyFilterKind(gw.Name), connections, requests)
}

// ensureIstioGateways also tells the limiter that slots are needed. The local one,
// which a pod's startup is asked at, comes last.
func (r *Reconciler) ensureIstioGateways(ctx context.Context, gw resources.Gateway) error {
	return ensure(ctx, r.istioGatewayKind(gw.Name), resources.IstioGateways(gw)...)
}

func (r *Reconciler) ensureServices(ctx context.Context, gw resources.Gateway) error {
	return ensure(ctx, r.serviceKind(gw.Name), resources.Services(gw)...)
}

func (r *Reconciler) ensureProbeRoute(ctx context.Context, gw resources.Gateway) error {
	return ensure(ctx, r.virtualServiceKind(gw.Name), resources.ProbeVirtualService(gw))
}

// ensureIdentity keeps what pods run as, and how many may go at once.
func (r *Reconciler) ensureIdentity(ctx context.Context, gw resources.Gateway) error {
	return errors.Join(
		ensure(ctx, r.serviceAccountKind(gw.Name), resources.ServiceAccount(gw)),
		ensure(ctx, r.budgetKind(gw.Name), resources.DisruptionBudget(gw)))
}

// ensureAutoscaler has to come before the Deployment, whose replicas are then the
// autoscaler's to choose, or no longer.
func (r *Reconciler) ensureAutoscaler(ctx context.Context, gw resources.Gateway) error {
	if gw.Autoscaled() {
		return ensure(ctx, r.autoscalerKind(gw.Name), resources.Autoscaler(gw))
	}
	_, err := r.autoscalerKind(gw.Name).Remove(ctx, gw.Name)
	return err
}

func (r *Reconciler) ensureDeployment(ctx context.Context, gw resources.Gateway) error {
	desired, deployments := resources.Deployment(gw), r.deploymentKind(gw.Name)
	if existing, err := deployments.Get(gw.Name); err == nil && gw.Autoscaled() && ptr.Deref(existing.Spec.Replicas, 1) > 0 {
		// The autoscaler's; at zero it would stay away.
		desired.Spec.Replicas = existing.Spec.Replicas
	}
	return ensure(ctx, deployments, desired)
}
