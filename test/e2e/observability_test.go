//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

const (
	// requestsPort is where the gateway collector serves its counts.
	requestsPort = 9464
	// counted bounds the time from a request's end until it is counted.
	counted = 30 * time.Second
)

// What the collector counts of a Model by the gateways' logs is what Envoy counts of it, and all that was sent.
func TestRequestsAreCountedFromTheLog(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	if _, err := s.Kube.AppsV1().Deployments(sluice.SystemNamespace).Get(t.Context(), "collector-gateway", metav1.GetOptions{}); apierrs.IsNotFound(err) {
		t.Skip("Sluice is installed without SLUICE_OBSERVABILITY=true")
	} else if err != nil {
		t.Fatal("getting the collector:", err)
	}
	s.create(s.ranker("counted", fixed("20")))
	endpoint := s.serving("counted")
	const sent = 60
	codes := map[int]int{}
	for range sent {
		code, _, _, err := endpoint.Get(t.Context(), "/v2/health/ready?secret=x")
		if err != nil {
			t.Fatal("asking the Model:", err)
		}
		codes[code]++
	}
	if codes[http.StatusOK] == 0 {
		t.Fatalf("the answers' codes are %v, want some 200", codes)
	}
	var byLog, byEnvoy float64
	s.until(counted, "the collector to count as Envoy does, and all that was sent", func(ctx context.Context) (string, error) {
		var err error
		if byLog, err = s.counted(ctx, "counted"); err != nil {
			return "", err
		}
		byEnvoy = 0
		for _, n := range s.ended(gateway.Shared, "counted") {
			byEnvoy += float64(n)
		}
		if byLog < sent || byLog != byEnvoy {
			return fmt.Sprintf("it counts %v requests, and Envoy %v, of %d that were sent (%v)", byLog, byEnvoy, sent, codes), nil
		}
		return "", nil
	})
	t.Logf("%d sent, %v counted, of codes %v", sent, byLog, codes)
}

// counted is what the collectors have counted of a Model's requests.
func (s *stage) counted(ctx context.Context, name string) (float64, error) {
	pods, err := s.Kube.CoreV1().Pods(sluice.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=collector-gateway"})
	if err != nil {
		return 0, fmt.Errorf("listing the collectors' pods: %w", err)
	}
	total := 0.0
	for i := range pods.Items {
		if pods.Items[i].Status.Phase != corev1.PodRunning {
			continue
		}
		families, err := s.Metrics(ctx, &pods.Items[i], requestsPort)
		if err != nil {
			return 0, err
		}
		for _, metric := range families["sluice_model_requests_total"].GetMetric() {
			if labels := labelsOf(metric); labels["namespace"] == s.namespace && labels["model"] == name {
				total += metric.GetCounter().GetValue()
			}
		}
	}
	return total, nil
}
