package probetoken

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

func TestEnsure(t *testing.T) {
	client := secrets()
	token, err := Ensure(t.Context(), client)
	if err != nil || len(token) != 64 {
		t.Fatalf("made %q: %v", token, err)
	}
	if again, err := Ensure(t.Context(), client); err != nil || again != token {
		t.Errorf("the second time %q: %v", again, err)
	}
	other, err := Ensure(t.Context(), secrets())
	if err != nil || other == token {
		t.Errorf("another installation has the same token: %v", err)
	}
}

func TestEnsureRefusesABrokenSecret(t *testing.T) {
	for _, token := range []string{"", "short", "../../" + strings.Repeat("a", 64)} {
		client := secrets(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "sluice-system", Name: gateway.ProbeTokenSecret},
			Data:       map[string][]byte{gateway.ProbeTokenKey: []byte(token)},
		})
		if got, err := Ensure(t.Context(), client); err == nil {
			t.Errorf("took %q of %q", got, token)
		}
	}
}

func secrets(objects ...runtime.Object) Secrets {
	return fake.NewSimpleClientset(objects...).CoreV1().Secrets("sluice-system")
}
