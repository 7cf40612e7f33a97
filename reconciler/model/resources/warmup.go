package resources

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/kmap"
	"knative.dev/pkg/kmeta"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
)

const (
	stateVolume       = "sluice-warm-up"
	bodiesVolume      = "sluice-warm-up-bodies"
	credentialsVolume = "sluice-warm-up-registries"
	// maxInlineBodies is what a template may carry itself: every revision, Deployment,
	// ReplicaSet and pod has a copy, and the kernel bounds a variable to 128 KiB, of
	// which base64 takes a third.
	maxInlineBodies = 32 << 10
	// startFor is what a revision may at least take to start but for its warm-up: Knative's
	// own progress deadline.
	startFor = 10 * time.Minute
	// probeEach is how many seconds lie between questions whether a replica is ready,
	// probeFor how many an answer may take: a busy node is no reason for another one.
	// kubeletFor is how many it may take the kubelet, where a probe leaves it open.
	probeEach  = 1
	probeFor   = 3
	kubeletFor = 1
	// verdictRoom is what the container keeps in the pod beside its corpus: a file of less
	// than a kilobyte, in blocks.
	verdictRoom = 1 << 20
)

// WarmUpPins are what a revision is warmed up by that its Model doesn't say: they
// are settled when its template is built.
type WarmUpPins struct {
	// Image of the container.
	Image string
	// Bodies names the ConfigMap of those that the template has no room for; empty
	// for none.
	Bodies string
	// Resources are the container's, as JSON; empty for those that all had before others
	// could be said.
	Resources string
	// StartWithin is what the cluster lets revisions take to start; 0 where that isn't
	// known, or no more than they may take anyway.
	StartWithin time.Duration
}

var warmUpPinKeys = []string{
	sluice.WarmUpImageAnnotationKey, sluice.WarmUpBodiesAnnotationKey, sluice.WarmUpResourcesAnnotationKey, sluice.WarmUpStartWithinAnnotationKey,
}

// PinWarmUp is the Service with other pins, for its next template.
func PinWarmUp(m *v1alpha1.Model, service *servingv1.Service, pins WarmUpPins) *servingv1.Service {
	out := service.DeepCopy()
	out.Annotations = kmap.Filter(out.Annotations, func(key string) bool {
		return slices.Contains(warmUpPinKeys, key)
	})
	if m.Spec.WarmUp == nil {
		return out
	}
	pinned := map[string]string{sluice.WarmUpImageAnnotationKey: pins.Image}
	if pins.Bodies != "" {
		pinned[sluice.WarmUpBodiesAnnotationKey] = pins.Bodies
	}
	if pins.Resources != "" {
		pinned[sluice.WarmUpResourcesAnnotationKey] = pins.Resources
	}
	if pins.StartWithin > startFor {
		pinned[sluice.WarmUpStartWithinAnnotationKey] = pins.StartWithin.String()
	}
	out.Annotations = kmeta.UnionMaps(out.Annotations, pinned)
	return out
}

// WarmUpPinsOf are the pins that a Service's template was built with.
func WarmUpPinsOf(service *servingv1.Service) WarmUpPins {
	within, err := time.ParseDuration(service.Annotations[sluice.WarmUpStartWithinAnnotationKey])
	if err != nil {
		within = 0 // there is none
	}
	return WarmUpPins{
		Image:       service.Annotations[sluice.WarmUpImageAnnotationKey],
		Bodies:      service.Annotations[sluice.WarmUpBodiesAnnotationKey],
		Resources:   service.Annotations[sluice.WarmUpResourcesAnnotationKey],
		StartWithin: within,
	}
}

