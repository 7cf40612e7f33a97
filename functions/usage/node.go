package usage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/counters"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// containerCPU and podCPU are what the kubelet says that containers, and pods in all, have used since
	// their start: each of them as it looked last, at its own time, which is up to some 15 s ago.
	containerCPU, podCPU = "container_cpu_usage_seconds_total", "pod_cpu_usage_seconds_total"
	containerMemory      = "container_memory_working_set_bytes"
	// thousandths of a second.
	thousandths = 1000
)

// resources are what a pod uses.
type resources struct {
	// containers is the sum of what its containers used, pod what it used in all.
	containers, pod float64
	memory          float64
	// containersAt is when the kubelet looked at the container that it looked at longest ago, podAt when at
	// the pod, in milliseconds.
	containersAt, podAt int64
}

// beyond is what a pod has used beside the containers of now, at least. It takes a look at the pod that isn't
// newer than those at its containers: else what these used in between would be in it.
func (r resources) beyond() float64 {
	if r.podAt == 0 || r.podAt > r.containersAt {
		return 0
	}
	return max(0, r.pod-r.containers)
}

// cpu is what a pod has used, at least: what is said of it, or what its containers have, and beyond
// that what was seen that they hadn't. Neither is more than there was: what others than the containers
// of now used only grows, and what is said of the pod less what is said of these is no more than that.
func (r resources) cpu(beyond float64) v1alpha1.Amount {
	return v1alpha1.Amount(max(r.containers+beyond, r.pod) * thousandths)
}

// resourcesAt reads what a node's kubelet says of those pods that are wanted.
func resourcesAt(ctx context.Context, client *http.Client, node Node, wanted func(types.NamespacedName) bool) (map[types.NamespacedName]resources, error) {
	address := "https://" + net.JoinHostPort(node.Address, strconv.Itoa(int(node.Port))) + "/metrics/resource"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reading resources: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading resources: status %d", resp.StatusCode)
	}
	return parseResources(resp.Body, wanted)
}

func parseResources(text io.Reader, wanted func(types.NamespacedName) bool) (map[types.NamespacedName]resources, error) {
	read := map[types.NamespacedName]resources{}
	err := counters.Each(text, []string{containerCPU, containerMemory, podCPU}, func(line counters.Line) error {
		var pod types.NamespacedName
		line.Labels(func(name, value []byte) {
			switch string(name) {
			case "namespace":
				pod.Namespace = string(value)
			case "pod":
				pod.Name = string(value)
			}
		})
		if !wanted(pod) {
			return nil
		}
		value, err := line.Value()
		if err != nil {
			return err //nolint:wrapcheck // it says what was being done
		}
		r := read[pod]
		switch {
		case bytes.Equal(line.Metric, []byte(containerCPU)):
			r.containers += value
			if at := line.Millis(); r.containersAt == 0 || at < r.containersAt {
				r.containersAt = at
			}
		case bytes.Equal(line.Metric, []byte(podCPU)):
			r.pod, r.podAt = value, line.Millis()
		default:
			r.memory += value
		}
		read[pod] = r
		return nil
	})
	return read, err //nolint:wrapcheck // it says what was being done
}
