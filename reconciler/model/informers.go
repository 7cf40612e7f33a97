package model

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubeinformers "k8s.io/client-go/informers"
	appsv1informers "k8s.io/client-go/informers/apps/v1"
	corev1informers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/controller"
	servingconfig "knative.dev/serving/pkg/apis/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	"knative.dev/serving/pkg/deployment"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/informers"
)

// parts are informers that see a part of the cluster alone.
type parts struct {
	// replicas are the pods of Models, without what nobody here asks of them: about
	// 1 kB each.
	replicas corev1informers.PodInformer
	// states are the ControllerRevisions that Models' histories are kept by.
	states appsv1informers.ControllerRevisionInformer
	// features is the ConfigMap that says what Knative allows, deployment the one that says
	// how long it lets revisions take to start.
	features, deployment corev1informers.ConfigMapInformer
	// scaling is the one that says how it scales what doesn't say so itself.
	scaling corev1informers.ConfigMapInformer
}

func newParts(kube kubernetes.Interface, options Options) parts {
	ofModels := kubeinformers.NewSharedInformerFactoryWithOptions(kube, 0, kubeinformers.WithTransform(slim),
		kubeinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = sluice.ModelLabelKey }))
	return parts{
		replicas:   ofModels.Core().V1().Pods(),
		states:     ofModels.Apps().V1().ControllerRevisions(),
		features:   informers.ConfigMap(kube, options.ServingNamespace, servingconfig.FeaturesConfigName),
		deployment: informers.ConfigMap(kube, options.ServingNamespace, deployment.ConfigName),
		scaling:    options.Scaling,
	}
}

func (p parts) all() []controller.Informer {
	return []controller.Informer{p.replicas.Informer(), p.states.Informer(), p.features.Informer(), p.deployment.Informer(), p.scaling.Informer()}
}

// settle is how old a replica is before anything is told of it, and how long after a
// change of one its Model is looked at (see patience too). One that starts changes
// several times, while a caller may wait for it: what is told can wait, and nothing
// that callers wait for comes of it.
const settle = 2 * time.Second

// watch has the replicas that tell something enqueue their Models, and so the states of their
// history, and a change of what Knative allows all of them.
func (p parts) watch(impl *controller.Impl, models cache.SharedInformer) {
	watch(p.replicas.Informer(), cache.FilteringResourceEventHandler{
		FilterFunc: func(object any) bool {
			if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			pod, ok := object.(*corev1.Pod)
			return ok && (isWarmed(pod) || troubled(pod))
		},
		Handler: byLabel(func(key types.NamespacedName) { impl.EnqueueKeyAfter(key, settle) }),
	})
	watch(p.states.Informer(), byLabel(impl.EnqueueKey))
	for _, configuration := range []corev1informers.ConfigMapInformer{p.features, p.scaling} {
		watch(configuration.Informer(), controller.HandleAll(func(any) { impl.GlobalResync(models) }))
	}
}

// lastWords are as much as is kept of what a container said before it ended, in bytes.
const lastWords = 1024

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
	status := pod.Status
	pod.Status = corev1.PodStatus{
		Phase: status.Phase, Reason: status.Reason, Message: status.Message, PodIP: status.PodIP, HostIP: status.HostIP,
		InitContainerStatuses: status.InitContainerStatuses, ContainerStatuses: status.ContainerStatuses,
	}
	for _, c := range slices.Concat(status.InitContainerStatuses, status.ContainerStatuses) {
		for _, end := range []*corev1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated} {
			if end != nil && len(end.Message) > lastWords {
				end.Message = end.Message[len(end.Message)-lastWords:]
			}
		}
	}
	for _, c := range status.Conditions {
		if c.Type == corev1.PodScheduled || c.Type == corev1.PodReady {
			pod.Status.Conditions = append(pod.Status.Conditions, c)
		}
	}
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

// startsWithin tells how long Knative lets revisions take to start that don't say so
// themselves, by its ConfigMap; 0 where that is missing, or can't be read.
func startsWithin(configMaps corev1listers.ConfigMapNamespaceLister) func() time.Duration {
	return func() time.Duration {
		configMap, err := configMaps.Get(deployment.ConfigName)
		if err != nil {
			return 0
		}
		read, err := deployment.NewConfigFromConfigMap(configMap)
		if err != nil {
			return 0
		}
		return read.ProgressDeadline
	}
}

// scalingBy tells how Knative's autoscaler is configured.
func scalingBy(configMaps corev1listers.ConfigMapNamespaceLister) func() *autoscalerconfig.Config {
	return func() *autoscalerconfig.Config { return config.Autoscaler(configMaps.Get) }
}
