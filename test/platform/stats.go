package platform

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// GatewayStats reads figures of Envoy, by the names that Prometheus knows them by,
// from each pod of a gateway: by pod, then by name. A figure with labels is the
// sum over them; one that a pod doesn't show is not there.
func (c *Clients) GatewayStats(ctx context.Context, name string, figures ...string) (map[string]map[string]float64, error) {
	pods, err := c.Kube.CoreV1().Pods(gateway.Namespace).List(ctx, metav1.ListOptions{LabelSelector: gateway.LabelKey + "=" + name})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of gateway %s: %w", name, err)
	}
	stats := map[string]map[string]float64{}
	for _, pod := range pods.Items {
		text, err := c.Kube.CoreV1().Pods(pod.Namespace).
			ProxyGet("http", pod.Name, strconv.Itoa(gateway.StatsPort), "/stats/prometheus", nil).Stream(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the stats of pod %s: %w", pod.Name, err)
		}
		stats[pod.Name], err = pick(text, figures)
		_ = text.Close() // it was read to its end
		if err != nil {
			return nil, fmt.Errorf("reading the stats of pod %s: %w", pod.Name, err)
		}
	}
	return stats, nil
}

// pick reads figures from Prometheus' text format.
func pick(text io.Reader, figures []string) (map[string]float64, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	picked := map[string]float64{}
	for _, figure := range figures {
		for _, metric := range families[figure].GetMetric() {
			picked[figure] += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return picked, nil
}
