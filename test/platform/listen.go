package platform

import (
	"context"
	"errors"
	"fmt"
	"net"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ErrElsewhere is that of a cluster whose node isn't this machine.
var ErrElsewhere = errors.New("pods can't reach this machine")

// ListenForPods listens at the node's address, which pods of a local cluster reach.
func (c *Clients) ListenForPods(ctx context.Context) (net.Listener, error) {
	nodes, err := c.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	for _, node := range nodes.Items {
		for _, a := range node.Status.Addresses {
			if a.Type != corev1.NodeInternalIP {
				continue
			}
			listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(a.Address, "0"))
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrElsewhere, err)
			}
			return listener, nil
		}
	}
	return nil, ErrElsewhere
}
