package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/census"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/openloop"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	triedPart = "Proposals that are tried, by spec.trial"
	// triedOff is by how much replica-seconds may be off, in percent of the prediction, and
	// overPercent how many of the seconds may be over the goal.
	triedOff, overPercent = 15, 2
	// triedFor is a trial's length, longer than it is looked at.
	triedFor = 10 * time.Minute
)

// attempt is a proposal that is tried.
type attempt struct {
	kind
	*subject
	// part of the right aim that the Model begins with.
	part   float64
	demand trace.Trace
	is     *whatif.Proposal
}

// tryProposals has two Models that aim wrongly be mended, by what is measured of their replicas.
func (b *bench) tryProposals(ctx context.Context) error {
	attempts := []*attempt{{kind: loads[0], part: wrongStarts[0]}, {kind: loads[1], part: wrongStarts[len(wrongStarts)-1]}}
	group, deploying := errgroup.WithContext(ctx)
	for i, a := range attempts {
		a.demand = demand(a.shape, proposed, uint64(200+i))
		m := b.startOf(fmt.Sprintf("tried-%d", i+1), a.part)
		group.Go(func() (err error) {
			if a.subject, err = b.serve(ctx, m); err != nil {
				return err
			}
			return deploying.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var starts []time.Duration
	for _, a := range attempts {
		took, err := b.starts(ctx, a.subject)
		if err != nil {
			return fmt.Errorf("measuring the starts of %s: %w", a.model.Name, err)
		}
		if err := b.back(ctx, a.subject); err != nil {
			return err
		}
		starts = append(starts, took...)
	}
	for _, a := range attempts {
		if err := b.proposeFor(ctx, a, starts); err != nil {
			return err
		}
	}

	c, end := census.Begin(ctx, b.clients, namespace)
	defer end()
	trying, running := errgroup.WithContext(ctx)
	figures := make([][]report.Figure, len(attempts))
	for i, a := range attempts {
		trying.Go(func() (err error) {
			figures[i], err = b.try(running, a, c)
			return err
		})
	}
	err := trying.Wait()
	for _, of := range figures {
		b.report.Add(triedPart, of...)
	}
	return err
}

// proposeFor has a tuning be proposed, and puts it in force for a while.
func (b *bench) proposeFor(ctx context.Context, a *attempt, starts []time.Duration) error {
	q := whatif.Question{
		Demand: a.demand, Model: a.model, Cluster: b.cluster, Measured: a.measured(starts),
		Goal: whatif.Goal{Percentile: percentile, Within: goal},
	}
	err := command.Ordinarily(func() (err error) {
		a.is, err = whatif.Propose(ctx, q, whatif.Bounds{})
		return err
	})
	if err != nil {
		return fmt.Errorf("proposing a tuning of %s: %w", a.model.Name, err)
	}
	b.Sayf("proposals: %s: %s; kept: %t", a.name, a.is.Settings, a.is.Kept)
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"trial": trialOf(a.is.Settings)}})
	if err != nil {
		return fmt.Errorf("writing a trial: %w", err)
	}
	if err := b.patch(ctx, a.model.Name, patch); err != nil {
		return err
	}
	return platform.Until(ctx, startsWithin, "the trial of Model "+a.model.Name, func(ctx context.Context) (string, error) {
		m, err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Get(ctx, a.model.Name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting it: %w", err)
		}
		if t := m.Status.Trial; t == nil || t.Phase != v1alpha1.TrialRunning {
			return fmt.Sprintf("it is %+v", t), nil
		}
		return "", nil
	})
}

// trialOf tries what is proposed.
func trialOf(s whatif.Settings) v1alpha1.TrialSpec {
	return v1alpha1.TrialSpec{
		For: metav1.Duration{Duration: triedFor},
		Autoscaling: &v1alpha1.AutoscalingSpec{
			Target: &s.Target, TargetUtilization: &s.TargetUtilization, MinReplicas: &s.MinReplicas, MaxReplicas: &s.MaxReplicas,
			Window: &metav1.Duration{Duration: s.Window},
		},
		Limit: &v1alpha1.LimitSpec{HeadroomPercent: &s.HeadroomPercent},
	}
}

// try offers the demand to a Model that is so tuned, once its window is full of what the demand
// begins with.
func (b *bench) try(ctx context.Context, a *attempt, c *census.Census) ([]report.Figure, error) {
	ahead := max(lead, a.is.Settings.Window.Truncate(time.Second)+3*time.Second)
	callers, err := openloop.Call(ctx, openloop.Load{Target: sleeping(a.at), Schedule: scheduled(a.demand, ahead, 1)})
	if err != nil {
		return nil, fmt.Errorf("trying what is proposed for %s: %w", a.name, err)
	}
	from := callers.Start.Add(ahead)
	to := from.Add(proposed)
	answers := callers.Between(from, to)
	came, predicted := c.Between(a.model.Name, from, to).Seconds, a.is.Answer.Changed
	over := secondsOver(answers, from, a.demand)
	_, refused := openloop.Admitted(answers)
	name := fmt.Sprintf("%s, from %g of the right aim: ", a.name, a.part)
	b.Sayf("proposals: %s%.0f replica-seconds, predicted %.0f; %.1f %% of the seconds over; replicas by second: %v",
		name, came, predicted.ReplicaSeconds.Median, 100*over, byTheSecond(c, a.model.Name, from, to))
	return []report.Figure{
		report.Value(name+"replica-seconds off by", percentOff(came, predicted.ReplicaSeconds.Median), "%").Within(report.AtMost, triedOff),
		report.Value(name+"seconds over the goal", 100*over, "%").Within(report.AtMost, overPercent),
		report.Value(name+"replica-seconds", came, "s"),
		report.Value(name+"predicted", predicted.ReplicaSeconds.Median, "s"),
		report.Value(name+"of the start, predicted", a.is.Answer.Model.ReplicaSeconds.Median, "s"),
		report.Value(name+"refused", 100*float64(refused)/float64(len(answers)), "%"),
	}, nil
}

// secondsOver is the part of the seconds in which requests were due of whose admitted requests
// more took longer than the goal than its percentile lets.
func secondsOver(answers []load.Answer, from time.Time, of trace.Trace) float64 {
	slow, came := make([]float64, len(of.Seconds)), make([]float64, len(of.Seconds))
	for _, a := range answers {
		i := int(a.Due.Sub(from) / time.Second)
		if i < 0 || i >= len(came) || a.Status == http.StatusTooManyRequests {
			continue
		}
		came[i]++
		if a.Latency > goal {
			slow[i]++
		}
	}
	over, busy := 0., 0.
	for i, n := range of.Seconds {
		if n <= 0 {
			continue
		}
		busy++
		if slow[i] > (1-percentile/100.)*came[i] {
			over++
		}
	}
	return over / busy
}
