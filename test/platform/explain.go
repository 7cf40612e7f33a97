package platform

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// recentEvents is how many events an explanation ends with.
const recentEvents = 15

// Explain says, for the output of a failure, what the Models of a namespace and
// what belongs to them report, and the latest events there.
func (c *Clients) Explain(ctx context.Context, namespace string) string {
	var b strings.Builder
	if models, err := c.Sluice.SluiceV1alpha1().Models(namespace).List(ctx, metav1.ListOptions{}); err == nil {
		for _, m := range models.Items {
			fmt.Fprintf(&b, "Model %s/%s: generation %d, observed %d, desired %d, ready %d\n",
				namespace, m.Name, m.Generation, m.Status.ObservedGeneration, m.Status.DesiredReplicas, m.Status.ReadyReplicas)
			describe(&b, m.Status.Status)
		}
	}
	if limits, err := c.Sluice.SluiceV1alpha1().RateLimits(namespace).List(ctx, metav1.ListOptions{}); err == nil {
		for _, l := range limits.Items {
			fmt.Fprintf(&b, "RateLimit %s/%s:", namespace, l.Name)
			if in := l.Status.Limit; in != nil {
				fmt.Fprintf(&b, " %s/s on %d of %d gateway pods", in.RequestsPerSecond, in.ProvedGatewayPods, in.GatewayPods)
			}
			fmt.Fprintln(&b)
			describe(&b, l.Status.Status)
		}
	}
	if services, err := c.Serving.ServingV1().Services(namespace).List(ctx, metav1.ListOptions{}); err == nil {
		for _, s := range services.Items {
			fmt.Fprintf(&b, "Knative Service %s/%s\n", namespace, s.Name)
			describe(&b, s.Status.Status)
		}
	}
	if ingresses, err := c.Networking.NetworkingV1alpha1().Ingresses(namespace).List(ctx, metav1.ListOptions{}); err == nil {
		for _, i := range ingresses.Items {
			fmt.Fprintf(&b, "Knative Ingress %s/%s\n", namespace, i.Name)
			describe(&b, i.Status.Status)
		}
	}
	c.describeEvents(ctx, &b, namespace)
	return b.String()
}

func describe(b *strings.Builder, status duckv1.Status) {
	for _, condition := range status.Conditions {
		fmt.Fprintf(b, "  %-22s %-8s %s %s\n", condition.Type, condition.Status, condition.Reason, condition.Message)
	}
}

func (c *Clients) describeEvents(ctx context.Context, b *strings.Builder, namespace string) {
	events, err := c.Kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	slices.SortFunc(events.Items, func(x, y corev1.Event) int { return cmp.Compare(when(x), when(y)) })
	for _, e := range events.Items[max(0, len(events.Items)-recentEvents):] {
		fmt.Fprintf(b, "event %s %s/%s %s: %s\n", e.LastTimestamp.Format("15:04:05"), e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
}

func when(e corev1.Event) int64 {
	if e.LastTimestamp.IsZero() {
		return e.EventTime.UnixMicro()
	}
	return e.LastTimestamp.UnixMicro()
}
