package limit

import (
	"context"
	"errors"
	"fmt"
	"time"

	istioclientset "istio.io/client-go/pkg/clientset/versioned"
	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/metadata/metadatalister"
	"k8s.io/client-go/tools/cache"
	servingclientset "knative.dev/serving/pkg/client/clientset/versioned"
	servinginformers "knative.dev/serving/pkg/client/informers/externalversions"

	"sluice.dev/sluice/functions/limit/demand"
	"sluice.dev/sluice/functions/limit/watch"
	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/client/clientset/versioned"
	sluiceinformers "sluice.dev/sluice/reconciler/client/informers/externalversions"
)

// syncTimeout bounds the first filling of the caches.
const syncTimeout = time.Minute

// Clients are what the caches are filled through.
type Clients struct {
	Kube    kubernetes.Interface
	Serving servingclientset.Interface
	Istio   istioclientset.Interface
	// Metadata reads objects without their content.
	Metadata metadata.Interface
	Sluice   versioned.Interface
}

// Informers keep the caches of the objects that limits follow, and of no others.
type Informers struct {
	system informers.SharedInformerFactory
	// knative has how Knative's autoscaler is configured.
	knative   informers.SharedInformerFactory
	gateways  informers.SharedInformerFactory
	endpoints informers.SharedInformerFactory
	// pods and deployments are those of Models.
	pods, deployments informers.SharedInformerFactory
	serving           servinginformers.SharedInformerFactory
	istio             istioinformers.SharedInformerFactory
	// slots are what is labelled so, without its content, and filters the other
	// EnvoyFilters: of every namespace.
	slots   metadatainformer.SharedInformerFactory
	filters istioinformers.SharedInformerFactory
	sluice  sluiceinformers.SharedInformerFactory

	in     Namespaces
	synced []cache.InformerSynced
}

// Namespaces are where objects are that others own.
type Namespaces struct {
	// System is Sluice's own, Serving Knative Serving's.
	System, Serving string
}

// NewInformers returns informers that call changed whenever something that a
// limit follows did: what no event told is found that way.
func NewInformers(c Clients, in Namespaces, changed func()) (*Informers, error) {
	models := func(o *metav1.ListOptions) { o.LabelSelector = sluice.ModelLabelKey }
	i := &Informers{
		in: in,
		system: informers.NewSharedInformerFactoryWithOptions(c.Kube, 0, informers.WithNamespace(in.System),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector("metadata.name", gateway.ProbeTokenSecret).String()
			})),
		knative: informers.NewSharedInformerFactoryWithOptions(c.Kube, 0, informers.WithNamespace(in.Serving),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector("metadata.name", config.AutoscalerName).String()
			})),
		gateways: informers.NewSharedInformerFactoryWithOptions(c.Kube, 0, informers.WithNamespace(gateway.Namespace),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = gateway.LabelKey })),
		endpoints: informers.NewSharedInformerFactoryWithOptions(c.Kube, 0, informers.WithTweakListOptions(models)),
		pods:      informers.NewSharedInformerFactoryWithOptions(c.Kube, 0, informers.WithTweakListOptions(models), informers.WithTransform(slimPod)),
		deployments: informers.NewSharedInformerFactoryWithOptions(c.Kube, 0, informers.WithTweakListOptions(models),
			informers.WithTransform(slimDeployment)),
		serving: servinginformers.NewSharedInformerFactoryWithOptions(c.Serving, 0, servinginformers.WithTweakListOptions(models)),
		istio:   istioinformers.NewSharedInformerFactoryWithOptions(c.Istio, 0, istioinformers.WithNamespace(gateway.Namespace)),
		slots: metadatainformer.NewFilteredSharedInformerFactory(c.Metadata, 0, metav1.NamespaceAll,
			func(o *metav1.ListOptions) { o.LabelSelector = gateway.SlotLabelKey }),
		filters: istioinformers.NewSharedInformerFactoryWithOptions(c.Istio, 0,
			istioinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "!" + gateway.SlotLabelKey })),
		sluice: sluiceinformers.NewSharedInformerFactory(c.Sluice, 0),
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	}
	var errs []error
	for _, informer := range []cache.SharedIndexInformer{
		i.system.Core().V1().Secrets().Informer(),
		i.knative.Core().V1().ConfigMaps().Informer(),
		i.gateways.Core().V1().Pods().Informer(),
		i.endpoints.Discovery().V1().EndpointSlices().Informer(),
		i.serving.Autoscaling().V1alpha1().PodAutoscalers().Informer(),
		i.slots.ForResource(gateway.SlotResource).Informer(),
		i.filters.Networking().V1alpha3().EnvoyFilters().Informer(),
		i.istio.Networking().V1().VirtualServices().Informer(),
		i.istio.Networking().V1().Gateways().Informer(),
		i.sluice.Sluice().V1alpha1().RateLimits().Informer(),
	} {
		_, err := informer.AddEventHandler(handler)
		errs = append(errs, err)
		i.synced = append(i.synced, informer.HasSynced)
	}
	// How replicas come about wakes nobody: what is expected of it changes with time, too.
	for _, informer := range []cache.SharedIndexInformer{
		i.pods.Core().V1().Pods().Informer(), i.deployments.Apps().V1().Deployments().Informer(),
	} {
		errs = append(errs, informer.AddIndexers(indexByRevision()))
		i.synced = append(i.synced, informer.HasSynced)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("watching what limits follow: %w", err)
	}
	return i, nil
}

