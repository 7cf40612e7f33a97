package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// component is pods that show their counters.
type component struct {
	namespace, selector, port string
}

var (
	istiod     = component{namespace: "istio-system", selector: "app=istiod", port: "15014"}
	controller = component{
		namespace: sluice.SystemNamespace, port: "9090",
		selector: "app.kubernetes.io/name=sluice,app.kubernetes.io/component=controller",
	}
)

// pods of a component, by name.
func (c component) pods(ctx context.Context, kube kubernetes.Interface) ([]string, error) {
	list, err := kube.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: c.selector})
	if err != nil {
		return nil, fmt.Errorf("listing the pods %s: %w", c.selector, err)
	}
	var names []string
	for _, pod := range list.Items {
		names = append(names, pod.Name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no pod in %s is %s", c.namespace, c.selector)
	}
	return names, nil
}

// sum adds up one metric over a component's pods and over the samples that keep
// lets pass. It is read by way of the API server, so it needs no way to the pods'
// own addresses.
func (b *bench) sum(ctx context.Context, of component, metric string, keep func(tags) bool) (float64, error) {
	pods, err := of.pods(ctx, b.clients.Kube)
	if err != nil {
		return 0, err
	}
	total := 0.0
	for _, pod := range pods {
		text, err := b.clients.Kube.CoreV1().Pods(of.namespace).ProxyGet("http", pod, of.port, "metrics", nil).DoRaw(ctx)
		if err == nil {
			var value float64
			value, err = sumOf(text, metric, keep)
			total += value
		}
		if err != nil {
			return 0, fmt.Errorf("reading the metrics of %s: %w", pod, err)
		}
	}
	return total, nil
}

// writes is how many requests the API server has had that change an object of the
// groups that a route is made of. Leases and the like go on all the time and are
// of other groups.
func (b *bench) writes(ctx context.Context) (float64, error) {
	text, err := b.clients.Kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err == nil {
		var total float64
		if total, err = sumOf(text, "apiserver_request_total", changesRoutes); err == nil {
			return total, nil
		}
	}
	return 0, fmt.Errorf("reading the API server's metrics: %w", err)
}

// tags of a sample.
type tags map[string]string

func every(tags) bool { return true }

var (
	routeGroups = map[string]bool{
		"networking.internal.knative.dev": true, "networking.istio.io": true, sluice.GroupName: true,
	}
	writeVerbs = map[string]bool{
		"POST": true, "PUT": true, "PATCH": true, "APPLY": true, "DELETE": true, "DELETECOLLECTION": true,
	}
)

func changesRoutes(l tags) bool { return routeGroups[l["group"]] && writeVerbs[l["verb"]] }

// sumOf adds up one metric of a page that may hold thousands.
func sumOf(page []byte, metric string, keep func(tags) bool) (float64, error) {
	var own bytes.Buffer
	for line := range bytes.Lines(page) {
		if rest, ok := bytes.CutPrefix(line, []byte(metric)); ok && (rest[0] == '{' || rest[0] == ' ') {
			own.Write(line)
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(&own)
	if err != nil {
		return 0, fmt.Errorf("parsing %s: %w", metric, err)
	}
	family, ok := families[metric]
	if !ok {
		return 0, fmt.Errorf("there is no %s", metric)
	}
	total := 0.0
	for _, sample := range family.GetMetric() {
		of := tags{}
		for _, label := range sample.GetLabel() {
			of[label.GetName()] = label.GetValue()
		}
		if keep(of) {
			total += sample.GetUntyped().GetValue() // the page's TYPE line is left out
		}
	}
	return total, nil
}

// usage is what the kubelet tells of its pods, as far as it is looked at.
type usage struct {
	Pods []struct {
		PodRef     struct{ Name, Namespace string } `json:"podRef"`
		Containers []struct {
			Memory struct {
				Time            time.Time `json:"time"`
				WorkingSetBytes float64   `json:"workingSetBytes"`
			} `json:"memory"`
		} `json:"containers"`
	} `json:"pods"`
}

// workingSet is the memory, in bytes, that a component's pods use by the kubelet's
// count, taken at a time or later; false while that count is older.
func (b *bench) workingSet(ctx context.Context, of component, since time.Time) (float64, bool, error) {
	wanted, err := of.pods(ctx, b.clients.Kube)
	if err != nil {
		return 0, false, err
	}
	nodes, err := b.clients.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, false, fmt.Errorf("listing nodes: %w", err)
	}
	total, fresh := 0.0, 0
	for _, node := range nodes.Items {
		data, err := b.clients.Kube.CoreV1().RESTClient().Get().Resource("nodes").Name(node.Name).
			SubResource("proxy").Suffix("stats/summary").DoRaw(ctx)
		if err != nil {
			return 0, false, fmt.Errorf("reading the usage of node %s: %w", node.Name, err)
		}
		told, err := parseUsage(data)
		if err != nil {
			return 0, false, fmt.Errorf("parsing the usage of node %s: %w", node.Name, err)
		}
		bytes, pods := told.of(of.namespace, wanted, since)
		total += bytes
		fresh += pods
	}
	return total, fresh == len(wanted), nil
}

func parseUsage(data []byte) (usage, error) {
	var told usage
	err := json.Unmarshal(data, &told)
	return told, err
}

// of adds up the pods that were looked at since a time, and counts them.
func (u usage) of(namespace string, names []string, since time.Time) (bytes float64, pods int) {
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	for _, pod := range u.Pods {
		if pod.PodRef.Namespace != namespace || !wanted[pod.PodRef.Name] || len(pod.Containers) == 0 {
			continue
		}
		fresh := true
		for _, container := range pod.Containers {
			bytes += container.Memory.WorkingSetBytes
			fresh = fresh && !container.Memory.Time.Before(since)
		}
		if fresh {
			pods++
		}
	}
	return bytes, pods
}

// configSize is how many bytes a gateway's Envoy takes to say what it was told,
// endpoints included. Its administration port listens within the pod only.
func (b *bench) configSize(ctx context.Context, name string) (float64, error) {
	gateways := component{namespace: gateway.Namespace, selector: gateway.LabelKey + "=" + name}
	pods, err := gateways.pods(ctx, b.clients.Kube)
	if err != nil {
		return 0, err
	}
	command := exec.CommandContext(ctx, "kubectl", "--kubeconfig", b.Kubeconfig, "--namespace", gateway.Namespace, //nolint:gosec // our own names
		"exec", pods[0], "--container", "istio-proxy", "--", "pilot-agent", "request", "GET", "config_dump?include_eds")
	dump, err := command.Output()
	if err != nil {
		return 0, fmt.Errorf("asking %s for its configuration: %w", pods[0], err)
	}
	return float64(len(dump)), nil
}
