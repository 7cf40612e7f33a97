package informers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// A certificate is cached without what is beside its pair; its copy, which is written
// back, with all that others gave it.
func TestSlim(t *testing.T) {
	full := func(namespace string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: "tls", ResourceVersion: "1", Labels: map[string]string{"a": "b"},
				Annotations: map[string]string{"last-applied": "all of it"}, ManagedFields: []metav1.ManagedFieldsEntry{{}},
			},
			Data: map[string][]byte{corev1.TLSCertKey: {1}, corev1.TLSPrivateKeyKey: {2}, "ca.crt": {3}},
		}
	}
	original, copied := full("team"), full(gateway.Namespace)
	original.ManagedFields, original.Annotations, copied.ManagedFields = nil, nil, nil
	delete(original.Data, "ca.crt")
	for _, want := range []*corev1.Secret{original, copied} {
		got, err := slim(full(want.Namespace))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(any(want), got); diff != "" {
			t.Errorf("in %s (-want +got):\n%s", want.Namespace, diff)
		}
	}
}
