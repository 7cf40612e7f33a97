package gateway

import (
	"context"
	"fmt"

	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"

	"sluice.dev/sluice/reconciler/apis/gateway"
	istioclient "sluice.dev/sluice/reconciler/client/istio/injection/client"
)

// parts are informers of what gateways are made of. They see the gateways' namespace
// alone: the controller needs no right to list Deployments or Services anywhere else.
type parts struct {
	kube  kubeinformers.SharedInformerFactory
	istio istioinformers.SharedInformerFactory
	// probes sees the probe-only VirtualServices, which carry the gateway's label: every
	// Model has one in that namespace, too.
	probes istioinformers.SharedInformerFactory
	// filters sees the EnvoyFilters that are no slots.
	filters istioinformers.SharedInformerFactory
	// slots has their metadata. It matters only that they are there: what they hold
	// changes often, and costs much to read.
	slots cache.SharedIndexInformer
}

func newParts(ctx context.Context) (parts, error) {
	resync := controller.GetResyncPeriod(ctx)
	labelled := func(selector string) istioinformers.SharedInformerFactory {
		return istioinformers.NewSharedInformerFactoryWithOptions(istioclient.Get(ctx), resync, istioinformers.WithNamespace(gateway.Namespace),
			istioinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = selector }))
	}
	objects, err := metadata.NewForConfig(injection.GetConfig(ctx))
	if err != nil {
		return parts{}, fmt.Errorf("building the metadata client: %w", err)
	}
	return parts{
		kube:    kubeinformers.NewSharedInformerFactoryWithOptions(kubeclient.Get(ctx), resync, kubeinformers.WithNamespace(gateway.Namespace)),
		istio:   labelled(""),
		probes:  labelled(gateway.LabelKey),
		filters: labelled("!" + gateway.SlotLabelKey),
		slots: metadatainformer.NewFilteredSharedInformerFactory(objects, resync, gateway.Namespace,
			func(o *metav1.ListOptions) { o.LabelSelector = gateway.SlotLabelKey }).ForResource(gateway.SlotResource).Informer(),
	}, nil
}

// changing are the informers of what a gateway has to be looked at for whenever it changes.
func (p parts) changing() []cache.SharedIndexInformer {
	return []cache.SharedIndexInformer{
		p.kube.Apps().V1().Deployments().Informer(),
		p.kube.Core().V1().Services().Informer(),
		p.kube.Core().V1().ServiceAccounts().Informer(),
		p.kube.Core().V1().Pods().Informer(),
		p.kube.Policy().V1().PodDisruptionBudgets().Informer(),
		p.kube.Autoscaling().V2().HorizontalPodAutoscalers().Informer(),
		p.istio.Networking().V1().Gateways().Informer(),
		p.probes.Networking().V1().VirtualServices().Informer(),
		p.filters.Networking().V1alpha3().EnvoyFilters().Informer(),
	}
}

// all are all informers.
func (p parts) all() []cache.SharedIndexInformer { return append(p.changing(), p.slots) }
