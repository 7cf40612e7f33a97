package stack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/hack/cluster/internal/kubeapi"
	"sluice.dev/sluice/hack/cluster/internal/plan"
)

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

func isTrue(conditions []condition, kind string) bool {
	return slices.ContainsFunc(conditions, func(c condition) bool { return c.Type == kind && c.Status == "True" })
}

type named struct {
	Metadata struct {
		Namespace  string `json:"namespace"`
		Name       string `json:"name"`
		Generation int64  `json:"generation"`
	} `json:"metadata"`
}

type conditioned struct {
	named
	Status struct {
		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

type listOf[T any] struct {
	Items []T `json:"items"`
}

func (s *Stack) definitionsEstablished(ctx context.Context) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	var list listOf[conditioned]
	if err := c.Get(ctx, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &list); err != nil {
		return err
	}
	for _, d := range list.Items {
		if !isTrue(d.Status.Conditions, "Established") {
			return fmt.Errorf("%s is not established", d.Metadata.Name)
		}
	}
	return nil
}

// controlPlanes are the namespaces whose Deployments belong to the stack.
var controlPlanes = []string{"istio-system", servingNamespace, eventingNamespace}

type deployment struct {
	named
	Spec struct {
		Replicas int `json:"replicas"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64 `json:"observedGeneration"`
		UpdatedReplicas    int   `json:"updatedReplicas"`
		AvailableReplicas  int   `json:"availableReplicas"`
		Replicas           int   `json:"replicas"`
	} `json:"status"`
}

func (d deployment) done() bool {
	return d.Status.ObservedGeneration >= d.Metadata.Generation && d.Status.UpdatedReplicas == d.Spec.Replicas &&
		d.Status.AvailableReplicas == d.Spec.Replicas && d.Status.Replicas == d.Spec.Replicas
}

// waitReady waits for the node and every control plane's Deployments.
func (s *Stack) waitReady(ctx context.Context, r *plan.Report) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	first := true
	return s.wait(ctx, 5*time.Minute, "not everything is ready", func(ctx context.Context) error {
		missing, err := notReady(ctx, c)
		if err == nil {
			var stale []string
			stale, err = s.notRunning(ctx, c)
			missing = append(missing, stale...)
		}
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			if first {
				r.Reused()
			}
			return nil
		}
		first = false
		return fmt.Errorf("waiting for %s", strings.Join(missing, ", "))
	})
}

func notReady(ctx context.Context, c *kubeapi.Client) ([]string, error) {
	var missing []string
	var nodes listOf[conditioned]
	if err := c.Get(ctx, "/api/v1/nodes", &nodes); err != nil {
		return nil, err
	}
	if len(nodes.Items) == 0 || !isTrue(nodes.Items[0].Status.Conditions, "Ready") {
		missing = append(missing, "the node")
	}
	for _, namespace := range controlPlanes {
		var deployments listOf[deployment]
		if err := c.Get(ctx, "/apis/apps/v1/namespaces/"+namespace+"/deployments", &deployments); err != nil {
			return nil, err
		}
		if len(deployments.Items) == 0 {
			missing = append(missing, namespace)
		}
		for _, d := range deployments.Items {
			if !d.done() {
				missing = append(missing, d.Metadata.Name)
			}
		}
	}
	return missing, nil
}

// notRunning lists pods of the control planes that count as ready while their
// containers don't run. After the whole machine's processes were killed, the
// API tells of the last life until the kubelet has looked around.
func (s *Stack) notRunning(ctx context.Context, c *kubeapi.Client) ([]string, error) {
	tasks, err := s.ctr(ctx, "tasks", "list")
	if err != nil {
		return nil, fmt.Errorf("listing containerd's tasks: %w", err)
	}
	running := runningTasks(tasks)
	var stale []string
	for _, namespace := range controlPlanes {
		var pods listOf[podStatus]
		if err := c.Get(ctx, "/api/v1/namespaces/"+namespace+"/pods", &pods); err != nil {
			return nil, err
		}
		for _, p := range pods.Items {
			if !isTrue(p.Status.Conditions, "Ready") {
				continue // its Deployment is waited for
			}
			for _, container := range p.Status.ContainerStatuses {
				if !running[strings.TrimPrefix(container.ContainerID, "containerd://")] {
					stale = append(stale, p.Metadata.Name)
				}
			}
		}
	}
	return stale, nil
}

// runningTasks reads the table that `ctr tasks list` prints.
func runningTasks(table string) map[string]bool {
	running := map[string]bool{}
	for _, line := range strings.Split(table, "\n") {
		if fields := strings.Fields(line); len(fields) == 3 && fields[2] == "RUNNING" {
			running[fields[0]] = true
		}
	}
	return running
}
