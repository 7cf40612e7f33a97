package limit

import (
	"context"
	"errors"
	"fmt"
	"time"

	istioclientset "istio.io/client-go/pkg/clientset/versioned"
	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/metadata/metadatalister"
	"k8s.io/client-go/tools/cache"
	servingclientset "knative.dev/serving/pkg/client/clientset/versioned"
	servinginformers "knative.dev/serving/pkg/client/informers/externalversions"

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
	system    informers.SharedInformerFactory
	gateways  informers.SharedInformerFactory
	endpoints informers.SharedInformerFactory
	serving   servinginformers.SharedInformerFactory
	istio     istioinformers.SharedInformerFactory
	// slots are what is labelled so, without its content, and filters the other
	// EnvoyFilters: of every namespace.
	slots   metadatainformer.SharedInformerFactory
	filters istioinformers.SharedInformerFactory
	sluice  sluiceinformers.SharedInformerFactory

	namespace string
	synced    []cache.InformerSynced
}

// NewInformers returns informers that call changed whenever something that a
// limit follows did: what no event told is found that way.
func NewInformers(c Clients, namespace string, changed func()) (*Informers, error) {
	models := func(o *metav1.ListOptions) { o.LabelSelector = sluice.ModelLabelKey }
	i := &Informers{
		namespace: namespace,
		system: informers.NewSharedInformerFactoryWithOptions(c.Kube, 0, informers.WithNamespace(namespace),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector("metadata.name", gateway.ProbeTokenSecret).String()
			})),
		gateways: informers.NewSharedInformerFactoryWithOptions(c.Kube, 0, informers.WithNamespace(gateway.Namespace),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = gateway.LabelKey })),
		endpoints: informers.NewSharedInformerFactoryWithOptions(c.Kube, 0, informers.WithTweakListOptions(models)),
		serving:   servinginformers.NewSharedInformerFactoryWithOptions(c.Serving, 0, servinginformers.WithTweakListOptions(models)),
		istio:     istioinformers.NewSharedInformerFactoryWithOptions(c.Istio, 0, istioinformers.WithNamespace(gateway.Namespace)),
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
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("watching what limits follow: %w", err)
	}
	return i, nil
}

// Start fills the caches and keeps them until the context ends.
func (i *Informers) Start(ctx context.Context) error {
	for _, start := range []func(<-chan struct{}){
		i.system.Start, i.gateways.Start, i.endpoints.Start, i.serving.Start, i.istio.Start, i.slots.Start, i.filters.Start, i.sluice.Start,
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
		GatewayPods:    i.gateways.Core().V1().Pods().Lister().Pods(gateway.Namespace),
		Slots:          metadatalister.New(i.slots.ForResource(gateway.SlotResource).Informer().GetIndexer(), gateway.SlotResource),
		EnvoyFilters:   i.filters.Networking().V1alpha3().EnvoyFilters().Lister(),

		VirtualServices: i.istio.Networking().V1().VirtualServices().Lister().VirtualServices(gateway.Namespace),
		IstioGateways:   i.istio.Networking().V1().Gateways().Lister().Gateways(gateway.Namespace),
	}
}

// ReadyPods lists the ready pods of every gateway.
func (i *Informers) ReadyPods() []Pod {
	s := &state{pods: map[string][]Pod{}, counts: map[string]sets.Set[int]{}}
	if err := i.Caches().gatewayPods(s); err != nil {
		return nil
	}
	var all []Pod
	for _, of := range s.pods {
		all = append(all, of...)
	}
	return all
}

// ProbeToken is the installation's token, or "" while there is none.
func (i *Informers) ProbeToken() string {
	secret, err := i.system.Core().V1().Secrets().Lister().Secrets(i.namespace).Get(gateway.ProbeTokenSecret)
	if err != nil {
		return ""
	}
	return string(secret.Data[gateway.ProbeTokenKey])
}