// WarmUpSources are the ConfigMaps that a warm-up takes bodies from, in order, each
// once.
func WarmUpSources(w *v1alpha1.WarmUpSpec) []string {
	if w == nil {
		return nil
	}
	var names []string
	for _, r := range w.Requests {
		if r.BodyFrom != nil {
			names = append(names, r.BodyFrom.ConfigMapKeyRef.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// bodiesBeside tells whether a template has no room for the bodies: as soon as one
// comes from elsewhere, or they are too many bytes.
func bodiesBeside(w *v1alpha1.WarmUpSpec) bool {
	size := 0
	for _, r := range w.Requests {
		if r.BodyFrom != nil {
			return true
		}
		size += len(r.Body) + len(r.BodyBytes)
	}
	return size > maxInlineBodies
}

// WarmUpBodies is an immutable copy of the bodies that the template has no room for,
// named by what it holds; nil where there are none. sources has the ConfigMaps that
// bodies come from, by name. The error says what they lack.
func WarmUpBodies(m *v1alpha1.Model, sources map[string]*corev1.ConfigMap) (*corev1.ConfigMap, error) {
	w := m.Spec.WarmUp
	if w == nil || !bodiesBeside(w) {
		return nil, nil
	}
	bodies, size, sum := map[string][]byte{}, 0, sha256.New()
	for i, r := range w.Requests {
		body, err := bodyOf(r, sources)
		if err != nil {
			return nil, fmt.Errorf("request %s: %w", cmp.Or(r.Name, strconv.Itoa(i)), err)
		}
		if len(body) == 0 {
			continue
		}
		bodies[bodyFile(i)] = body
		size += len(body)
		fmt.Fprintf(sum, "%d %d\n%s\n", i, len(body), body)
	}
	if size > warmup.MaxBodies {
		return nil, v1alpha1.WarmUpBodiesTooLarge(size).ViaField("spec", "warmUp")
	}
	immutable := true
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name:            kmeta.ChildName(m.Name, "-warm-up-"+hex.EncodeToString(sum.Sum(nil)[:8])),
			Namespace:       m.Namespace,
			Labels:          map[string]string{sluice.ModelLabelKey: m.Name, sluice.ManagedByLabelKey: sluice.ManagedBy},
			OwnerReferences: []metav1.OwnerReference{*kmeta.NewControllerRef(m)},
		},
		Immutable:  &immutable,
		BinaryData: bodies,
	}, nil
}

func bodyOf(r v1alpha1.WarmUpRequest, sources map[string]*corev1.ConfigMap) ([]byte, error) {
	if r.BodyFrom == nil {
		return append([]byte(r.Body), r.BodyBytes...), nil // at most one of them is there
	}
	ref := r.BodyFrom.ConfigMapKeyRef
	source, ok := sources[ref.Name]
	if !ok {
		return nil, fmt.Errorf("there is no ConfigMap %q", ref.Name)
	}
	if text, ok := source.Data[ref.Key]; ok {
		return []byte(text), nil
	}
	if body, ok := source.BinaryData[ref.Key]; ok {
		return body, nil
	}
	return nil, fmt.Errorf("ConfigMap %q has no key %q", ref.Name, ref.Key)
}

// ChangedBodies are the ConfigMaps, in order, that have other bodies now than the
// copy of them.
func ChangedBodies(w *v1alpha1.WarmUpSpec, sources map[string]*corev1.ConfigMap, pinned *corev1.ConfigMap) []string {
	var changed []string
	for i, r := range w.Requests {
		if r.BodyFrom == nil {
			continue
		}
		if body, err := bodyOf(r, sources); err != nil || !bytes.Equal(body, pinned.BinaryData[bodyFile(i)]) {
			changed = append(changed, r.BodyFrom.ConfigMapKeyRef.Name)
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed)
}

func bodyFile(request int) string { return strconv.Itoa(request) }

// addWarmUp puts the container that warms the model up beside it, by the Service's
// pins.
func addWarmUp(m *v1alpha1.Model, service *servingv1.Service) {
	w := m.Spec.WarmUp
	if w == nil {
		return
	}
	pod, pins := &service.Spec.Template.Spec.PodSpec, WarmUpPinsOf(service)
	holdBack(&pod.Containers[0], &m.Spec)

	container := warmUpContainer(m, pins)
	volumes := []corev1.Volume{state(w)}
	container.VolumeMounts = []corev1.VolumeMount{{Name: stateVolume, MountPath: warmup.StateDir}}
	if pins.Bodies != "" {
		volumes = append(volumes, corev1.Volume{Name: bodiesVolume, VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: pins.Bodies}},
		}})
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: bodiesVolume, MountPath: warmup.BodiesDir, ReadOnly: true})
	}
	if w.Corpus != nil && len(pod.ImagePullSecrets) > 0 {
		volumes = append(volumes, credentials(pod.ImagePullSecrets))
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: credentialsVolume, MountPath: warmup.CredentialsDir, ReadOnly: true})
	}
	pod.Containers = append(pod.Containers, container)
	pod.Volumes = append(pod.Volumes, volumes...)
}

