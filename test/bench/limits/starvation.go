package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	starvationPart = "Starvation: a Model at 1 replica of 20/s meets 160/s, for which it needs 8"
	// capacity is what a replica serves, in requests per second: each takes a quarter of
	// a second, and with five at a time the autoscaler has what it aims for. It would
	// never ask for more than a limit at the capacity lets it see.
	capacity       = 20
	replicasNeeded = 8
	takes          = "/hello?seconds=0.25"
	// beforeStep is how long the Model has less than its capacity, stepsFor how long the
	// step lasts for those that don't get there, and atMost how long a Model that has
	// all its replicas is offered twice what they serve.
	beforeStep, stepsFor, atMost = 8 * time.Second, 40 * time.Second, 12 * time.Second
	// ticksAllowed is three decisions of the autoscaler, in seconds.
	ticksAllowed = 6
	deployWithin = 90 * time.Second
)

// arm is a Model under one policy.
type arm struct {
	name, title string
	rate        string
	policy      v1alpha1.LimitPolicy
}

// arms of the table. A limit that no load here comes near is none.
var arms = []arm{
	{name: "none", title: "no limit", rate: "1M", policy: v1alpha1.PolicyReady},
	{name: "ready", title: "policy Ready", rate: "20", policy: v1alpha1.PolicyReady},
	{name: "demand", title: "policy Demand", rate: "20", policy: v1alpha1.PolicyDemand},
}

// course of an arm through the step.
type stepCourse struct {
	arm
	// ready replicas at the end of each second since the step.
	ready []int32
	// reached is after how many seconds all needed replicas were ready; +Inf if they
	// never were.
	reached float64
	// admitted is the part of the step's requests that was.
	admitted float64
	// held is what was admitted, per second, to all replicas at twice their capacity;
	// NaN if they never were all there.
	held float64
}

// measureStarvation takes the arms through the step at the same time, so that the
// machine's moods meet all alike.
func (b *bench) measureStarvation(ctx context.Context) error {
	address, err := b.clients.GatewayAddress(ctx)
	if err != nil {
		return err
	}
	b.Sayf("starvation: deploying %d Models", len(arms))
	for _, a := range arms {
		if _, err := b.clients.Sluice.SluiceV1alpha1().Models(modelsNamespace).Create(ctx, a.model(b.streams), metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating Model %s: %w", a.name, err)
		}
	}
	courses := make([]stepCourse, len(arms))
	stepping, inner := errgroup.WithContext(ctx)
	var ready sync.WaitGroup
	ready.Add(len(arms))
	for i, a := range arms {
		stepping.Go(func() error {
			endpoint, err := stage.Ready(inner, b.clients, modelsNamespace, a.name, deployWithin)
			ready.Done()
			if err != nil {
				return err
			}
			ready.Wait()
			courses[i], err = b.takeStep(inner, a, load.Target{Address: address, Host: endpoint, Method: http.MethodGet, Path: takes})
			return err
		})
	}
	if err := stepping.Wait(); err != nil {
		return err
	}
	b.reportStarvation(courses)
	for _, c := range courses {
		b.Sayf("starvation: %-6s ready replicas, by second: %v", c.name, c.ready)
	}
	return stage.IgnoreNotFound(b.clients.Sluice.SluiceV1alpha1().Models(modelsNamespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
}

// model aims at five requests in flight, which is what a replica has that serves its
// capacity.
func (a arm) model(image string) *v1alpha1.Model {
	rate := resource.MustParse(a.rate)
	return &v1alpha1.Model{
		ObjectMeta: meta(modelsNamespace, a.name),
		Spec: v1alpha1.ModelSpec{
			Container: corev1.Container{
				Image: image,
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("8Mi"),
				}},
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
					HTTPGet: &corev1.HTTPGetAction{Path: "/hello"},
				}},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: ptr.Bool(false),
					RunAsNonRoot:             ptr.Bool(true),
					Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
					SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
				},
			},
			ContainerConcurrency: ptr.Int64(10),
			// Longer than what waits at the first replica while the others start.
			TimeoutSeconds: ptr.Int64(30),
			Autoscaling: v1alpha1.AutoscalingSpec{
				MinReplicas: ptr.Int32(1), MaxReplicas: ptr.Int32(replicasNeeded),
				Metric: v1alpha1.MetricConcurrency, Target: ptr.Int32(10), TargetUtilization: ptr.Int32(50),
			},
			Limit: v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate, Policy: a.policy},
		},
	}
}

