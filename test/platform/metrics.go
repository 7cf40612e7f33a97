package platform

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apisluice "sluice.dev/sluice/reconciler/apis/sluice"
)

// metricsPort is where Sluice's own pods show their metrics.
const metricsPort = 9090

// Outcomes reads a counter of a component of Sluice's, summed over its ready pods, by outcome.
func (c *Clients) Outcomes(ctx context.Context, component, name string) (map[string]float64, error) {
	pods, err := c.Kube.CoreV1().Pods(apisluice.SystemNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=" + component})
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	sums := map[string]float64{}
	for i := range pods.Items {
		if !IsReady(&pods.Items[i]) {
			continue
		}
		families, err := c.Metrics(ctx, &pods.Items[i], metricsPort)
		if err != nil {
			return nil, err
		}
		for _, m := range families[name].GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "outcome" {
					sums[l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sums, nil
}

// Metrics are what a pod serves at a port, path /metrics, by name.
func (c *Clients) Metrics(ctx context.Context, pod *corev1.Pod, port int) (map[string]*dto.MetricFamily, error) {
	text, err := c.Kube.CoreV1().Pods(pod.Namespace).ProxyGet("http", pod.Name, strconv.Itoa(port), "/metrics", nil).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the metrics of pod %s: %w", pod.Name, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	_ = text.Close() // it was read to its end
	if err != nil {
		return nil, fmt.Errorf("reading the metrics of pod %s: %w", pod.Name, err)
	}
	return families, nil
}

// IsReady tells whether a pod says so of itself.
func IsReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