// holdBack has the replica be ready only once it is warm, and tell soon when it no
// longer is.
//
// Knative's queue-proxy asks for the readiness of both containers whenever it is asked
// itself: by the activator, five times a second while a request waits, and by the
// kubelet, by the period and threshold of the model's own probe. Unset, that is ten
// seconds; here it is one, and one failure is enough. In exchange for a period
// queue-proxy no longer asks every 50 ms by itself, but the answer of the warm-up is held
// until there is one.
//
// A container that restarts in place counts as ready from the moment that it runs until
// queue-proxy is asked again, and its endpoints follow later still: what comes to it until
// then is the gate's, in queue-proxy. A startupProbe wouldn't close that, and with one in
// any container the activator waits for the kubelet instead of asking, which is a second on
// each start.
func holdBack(model *corev1.Container, spec *v1alpha1.ModelSpec) {
	spec.TellApart(model)
	if model.ReadinessProbe == nil {
		model.ReadinessProbe = &corev1.Probe{}
	}
	probe := model.ReadinessProbe
	if probe.ProbeHandler == (corev1.ProbeHandler{}) {
		// Whether the port listens, as Knative would ask, is known to the warm-up.
		probe.ProbeHandler = warmProbe().ProbeHandler
	}
	probe.PeriodSeconds = cmp.Or(probe.PeriodSeconds, probeEach)
	probe.FailureThreshold = cmp.Or(probe.FailureThreshold, 1)
	probe.TimeoutSeconds = cmp.Or(probe.TimeoutSeconds, probeFor)
}

func warmProbe() *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:   corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: warmup.ReadyPath, Port: intstr.FromInt32(warmup.Port)}},
		PeriodSeconds:  probeEach,
		TimeoutSeconds: probeFor,
	}
}

func warmUpContainer(m *v1alpha1.Model, pins WarmUpPins) corev1.Container {
	yes, no := true, false
	return corev1.Container{
		Name:           warmup.ContainerName,
		Image:          pins.Image,
		Env:            []corev1.EnvVar{{Name: warmup.PlanVariable, Value: encodePlan(warmUpPlan(&m.Spec))}},
		ReadinessProbe: warmProbe(),
		Resources:      pinnedResources(pins.Resources),
		SecurityContext: &corev1.SecurityContext{
			RunAsNonRoot:             &yes,
			ReadOnlyRootFilesystem:   &yes,
			AllowPrivilegeEscalation: &no,
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
}

// state is what outlives the container in the pod. Its bound is above what there can be in
// it, as a pod that exceeds one is evicted.
func state(w *v1alpha1.WarmUpSpec) corev1.Volume {
	room := int64(verdictRoom)
	if w.Corpus != nil {
		room += warmup.MaxCorpus
	}
	return corev1.Volume{Name: stateVolume, VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: resource.NewQuantity(room, resource.BinarySI)},
	}}
}

// credentials are what the pod's images are pulled with, a file for each Secret.
func credentials(secrets []corev1.LocalObjectReference) corev1.Volume {
	projected := &corev1.ProjectedVolumeSource{}
	optional := true // as for the kubelet, which does without those that aren't there
	for i, secret := range secrets {
		projected.Sources = append(projected.Sources, corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: secret,
			Items: []corev1.KeyToPath{ // as it has one of them
				{Key: corev1.DockerConfigJsonKey, Path: strconv.Itoa(i) + ".json"},
				{Key: corev1.DockerConfigKey, Path: strconv.Itoa(i) + ".dockercfg"},
			},
			Optional: &optional,
		}})
	}
	return corev1.Volume{Name: credentialsVolume, VolumeSource: corev1.VolumeSource{Projected: projected}}
}
