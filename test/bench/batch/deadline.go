package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/census"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/platform"
)

const (
	deadlinePart = "deadlines, 20 s apart: 2,400 requests each, of Models of 10/s a replica at zero"
	// deadlineItems take a replica, which is said to serve dutyRate, four minutes.
	deadlineItems, dutyRate = 2400, 10
	// dutySeconds is how long each takes, dutyConcurrency how many a replica works on at a
	// time: so it could serve somewhat more than it is said to.
	dutySeconds, dutyConcurrency = 0.1, 2
	// mostReplicas is what a Model may have.
	mostReplicas = 20
	// zeroWithin bounds the wait for Models at zero, startsWithin that for a run to begin.
	zeroWithin, startsWithin = 2 * time.Minute, 30 * time.Second
)

// shortest is the deadline of the run whose replicas have least time for anything else.
const shortest = time.Minute

// deadlines are those of the runs. Each begins a while after the one before, so that the
// replicas of one don't start on the same cores as those of another. The longest comes first, and
// the part many goes on beside it once the shortest is over.
var deadlines = []time.Duration{5 * time.Minute, shortest, 2 * time.Minute}

// apart is how long after the one before a run begins.
const apart = 20 * time.Second

// duty is the Model of a run with a deadline. The autoscaler aims above what a replica serves,
// so that it has as many as it is told to.
func (b *bench) duty(deadline time.Duration) *v1alpha1.Model {
	of := sleeper{
		name: dutyName(deadline), seconds: dutySeconds, concurrency: dutyConcurrency, perReplica: dutyRate, min: 0, max: mostReplicas,
	}
	m := of.model(b.streams)
	m.Spec.Autoscaling.Metric, m.Spec.Autoscaling.Target, m.Spec.Autoscaling.TargetUtilization = v1alpha1.MetricRPS, ptr.Int32(2*dutyRate), ptr.Int32(100)
	m.Spec.Autoscaling.Window = &metav1.Duration{Duration: 6 * time.Second}
	return m
}

func dutyName(deadline time.Duration) string { return fmt.Sprintf("deadline-%.0f", deadline.Seconds()) }

// createDuties creates the Models of the runs with deadlines, unless they are there: they take
// half a minute until they rest at zero.
func (b *bench) createDuties(ctx context.Context) error {
	for _, deadline := range deadlines {
		m := b.duty(deadline)
		_, err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Create(ctx, m, metav1.CreateOptions{})
		if err != nil && !apierrs.IsAlreadyExists(err) {
			return fmt.Errorf("creating Model %s: %w", m.Name, err)
		}
	}
	return nil
}

// measureDeadline has a run of each deadline, and counts the replicas that were there for it.
func (b *bench) measureDeadline(ctx context.Context) error {
	if err := b.createDuties(ctx); err != nil {
		return err
	}
	if err := b.upload(ctx, "in/deadline/", deadlineItems, func(i int) string { return number(i * spoiltEvery) }); err != nil {
		return err
	}
	for _, deadline := range deadlines {
		if err := b.atZero(ctx, dutyName(deadline)); err != nil {
			return err
		}
	}
	c, end := census.Begin(ctx, b.clients, namespace)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer end()

	group, running := errgroup.WithContext(ctx)
	figures := make([][]report.Figure, len(deadlines))
	over := make(chan struct{})
	if b.Wants("many") {
		beside.Go(func() {
			<-over
			b.beginMany(ctx)
		})
	}
	for i, deadline := range deadlines {
		group.Go(func() (err error) {
			if deadline == shortest {
				defer close(over)
			}
			if err := command.Pause(running, time.Duration(i)*apart); err != nil {
				return fmt.Errorf("before the run of %s: %w", deadline, err)
			}
			figures[i], err = b.meet(running, deadline, c)
			return err
		})
	}
	err := group.Wait()
	for _, of := range figures {
		b.report.Add(deadlinePart, of...)
	}
	return err
}

// meet is one run.
func (b *bench) meet(ctx context.Context, deadline time.Duration, c *census.Census) ([]report.Figure, error) {
	name := dutyName(deadline)
	of := b.batch(name, name, numberPath(dutySeconds), "in/deadline/")
	of.Spec.Deadline = &metav1.Duration{Duration: deadline}
	if err := b.start(ctx, of); err != nil {
		return nil, err
	}
	done, err := b.complete(ctx, name, deadline+startsWithin)
	if err != nil {
		return nil, err
	}
	all, err := b.count(ctx, name, deadlineItems, right)
	if err != nil {
		return nil, err
	}
	began, over := done.Status.StartTime.Time, done.Status.CompletionTime.Time
	spent := c.Between(name, began, over)
	start, ok := c.Shortest(name)
	if !ok {
		return nil, fmt.Errorf("no replica of %s was seen to be Ready", name)
	}
	n, least := leastReplicas(deadlineItems, dutyRate, deadline, start), leastSeconds(deadlineItems, dutyRate, deadline, start)
	title := fmt.Sprintf("%.0f s: ", deadline.Seconds())
	b.Sayf("deadline: %sover after %.0f s, %d replicas, %.0f replica-seconds, %.0f of them Ready; the least are %d, %.0f, each starting in %.1f s",
		title, over.Sub(began).Seconds(), spent.Most, spent.Seconds, spent.Ready, n, least, start.Seconds())
	if err := b.atZero(ctx, name); err != nil {
		return nil, err
	}
	after := c.Between(name, over, time.Now()).Seconds
	return []report.Figure{
		report.Value(title+"over after", over.Sub(began).Seconds(), "s").Within(report.AtMost, deadline.Seconds()),
		report.Value(title+"replica-seconds / the least", spent.Seconds/least, "×").Within(report.AtMost, 1.2),
		report.Value(title+"replica-seconds", spent.Seconds, "s"),
		report.Value(title+"the least that could", least, "s"),
		report.Value(title+"used of what those served that were Ready", deadlineItems/(dutyRate*spent.Ready), "×"),
		report.Value(title+"replicas at most", float64(spent.Most), ""),
		report.Value(title+"the fewest that could", float64(n), ""),
		report.Value(title+"a replica's shortest start", start.Seconds(), "s"),
		report.Value(title+"replica-seconds from its end until there are none", after, "s"),
		report.Value(title+"items without just one right record", float64(all.missing()+all.doubled+all.odd), "").Within(report.AtMost, 0),
	}, nil
}

// right is a record of an item that can be answered.
func right(r record) bool {
	return r.Status == 200 && r.Reason == "" && r.Response.ID == itemID(r.Item*spoiltEvery)
}

// atZero waits until a Model has no replica, and none is wanted.
func (b *bench) atZero(ctx context.Context, model string) error {
	return platform.Until(ctx, zeroWithin, "Model "+model+" at zero", func(ctx context.Context) (string, error) {
		m, err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Get(ctx, model, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting it: %w", err)
		}
		pods, err := b.replicas(ctx, model)
		if err != nil {
			return "", err
		}
		there := 0
		for _, pod := range pods {
			if pod.DeletionTimestamp == nil {
				there++
			}
		}
		if !m.IsReady() || m.Status.DesiredReplicas+m.Status.ReadyReplicas > 0 || there > 0 {
			return fmt.Sprintf("%d replicas are desired, %d ready, %d pods there; %v", m.Status.DesiredReplicas, m.Status.ReadyReplicas, there, m.Status.Conditions), nil
		}
		return "", nil
	})
}
