package resources

import (
	"maps"
	"math"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// proxyUser is the user and group that Istio's injection runs Envoy as.
const proxyUser = 1337

// progressDeadlineSeconds is when a pod that doesn't become ready shows in the
// Deployment's status: an image to be pulled and Envoy's start take far less.
const progressDeadlineSeconds = 120

// Deployment runs a gateway's Envoys: pods that Istio's injection completes with
// its own image, arguments and volumes, for whichever Istio is there.
func Deployment(gw Gateway) *appsv1.Deployment {
	zero, one := intstr.FromInt32(0), intstr.FromInt32(1)
	podLabels := labelsWithSlots(gw)
	podLabels["sidecar.istio.io/inject"] = "true"
	annotations := histograms()
	annotations["inject.istio.io/templates"] = "gateway"
	return &appsv1.Deployment{
		ObjectMeta: objectMeta(gw, gw.Name),
		Spec: appsv1.DeploymentSpec{
			Replicas:                ptr.Int32(gw.MinReplicas),
			ProgressDeadlineSeconds: ptr.Int32(progressDeadlineSeconds),
			Selector:                &metav1.LabelSelector{MatchLabels: selector(gw.Name)},
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &one, MaxUnavailable: &zero},
			},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      podLabels,
					Annotations: annotations,
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
		AutomountServiceAccountToken: ptr.Bool(false),
		// Environment variables would tell a tenant's gateway of all the others.
		EnableServiceLinks:            ptr.Bool(false),
		TerminationGracePeriodSeconds: ptr.Int64(int64(gw.DrainDuration.Seconds())),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   ptr.Bool(true),
			RunAsUser:      ptr.Int64(proxyUser),
			RunAsGroup:     ptr.Int64(proxyUser),
			FSGroup:        ptr.Int64(proxyUser),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{
			spreadOver(gw, corev1.LabelHostname), spreadOver(gw, corev1.LabelTopologyZone),
		},
		Containers: []corev1.Container{proxyContainer(gw)},
		Volumes: []corev1.Volume{{
			Name:         "tmp",
			VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
		}},
	}
}

// spreadOver spreads the pods of one version over nodes that differ in a label,
// as far as there are such nodes: a crowded pod is better than none.
func spreadOver(gw Gateway, topologyKey string) corev1.TopologySpreadConstraint {
	return corev1.TopologySpreadConstraint{
		MaxSkew:           1,
		TopologyKey:       topologyKey,
		WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector:     &metav1.LabelSelector{MatchLabels: selector(gw.Name)},
		MatchLabelKeys:    []string{appsv1.DefaultDeploymentUniqueLabelKey},
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
		Resources:      gw.Resources,
		StartupProbe:   startupProbe(gw),
		ReadinessProbe: readinessProbe(),
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

// startupProbe holds a pod back until it listens with its slots in place; see
// startupFilter. It goes on for ever: a pod that waits for istiod needs no
// restart, and would be held back by it once istiod is there.
func startupProbe(gw Gateway) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path:        "/",
			Port:        intstr.FromInt32(int32(gateway.Local.Port)),
			Scheme:      corev1.URISchemeHTTP,
			HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: startupHost(gw)}},
		}},
		PeriodSeconds:    1,
		TimeoutSeconds:   1,
		FailureThreshold: math.MaxInt32,
	}
}

// readinessProbe asks what injection would ask, the agent that looks after Envoy,
// but more often. It has to agree for more than a second: istiod gives a pod that
// starts what it last gave to the others, and a route or a limit that they were
// seen to have since then follows after PILOT_DEBOUNCE_MAX and a push.
func readinessProbe() *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path:   "/healthz/ready",
			Port:   intstr.FromInt32(15021),
			Scheme: corev1.URISchemeHTTP,
		}},
		PeriodSeconds:    1,
		TimeoutSeconds:   3,
		SuccessThreshold: 3,
		FailureThreshold: 10,
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

// PodResources returns what a pod asks for and may have: a tenant's own over the
// defaults. Where only one of a request and its limit is the tenant's, the other
// gives way: a request is never above its limit.
func PodResources(defaults, own corev1.ResourceRequirements) corev1.ResourceRequirements {
	requests, limits := merged(defaults.Requests, own.Requests), merged(defaults.Limits, own.Limits)
	for name, limit := range limits {
		request, ok := requests[name]
		if !ok || request.Cmp(limit) <= 0 {
			continue
		}
		if _, ok := own.Limits[name]; ok {
			requests[name] = limit
		} else {
			limits[name] = request
		}
	}
	return corev1.ResourceRequirements{Requests: requests, Limits: limits}
}

func merged(base, over corev1.ResourceList) corev1.ResourceList {
	out := make(corev1.ResourceList, len(base)+len(over))
	maps.Copy(out, base)
	maps.Copy(out, over)
	return out
}
