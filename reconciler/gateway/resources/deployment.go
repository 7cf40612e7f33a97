package resources

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// proxyUser is the user and group that Istio's injection runs Envoy as.
const proxyUser = 1337

// Deployment runs a gateway's Envoys: pods that Istio's injection completes with
// its own image, arguments, probes and volumes, for whichever Istio is there.
func Deployment(gw Gateway) *appsv1.Deployment {
	zero, one := intstr.FromInt32(0), intstr.FromInt32(1)
	labels := Labels(gw.Name)
	labels["sidecar.istio.io/inject"] = "true"
	return &appsv1.Deployment{
		ObjectMeta: objectMeta(gw, gw.Name),
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.Int32(gw.Replicas),
			Selector: &metav1.LabelSelector{MatchLabels: selector(gw.Name)},
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &one, MaxUnavailable: &zero},
			},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      labels,
					Annotations: map[string]string{"inject.istio.io/templates": "gateway"},
				},
				Spec: podSpec(gw),
			},
		},
	}
}

func podSpec(gw Gateway) corev1.PodSpec {
	return corev1.PodSpec{
		ServiceAccountName: gw.Name,
		// Injection mounts the one token that Envoy's agent needs, for istiod.
		AutomountServiceAccountToken:  ptr.Bool(false),
		TerminationGracePeriodSeconds: ptr.Int64(int64(gw.DrainDuration.Seconds())),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   ptr.Bool(true),
			RunAsUser:      ptr.Int64(proxyUser),
			RunAsGroup:     ptr.Int64(proxyUser),
			FSGroup:        ptr.Int64(proxyUser),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
			MaxSkew:           1,
			TopologyKey:       corev1.LabelHostname,
			WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector:     &metav1.LabelSelector{MatchLabels: selector(gw.Name)},
		}},
		Containers: []corev1.Container{proxyContainer(gw)},
		Volumes: []corev1.Volume{{
			Name:         "tmp",
			VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
		}},
	}
}

func proxyContainer(gw Gateway) corev1.Container {
	return corev1.Container{
		Name:  "istio-proxy",
		Image: "auto", // injection puts Istio's own in its place
		// The image that injection chooses has a version; a gateway must come back
		// also while the registry doesn't answer.
		ImagePullPolicy: corev1.PullIfNotPresent,
		Ports:           containerPorts(),
		Env: []corev1.EnvVar{
			// On leaving: refuse nothing, take new connections while endpoints
			// still name the pod, and go as soon as no connection is left, at the
			// latest after the grace period.
			{Name: "EXIT_ON_ZERO_ACTIVE_CONNECTIONS", Value: "true"},
			{Name: "MINIMUM_DRAIN_DURATION", Value: "5s"},
		},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{
				corev1.ResourceCPU:    gw.CPURequest,
				corev1.ResourceMemory: gw.MemoryRequest,
			},
			Limits: corev1.ResourceList{corev1.ResourceMemory: gw.MemoryLimit},
		},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.Bool(false),
			Privileged:               ptr.Bool(false),
			ReadOnlyRootFilesystem:   ptr.Bool(true),
			RunAsNonRoot:             ptr.Bool(true),
			RunAsUser:                ptr.Int64(proxyUser),
			RunAsGroup:               ptr.Int64(proxyUser),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}},
	}
}

func containerPorts() []corev1.ContainerPort {
	var ports []corev1.ContainerPort
	for _, entry := range gateway.Entries() {
		ports = append(ports, corev1.ContainerPort{
			Name:          entry.Name,
			ContainerPort: int32(entry.Port),
			Protocol:      corev1.ProtocolTCP,
		})
	}
	return ports
}
