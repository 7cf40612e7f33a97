// Package reach is how our own probers come to a gateway's pods: at the address that a
// pod has, while it has it, and without one that doesn't answer holding up the others.
// What they ask is theirs.
package reach

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
)

const (
	// SuspectsAtOnce bounds the questions to a pod that are suspected to get no answer:
	// each costs a timeout.
	SuspectsAtOnce = 1
	// within bounds the opening of a connection.
	within = time.Second
)

// Ready is true for a pod that gets new connections. One that is going away still
// answers those that it has.
func Ready(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.PodIP != "" &&
		slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
}

// Has tells whether the gateway pod of a name is ready at an address now.
type Has func(pod, address string) bool

// In looks in a cache of gateway pods.
func In(pods corev1listers.PodNamespaceLister) Has {
	return func(pod, address string) bool {
		found, err := pods.Get(pod)
		return err == nil && Ready(found) && found.Status.PodIP == address
	}
}

// Dial returns how to connect to a pod under whatever name: at its address, and at the
// port of the name. It doesn't if the address isn't the pod's any more: it may be
// anybody's by now, and what a probe carries is for gateways.
func (h Has) Dial(pod, address string) func(ctx context.Context, network, name string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: within}
	return func(ctx context.Context, network, name string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(name)
		if err != nil {
			return nil, fmt.Errorf("finding the port: %w", err)
		}
		if !h(pod, address) {
			return nil, fmt.Errorf("no gateway pod %s is ready at %s any more", pod, address)
		}
		return dialer.DialContext(ctx, network, net.JoinHostPort(address, port)) //nolint:wrapcheck // the client says whom it asked
	}
}

// Door is the way to one pod. It bounds how many questions to it are under way at the
// same time, and apart from them of those that are suspected to get no answer.
type Door struct{ sound, suspects chan struct{} }

// NewDoor returns a Door for that many questions at once.
func NewDoor(atOnce int) *Door {
	return &Door{sound: make(chan struct{}, atOnce), suspects: make(chan struct{}, SuspectsAtOnce)}
}

// Enter waits for a turn, as long as the context lasts, and returns how to end it.
func (d *Door) Enter(ctx context.Context, suspect func() bool) (leave func(), err error) {
	for {
		was := suspect()
		turn := d.sound
		if was {
			turn = d.suspects
		}
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a turn: %w", ctx.Err())
		}
		if was == suspect() {
			return func() { <-turn }, nil
		}
		<-turn // found out while it waited
	}
}
