package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/load"
)

const (
	scarcityPart = "Scarcity: 80/s at a Model of 20/s a replica, of which a quota allows 2"
	// replicasHad is what the quota allows, scarceLoad a demand for twice as many.
	replicasHad, scarceLoad = 2, 2 * replicasHad * capacity
	// scarceFor is how long the limit has to become what serves, heldFor how long that is
	// then measured.
	scarceFor, heldFor = 75 * time.Second, 15 * time.Second
	// givenUpWithin is by when it should have: half a minute from the refusal, that
	// comes some seconds after the demand.
	givenUpWithin = 45
)

// measureScarcity measures when the limit of a Model comes to be what those of its
// replicas serve that can be had, and what is admitted and answered then.
func (b *bench) measureScarcity(ctx context.Context) error {
	address, err := b.clients.GatewayAddress(ctx)
	if err != nil {
		return err
	}
	_, err = b.clients.Kube.CoreV1().ResourceQuotas(scarceNamespace).Create(ctx, &corev1.ResourceQuota{
		ObjectMeta: meta(scarceNamespace, "pods"),
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(replicasHad, resource.DecimalSI)}},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("setting a quota: %w", err)
	}
	models := b.clients.Sluice.SluiceV1alpha1().Models(scarceNamespace)
	m := arm{name: "scarce", rate: "20", policy: v1alpha1.PolicyDemand}.model(b.streams)
	m.Namespace = scarceNamespace
	if _, err := models.Create(ctx, m, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating Model %s: %w", m.Name, err)
	}
	host, err := stage.Ready(ctx, b.clients, scarceNamespace, m.Name, deployWithin)
	if err != nil {
		return err
	}
	target := load.Target{Address: address, Host: host, Method: http.MethodGet, Path: takes}
	reached, began := math.Inf(1), time.Now()
	_, err = offer(ctx, target, load.Schedule{load.Hold(scarceLoad, scarceFor)}, func(_ load.Second, stop func()) {
		if got, err := models.Get(ctx, m.Name, metav1.GetOptions{}); err == nil && math.IsInf(reached, 1) && heldAt(got, replicasHad*capacity) {
			reached = time.Since(began).Seconds()
			stop()
		}
	})
	if err != nil {
		return err
	}
	held, err := offer(ctx, target, load.Schedule{load.Hold(scarceLoad, heldFor)}, nil)
	if err != nil {
		return err
	}
	counted := load.Sum(held.Seconds[2 : len(held.Seconds)-1])
	b.report.Add(scarcityPart,
		report.Value("the limit is what serves after", reached, "s").Within(report.AtMost, givenUpWithin),
		report.Value("admitted then, off what serves", 100*math.Abs(float64(counted.Admitted)/float64(counted.Index*replicasHad*capacity)-1), "%").Within(report.AtMost, 3),
		report.Value("p99 of who is admitted then", float64(held.Total.P99.Milliseconds()), "ms"),
	)
	return stage.IgnoreNotFound(models.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
}

// heldAt is true of a Model whose limit in force is so much, in requests per second.
func heldAt(m *v1alpha1.Model, rate int64) bool {
	return m.Status.Limit != nil && m.Status.Limit.RequestsPerSecond.Value() == rate && m.Status.Limit.ProvedGatewayPods == m.Status.Limit.GatewayPods &&
		len(m.Status.Revisions) > 0 && m.Status.Revisions[0].Ready == replicasHad
}
