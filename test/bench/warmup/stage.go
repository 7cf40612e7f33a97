package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// window is Knative's shortest, so that Models are soon at zero again.
	window = 6 * time.Second
	// readyWithin bounds the wait for what was just created, its images pulled.
	readyWithin = 2 * time.Minute
	// restWithin bounds the wait for zero replicas, scaledWithin that for others.
	restWithin, scaledWithin = time.Minute, time.Minute
	// lanes spread a load over connections, and so over the gateway's pods.
	lanes = 32
)

// populate creates those Models that aren't there yet, and returns where each is
// served.
func (b *bench) populate(ctx context.Context, subjects ...subject) (map[string]platform.Endpoint, error) {
	for _, s := range subjects {
		_, err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Create(ctx, b.model(s), metav1.CreateOptions{})
		if err != nil && !apierrs.IsAlreadyExists(err) {
			return nil, fmt.Errorf("creating Model %s: %w", s.name, err)
		}
	}
	endpoints := map[string]platform.Endpoint{}
	for _, s := range subjects {
		m, err := b.ready(ctx, s.name, func(*v1alpha1.Model) string { return "" })
		if err != nil {
			return nil, err
		}
		endpoints[s.name] = platform.Endpoint{Address: b.gateway, Host: m.Status.URL.Host}
	}
	return endpoints, nil
}

// ready waits until a Model is Ready as it was last written, and nothing more is
// missing.
func (b *bench) ready(ctx context.Context, name string, missing func(*v1alpha1.Model) string) (*v1alpha1.Model, error) {
	var m *v1alpha1.Model
	err := platform.Until(ctx, readyWithin, "Model "+name+" to be Ready", func(ctx context.Context) (string, error) {
		var err error
		if m, err = b.clients.Sluice.SluiceV1alpha1().Models(namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return "", fmt.Errorf("getting it: %w", err)
		}
		if m.Status.ObservedGeneration != m.Generation || !m.IsReady() || m.Status.URL == nil {
			return fmt.Sprintf("generation %d of %d, conditions %v", m.Status.ObservedGeneration, m.Generation, m.Status.Conditions), nil
		}
		return missing(m), nil
	})
	return m, err
}

// patch changes a Model.
func (b *bench) patch(ctx context.Context, name, merge string) error {
	_, err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Patch(ctx, name, types.MergePatchType, []byte(merge), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("changing Model %s: %w", name, err)
	}
	return nil
}

// scale changes how many replicas a Model has at least, and has the activator in the
// path at zero replicas only; it makes no revision.
func (b *bench) scale(ctx context.Context, name string, to int) error {
	return b.patch(ctx, name, fmt.Sprintf(`{"spec": {"autoscaling": {"minReplicas": %d, "targetBurstCapacity": %d}}}`, to, pastActivator))
}

// pods are those of a Knative Service, a Model's or a plain one.
func (b *bench) pods(ctx context.Context, service string) ([]corev1.Pod, error) {
	list, err := b.clients.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=" + service})
	if err != nil {
		return nil, fmt.Errorf("listing the pods of %s: %w", service, err)
	}
	return list.Items, nil
}

// living returns those that aren't ending, and how many of them are ready.
func living(pods []corev1.Pod) (alive []corev1.Pod, ready int) {
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		alive = append(alive, pod)
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	return alive, ready
}

// replicas waits until a service has just so many, all of them ready, and returns them.
func (b *bench) replicas(ctx context.Context, service string, n int) ([]corev1.Pod, error) {
	var alive []corev1.Pod
	err := platform.Until(ctx, scaledWithin, fmt.Sprintf("%d replicas of %s", n, service), func(ctx context.Context) (string, error) {
		pods, err := b.pods(ctx, service)
		if err != nil {
			return "", err
		}
		var ready int
		if alive, ready = living(pods); len(alive) != n || ready != n {
			return fmt.Sprintf("%d, of which %d are ready", len(alive), ready), nil
		}
		return "", nil
	})
	return alive, err
}

// rest waits until services are at zero, with the activator in the path. Their pods
// drain meanwhile, idle.
func (b *bench) rest(ctx context.Context, services ...string) error {
	for _, service := range services {
		if err := platform.Until(ctx, restWithin, "zero replicas of "+service, func(ctx context.Context) (string, error) {
			return b.awake(ctx, service)
		}); err != nil {
			return err
		}
	}
	return nil
}

// awake says what of a service isn't at zero.
func (b *bench) awake(ctx context.Context, service string) (string, error) {
	of := metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=" + service}
	autoscalers, err := b.clients.Serving.AutoscalingV1alpha1().PodAutoscalers(namespace).List(ctx, of)
	if err != nil {
		return "", fmt.Errorf("listing the autoscalers of %s: %w", service, err)
	}
	for _, pa := range autoscalers.Items {
		if !pa.Status.IsInactive() {
			return pa.Name + " is active", nil
		}
	}
	pods, err := b.pods(ctx, service)
	if err != nil {
		return "", err
	}
	if alive, _ := living(pods); len(alive) > 0 {
		return fmt.Sprintf("%d replicas", len(alive)), nil
	}
	return "", nil
}

// drive offers a load to an endpoint and has the ledger keep the answers.
func (b *bench) drive(ctx context.Context, to platform.Endpoint, run driving) (*load.Report, error) {
	schedule := load.Schedule{load.Hold(run.rate, run.lasts)}
	plan := load.Plan{
		Target: load.Target{
			Address: to.Address, Host: to.Host, Method: http.MethodPost, Path: platform.InferPath,
			Header: http.Header{"Content-Type": {"application/json"}}, Body: b.prediction,
		},
		Schedule: schedule, Lanes: lanes, RequestTimeout: 10 * time.Second, Stop: run.stop, EachAnswer: run.into.Note,
		Bounds: load.Bounds{Requests: schedule.Requests(), Duration: schedule.Duration() + 11*time.Second, InFlight: 2048},
	}
	got, err := plan.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", to.Host, err)
	}
	return got, ctx.Err()
}

// driving is a load of one rate.
type driving struct {
	rate  float64
	lasts time.Duration
	// stop ends it early.
	stop <-chan struct{}
	into *platform.Ledger
}

// lost counts the requests of a load that weren't answered with 2xx.
func lost(total load.Second) int {
	return total.Failed + total.Errored + total.Dropped + total.Limited
}

// whole is an error where any were.
func whole(got *load.Report) error {
	if n := lost(got.Total); n > 0 {
		return fmt.Errorf("%d of %d requests were not answered with 2xx: %v, %q", n, got.Total.Offered, got.Codes, got.Errors)
	}
	return nil
}

// clean removes all that the benchmark makes, whoever left it, and waits until it is
// gone. Routes go first: of a namespace that is deleted as a whole they go only after
// its pods, which drain.
func (b *bench) clean(ctx context.Context) error {
	return stage.Strike(ctx, b.clients, namespace, cleanWithin)
}
