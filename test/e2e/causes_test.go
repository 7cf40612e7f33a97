//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/obstacle"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
)

const (
	// toldWithin is how long after its creation a Model says what keeps it, at most.
	toldWithin = 30 * time.Second
	// whenBusy is how much longer it may take where a machine has other things to do.
	whenBusy = time.Minute
	// startAtOnce is how many Models start at the same time: two cores make no more pods in a
	// few seconds.
	startAtOnce = 4
	// theirs is the name of Knative's container of a model.
	theirs = "user-container"
)

// mistake is one that a Model is made with.
type mistake struct {
	*stage
	name  string
	spoil func(*v1alpha1.Model)
	// reason, container, and parts of the message that are told.
	reason, container string
	parts             []string
	// mend makes good for it; nil where the Model is to be changed.
	mend func(s *stage)

	told v1alpha1.Model
	took time.Duration
}

// What is wrong is said soon after a Model was created, by its conditions, with the
// container and a remedy; and a Model that is mended becomes Ready, and says no more of it.
func TestMistakesAreToldSoon(t *testing.T) {
	all := mistakes(newStage(t), newStage(t), newStage(t), newStage(t))
	for wave := range slices.Chunk(all, startAtOnce) {
		for _, m := range wave {
			m.create(m.ranker(m.name, m.spoil))
		}
		began := time.Now()
		if err := platform.Until(t.Context(), toldWithin+whenBusy, "all to say what is wrong", func(ctx context.Context) (string, error) {
			return unsaid(ctx, wave, began)
		}); err != nil {
			t.Error(err)
		}
		for _, m := range wave {
			if m.mend != nil {
				m.mend(m.stage)
				continue
			}
			m.update(m.name, func(model *v1alpha1.Model) { model.Spec = m.ranker(m.name).Spec })
		}
	}
	for _, m := range all {
		t.Run(m.name, m.check)
	}
}

