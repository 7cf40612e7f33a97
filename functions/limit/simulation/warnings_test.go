package simulation

import (
	"context"
	"strings"
	"testing"
	"time"

	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	starves = "lets the autoscaler see at most"
	strains = "the autoscaler settles at"
)

// warned is true if the webhook says so of a corner's Model. The longest request that
// the Model allows is what the corner's take.
func (c corner) warned(of string) bool {
	model := c.model()
	if timeout := int64(c.latency.Seconds()); timeout > 0 {
		model.Spec.TimeoutSeconds = &timeout
	}
	ctx := context.Background()
	model.SetDefaults(ctx)
	return strings.Contains(model.Validate(ctx).Filter(apis.WarningLevel).Error(), of)
}

// warnable are corners around every bound of the warnings. Right at one, a burst can
// still bring a replica now and then: there, nothing is said of the simulation.
func warnable(metric v1alpha1.AutoscalingMetric, latency time.Duration) []corner {
	var corners []corner
	for _, policy := range []v1alpha1.LimitPolicy{v1alpha1.PolicyReady, v1alpha1.PolicyDemand} {
		for _, headroom := range []int32{50, 100, 300} {
			for _, settle := range []float64{.5, .7, .9, 1.1, 1.4, 1.6, 1.9, 2.1, 3, 3.9, 4.1} {
				corners = append(corners, corner{
					perReplica: 50, latency: latency, metric: metric, settle: settle, utilization: 70, kind: elastic,
					before: .3, after: 16, start: 3 * time.Second, window: 30 * time.Second, most: 40, burst: 211,
					policy: policy, headroom: headroom,
				})
			}
		}
	}
	return corners
}

// own is the rule of the corner's Model, but for the floor of Demand: the warnings are
// of what the autoscaler does by itself.
func (c corner) own() rule { return ruled("own", c.perReplica, c.policy, float64(c.headroom)/100) }

// Where the autoscaler scales by requests per second, or requests take as long as
// they may, the webhook warns of just those Models that never scale up.
func TestWarnedWhereItStarves(t *testing.T) {
	for _, corners := range [][]corner{
		warnable(v1alpha1.MetricRPS, 100*time.Millisecond), warnable(v1alpha1.MetricConcurrency, 5*time.Second),
	} {
		each(t, len(corners), func(i int) error {
			o, err := run(corners[i], corners[i].own())
			if starved := o.same == never; corners[i].warned(starves) != starved {
				t.Errorf("%v, %s %d%%: starved = %v, warned otherwise", corners[i], corners[i].policy, corners[i].headroom, starved)
			}
			return err
		})
	}
}

// What is served in how long the webhook can't know, but in any case no more at once
// than containerConcurrency.
func TestWarnedOfFullConcurrency(t *testing.T) {
	for _, utilization := range []int32{70, 100} {
		for _, latency := range []time.Duration{time.Second, 2 * time.Second} {
			c := warnable(v1alpha1.MetricConcurrency, latency)[0]
			c.kind, c.utilization, c.settle = breaker, utilization, 1.3
			o, err := run(c, c.own())
			if err != nil {
				t.Fatal(err)
			}
			model := c.model()
			model.SetDefaults(context.Background())
			warned := strings.Contains(model.Validate(context.Background()).Filter(apis.WarningLevel).Error(), starves)
			if o.same != never || warned != (utilization == 100) {
				t.Errorf("%v: starved = %v, warned = %v", c, o.same == never, warned)
			}
		}
	}
}

// The other warning is of replicas that get more than they serve although more could
// be had; nothing is refused then.
func TestWarnedWhereItStrains(t *testing.T) {
	for _, c := range warnable(v1alpha1.MetricRPS, 100*time.Millisecond) {
		s, err := newSimulation(c, c.own())
		if err != nil {
			t.Fatal(err)
		}
		for !s.rests() && s.Now() < longest {
			s.step()
		}
		refused := s.View().Refused > .01*s.View().Offered
		strained := !refused && s.View().Offered > 1.01*c.perReplica*float64(s.State().Ready)
		if warned := c.warned(strains); warned != strained {
			t.Errorf("%v, %s %d%%: strained = %v, warned = %v", c, c.policy, c.headroom, strained, warned)
		}
	}
}
