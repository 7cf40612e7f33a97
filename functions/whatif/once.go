package whatif

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"time"

	"knative.dev/serving/pkg/apis/autoscaling"
	"knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/whatif/replay"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// lookEvery is how many seconds of demand pass between two looks whether to go on.
	lookEvery = 60
	// begins is over how many seconds the demand is averaged with which a run begins.
	begins = 10
	// seed of the chance of run 0; each other run has the next one.
	seed = 17
)

// setup is all that the runs of a Model have in common.
type setup struct {
	Question
	tuning
	perReplica float64
	known      Measured
	// later tunings are in order of when they come.
	later []tuning
}

// tuning is a Model, its defaults filled in, and how it is limited.
type tuning struct {
	model *v1alpha1.Model
	rule  replay.Rule
	// from is how many known seconds of the demand come before it.
	from int
}

// setupOf is what runs go by, and what of it was assumed.
func (q Question) setupOf(model *v1alpha1.Model) (setup, []string, error) {
	m := model.DeepCopy()
	m.SetDefaults(context.Background())
	rate := m.Spec.Limit.RequestsPerSecondPerReplica
	if rate == nil {
		return setup{}, nil, errors.New("spec.limit.requestsPerSecondPerReplica is missing: say what a replica serves")
	}
	perReplica, ok := capacity.Rational(*rate)
	if !ok {
		return setup{}, nil, fmt.Errorf("spec.limit.requestsPerSecondPerReplica is %s: give more than 0", rate)
	}
	if err := checkTuning(m, q.Cluster); err != nil {
		return setup{}, nil, err
	}
	s := setup{Question: q, tuning: tuning{model: m}}
	s.perReplica, _ = perReplica.Float64()
	var assumed []string
	s.known, assumed = q.Measured.of(s.perReplica)
	s.rule = replay.RuleOf(capacity.Rule{
		PerReplica: perReplica, Policy: m.Spec.Limit.Policy, Headroom: big.NewRat(int64(*m.Spec.Limit.HeadroomPercent), 100),
	})
	if q.Goal.Within > 0 && q.Goal.Within < s.known.TailLatency {
		return setup{}, nil, fmt.Errorf("goal.within is %s, below the %s that a request takes of a replica alone: no tuning keeps it", q.Goal.Within, s.known.TailLatency)
	}
	return s, assumed, nil
}

// change has the Model be tuned as the question says.
func (s *setup) change() error {
	for i, c := range s.Changes {
		to, _, err := s.setupOf(c.Model)
		if err != nil {
			return fmt.Errorf("changes[%d].model: %w", i, err)
		}
		before := trace.Trace{Seconds: s.Demand.Seconds[:c.After/time.Second]}
		to.from = before.Known()
		s.later = append(s.later, to.tuning)
	}
	return nil
}

// checkTuning is an error for what no Model is let in with, and no replay could go by.
func checkTuning(m *v1alpha1.Model, cluster *autoscalerconfig.Config) error {
	annotations := m.AutoscalingAnnotations()
	if class := v1alpha1.AutoscalerClass(annotations, ""); class != autoscaling.KPA {
		return fmt.Errorf("metadata.annotations[%s] is %s: only Knative's own autoscaler can be replayed, %s", autoscaling.ClassAnnotationKey, class, autoscaling.KPA)
	}
	if cluster == nil {
		var err error
		if cluster, err = config.NewConfigFromMap(nil); err != nil {
			return fmt.Errorf("reading Knative's defaults: %w", err)
		}
	}
	if err := autoscaling.ValidateAnnotations(context.Background(), cluster, annotations); err != nil {
		return fmt.Errorf("how the Model scales: %w: correct it in spec.autoscaling, or in the Model's annotations", err)
	}
	switch l := m.Spec.Limit; {
	case *l.HeadroomPercent < 0:
		return fmt.Errorf("spec.limit.headroomPercent is %d: give 0 or more", *l.HeadroomPercent)
	case l.Burst.Duration <= 0:
		return fmt.Errorf("spec.limit.burst is %s: give more than 0s", l.Burst.Duration)
	}
	if n := m.Spec.ContainerConcurrency; n != nil && *n < 0 {
		return fmt.Errorf("spec.containerConcurrency is %d: give 0 or more", *n)
	}
	return nil
}

// timeout is how long a request of the Model may take.
func (s *setup) timeout() time.Duration {
	const knatives = 300 * time.Second
	if t := s.model.Spec.TimeoutSeconds; t != nil && *t > 0 {
		return time.Duration(*t) * time.Second
	}
	return knatives
}

// busy is in how many seconds requests came.
func (s *setup) busy() float64 {
	busy := 0.
	for _, n := range s.Demand.Seconds {
		if n > 0 {
			busy++
		}
	}
	return busy
}

// once runs a course of the demand; all of one number have the same chance. Enough, which may
// be nil, ends it as soon as no more has to be known than what came so far; then ok is false.
// What it is told only grows.
func (s *setup) once(ctx context.Context, number int, enough func(outcome) bool) (of outcome, ok bool, err error) {
	c := &course{
		setup: s, tuned: s.tuning, later: s.later,
		chance: rand.New(rand.NewPCG(seed, uint64(number))), //nolint:gosec // a figure has to be the same each time
	}
	// What comes and how long starts take are drawn apart: a Model that starts more replicas
	// is to meet the same requests.
	c.arrivals.chance = rand.New(rand.NewPCG(seed+1, uint64(number))) //nolint:gosec // as above
	c.phases = drawPhases(c.arrivals.chance)
	c.outcome.busy = s.busy()
	for stretch := range s.Demand.Stretches() {
		if ok, err := c.stretch(ctx, stretch, enough); !ok || err != nil {
			return c.outcome, false, err
		}
	}
	return c.outcome, true, nil
}
