package stack

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"sluice.dev/sluice/hack/cluster/internal/process"
)

// Status writes a line for each component, and for each store that was asked for, and then
// the pods that aren't ready.
// The result says whether all is up.
func (s *Stack) Status(ctx context.Context, out io.Writer) (up bool) {
	up = true
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "COMPONENT\tSTATE\tPID\tSINCE\tADDRESS")
	for _, c := range append(s.components(), s.begun()...) {
		state, pid, since := "down", "-", "-"
		if id, ok := process.Load(filepath.Join(s.layout.Pids(), c.name)); ok && id.Running() {
			state, pid = "up", fmt.Sprint(id.Pid)
			since = id.Since.Format("15:04:05") + " (" + time.Since(id.Since).Round(time.Second).String() + ")"
			if err := c.ready(ctx); err != nil {
				state = "not ready"
			}
		}
		up = up && state == "up"
		address := "-"
		if len(c.listens) > 0 {
			address = c.listens[0]
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.name, state, pid, since, address)
	}
	_ = w.Flush()
	if !s.apiserverUp() {
		return up
	}
	unready, err := s.podsNotReady(ctx)
	switch {
	case err != nil:
		fmt.Fprintf(out, "\nthe pods can't be listed: %v\n", err)
		return false
	case len(unready) == 0:
		fmt.Fprintln(out, "\nall pods are ready")
	default:
		fmt.Fprintf(out, "\nnot ready:\n  %s\n", strings.Join(unready, "\n  "))
	}
	return up
}

func (s *Stack) apiserverUp() bool {
	id, ok := process.Load(filepath.Join(s.layout.Pids(), "kube-apiserver"))
	return ok && id.Running()
}

// podStatus is the part of a pod's status that tells why it isn't ready.
type podStatus struct {
	named
	Status struct {
		Phase             string      `json:"phase"`
		Conditions        []condition `json:"conditions"`
		ContainerStatuses []struct {
			Name        string `json:"name"`
			ContainerID string `json:"containerID"`
			State       struct {
				Waiting struct {
					Reason string `json:"reason"`
				} `json:"waiting"`
			} `json:"state"`
		} `json:"containerStatuses"`
	} `json:"status"`
}

func (s *Stack) podsNotReady(ctx context.Context) ([]string, error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	var pods listOf[podStatus]
	if err := c.Get(ctx, "/api/v1/pods", &pods); err != nil {
		return nil, err
	}
	var unready []string
	for _, p := range pods.Items {
		if p.Status.Phase == "Succeeded" || isTrue(p.Status.Conditions, "Ready") {
			continue
		}
		why := p.Status.Phase
		for _, container := range p.Status.ContainerStatuses {
			if reason := container.State.Waiting.Reason; reason != "" {
				why += ", " + container.Name + ": " + reason
			}
		}
		unready = append(unready, fmt.Sprintf("%s/%s (%s)", p.Metadata.Namespace, p.Metadata.Name, why))
	}
	return unready, nil
}