// Start fills the caches and keeps them until the context ends.
func (i *Informers) Start(ctx context.Context) error {
	for _, start := range []func(<-chan struct{}){
		i.system.Start, i.knative.Start, i.gateways.Start, i.endpoints.Start, i.pods.Start, i.deployments.Start, i.serving.Start, i.istio.Start, i.slots.Start, i.filters.Start, i.sluice.Start,
	} {
		start(ctx.Done())
	}
	bounded, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if !cache.WaitForCacheSync(bounded.Done(), i.synced...) {
		return fmt.Errorf("no answer from the API server within %s", syncTimeout)
	}
	return nil
}

// Caches returns the listers.
func (i *Informers) Caches() Caches {
	return Caches{
		RateLimits:     i.sluice.Sluice().V1alpha1().RateLimits().Lister(),
		Autoscalers:    i.serving.Autoscaling().V1alpha1().PodAutoscalers().Lister(),
		EndpointSlices: i.endpoints.Discovery().V1().EndpointSlices().Lister(),
		Serving:        i.knative.Core().V1().ConfigMaps().Lister().ConfigMaps(i.in.Serving),
		Pods:           i.pods.Core().V1().Pods().Informer().GetIndexer(),
		Deployments:    i.deployments.Apps().V1().Deployments().Informer().GetIndexer(),
		GatewayPods:    i.gateways.Core().V1().Pods().Lister().Pods(gateway.Namespace),
		Slots:          metadatalister.New(i.slots.ForResource(gateway.SlotResource).Informer().GetIndexer(), gateway.SlotResource),
		EnvoyFilters:   i.filters.Networking().V1alpha3().EnvoyFilters().Lister(),

		VirtualServices: i.istio.Networking().V1().VirtualServices().Lister().VirtualServices(gateway.Namespace),
		IstioGateways:   i.istio.Networking().V1().Gateways().Lister().Gateways(gateway.Namespace),
	}
}

// ReadyPods lists the ready pods of every gateway.
func (i *Informers) ReadyPods() []demand.Pod {
	s := &state{pods: map[string][]Pod{}, counts: map[string]sets.Set[int]{}}
	if err := i.Caches().gatewayPods(s); err != nil {
		return nil
	}
	var all []demand.Pod
	for _, of := range s.pods {
		for _, p := range of {
			all = append(all, demand.Pod{Gateway: p.Gateway, Name: p.Name, IP: p.IP})
		}
	}
	return all
}

// Served are the names of the virtual services on gateways.
func (i *Informers) Served() sets.Set[string] {
	services, err := i.Caches().VirtualServices.List(labels.Everything())
	if err != nil {
		return nil
	}
	names := make(sets.Set[string], len(services))
	for _, v := range services {
		names.Insert(v.Name)
	}
	return names
}

// Slow are the virtual services of which a replica takes longer than demand.PollEvery for a
// request, with how long.
func (i *Informers) Slow() map[string]time.Duration {
	all, err := i.Caches().RateLimits.List(labels.Everything())
	if err != nil {
		return nil
	}
	slow := map[string]time.Duration{}
	for _, l := range all {
		if takes := perRequest(l.Spec.RequestsPerSecondPerReplica); takes > demand.PollEvery {
			slow[l.Spec.VirtualService] = takes
		}
	}
	return slow
}

// Gateways are those that serve each virtual service that has a RateLimit.
func (i *Informers) Gateways() map[string][]string {
	all, err := i.Caches().RateLimits.List(labels.Everything())
	if err != nil {
		return nil
	}
	gateways := make(map[string][]string, len(all))
	for _, l := range all {
		if l.CheckVirtualService() == nil {
			gateways[l.Spec.VirtualService] = l.Spec.Gateways
		}
	}
	return gateways
}

// Bounded are the RateLimits with bounds of which no breach is told yet.
func (i *Informers) Bounded() []watch.Limit {
	all, err := i.Caches().RateLimits.List(labels.Everything())
	if err != nil {
		return nil
	}
	var bounded []watch.Limit
	for _, l := range all {
		b := l.Spec.Bounds
		if b == nil || l.Status.BreachOf(&b.Since) != nil || l.DeletionTimestamp != nil || l.CheckVirtualService() != nil {
			continue
		}
		bounded = append(bounded, watch.Limit{
			Name:           types.NamespacedName{Namespace: l.Namespace, Name: l.Name},
			VirtualService: l.Spec.VirtualService, Gateways: l.Spec.Gateways, Bounds: *b,
		})
	}
	return bounded
}

// perRequest is how long a replica takes for a request; 0 where that can't be told.
func perRequest(rate resource.Quantity) time.Duration {
	const longest = 24 * time.Hour // of which a slower model's demand is averaged
	q := rate.AsApproximateFloat64()
	if q <= 0 {
		return 0
	}
	return time.Duration(min(float64(time.Second)/q, float64(longest)))
}

// ProbeToken is the installation's token, or "" while there is none.
func (i *Informers) ProbeToken() string {
	secret, err := i.system.Core().V1().Secrets().Lister().Secrets(i.in.System).Get(gateway.ProbeTokenSecret)
	if err != nil {
		return ""
	}
	return string(secret.Data[gateway.ProbeTokenKey])
}
