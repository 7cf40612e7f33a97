package scrape

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// CPU is what the kubelets count of containers, by namespace and name, over all pods,
// and under Machines of all that runs on their machines.
type CPU map[string]Used

// Machines is the whole: what neither a container nor idle used, too.
const Machines = "all that runs, other processes too"

// Used is CPU time, in seconds, until a time.
type Used struct {
	Seconds float64
	At      time.Time
}

// summary is what a kubelet tells of its pods, as far as it is looked at.
type summary struct {
	Node struct {
		CPU usage `json:"cpu"`
	} `json:"node"`
	Pods []struct {
		PodRef     struct{ Namespace string } `json:"podRef"`
		Containers []struct {
			Name string `json:"name"`
			CPU  usage  `json:"cpu"`
		} `json:"containers"`
	} `json:"pods"`
}

type usage struct {
	Time                 time.Time `json:"time"`
	UsageCoreNanoSeconds float64   `json:"usageCoreNanoSeconds"`
}

// ContainerCPU reads what the kubelets counted last: some seconds ago.
func ContainerCPU(ctx context.Context, kube kubernetes.Interface) (CPU, error) {
	nodes, err := kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	all := CPU{}
	for _, node := range nodes.Items {
		data, err := kube.CoreV1().RESTClient().Get().Resource("nodes").Name(node.Name).SubResource("proxy").Suffix("stats/summary").DoRaw(ctx)
		if err == nil {
			err = all.add(data)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the usage of node %s: %w", node.Name, err)
		}
	}
	return all, nil
}

func (c CPU) add(data []byte) error {
	var told summary
	if err := json.Unmarshal(data, &told); err != nil {
		return fmt.Errorf("parsing: %w", err)
	}
	c.count(Machines, told.Node.CPU)
	for _, pod := range told.Pods {
		for _, container := range pod.Containers {
			c.count(pod.PodRef.Namespace+"/"+container.Name, container.CPU)
		}
	}
	return nil
}

func (c CPU) count(name string, more usage) {
	used := c[name]
	used.Seconds += more.UsageCoreNanoSeconds / 1e9
	if more.Time.After(used.At) {
		used.At = more.Time
	}
	c[name] = used
}

// CoresSince is how many cores each kept busy since an earlier reading. What wasn't
// counted anew since is left out.
func (c CPU) CoresSince(before CPU) map[string]float64 {
	cores := map[string]float64{}
	for name, now := range c {
		then, ok := before[name]
		if seconds := now.At.Sub(then.At).Seconds(); ok && seconds > 0 && now.Seconds >= then.Seconds {
			cores[name] = (now.Seconds - then.Seconds) / seconds
		}
	}
	return cores
}
