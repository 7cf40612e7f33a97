//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/autoscaling"

	"sluice.dev/sluice/reconciler/apis/obstacle"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// device is a resource that no node has unless a test says so.
	device = "e2e.sluice.dev/device"
	// had is how many replicas there may be, wanted how many the demand calls for, at
	// 20/s each.
	had, wantedReplicas = 2, 4
	// givenUp is until when replicas are expected that say what keeps them, and found out
	// a little later.
	givenUp = 50 * time.Second
	// triedAgain is until when they are there once they can be had: Kubernetes tries
	// again when a floor moves, once a minute.
	triedAgain = 90 * time.Second
)

// scarcity keeps a Model from having more than some replicas.
type scarcity struct {
	*stage
	reason string
	// allow changes how many there may be.
	allow func(replicas int)
}

// A quota, and a device that nodes lack, keep a Model from the replicas that a demand
// calls for: soon the limit is what serves, the status says why, the revision isn't held
// at what it can't have, and who is admitted is answered. When more can be had, the
// limit follows.
func TestReplicasThatCannotBeHad(t *testing.T) {
	quota := scarcity{stage: newStage(t), reason: obstacle.QuotaExceeded}
	quota.allow = quota.allowPods
	devices := scarcity{stage: newStage(t), reason: obstacle.InsufficientDevices}
	devices.allow = devices.advertise
	t.Cleanup(func() { devices.advertise(0) })

	var ends []func() *load.Report
	var endpoints []platform.Endpoint
	for _, c := range []scarcity{quota, devices} {
		c.allow(had)
		c.create(c.ranker("ranker", func(m *v1alpha1.Model) {
			m.Spec.Autoscaling.MaxReplicas = ptr.Int32(8)
			if c.reason == obstacle.InsufficientDevices {
				m.Spec.Container.Resources.Limits = corev1.ResourceList{device: resource.MustParse("1")}
			}
		}))
	}
	for _, c := range []scarcity{quota, devices} {
		endpoints = append(endpoints, c.serving("ranker"))
	}
	for i, c := range []scarcity{quota, devices} {
		ends = append(ends, c.offer(endpoints[i], 20*wantedReplicas))
	}
	for _, c := range []scarcity{quota, devices} {
		c.lacks()
	}
	for i, c := range []scarcity{quota, devices} {
		c.noneFailed(ends[i]()) // and the demand goes on
		c.bounded(c.run(plan(endpoints[i], load.Schedule{load.Hold(20*wantedReplicas, 10*time.Second)})), 20*had, 1)
		end := c.offer(endpoints[i], 20*wantedReplicas)
		c.allow(8)
		took := c.until(triedAgain, "the replicas that the demand calls for", func(context.Context) (string, error) {
			row := c.rateLimit("ranker").Status.Revisions[0]
			if row.Ready < wantedReplicas || row.Missing > 0 {
				return fmt.Sprintf("%+v", row), nil
			}
			return "", nil
		})
		c.Logf("%s: all replicas %.1f s after they could be had", c.reason, took.Seconds())
		c.noneFailed(end())
		c.until(restWithin, "nothing to be said of it", func(ctx context.Context) (string, error) {
			m, err := c.Sluice.SluiceV1alpha1().Models(c.namespace).Get(ctx, "ranker", metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			if said := m.Status.GetCondition(v1alpha1.ModelConditionScaled); said != nil {
				return said.Message, nil
			}
			return "", nil
		})
	}
}

// lacks waits until the limit is what serves, and the status says what keeps the others.
func (c scarcity) lacks() {
	c.Helper()
	took := c.until(givenUp, "the limit to be what serves", func(context.Context) (string, error) {
		l := c.rateLimit("ranker").Status
		row := l.Revisions[0]
		switch {
		case row.Missing == 0 || row.Reason != c.reason || row.Ready != had:
			return fmt.Sprintf("%+v", row), nil
		case l.Limit == nil || l.Limit.RequestsPerSecond.Value() != 20*had:
			return fmt.Sprintf("limit %+v, %+v", l.Limit, row), nil
		case row.Needed > had+2:
			return fmt.Sprintf("held at %d replicas", row.Needed), nil
		}
		return "", nil
	})
	m := c.condition("ranker", v1alpha1.ModelConditionScaled, corev1.ConditionFalse, c.reason)
	said := m.Status.GetCondition(v1alpha1.ModelConditionScaled)
	c.Logf("after %.1f s: %s: %s", took.Seconds(), said.Reason, said.Message)
	if !strings.Contains(said.Message, " replicas of revision ranker-00001 aren't coming: ") {
		c.Errorf("the status says %+v", said)
	}
	// Where no pod can be made, Knative itself says that the revision isn't ready.
	if ready := m.Status.GetCondition(v1alpha1.ModelConditionReady); c.reason != obstacle.QuotaExceeded && !ready.IsTrue() {
		c.Errorf("not Ready: %+v", ready)
	}
	c.until(restWithin, "the revision to be held at what may be had", func(ctx context.Context) (string, error) {
		revision, err := c.Serving.ServingV1().Revisions(c.namespace).Get(ctx, "ranker-00001", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		least := revision.Annotations[autoscaling.MinScaleAnnotationKey]
		if n, err := strconv.Atoi(least); err == nil && n <= had+2 {
			return "", nil
		}
		return "min-scale is " + least, nil
	})
}

// allowPods is a quota on the pods of the namespace.
func (c scarcity) allowPods(pods int) {
	c.Helper()
	c.quota("pods", corev1.ResourcePods, pods)
}

// quota bounds how many there may be of something in the namespace.
func (s *stage) quota(name string, of corev1.ResourceName, most int) {
	s.Helper()
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{of: *resource.NewQuantity(int64(most), resource.DecimalSI)}},
	}
	quotas := s.Kube.CoreV1().ResourceQuotas(s.namespace)
	_, err := quotas.Create(s.Context(), quota, metav1.CreateOptions{})
	if err != nil {
		_, err = quotas.Update(s.Context(), quota, metav1.UpdateOptions{})
	}
	if err != nil {
		s.Fatal("setting a quota:", err)
	}
}

// advertise has the node offer so many devices.
func (c scarcity) advertise(devices int) {
	c.Helper()
	ctx := context.Background() // also when the test has ended
	nodes, err := c.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil || len(nodes.Items) == 0 {
		c.Fatal("listing nodes:", err)
	}
	patch := fmt.Sprintf(`{"status": {"capacity": {%q: "%d"}}}`, device, devices)
	if devices == 0 {
		patch = fmt.Sprintf(`{"status": {"capacity": {%q: null}, "allocatable": {%q: null}}}`, device, device)
	}
	if _, err := c.Kube.CoreV1().Nodes().Patch(ctx, nodes.Items[0].Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		c.Fatal("advertising devices:", err)
	}
}
