//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// autoscalers is how a quota names Knative's PodAutoscalers.
const autoscalers = "count/podautoscalers.autoscaling.internal.knative.dev"

// allowAutoscalers is a quota on the namespace's PodAutoscalers.
func (s *stage) allowAutoscalers(most int) {
	s.Helper()
	s.quota("autoscalers", autoscalers, most)
	s.until(toldWithin, "the quota to be counted", func(ctx context.Context) (string, error) {
		quota, err := s.Kube.CoreV1().ResourceQuotas(s.namespace).Get(ctx, "autoscalers", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if hard := quota.Status.Hard[autoscalers]; hard.Value() != int64(most) || len(quota.Status.Hard) == 0 {
			return fmt.Sprintf("%+v", quota.Status), nil
		}
		return "", nil
	})
}

// closedRegistry is the address of a registry that lets nobody in. It is here, where the
// local stack's node is too.
func (s *stage) closedRegistry() string {
	closed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="e2e"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	s.Cleanup(closed.Close)
	return closed.Listener.Addr().String()
}

// claim is a PersistentVolumeClaim for which nobody makes a volume.
func (s *stage) claim(name string) string {
	s.Helper()
	_, err := s.Kube.CoreV1().PersistentVolumeClaims(s.namespace).Create(s.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.String(""),
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: *quantity("1Mi")}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal("creating a PersistentVolumeClaim:", err)
	}
	return name
}

// claims has a Model read a PersistentVolumeClaim.
func claims(m *v1alpha1.Model, claim string) {
	m.Spec.Volumes = []corev1.Volume{{Name: "weights", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim, ReadOnly: true},
	}}}
	m.Spec.Container.VolumeMounts = []corev1.VolumeMount{{Name: "weights", MountPath: "/weights", ReadOnly: true}}
}
