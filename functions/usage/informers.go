package usage

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// syncTimeout bounds the first filling of the caches.
const syncTimeout = time.Minute

// Informers keep the caches of what the ledger goes by, and of nothing else.
type Informers struct {
	gateways, replicas, nodes informers.SharedInformerFactory
	objects                   metadatainformer.SharedInformerFactory
	synced                    []cache.InformerSynced
}

// Node is where a kubelet listens.
type Node struct {
	Name, Address string
	Port          int32
}

// Model is one that there is.
type Model struct {
	UID types.UID
	// Tenant that its namespace is of, empty for none.
	Tenant string
}

// NewInformers returns informers of gateway pods, of Models' names and pods, and of nodes' addresses.
func NewInformers(kube kubernetes.Interface, objects metadata.Interface) *Informers {
	i := &Informers{
		gateways: informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace(gateway.Namespace),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = gateway.LabelKey }), informers.WithTransform(slimPod)),
		replicas: informers.NewSharedInformerFactoryWithOptions(kube, 0,
			informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = sluice.ModelLabelKey + "," + serving.RevisionLabelKey }),
			informers.WithTransform(slimPod)),
		nodes:   informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithTransform(slimNode)),
		objects: metadatainformer.NewSharedInformerFactory(objects, 0),
	}
	for _, informer := range []cache.SharedIndexInformer{
		i.gateways.Core().V1().Pods().Informer(), i.replicas.Core().V1().Pods().Informer(), i.nodes.Core().V1().Nodes().Informer(),
		i.objects.ForResource(models()).Informer(), i.objects.ForResource(rateLimits()).Informer(),
	} {
		i.synced = append(i.synced, informer.HasSynced)
	}
	return i
}

// Start fills the caches and keeps them until the context ends.
func (i *Informers) Start(ctx context.Context) error {
	for _, start := range []func(<-chan struct{}){i.gateways.Start, i.replicas.Start, i.nodes.Start, i.objects.Start} {
		start(ctx.Done())
	}
	bounded, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if !cache.WaitForCacheSync(bounded.Done(), i.synced...) {
		return fmt.Errorf("no answer from the API server within %s", syncTimeout)
	}
	return nil
}

// GatewayPods are those of every gateway.
func (i *Informers) GatewayPods() ([]*corev1.Pod, error) {
	pods, err := i.gateways.Core().V1().Pods().Lister().Pods(gateway.Namespace).List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing gateway pods: %w", err)
	}
	return pods, nil
}

// Replicas are the pods of all Models.
func (i *Informers) Replicas() ([]*corev1.Pod, error) {
	pods, err := i.replicas.Core().V1().Pods().Lister().List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing Models' pods: %w", err)
	}
	return pods, nil
}

// Node is where the kubelet of a node listens.
func (i *Informers) Node(name string) (Node, error) {
	node, err := i.nodes.Core().V1().Nodes().Lister().Get(name)
	if err != nil {
		return Node{}, fmt.Errorf("looking up node %s: %w", name, err)
	}
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return Node{Name: name, Address: address.Address, Port: node.Status.DaemonEndpoints.KubeletEndpoint.Port}, nil
		}
	}
	return Node{}, errors.New("node " + name + " has no address of type InternalIP")
}

// Model is the one of a name; false where there is none.
func (i *Informers) Model(name types.NamespacedName) (Model, bool) {
	found, err := i.objects.ForResource(models()).Lister().ByNamespace(name.Namespace).Get(name.Name)
	if err != nil {
		return Model{}, false
	}
	object, ok := found.(*metav1.PartialObjectMetadata)
	if !ok {
		return Model{}, false
	}
	model := Model{UID: object.UID}
	// The limit of a Model has the tenant's label; Models have what their teams put on them.
	if limit, err := i.objects.ForResource(rateLimits()).Lister().ByNamespace(name.Namespace).Get(name.Name); err == nil {
		if of, ok := limit.(*metav1.PartialObjectMetadata); ok {
			model.Tenant = of.Labels[sluice.TenantLabelKey]
		}
	}
	return model, true
}

func models() schema.GroupVersionResource { return v1alpha1.SchemeGroupVersion.WithResource("models") }
func rateLimits() schema.GroupVersionResource {
	return v1alpha1.SchemeGroupVersion.WithResource("ratelimits")
}

// slimPod keeps of a pod what tells where it is, how far, and what it has of devices.
func slimPod(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	slim := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
			CreationTimestamp: pod.CreationTimestamp, DeletionTimestamp: pod.DeletionTimestamp,
			Labels: map[string]string{
				sluice.ModelLabelKey: pod.Labels[sluice.ModelLabelKey], serving.RevisionLabelKey: pod.Labels[serving.RevisionLabelKey],
			},
		},
		Spec:   corev1.PodSpec{NodeName: pod.Spec.NodeName},
		Status: corev1.PodStatus{Phase: pod.Status.Phase, PodIP: pod.Status.PodIP},
	}
	for _, c := range pod.Spec.Containers {
		slim.Spec.Containers = append(slim.Spec.Containers, corev1.Container{Name: c.Name, Resources: corev1.ResourceRequirements{Requests: extended(c.Resources)}})
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled || c.Type == corev1.PodReady {
			slim.Status.Conditions = append(slim.Status.Conditions, c)
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		slim.Status.ContainerStatuses = append(slim.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, RestartCount: c.RestartCount, State: corev1.ContainerState{Terminated: c.State.Terminated},
		})
	}
	return slim, nil
}

func slimNode(object any) (any, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion},
		Status:     corev1.NodeStatus{Addresses: node.Status.Addresses, DaemonEndpoints: node.Status.DaemonEndpoints},
	}, nil
}
