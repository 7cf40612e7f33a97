// Package scrape reads what components tell of themselves: counters and histograms
// in Prometheus' text format, by way of the API server, so that no way to the pods'
// own addresses is needed.
package scrape

import (
	"bytes"
	"context"
	"fmt"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Component is pods that show their metrics on a port.
type Component struct{ Namespace, Selector, Port string }

// The components whose metrics benchmarks read.
var (
	Istiod  = Component{Namespace: "istio-system", Selector: "app=istiod", Port: "15014"}
	Limiter = own("limiter")
	Batch   = own("batch")
)

// own is a component of Sluice's.
func own(name string) Component {
	return Component{
		Namespace: sluice.SystemNamespace, Port: "9090",
		Selector: "app.kubernetes.io/name=sluice,app.kubernetes.io/component=" + name,
	}
}

// Page is the metrics of all of a component's pods, one after another.
type Page []byte

// Pods reads a component's pages; one without pods is an error.
func Pods(ctx context.Context, kube kubernetes.Interface, of Component) (Page, error) {
	list, err := kube.CoreV1().Pods(of.Namespace).List(ctx, metav1.ListOptions{LabelSelector: of.Selector})
	if err != nil {
		return nil, fmt.Errorf("listing the pods %s: %w", of.Selector, err)
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("no pod in %s is %s", of.Namespace, of.Selector)
	}
	var all Page
	for _, pod := range list.Items {
		page, err := kube.CoreV1().Pods(of.Namespace).ProxyGet("http", pod.Name, of.Port, "metrics", nil).DoRaw(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the metrics of %s: %w", pod.Name, err)
		}
		all = append(all, page...)
	}
	return all, nil
}

// APIServer reads the API server's own page.
func APIServer(ctx context.Context, kube kubernetes.Interface) (Page, error) {
	page, err := kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's metrics: %w", err)
	}
	return page, nil
}

// Labels of a sample.
type Labels map[string]string

// Every keeps all samples.
func Every(Labels) bool { return true }

// Sum adds up the samples of one metric, over all pods, that keep lets pass. A
// metric that isn't there is 0: counters with labels appear when they are first
// counted.
func (p Page) Sum(metric string, keep func(Labels) bool) (float64, error) {
	total := 0.0
	err := p.samples(metric, func(of Labels, value float64) {
		if keep(of) {
			total += value
		}
	})
	return total, err
}

// samples calls see for each sample of a metric. Pages hold thousands of others, so
// the parser gets these lines only; without their TYPE they are untyped.
func (p Page) samples(metric string, see func(Labels, float64)) error {
	var lines bytes.Buffer
	for line := range bytes.Lines(p) {
		if rest, ok := bytes.CutPrefix(line, []byte(metric)); ok && (rest[0] == '{' || rest[0] == ' ') {
			lines.Write(line)
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(&lines)
	if err != nil {
		return fmt.Errorf("parsing %s: %w", metric, err)
	}
	for _, sample := range families[metric].GetMetric() {
		of := Labels{}
		for _, label := range sample.GetLabel() {
			of[label.GetName()] = label.GetValue()
		}
		see(of, sample.GetUntyped().GetValue())
	}
	return nil
}
