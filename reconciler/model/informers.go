package model

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/controller"
	servingconfig "knative.dev/serving/pkg/apis/config"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// parts are informers that see a part of the cluster alone.
type parts struct {
	// replicas are the pods of Models, without what nobody here asks of them: about
	// 1 kB each.
	replicas informers.SharedInformerFactory
	// features is the ConfigMap that says what Knative allows.
	features informers.SharedInformerFactory
}

func newParts(kube kubernetes.Interface, servingNamespace string) parts {
	return parts{
		replicas: informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithTransform(slim),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = sluice.ModelLabelKey })),
		features: informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace(servingNamespace),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, servingconfig.FeaturesConfigName).String()
			})),
	}
}

func (p parts) all() []controller.Informer {
	return []controller.Informer{p.replicas.Core().V1().Pods().Informer(), p.features.Core().V1().ConfigMaps().Informer()}
}

// settle is how old a replica is before anything is told of it, and how long after a
// change of one its Model is looked at (see patience too). One that starts changes
// several times, while a caller may wait for it: what is told can wait, and nothing
// that callers wait for comes of it.
const settle = 2 * time.Second

// watch has the replicas that tell something enqueue their Models, and a change of what
// Knative allows all of them.
func (p parts) watch(impl *controller.Impl, models cache.SharedInformer) {
	watch(p.replicas.Core().V1().Pods().Informer(), cache.FilteringResourceEventHandler{
		FilterFunc: func(object any) bool {
			if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			pod, ok := object.(*corev1.Pod)
			return ok && (isWarmed(pod) || crashing(pod) != nil)
		},
		Handler: byLabel(func(key types.NamespacedName) { impl.EnqueueKeyAfter(key, settle) }),
	})
	watch(p.features.Core().V1().ConfigMaps().Informer(), controller.HandleAll(func(any) { impl.GlobalResync(models) }))
}

// slim keeps of a pod what tells how far its replica is.
func slim(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	containers := make([]corev1.Container, 0, len(pod.Spec.Containers))
	for _, c := range pod.Spec.Containers {
		containers = append(containers, corev1.Container{Name: c.Name})
	}
	pod.ManagedFields, pod.Annotations = nil, nil
	pod.Spec = corev1.PodSpec{Containers: containers}
	pod.Status = corev1.PodStatus{Phase: pod.Status.Phase, PodIP: pod.Status.PodIP, ContainerStatuses: pod.Status.ContainerStatuses}
	return pod, nil
}

// probes tells whether Knative probes more than one container of a pod, by its
// ConfigMap; where that is missing, or can't be read, it goes by its defaults.
func probes(configMaps corev1listers.ConfigMapNamespaceLister) func() bool {
	return func() bool {
		configMap, err := configMaps.Get(servingconfig.FeaturesConfigName)
		if err != nil {
			return false
		}
		features, err := servingconfig.NewFeaturesConfigFromConfigMap(configMap)
		return err == nil && features.MultiContainerProbing == servingconfig.Enabled
	}
}
