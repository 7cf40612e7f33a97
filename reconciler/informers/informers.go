// Package informers has one informer for each kind of what is among the gateways, and one
// for certificates, whichever reconcilers ask for them. Knative's injection starts them and
// waits for what there is before anything is reconciled. Services and EndpointSlices are
// not here: its own informers have those of every namespace.
package informers

import (
	"context"
	"maps"

	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	istiov1 "istio.io/client-go/pkg/informers/externalversions/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/informers/externalversions/networking/v1alpha3"
	coreapi "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	appsv1 "k8s.io/client-go/informers/apps/v1"
	autoscalingv2 "k8s.io/client-go/informers/autoscaling/v2"
	corev1 "k8s.io/client-go/informers/core/v1"
	policyv1 "k8s.io/client-go/informers/policy/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/logging"

	"sluice.dev/sluice/reconciler/apis/gateway"
	istioclient "sluice.dev/sluice/reconciler/client/istio/injection/client"
)

func init() { injection.Default.RegisterFilteredInformers(with) }

// Informers see the gateways' namespace alone: the controller needs no right to list
// Deployments, say, anywhere else.
type Informers struct {
	Deployments     appsv1.DeploymentInformer
	ServiceAccounts corev1.ServiceAccountInformer
	Budgets         policyv1.PodDisruptionBudgetInformer
	Autoscalers     autoscalingv2.HorizontalPodAutoscalerInformer
	// Pods are those of gateways.
	Pods            corev1.PodInformer
	IstioGateways   istiov1.GatewayInformer
	VirtualServices istiov1.VirtualServiceInformer
	// EnvoyFilters are those that are no slots: slots are large and change often.
	EnvoyFilters istiov1alpha3.EnvoyFilterInformer
	// Slots has their metadata. It matters only that they are there, and how full.
	Slots cache.SharedIndexInformer

	// Certificates are the Secrets of type kubernetes.io/tls of every namespace: Tenants
	// and Ingresses may name any in theirs.
	Certificates corev1.SecretInformer
}

type key struct{}

// Get returns the informers of the process.
func Get(ctx context.Context) *Informers {
	i, ok := ctx.Value(key{}).(*Informers)
	if !ok {
		logging.FromContext(ctx).Panic("Unable to fetch the informers of what is among the gateways from context.")
	}
	return i
}

func with(ctx context.Context) (context.Context, []controller.Informer) {
	kube, istio, resync := kubeclient.Get(ctx), istioclient.Get(ctx), controller.GetResyncPeriod(ctx)
	among := informers.NewSharedInformerFactoryWithOptions(kube, resync, informers.WithNamespace(gateway.Namespace))
	pods := informers.NewSharedInformerFactoryWithOptions(kube, resync, informers.WithNamespace(gateway.Namespace),
		informers.WithTweakListOptions(labelled(gateway.LabelKey)))
	certificates := informers.NewSharedInformerFactoryWithOptions(kube, resync, informers.WithTransform(slim),
		informers.WithTweakListOptions(where("type", string(coreapi.SecretTypeTLS))))
	routing := istioinformers.NewSharedInformerFactoryWithOptions(istio, resync, istioinformers.WithNamespace(gateway.Namespace),
		istioinformers.WithTransform(slim))
	filters := istioinformers.NewSharedInformerFactoryWithOptions(istio, resync, istioinformers.WithNamespace(gateway.Namespace),
		istioinformers.WithTransform(slim), istioinformers.WithTweakListOptions(labelled("!"+gateway.SlotLabelKey)))
	slots := metadatainformer.NewFilteredSharedInformerFactory(metadata.NewForConfigOrDie(injection.GetConfig(ctx)), resync,
		gateway.Namespace, labelled(gateway.SlotLabelKey))
	i := &Informers{
		Deployments:     among.Apps().V1().Deployments(),
		ServiceAccounts: among.Core().V1().ServiceAccounts(),
		Budgets:         among.Policy().V1().PodDisruptionBudgets(),
		Autoscalers:     among.Autoscaling().V2().HorizontalPodAutoscalers(),
		Pods:            pods.Core().V1().Pods(),
		IstioGateways:   routing.Networking().V1().Gateways(),
		VirtualServices: routing.Networking().V1().VirtualServices(),
		EnvoyFilters:    filters.Networking().V1alpha3().EnvoyFilters(),
		Slots:           slots.ForResource(gateway.SlotResource).Informer(),
		Certificates:    certificates.Core().V1().Secrets(),
	}
	return context.WithValue(ctx, key{}, i), []controller.Informer{
		i.Deployments.Informer(), i.ServiceAccounts.Informer(), i.Budgets.Informer(), i.Autoscalers.Informer(), i.Pods.Informer(),
		i.IstioGateways.Informer(), i.VirtualServices.Informer(), i.EnvoyFilters.Informer(), i.Slots, i.Certificates.Informer(),
	}
}

// ConfigMap returns an informer of one ConfigMap alone, which is whoever asks for it to
// start.
func ConfigMap(kube kubernetes.Interface, namespace, name string) corev1.ConfigMapInformer {
	return informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(where(metav1.ObjectNameField, name))).Core().V1().ConfigMaps()
}

func labelled(selector string) func(*metav1.ListOptions) {
	return func(o *metav1.ListOptions) { o.LabelSelector = selector }
}

func where(field, value string) func(*metav1.ListOptions) {
	return func(o *metav1.ListOptions) { o.FieldSelector = fields.OneTermEqualSelector(field, value).String() }
}

// slim drops what nobody reads: who set which field, and of a Secret all but the pair.
// What is a copy among the gateways is kept whole, since it is written back.
func slim(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	if secret, ok := object.(*coreapi.Secret); ok && secret.Namespace != gateway.Namespace {
		secret.Annotations = nil // kubectl may have all of it there once more
		maps.DeleteFunc(secret.Data, func(key string, _ []byte) bool {
			return key != coreapi.TLSCertKey && key != coreapi.TLSPrivateKeyKey
		})
	}
	return object, nil
}
