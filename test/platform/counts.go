package platform

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// Counts are what a gateway's pods have counted of a Model's requests, at all entries.
type Counts struct {
	// At is when they were read, as the last pod answered.
	At time.Time
	// Offered, of it what carries the mark of a batch at the cluster-local entry, and Refused
	// add up over the pods that there are. What is offered counts when it comes, what is
	// refused when it is answered.
	Offered, Marked, Refused float64
	// Pods are how many that is.
	Pods int
}

// Admitted is how many requests passed the limit.
func (c Counts) Admitted() float64 { return c.Offered - c.Refused }

// GatewayCounts reads what the pods of a gateway have counted of a Model, or of any
// other object that a virtual service of that name is made of.
func (c *Clients) GatewayCounts(ctx context.Context, name, namespace, model string) (Counts, error) {
	pods, err := c.Kube.CoreV1().Pods(gateway.Namespace).List(ctx, metav1.ListOptions{LabelSelector: gateway.LabelKey + "=" + name})
	if err != nil {
		return Counts{}, fmt.Errorf("listing the pods of gateway %s: %w", name, err)
	}
	of := gateway.VirtualServiceMetadata(gateway.VirtualServiceName(namespace, model))
	counts := Counts{Pods: len(pods.Items)}
	for _, pod := range pods.Items {
		text, err := c.Kube.CoreV1().Pods(pod.Namespace).
			ProxyGet("http", pod.Name, strconv.Itoa(gateway.StatsPort), "/stats/prometheus", map[string]string{"filter": "sluice"}).Stream(ctx)
		if err != nil {
			return Counts{}, fmt.Errorf("reading the counters of pod %s: %w", pod.Name, err)
		}
		err = counts.add(text, of)
		_ = text.Close() // it was read to its end
		if err != nil {
			return Counts{}, fmt.Errorf("reading the counters of pod %s: %w", pod.Name, err)
		}
	}
	counts.At = time.Now()
	return counts, nil
}

// add adds the counters of a route from Prometheus' text format.
func (c *Counts) add(text io.Reader, route string) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return fmt.Errorf("parsing: %w", err)
	}
	for metric, into := range map[string]*float64{gateway.OfferedMetric: &c.Offered, gateway.MarkedMetric: &c.Marked, gateway.RefusedMetric: &c.Refused} {
		// Proxies that know istio_ as a namespace show it without Envoy's own prefix.
		for _, family := range []string{metric, "envoy_" + metric} {
			for _, m := range families[family].GetMetric() {
				if labelled(m, gateway.RouteTag, route) {
					*into += m.GetCounter().GetValue()
				}
			}
		}
	}
	return nil
}

func labelled(m *dto.Metric, name, value string) bool {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue() == value
		}
	}
	return false
}
