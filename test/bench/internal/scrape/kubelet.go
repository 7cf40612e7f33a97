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
		PodRef     struct{ Name, Namespace string } `json:"podRef"`
		Containers []struct {
			Name   string `json:"name"`
			CPU    usage  `json:"cpu"`
			Memory struct {
				Time            time.Time `json:"time"`
				RSSBytes        float64   `json:"rssBytes"`
				WorkingSetBytes float64   `json:"workingSetBytes"`
			} `json:"memory"`
		} `json:"containers"`
	} `json:"pods"`
}

type usage struct {
	Time                 time.Time `json:"time"`
	UsageCoreNanoSeconds float64   `json:"usageCoreNanoSeconds"`
}

// ContainerCPU reads what the kubelets counted last: some seconds ago.
func ContainerCPU(ctx context.Context, kube kubernetes.Interface) (CPU, error) {
	all := CPU{}
	return all, summaries(ctx, kube, all.add)
}

// summaries hands over what each kubelet tells.
func summaries(ctx context.Context, kube kubernetes.Interface, add func([]byte) error) error {
	nodes, err := kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	for _, node := range nodes.Items {
		data, err := kube.CoreV1().RESTClient().Get().Resource("nodes").Name(node.Name).SubResource("proxy").Suffix("stats/summary").DoRaw(ctx)
		if err == nil {
			err = add(data)
		}
		if err != nil {
			return fmt.Errorf("reading the usage of node %s: %w", node.Name, err)
		}
	}
	return nil
}

func parse(data []byte) (summary, error) {
	var told summary
	if err := json.Unmarshal(data, &told); err != nil {
		return told, fmt.Errorf("parsing: %w", err)
	}
	return told, nil
}

func (c CPU) add(data []byte) error {
	told, err := parse(data)
	if err != nil {
		return err
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

// Container is one of a pod's.
type Container struct{ Namespace, Pod, Name string }

// Memory is what the kubelets counted of containers.
type Memory map[Container]Held

// Held is memory, in bytes, at a time: the resident set of its processes, and the
// working set, which has the page cache in use as well.
type Held struct {
	RSS, WorkingSet float64
	At              time.Time
}

// ContainerMemory reads what the kubelets counted last: some seconds ago.
func ContainerMemory(ctx context.Context, kube kubernetes.Interface) (Memory, error) {
	all := Memory{}
	return all, summaries(ctx, kube, all.add)
}

func (m Memory) add(data []byte) error {
	told, err := parse(data)
	if err != nil {
		return err
	}
	for _, pod := range told.Pods {
		for _, container := range pod.Containers {
			m[Container{Namespace: pod.PodRef.Namespace, Pod: pod.PodRef.Name, Name: container.Name}] = Held{
				RSS: container.Memory.RSSBytes, WorkingSet: container.Memory.WorkingSetBytes, At: container.Memory.Time,
			}
		}
	}
	return nil
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
