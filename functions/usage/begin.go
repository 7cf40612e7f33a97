package usage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// sinceName is the ConfigMap that says since when is counted. It goes with the CRD of Usages.
	sinceName, sinceKey = "usage-since", "since"
	// CRDName is that CRD.
	CRDName = "usages.sluice.dev"
	// beginWithin bounds the wait for gateway pods as the ledger is installed.
	beginWithin = time.Minute
)

// begin takes over, where there wasn't a ledger before, what was counted until now: it is nobody's
// usage. From then on, whatever wasn't seen before is counted from its start.
func (l *Ledger) begin(ctx context.Context) error {
	maps := l.Kube.CoreV1().ConfigMaps(l.Namespace)
	if _, err := maps.Get(ctx, sinceName, metav1.GetOptions{}); err == nil {
		return nil
	} else if !apierrs.IsNotFound(err) {
		return fmt.Errorf("finding out since when is counted: %w", err)
	}
	crd, err := l.Since(ctx)
	if err != nil {
		return fmt.Errorf("finding the CRD of usages: %w", err)
	}
	if err := errors.Join(l.takeGateways(ctx), l.takeReplicas(ctx)); err != nil {
		return err
	}
	l.write(ctx, true)
	if n := l.unwritten(); n > 0 {
		return fmt.Errorf("what gateways counted before was not noted for %d Models", n)
	}
	noted := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: sinceName, Namespace: l.Namespace, OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: CRDName, UID: crd,
		}}},
		Data: map[string]string{sinceKey: l.Clock.Now().UTC().Format(time.RFC3339)},
	}
	if _, err := maps.Create(ctx, noted, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("noting since when is counted: %w", err)
	}
	l.Log.Info("Counts from now on")
	return nil
}

// takeGateways takes over what ready gateway pods have counted.
func (l *Ledger) takeGateways(ctx context.Context) error {
	pods, err := l.Cluster.GatewayPods()
	if err != nil {
		return err //nolint:wrapcheck // it says what was being done
	}
	for _, pod := range pods {
		if ready, _ := readiness(pod); !ready {
			continue
		}
		read, err := l.patiently(ctx, pod)
		if err != nil {
			l.Log.Warnw("Gateway pod not read: what it counted before counts as used", zap.String("pod", pod.Name), zap.Error(err))
			continue
		}
		l.mu.Lock()
		for name, of := range read.models {
			l.of(name).Baseline(l.Clock.Now(), readingOf(pod, read.uptime, of))
		}
		l.mu.Unlock()
	}
	return nil
}

// patiently reads a pod, again where it doesn't answer.
func (l *Ledger) patiently(ctx context.Context, pod *corev1.Pod) (read counted, err error) {
	ctx, cancel := context.WithTimeout(ctx, beginWithin)
	defer cancel()
	l.every(ctx, look, func() {
		bounded, done := context.WithTimeout(ctx, answerWithin)
		defer done()
		if read, err = l.read(bounded, pod.Status.PodIP, l.known); err == nil {
			cancel()
		}
	})
	return read, err
}

// takeReplicas takes over what Models' pods have used.
func (l *Ledger) takeReplicas(ctx context.Context) error {
	pods, err := l.Cluster.Replicas()
	if err != nil {
		return err //nolint:wrapcheck // it says what was being done
	}
	on := map[string][]*corev1.Pod{}
	for _, pod := range pods {
		if pod.Spec.NodeName != "" && !over(pod) {
			on[pod.Spec.NodeName] = append(on[pod.Spec.NodeName], pod)
		}
	}
	for node, of := range on {
		replicas, err := l.readNode(ctx, node, of)
		if err != nil {
			l.Log.Warnw("Node not read: what its pods used before counts as used", zap.String("node", node), zap.Error(err))
			continue
		}
		l.mu.Lock()
		for model, all := range replicas {
			for _, r := range all {
				l.of(model).Take(r)
			}
		}
		l.mu.Unlock()
	}
	return nil
}

// unwritten is how many Models have something that isn't written.
func (l *Ledger) unwritten() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.books {
		if k.book.Changed() {
			n++
		}
	}
	return n
}