// unsaid are those of a wave that don't say yet what keeps them.
func unsaid(ctx context.Context, wave []*mistake, began time.Time) (string, error) {
	var left []string
	for _, m := range wave {
		if m.took > 0 {
			continue
		}
		model, err := m.Sluice.SluiceV1alpha1().Models(m.namespace).Get(ctx, m.name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if model.Status.GetCondition(v1alpha1.ModelConditionReady).GetReason() == m.reason {
			m.told, m.took = *model, time.Since(began)
			continue
		}
		left = append(left, fmt.Sprintf("%s: want %s, is %+v", m.name, m.reason, model.Status.GetCondition(v1alpha1.ModelConditionReady)))
	}
	return strings.Join(left, "; "), nil
}

// check holds what was told to what it should be, and waits until the Model is Ready.
func (m *mistake) check(t *testing.T) {
	s := &stage{T: t, Clients: m.Clients, namespace: m.namespace}
	if m.took == 0 {
		t.Fatalf("it never said %s", m.reason)
	}
	ready, revision := m.told.Status.GetCondition(v1alpha1.ModelConditionReady), m.told.Status.GetCondition(v1alpha1.ModelConditionRevisionReady)
	t.Logf("%s after %.1f s, %s: %s", ready.Reason, m.took.Seconds(), ready.Status, ready.Message)
	if m.took > toldWithin {
		t.Logf("that is longer than %s: the machine is busy", toldWithin)
	}
	if revision.IsTrue() || revision.Reason != ready.Reason || revision.Message != ready.Message {
		t.Errorf("RevisionReady is %+v, Ready %+v", revision, ready)
	}
	for _, part := range append(m.parts, m.container) {
		if !strings.Contains(ready.Message, part) {
			t.Errorf("the message doesn't say %q", part)
		}
	}
	if o := m.told.Status.Obstacle; o == nil || o.ContainerName != m.container || o.Remedy == "" || !strings.HasSuffix(ready.Message, o.Remedy) {
		t.Errorf("status.obstacle is %+v, want one of container %q", o, m.container)
	}
	s.serving(m.name)
	now, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(t.Context(), m.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if now.Status.Obstacle != nil {
		t.Errorf("mended, it still says %+v", now.Status.Obstacle)
	}
	if err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Delete(t.Context(), m.name, metav1.DeleteOptions{}); err != nil {
		t.Error("deleting the Model:", err)
	}
}

func mistakes(s, counted, strict, ranged *stage) []*mistake {
	scarcity{stage: counted}.allowPods(0)
	strict.label("pod-security.kubernetes.io/enforce", "restricted")
	ranged.limitRange("200m")
	secret := func(s *stage) { s.secret("token", "value") }
	flags := func(s *stage) {
		_, err := s.Kube.CoreV1().ConfigMaps(s.namespace).Create(s.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "flags"}}, metav1.CreateOptions{})
		if err != nil {
			s.Fatal("creating a ConfigMap:", err)
		}
	}
	account := func(s *stage) {
		_, err := s.Kube.CoreV1().ServiceAccounts(s.namespace).Create(s.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "ranker"}}, metav1.CreateOptions{})
		if err != nil {
			s.Fatal("creating a ServiceAccount:", err)
		}
	}
	repository, _, _ := strings.Cut(cluster.image, "@")
	registry, _, _ := strings.Cut(cluster.image, "/")
	node, _, _ := strings.Cut(registry, ":")
	return []*mistake{
		{stage: s, name: "secret-in-env", reason: obstacle.SecretMissing, container: theirs, parts: []string{`secret "token" not found`, "Create the Secret"}, mend: secret,
			spoil: func(m *v1alpha1.Model) {
				m.Spec.Container.Env = []corev1.EnvVar{{Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
					LocalObjectReference: corev1.LocalObjectReference{Name: "token"}, Key: "value",
				}}}}
			}},
		{stage: s, name: "configmap-in-env", reason: obstacle.ConfigMapMissing, container: theirs, parts: []string{`configmap "flags" not found`, "Create the ConfigMap"}, mend: flags,
			spoil: func(m *v1alpha1.Model) {
				m.Spec.Container.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "flags"}}}}
			}},
		{stage: s, name: "secret-in-volume", reason: obstacle.SecretMissing, parts: []string{`secret "weights" not found`, "spec.volumes"}, mend: func(s *stage) { s.secret("weights", "bin") },
			spoil: func(m *v1alpha1.Model) { mounts(m, "weights") }},
		{stage: s, name: "exits", reason: obstacle.ContainerExited, container: theirs, parts: []string{"exit code 1", "RANKER_INITIALIZE", "kubectl logs"},
			spoil: env("RANKER_INITIALIZE", "soon")},

		{stage: s, name: "no-image", reason: obstacle.ImageMissing, parts: []string{registry + "/nobody:1", "spec.container.image"},
			spoil: func(m *v1alpha1.Model) { m.Spec.Container.Image = registry + "/nobody:1" }},
		{stage: s, name: "no-digest", reason: obstacle.ImageMissing, container: theirs, parts: []string{"tag or digest"},
			spoil: func(m *v1alpha1.Model) { m.Spec.Container.Image = repository + "@sha256:" + strings.Repeat("40", 32) }},
		{stage: s, name: "no-registry", reason: obstacle.RegistryUnreachable, container: theirs, parts: []string{"have to reach it"},
			spoil: func(m *v1alpha1.Model) {
				m.Spec.Container.Image = node + ":1/ranker@sha256:" + strings.Repeat("40", 32)
			}},
		{stage: s, name: "no-command", reason: obstacle.ContainerCannotStart, container: theirs, parts: []string{"/nowhere", "has to be in the image"},
			spoil: func(m *v1alpha1.Model) { m.Spec.Container.Command = []string{"/nowhere"} }},

		{stage: s, name: "no-memory", reason: obstacle.OOMKilled, container: theirs, parts: []string{"spec.container.resources.limits"},
			spoil: func(m *v1alpha1.Model) {
				m.Spec.Container.Env = []corev1.EnvVar{{Name: "GOGC", Value: "off"}, {Name: "RANKER_LOAD", Value: "10m"}}
				m.Spec.Container.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("40Mi")}
			}},
		{stage: s, name: "no-port", reason: obstacle.NotListening, container: theirs, parts: []string{"nothing listens at port 8080", "PORT"},
			spoil: func(m *v1alpha1.Model) {
				env("RANKER_LOAD", "1h")(m)
				m.Spec.Container.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m")}
			}},
		{stage: s, name: "no-such-path", reason: obstacle.ReadinessProbeFailed, container: theirs, parts: []string{"GET /nowhere", "status 404", "spec.container.readinessProbe"},
			spoil: func(m *v1alpha1.Model) { m.Spec.Container.ReadinessProbe.HTTPGet.Path = "/nowhere" }},
		{stage: s, name: "no-room", reason: obstacle.InsufficientResources, parts: []string{"Insufficient cpu", "add nodes"},
			spoil: func(m *v1alpha1.Model) {
				m.Spec.Container.Resources.Requests[corev1.ResourceCPU] = resource.MustParse("1000")
			}},
		{stage: s, name: "no-device", reason: obstacle.InsufficientDevices, parts: []string{"Insufficient e2e.sluice.dev/nothing", "device plugin"},
			spoil: func(m *v1alpha1.Model) {
				m.Spec.Container.Resources.Limits = corev1.ResourceList{"e2e.sluice.dev/nothing": resource.MustParse("1")}
			}},
		{stage: s, name: "no-account", reason: obstacle.ServiceAccountMissing, parts: []string{`serviceaccount "ranker" not found`, "spec.serviceAccountName"}, mend: account,
			spoil: func(m *v1alpha1.Model) { m.Spec.ServiceAccountName = "ranker" }},
		{stage: counted, name: "quota", reason: obstacle.QuotaExceeded, parts: []string{"exceeded quota: pods", "ResourceQuota raised"},
			mend: func(s *stage) { scarcity{stage: s}.allowPods(4) }, spoil: func(*v1alpha1.Model) {}},

		{stage: s, name: "no-weights", reason: obstacle.ContainerExited, container: "fetch", parts: []string{"exit code 1", "no such file or directory", "kubectl logs"},
			spoil: func(m *v1alpha1.Model) {
				fetch := s.container()
				fetch.Name, fetch.Image, fetch.Args, fetch.ReadinessProbe = "fetch", cluster.streams, []string{"fetch", "/nowhere/model"}, nil
				m.Spec.InitContainers = []corev1.Container{fetch}
			}},
		{stage: s, name: "no-volume", reason: obstacle.VolumeClaimPending, parts: []string{"unbound immediate PersistentVolumeClaims", "kubectl describe pvc"},
			spoil: func(m *v1alpha1.Model) { claims(m, s.claim("nothing")) }},
		{stage: s, name: "no-such-user", reason: obstacle.ImageAccessDenied, container: theirs, parts: []string{"spec.imagePullSecrets"},
			spoil: func(m *v1alpha1.Model) {
				m.Spec.Container.Image = s.closedRegistry() + "/ranker@sha256:" + strings.Repeat("40", 32)
			}},

		{stage: strict, name: "pod-security", reason: obstacle.PodSecurityViolation, parts: []string{"allowPrivilegeEscalation", "spec.container.securityContext"},
			spoil: func(m *v1alpha1.Model) { m.Spec.Container.SecurityContext.AllowPrivilegeEscalation = ptr.Bool(true) }},
		{stage: ranged, name: "limit-range", reason: obstacle.OutOfLimitRange, parts: []string{"maximum cpu usage per Container is 200m", "LimitRange"},
			spoil: func(m *v1alpha1.Model) {
				m.Spec.Container.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
			}},
	}
}

