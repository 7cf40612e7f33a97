package resources

import (
	"maps"
	"path"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	containerName = "batch-worker"
	spoolFolder   = "/spool"
	// spoolRoom is the pod's own disk where the Batch doesn't say how large it may be, beside
	// is what is left of it for what else a pod writes, and maxSpool what a worker takes.
	spoolRoom = 2*(512<<20) + beside
	beside    = 64 << 20
	maxSpool  = 1 << 40
	// maxHeld is what a worker takes.
	maxHeld = 1 << 40
	// workerGroup is that of the image's user, so that it can write to volumes.
	workerGroup = 65532
)

// template is of a pod that Pod Security's level restricted allows. It has no token for the
// API server, of which it asks nothing, but one that says who asks for credits, and no
// sidecar, which would outlast it.
func template(b *v1alpha1.Batch, described, image string) corev1.PodTemplateSpec {
	own := labels(b)
	own["sidecar.istio.io/inject"] = "false"
	volumes, mounts := volumesOf(b)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: own},
		Spec: corev1.PodSpec{
			ServiceAccountName:           b.Spec.ServiceAccountName,
			AutomountServiceAccountToken: ptr(false),
			EnableServiceLinks:           ptr(false),
			RestartPolicy:                corev1.RestartPolicyNever, // a failure policy wants it
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:        ptr(true),
				FSGroup:             ptr(int64(workerGroup)),
				FSGroupChangePolicy: ptr(corev1.FSGroupChangeOnRootMismatch),
				SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name:                     containerName,
				Image:                    image,
				Env:                      environment(b, described),
				Resources:                resourcesOf(b),
				VolumeMounts:             mounts,
				TerminationMessagePath:   task.ReportFile,
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: ptr(false),
					ReadOnlyRootFilesystem:   ptr(true),
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
			Volumes: volumes,
		},
	}
}

func environment(b *v1alpha1.Batch, described string) []corev1.EnvVar {
	own := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}
	return []corev1.EnvVar{
		{Name: task.Variable, Value: described}, {Name: task.PodVariable, ValueFrom: own}, {Name: "TMPDIR", Value: spoolFolder},
		// What isn't used any more is collected before the kernel ends the pod for it.
		{Name: "GOMEMLIMIT", Value: strconv.FormatInt(memoryOf(b)/10*9, 10)},
	}
}

// resourcesOf are those of the Batch, and what it doesn't say of them.
func resourcesOf(b *v1alpha1.Batch) corev1.ResourceRequirements {
	out := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
	}
	said := b.Spec.Resources.DeepCopy()
	maps.Copy(out.Requests, said.Requests)
	maps.Copy(out.Limits, said.Limits)
	// What is said of one holds against the default of the other.
	for name, limit := range out.Limits {
		if request, ok := out.Requests[name]; ok && request.Cmp(limit) > 0 {
			if _, own := said.Requests[name]; own {
				out.Limits[name] = request
			} else {
				out.Requests[name] = limit
			}
		}
	}
	return out
}

// memoryOf is how many bytes a pod may have in memory: one that has more is killed.
func memoryOf(b *v1alpha1.Batch) int64 {
	limits := resourcesOf(b).Limits
	return limits.Memory().Value()
}

// heldOf bounds what a worker holds of items at a time, in bytes: what it does with them, their
// answers and a part that is being put take a multiple of it.
func heldOf(b *v1alpha1.Batch) int64 { return min(max(1, memoryOf(b)/8), maxHeld) }

// diskOf is how many bytes a pod may have on its own disk: one that has more is evicted.
func diskOf(b *v1alpha1.Batch) int64 {
	if limit, ok := b.Spec.Resources.Limits[corev1.ResourceEphemeralStorage]; ok {
		return limit.Value()
	}
	return spoolRoom
}

// spoolOf bounds the results of a part, in bytes, that a pod keeps until they are put. It has two
// at a time.
func spoolOf(b *v1alpha1.Batch) int64 { return min((diskOf(b)-beside)/2, maxSpool) }

// volumesOf are what a pod has of the Batch's sources, and its own disk.
func volumesOf(b *v1alpha1.Batch) ([]corev1.Volume, []corev1.VolumeMount) {
	v := volumes{}
	v.add("spool", spoolFolder, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: resource.NewQuantity(diskOf(b), resource.BinarySI)}})
	v.addRead("credits", task.TokenFolder, corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
		ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: task.TokenAudience, Path: task.TokenFile, ExpirationSeconds: ptr(int64(3600))},
	}}}})
	in, out := &b.Spec.Input, &b.Spec.Output
	switch {
	case in.S3 != nil:
		v.addKeys("input-credentials", inputCredentials, in.S3.SecretName, task.AccessKeyFile, task.SecretKeyFile)
	case in.Kafka != nil:
		v.addKeys("input-credentials", inputCredentials, in.Kafka.SecretName)
	case in.ConfigMap != nil:
		v.addRead("input", path.Join(inputFolder, in.ConfigMap.Key), corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: in.ConfigMap.Name},
			Items:                []corev1.KeyToPath{{Key: in.ConfigMap.Key, Path: in.ConfigMap.Key}},
		}})
		v.mounts[len(v.mounts)-1].SubPath = in.ConfigMap.Key // by itself it is a file; else a link, which changes
	case in.Volume != nil:
		v.addRead("input", inputFolder, claim(in.Volume.ClaimName))
	}
	switch {
	case out.S3 != nil:
		v.addKeys("output-credentials", outputCredentials, out.S3.SecretName, task.AccessKeyFile, task.SecretKeyFile)
	case out.Kafka != nil:
		v.addKeys("output-credentials", outputCredentials, out.Kafka.SecretName)
	case out.Volume != nil:
		v.add("output", outputFolder, claim(out.Volume.ClaimName))
	}
	return v.volumes, v.mounts
}

type volumes struct {
	volumes []corev1.Volume
	mounts  []corev1.VolumeMount
}

func (v *volumes) add(name, folder string, source corev1.VolumeSource) {
	v.volumes = append(v.volumes, corev1.Volume{Name: name, VolumeSource: source})
	v.mounts = append(v.mounts, corev1.VolumeMount{Name: name, MountPath: folder})
}

func (v *volumes) addRead(name, folder string, source corev1.VolumeSource) {
	v.add(name, folder, source)
	v.mounts[len(v.mounts)-1].ReadOnly = true
}

// addKeys mounts of a Secret the keys that are asked for, which then have to be there; or all
// of them, where some needn't: a volume can't say so of one alone.
func (v *volumes) addKeys(name, folder, secret string, keys ...string) {
	if secret == "" {
		return
	}
	source := &corev1.SecretVolumeSource{SecretName: secret}
	for _, key := range keys {
		source.Items = append(source.Items, corev1.KeyToPath{Key: key, Path: key})
	}
	v.addRead(name, folder, corev1.VolumeSource{Secret: source})
}

func claim(name string) corev1.VolumeSource {
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
}