// takeStep offers a part of one replica's capacity, then eight times of it, and, once
// all replicas are there, twice what these serve.
func (b *bench) takeStep(ctx context.Context, a arm, target load.Target) (stepCourse, error) {
	out := stepCourse{arm: a, reached: math.Inf(1), held: math.NaN()}
	trail, err := platform.Follow(ctx, b.clients, modelsNamespace, a.name)
	if err != nil {
		return out, err
	}
	if _, err := offer(ctx, target, load.Schedule{load.Hold(0.3*capacity, beforeStep)}, nil); err != nil {
		return out, err
	}
	began, enough := time.Now(), make(chan struct{})
	var once sync.Once
	step, err := offer(ctx, target, load.Schedule{load.Hold(replicasNeeded*capacity, stepsFor)}, func(s load.Second, stop func()) {
		out.ready = append(out.ready, trail.Now().Ready())
		if at, ok := reachedAt(trail.Since(began)); ok {
			out.reached = at.Sub(began).Seconds()
			once.Do(func() { close(enough); stop() })
		}
	})
	if err != nil {
		return out, err
	}
	out.admitted = float64(step.Total.Admitted) / float64(step.Total.Offered)
	if math.IsInf(out.reached, 1) {
		return out, nil
	}
	most, err := offer(ctx, target, load.Schedule{load.Hold(2*replicasNeeded*capacity, atMost)}, nil)
	if err != nil {
		return out, err
	}
	counted := load.Sum(most.Seconds[2 : len(most.Seconds)-1])
	out.held = float64(counted.Admitted) / float64(counted.Index)
	return out, nil
}

// reachedAt is the first moment in which all needed replicas were ready.
func reachedAt(moments []platform.Moment) (time.Time, bool) {
	for _, m := range moments {
		if m.Ready() >= replicasNeeded {
			return m.At, true
		}
	}
	return time.Time{}, false
}

// offer runs a schedule and calls each, if given, with every second and a way to end
// it. What isn't whole measured nothing.
func offer(ctx context.Context, target load.Target, schedule load.Schedule, each func(load.Second, func())) (*load.Report, error) {
	stop := make(chan struct{})
	plan := load.Plan{
		Target: target, Schedule: schedule, Lanes: lanes, Stop: stop,
		Bounds: load.Bounds{Requests: schedule.Requests(), Duration: schedule.Duration() + 15*time.Second, InFlight: 4096},
	}
	if each != nil {
		plan.EachSecond = func(s load.Second) { each(s, func() { close(stop) }) }
	}
	got, err := plan.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", target.Host, err)
	}
	return got, errors.Join(whole(got), ctx.Err())
}

func (b *bench) reportStarvation(courses []stepCourse) {
	reached := map[string]stepCourse{}
	for _, c := range courses {
		reached[c.name] = c
		after := report.Value("8 replicas ready after", c.reached, "s")
		if math.IsInf(c.reached, 1) {
			after = report.Value("8 replicas not ready after", stepsFor.Seconds(), "s")
		}
		b.report.Add(starvationPart+": "+c.title,
			after,
			report.Value("replicas ready in the end", float64(c.ready[len(c.ready)-1]), ""),
			report.Value("admitted meanwhile", 100*c.admitted, "%"),
		)
	}
	b.report.Add(starvationPart,
		report.Value("Demand gets there later than no limit by", reached["demand"].reached-reached["none"].reached, "s").Within(report.AtMost, ticksAllowed),
		report.Value("Demand, with all replicas: off their capacity", 100*math.Abs(reached["demand"].held/(capacity*replicasNeeded)-1), "%").Within(report.AtMost, 2),
	)
}
