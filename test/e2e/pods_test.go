//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// A Model with an init container, a sidecar, labels, annotations and a group of its own is
// warmed up and serves, and its replicas have all of it.
func TestWholePodServes(t *testing.T) {
	t.Parallel()
	const group = 2000
	s := newStage(t)
	beside := func(name string) corev1.Container {
		c := s.container()
		c.Name, c.Image, c.ReadinessProbe = name, cluster.streams, nil
		return c
	}
	s.create(s.ranker("ranker", warmed, func(m *v1alpha1.Model) {
		m.Labels = map[string]string{"team": "search", "app.kubernetes.io/instance": "search"}
		m.Annotations = map[string]string{"prometheus.io/scrape": "true", "queue.sidecar.serving.knative.dev/cpu-resource-request": "7m"}
		weights := corev1.VolumeMount{Name: "weights", MountPath: "/weights"}
		fetch, features := beside("fetch"), beside("features")
		fetch.Args = []string{"fetch", weights.MountPath + "/model"}
		fetch.VolumeMounts = []corev1.VolumeMount{weights}
		features.Env = []corev1.EnvVar{{Name: "PORT", Value: "9000"}}
		m.Spec.InitContainers, m.Spec.Sidecars = []corev1.Container{fetch}, []corev1.Container{features}
		m.Spec.Container.VolumeMounts = []corev1.VolumeMount{weights}
		m.Spec.Volumes = []corev1.Volume{{Name: weights.Name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		m.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.Int64(group)}
	}))
	s.predict(s.serving("ranker"))

	pods := s.pods("ranker")
	if len(pods) == 0 {
		t.Fatal("there is no replica")
	}
	pod, err := s.Kube.CoreV1().Pods(s.namespace).Get(t.Context(), pods[0], metav1.GetOptions{})
	if err != nil {
		t.Fatal("getting a replica:", err)
	}
	if at := pod.Spec.SecurityContext; at == nil || at.FSGroup == nil || *at.FSGroup != group {
		t.Errorf("security context %+v, want fsGroup %d", at, group)
	}
	if pod.Labels["team"] != "search" || pod.Annotations["prometheus.io/scrape"] != "true" || pod.Labels["app.kubernetes.io/instance"] != "" {
		t.Errorf("labels %v, annotations %v", pod.Labels, pod.Annotations)
	}
	for _, c := range pod.Status.InitContainerStatuses {
		if c.State.Terminated == nil || c.State.Terminated.ExitCode != 0 {
			t.Errorf("init container %s: %+v", c.Name, c.State)
		}
	}
	names := map[string]bool{}
	for _, c := range pod.Spec.Containers {
		names[c.Name] = true
		if c.Name == "queue-proxy" && c.Resources.Requests.Cpu().String() != "7m" {
			t.Errorf("queue-proxy asks for %s of CPU, want 7m", c.Resources.Requests.Cpu())
		}
	}
	if !names["features"] || !names["user-container"] || len(pod.Status.InitContainerStatuses) != 1 {
		t.Errorf("containers %v, init containers %+v", names, pod.Status.InitContainerStatuses)
	}
}

// However little the client validates, nothing that a Model says is dropped: what isn't known
// is refused, with its path.
func TestNothingIsDropped(t *testing.T) {
	s := newStage(t)
	known, err := runtime.DefaultUnstructuredConverter.ToUnstructured(s.ranker("ranker"))
	if err != nil {
		t.Fatal(err)
	}
	for path, spoil := range map[string]func(spec map[string]any){
		"spec.autoscalling":    func(spec map[string]any) { spec["autoscalling"] = map[string]any{} },
		"spec.container.imaeg": func(spec map[string]any) { spec["container"].(map[string]any)["imaeg"] = "x" },
		"spec.sidecars[0].readinesProbe": func(spec map[string]any) {
			spec["sidecars"] = []any{map[string]any{"image": "x", "readinesProbe": map[string]any{}}}
		},
		"spec.affinity.nodeAffinity.prefer": func(spec map[string]any) {
			spec["affinity"] = map[string]any{"nodeAffinity": map[string]any{"prefer": "x"}}
		},
		"spec.nodeName": func(spec map[string]any) { spec["nodeName"] = "x" },
	} {
		spoiled := runtime.DeepCopyJSON(known)
		spoiled["apiVersion"], spoiled["kind"] = v1alpha1.SchemeGroupVersion.String(), "Model"
		spoil(spoiled["spec"].(map[string]any))
		body, err := json.Marshal(spoiled)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Sluice.SluiceV1alpha1().RESTClient().Post().Namespace(s.namespace).Resource("models").
			Param("fieldValidation", metav1.FieldValidationIgnore).Param("dryRun", metav1.DryRunAll).
			SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error()
		if err == nil || !strings.Contains(err.Error(), `unknown field "`+path+`"`) {
			t.Errorf("%s: got %v, want it refused", path, err)
		}
	}
}
