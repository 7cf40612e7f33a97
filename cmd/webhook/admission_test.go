package main

import (
	"context"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubefake "knative.dev/pkg/client/injection/kube/client/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/admissionregistration/v1/mutatingwebhookconfiguration/fake"
	_ "knative.dev/pkg/client/injection/kube/informers/admissionregistration/v1/validatingwebhookconfiguration/fake"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	_ "knative.dev/pkg/injection/clients/namespacedkube/informers/core/v1/secret/fake"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	rtesting "knative.dev/pkg/reconciler/testing"
	"knative.dev/pkg/webhook"
)

const servingNamespace = "serving-elsewhere"

func TestValidation(t *testing.T) {
	features := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: servingNamespace, Name: "config-features"},
		Data:       map[string]string{"kubernetes.podspec-nodeselector": "enabled"},
	}
	const plain = `"container": {"image": "registry.example/ranker:1"}, "limit": {"requestsPerSecondPerReplica": "50"}`
	cases := []struct {
		name    string
		cluster []runtime.Object
		spec    string
		refused string // part of the message; "" for admitted
	}{
		{name: "valid, without any ConfigMap of Knative's", spec: plain},
		{name: "a feature that is off", spec: plain + `, "nodeSelector": {"gpu": "yes"}`, refused: "spec.nodeSelector"},
		{name: "a feature that is on", cluster: []runtime.Object{features}, spec: plain + `, "nodeSelector": {"gpu": "yes"}`},
		{name: "a misspelt field of the container", spec: strings.Replace(plain, `"image"`, `"imaeg"`, 1), refused: "imaeg"},
		{name: "a misspelt field", spec: plain + `, "autoscalling": {}`, refused: "autoscalling"},
		{name: "no rate", spec: `"container": {"image": "x"}, "limit": {}`, refused: "spec.limit.requestsPerSecondPerReplica"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ctx := contextWith(t, c.cluster...)
			got := admit(ctx, t, newValidation(servingNamespace), c.spec)
			switch {
			case c.refused == "" && !got.Allowed:
				t.Error("refused:", got.Result.Message)
			case c.refused != "" && (got.Allowed || !strings.Contains(got.Result.Message, c.refused)):
				t.Errorf("got %+v, want a refusal that names %s", got, c.refused)
			}
		})
	}
}

func TestDefaulting(t *testing.T) {
	got := admit(contextWith(t), t, newDefaulting, `"container": {"image": "registry.example/ranker:1"}, "limit": {"requestsPerSecondPerReplica": "50"}`)
	if !got.Allowed || !strings.Contains(string(got.Patch), `/spec/limit/policy`) {
		t.Errorf("got %+v with patch %s, want the policy defaulted", got, got.Patch)
	}
	if strings.Contains(string(got.Patch), "containerConcurrency") {
		t.Errorf("patch %s writes a default of Knative's", got.Patch)
	}
}

func contextWith(t *testing.T, cluster ...runtime.Object) context.Context {
	t.Helper()
	ctx, cancel, _ := rtesting.SetupFakeContextWithCancel(t)
	t.Cleanup(cancel)
	ctx, _ = kubefake.With(logging.WithLogger(ctx, logtesting.TestLogger(t)), cluster...)
	return webhook.WithOptions(ctx, webhook.Options{SecretName: "webhook-certs"})
}

func admit(ctx context.Context, t *testing.T, newController func(context.Context, configmap.Watcher) *controller.Impl, spec string) *admissionv1.AdmissionResponse {
	t.Helper()
	object := `{"apiVersion": "sluice.dev/v1alpha1", "kind": "Model", "metadata": {"name": "ranker", "namespace": "search"}, "spec": {` + spec + `}}`
	admission, ok := newController(ctx, configmap.NewStaticWatcher()).Reconciler.(webhook.AdmissionController)
	if !ok {
		t.Fatal("the controller admits nothing")
	}
	return admission.Admit(ctx, &admissionv1.AdmissionRequest{
		Operation: admissionv1.Create,
		Kind:      metav1.GroupVersionKind{Group: "sluice.dev", Version: "v1alpha1", Kind: "Model"},
		Name:      "ranker",
		Namespace: "search",
		Object:    runtime.RawExtension{Raw: []byte(object)},
	})
}
