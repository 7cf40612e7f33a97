package ingress

import (
	"context"

	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	istiov1informers "istio.io/client-go/pkg/informers/externalversions/networking/v1"
	istiov1alpha3informers "istio.io/client-go/pkg/informers/externalversions/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	kubeinformers "k8s.io/client-go/informers"
	corev1informers "k8s.io/client-go/informers/core/v1"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/controller"

	"sluice.dev/sluice/reconciler/apis/gateway"
	istioclient "sluice.dev/sluice/reconciler/client/istio/injection/client"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

// parts are informers of what is among the gateways, which see it there alone, so that
// the controller needs no right to see it elsewhere; and of Secrets everywhere, because
// an Ingress may name any of its namespace, of which only those that hold a certificate.
type parts struct {
	routes   istiov1informers.VirtualServiceInformer
	gateways istiov1informers.GatewayInformer
	// splits are the EnvoyFilters of Ingresses: those that the limiter writes are large
	// and change often.
	splits  istiov1alpha3informers.EnvoyFilterInformer
	pods    corev1informers.PodInformer
	secrets corev1informers.SecretInformer
}

func newParts(ctx context.Context) parts {
	kube, istio, resync := kubeclient.Get(ctx), istioclient.Get(ctx), controller.GetResyncPeriod(ctx)
	among := istioinformers.NewSharedInformerFactoryWithOptions(istio, resync, istioinformers.WithNamespace(gateway.Namespace))
	splits := istioinformers.NewSharedInformerFactoryWithOptions(istio, resync, istioinformers.WithNamespace(gateway.Namespace),
		istioinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = resources.IngressNamespaceLabelKey }))
	pods := kubeinformers.NewSharedInformerFactoryWithOptions(kube, resync, kubeinformers.WithNamespace(gateway.Namespace),
		kubeinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = gateway.LabelKey }))
	certificates := kubeinformers.NewSharedInformerFactoryWithOptions(kube, resync,
		kubeinformers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("type", string(corev1.SecretTypeTLS)).String()
		}))
	return parts{
		routes:   among.Networking().V1().VirtualServices(),
		gateways: among.Networking().V1().Gateways(),
		splits:   splits.Networking().V1alpha3().EnvoyFilters(),
		pods:     pods.Core().V1().Pods(),
		secrets:  certificates.Core().V1().Secrets(),
	}
}

func (p parts) all() []controller.Informer {
	return []controller.Informer{p.routes.Informer(), p.gateways.Informer(), p.splits.Informer(), p.pods.Informer(), p.secrets.Informer()}
}

// watch has each change of them wake the Ingresses that it is about.
func (p parts) watch(ctx context.Context, w *waker) {
	watch(ctx, p.routes.Informer(), w.routes())
	watch(ctx, p.gateways.Informer(), w.gateways())
	watch(ctx, p.splits.Informer(), w.splits())
	watch(ctx, p.pods.Informer(), w.pods())
	watch(ctx, p.secrets.Informer(), w.copies())
}
