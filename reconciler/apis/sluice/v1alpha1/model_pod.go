package v1alpha1

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	servingconfig "knative.dev/serving/pkg/apis/config"
)

// PodSettings are what a Model can say of its pods beside the container that serves. Each
// has Kubernetes' own name and meaning, and is allowed as far as Knative allows it: most
// of them behind a feature in its ConfigMap config-features, by which the webhook goes.
type PodSettings struct {
	// Sidecars run beside the container that serves. They declare no port, as Knative takes
	// the container with a port for the one that serves.
	// +optional
	Sidecars []corev1.Container `json:"sidecars,omitempty"`
	// InitContainers run one after the other before the others start, each time that a
	// replica starts. Knative's feature kubernetes.podspec-init-containers.
	// +optional
	InitContainers []corev1.Container `json:"initContainers,omitempty"`
	// SecurityContext is the pod's, fsGroup among it. Knative's feature
	// kubernetes.podspec-securitycontext.
	// +optional
	SecurityContext *corev1.PodSecurityContext `json:"securityContext,omitempty"`
	// Affinity draws pods to nodes and to each other, or away from them. Knative's feature
	// kubernetes.podspec-affinity.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// TopologySpreadConstraints spread pods over zones, nodes and the like. Knative's
	// feature kubernetes.podspec-topologyspreadconstraints.
	// +optional
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// RuntimeClassName is what containers are run by. Knative's feature
	// kubernetes.podspec-runtimeclassname.
	// +optional
	RuntimeClassName *string `json:"runtimeClassName,omitempty"`
	// PriorityClassName says whose pods give way to whose. Knative's feature
	// kubernetes.podspec-priorityclassname.
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// SchedulerName is who finds pods their nodes. Knative's feature
	// kubernetes.podspec-schedulername.
	// +optional
	SchedulerName string `json:"schedulerName,omitempty"`
	// ResourceClaims are devices that pods share or have of their own (DRA). No version of
	// Knative so far lets them through: ask for devices in container.resources.limits.
	// +optional
	ResourceClaims []corev1.PodResourceClaim `json:"resourceClaims,omitempty"`
	// DNSPolicy says how names are resolved. Knative's feature kubernetes.podspec-dnspolicy.
	// +optional
	DNSPolicy corev1.DNSPolicy `json:"dnsPolicy,omitempty"`
	// DNSConfig adds to it. Knative's feature kubernetes.podspec-dnsconfig.
	// +optional
	DNSConfig *corev1.PodDNSConfig `json:"dnsConfig,omitempty"`
	// HostAliases are lines of the pods' hosts file. Knative's feature
	// kubernetes.podspec-hostaliases.
	// +optional
	HostAliases []corev1.HostAlias `json:"hostAliases,omitempty"`
	// AutomountServiceAccountToken can be false, so that pods have no token of their
	// service account.
	// +optional
	AutomountServiceAccountToken *bool `json:"automountServiceAccountToken,omitempty"`
	// EnableServiceLinks gives the containers a variable for each Service of the namespace;
	// false where it is unset.
	// +optional
	EnableServiceLinks *bool `json:"enableServiceLinks,omitempty"`
	// ShareProcessNamespace lets the containers of a pod see each other's processes.
	// Knative's feature kubernetes.podspec-shareprocessnamespace.
	// +optional
	ShareProcessNamespace *bool `json:"shareProcessNamespace,omitempty"`
	// HostNetwork has pods use the node's network. Knative's feature
	// kubernetes.podspec-hostnetwork.
	// +optional
	HostNetwork bool `json:"hostNetwork,omitempty"`
	// HostPID has pods see the node's processes. Knative's feature kubernetes.podspec-hostpid.
	// +optional
	HostPID bool `json:"hostPID,omitempty"`
	// HostIPC has pods share the node's memory segments. Knative's feature
	// kubernetes.podspec-hostipc.
	// +optional
	HostIPC bool `json:"hostIPC,omitempty"`
}

// initContainers are those of the Model. What one said last tells why it ended, as Knative
// has it of the containers that serve.
func (s *ModelSpec) initContainers() []corev1.Container {
	all := slices.Clone(s.InitContainers)
	for i, c := range all {
		all[i].TerminationMessagePolicy = cmp.Or(c.TerminationMessagePolicy, corev1.TerminationMessageFallbackToLogsOnError)
	}
	return all
}

// podSpec is what the Model says of its pods, with nothing defaulted that Knative defaults
// on every write. The container that serves is the first one.
//
// Service links it defaults only when a Service is created: a template written anew would
// differ from the first one, so they are off where nobody asks for them.
func (s *ModelSpec) podSpec() corev1.PodSpec {
	pod := corev1.PodSpec{
		Containers:         append([]corev1.Container{s.Container}, s.Sidecars...),
		InitContainers:     s.initContainers(),
		Volumes:            s.Volumes,
		ServiceAccountName: s.ServiceAccountName,
		ImagePullSecrets:   s.ImagePullSecrets,
		NodeSelector:       s.NodeSelector,
		Tolerations:        s.Tolerations,

		SecurityContext:              s.SecurityContext,
		Affinity:                     s.Affinity,
		TopologySpreadConstraints:    s.TopologySpreadConstraints,
		RuntimeClassName:             s.RuntimeClassName,
		PriorityClassName:            s.PriorityClassName,
		SchedulerName:                s.SchedulerName,
		ResourceClaims:               s.ResourceClaims,
		DNSPolicy:                    s.DNSPolicy,
		DNSConfig:                    s.DNSConfig,
		HostAliases:                  s.HostAliases,
		AutomountServiceAccountToken: s.AutomountServiceAccountToken,
		EnableServiceLinks:           cmp.Or(s.EnableServiceLinks, new(bool)),
		ShareProcessNamespace:        s.ShareProcessNamespace,
		HostNetwork:                  s.HostNetwork,
		HostPID:                      s.HostPID,
		HostIPC:                      s.HostIPC,
	}
	if len(pod.Containers) > 1 {
		s.TellApart(&pod.Containers[0])
	}
	return pod
}

// TellApart makes a container the one that serves among several: to Knative it is the one
// with a port. Its name, where it has none, is what Knative gives a container that is
// alone: so logs and metrics are found where they were.
func (s *ModelSpec) TellApart(model *corev1.Container) {
	model.Name = cmp.Or(model.Name, servingconfig.DefaultUserContainerName)
	if len(model.Ports) == 0 {
		model.Ports = []corev1.ContainerPort{{ContainerPort: s.ModelPort()}}
	}
}
