//go:build e2e

package e2e

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

const (
	// requestsPort is where the gateway collector serves its counts, envoyPort where Envoy serves its own.
	requestsPort, envoyPort = 9464, 15090
	// counted bounds the time from a request's end until it is counted.
	counted = 30 * time.Second
)

var paths = map[int]string{requestsPort: "/metrics", envoyPort: "/stats/prometheus"}

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
	labels := map[string]string{"namespace": s.namespace, "model": "counted"}
	var byLog, byEnvoy float64
	deadline := time.Now().Add(counted)
	for byLog < sent || byLog != byEnvoy {
		if time.Now().After(deadline) {
			t.Fatalf("the collector counts %v requests, and Envoy %v, of %d that were sent %v ago (%v)", byLog, byEnvoy, sent, counted, codes)
		}
		byLog = s.sumOf(sluice.SystemNamespace, "app.kubernetes.io/component=collector-gateway", requestsPort, "sluice_model_requests_total", labels)
		byEnvoy = s.sumOf(gateway.Namespace, "sluice.dev/gateway=shared", envoyPort, "envoy_istio_sluice_ended",
			map[string]string{"route": "/" + s.namespace + ".counted"})
		select {
		case <-t.Context().Done():
		case <-time.After(time.Second):
		}
	}
	t.Logf("%d sent, %v counted, of codes %v", sent, byLog, codes)
}

// sumOf adds up a counter of all pods that match, where each label contains a text.
func (s *stage) sumOf(namespace, selector string, port int, name string, labels map[string]string) float64 {
	s.Helper()
	pods, err := s.Kube.CoreV1().Pods(namespace).List(s.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		s.Fatal("listing pods:", err)
	}
	total := 0.0
	for i := range pods.Items {
		if pods.Items[i].Status.Phase != corev1.PodRunning {
			continue
		}
		text, err := s.Kube.CoreV1().Pods(namespace).ProxyGet("http", pods.Items[i].Name, strconv.Itoa(port), paths[port], nil).Stream(s.Context())
		if err != nil {
			s.Fatal("reading metrics:", err)
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(text)
		_ = text.Close() // it was read to its end
		if err != nil {
			s.Fatal("reading metrics:", err)
		}
		for _, metric := range families[name].GetMetric() {
			matching := 0
			for _, label := range metric.GetLabel() {
				if want, ok := labels[label.GetName()]; ok && strings.Contains(label.GetValue(), want) {
					matching++
				}
			}
			if matching == len(labels) {
				total += metric.GetCounter().GetValue()
			}
		}
	}
	return total
}
