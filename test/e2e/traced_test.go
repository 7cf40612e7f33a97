//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/otlp"
	"sluice.dev/sluice/test/platform"
)

// traceConfig is what Sluice's and Knative's processes read as they start.
const traceConfig = "config-observability"

// traceTo has gateways, Knative and Sluice itself send all of their spans to a receiver, for as long as the test.
func (s *stage) traceTo(receiver *otlp.Receiver) {
	s.Helper()
	url := ptr.String("http://" + receiver.Address())
	s.configureFor(sluice.SystemNamespace, "config-gateway", map[string]*string{"trace-sample": ptr.String("1"), "trace-endpoint": ptr.String(receiver.Address())})
	// Below 1, so that it goes by what the gateway chose.
	knative := s.configureFor(servingNamespace, traceConfig, traceKeys(ptr.String("grpc"), url, ptr.String("0.01")))
	own := s.configureFor(sluice.SystemNamespace, traceConfig, traceKeys(ptr.String("grpc"), url, ptr.String("1")))
	s.Cleanup(func() {
		knative()
		own()
		s.restartTraced()
	})
	s.restartTraced()
}

func traceKeys(protocol, endpoint, rate *string) map[string]*string {
	return map[string]*string{"tracing-protocol": protocol, "tracing-endpoint": endpoint, "tracing-sampling-rate": rate}
}

// configureFor sets keys of a ConfigMap for the test, and returns what puts them back, which
// happens at its end anyway.
func (s *stage) configureFor(namespace, name string, keys map[string]*string) (restore func()) {
	s.Helper()
	before := configureAll(s.T, namespace, name, keys)
	restore = sync.OnceFunc(func() { configureAll(s.T, namespace, name, before) })
	s.Cleanup(restore)
	return restore
}

// restartTraced restarts what reads its settings of traces as it starts.
func (s *stage) restartTraced() {
	s.Helper()
	all := []types.NamespacedName{
		{Namespace: servingNamespace, Name: "activator"}, {Namespace: sluice.SystemNamespace, Name: "controller"}, {Namespace: sluice.SystemNamespace, Name: limiter},
	}
	ctx := context.Background()
	merge := fmt.Sprintf(`{"spec": {"template": {"metadata": {"annotations": {"sluice.dev/restarted": %q}}}}}`, time.Now().Format(time.RFC3339Nano))
	for _, d := range all {
		if _, err := s.Kube.AppsV1().Deployments(d.Namespace).Patch(ctx, d.Name, types.MergePatchType, []byte(merge), metav1.PatchOptions{}); err != nil {
			s.Fatalf("restarting %s: %v", d, err)
		}
	}
	for _, d := range all {
		if err := platform.Until(ctx, restored, fmt.Sprintf("%s to have restarted", d), func(ctx context.Context) (string, error) {
			now, err := s.Kube.AppsV1().Deployments(d.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			if st := now.Status; st.ObservedGeneration < now.Generation || st.UpdatedReplicas != *now.Spec.Replicas || st.Replicas != st.UpdatedReplicas || st.AvailableReplicas != st.Replicas {
				return fmt.Sprintf("%+v", st), nil
			}
			return "", nil
		}); err != nil {
			s.Error(err)
		}
	}
}