// What keeps a revision stays told when Knative has given it up and taken its replicas away.
func TestCauseOutlivesTheDeadline(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker", func(m *v1alpha1.Model) {
		mounts(m, "weights")
		m.Annotations = map[string]string{serving.ProgressDeadlineAnnotationKey: "25s"}
	}))
	s.until(rolledWithin, "Knative to give the revision up", func(ctx context.Context) (string, error) {
		revision, err := s.Serving.ServingV1().Revisions(s.namespace).Get(ctx, "ranker-00001", metav1.GetOptions{})
		if err != nil {
			return err.Error(), nil //nolint:nilerr // it isn't there yet
		}
		available := revision.Status.GetCondition(servingv1.RevisionConditionResourcesAvailable)
		if pods := s.podsOf("ranker-00001"); !available.IsFalse() || len(pods) > 0 {
			return fmt.Sprintf("%+v, pods %v", available, pods), nil
		}
		return "", nil
	})
	for _, c := range []string{"once", "and again, when it was looked at since"} {
		m := s.condition("ranker", v1alpha1.ModelConditionReady, corev1.ConditionFalse, obstacle.SecretMissing)
		if said := m.Status.GetCondition(v1alpha1.ModelConditionReady).Message; !strings.Contains(said, `secret "weights" not found`) {
			t.Errorf("%s, it says %q", c, said)
		}
		s.patch("ranker", `{"spec": {"autoscaling": {"maxReplicas": 3}}}`)
	}
	s.update("ranker", func(m *v1alpha1.Model) { m.Spec = s.ranker("ranker").Spec })
	s.serving("ranker")
}

// mounts has a Model mount a Secret of its name.
func mounts(m *v1alpha1.Model, secret string) {
	m.Spec.Volumes = []corev1.Volume{{Name: secret, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}}
	m.Spec.Container.VolumeMounts = []corev1.VolumeMount{{Name: secret, MountPath: "/" + secret, ReadOnly: true}}
}

func env(name, value string) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) { m.Spec.Container.Env = []corev1.EnvVar{{Name: name, Value: value}} }
}

func (s *stage) secret(name, key string) {
	s.Helper()
	_, err := s.Kube.CoreV1().Secrets(s.namespace).Create(s.Context(),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{key: "secret"}}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal("creating a Secret:", err)
	}
}

// label puts a label on the namespace.
func (s *stage) label(key, value string) {
	s.Helper()
	patch := fmt.Sprintf(`{"metadata": {"labels": {%q: %q}}}`, key, value)
	if _, err := s.Kube.CoreV1().Namespaces().Patch(s.Context(), s.namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		s.Fatal("labelling the namespace:", err)
	}
}

// limitRange bounds the CPU that a container may have.
func (s *stage) limitRange(most string) {
	s.Helper()
	_, err := s.Kube.CoreV1().LimitRanges(s.namespace).Create(s.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "bounds"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, Max: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(most)},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal("creating a LimitRange:", err)
	}
}
