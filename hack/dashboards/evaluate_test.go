package main

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// expressions are read as Prometheus reads them by default.
func expressions() parser.Parser { return parser.NewParser(parser.Options{}) }

func newEngine() *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
		Parser: expressions(),
	})
}

// evaluator evaluates rules, one time after the other, as Prometheus does: each sees what those
// before it have recorded at the same time.
type evaluator struct {
	engine *promql.Engine
	store  *memory
	rules  []rulefmt.Rule
	// shown are the series that a rule recorded last, active since when its alerts are.
	shown  []map[string]labels.Labels
	active []map[string]time.Time
}

func newEvaluator(store *memory, rules []rulefmt.Rule) *evaluator {
	e := &evaluator{engine: newEngine(), store: store, rules: rules}
	for range rules {
		e.shown, e.active = append(e.shown, map[string]labels.Labels{}), append(e.active, map[string]time.Time{})
	}
	return e
}

func (e *evaluator) query(expr string, at time.Time) (promql.Vector, error) {
	q, err := e.engine.NewInstantQuery(context.Background(), e.store, nil, expr, at)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", expr, err)
	}
	defer q.Close()
	vector, err := q.Exec(context.Background()).Vector()
	if err != nil {
		return nil, fmt.Errorf("evaluating %s: %w", expr, err)
	}
	out := make(promql.Vector, len(vector))
	copy(out, vector) // the engine takes its own back
	return out, nil
}

func (e *evaluator) evaluate(at time.Time) error {
	for i, rule := range e.rules {
		found, err := e.query(rule.Expr, at)
		if err != nil {
			return err
		}
		now := map[string]labels.Labels{}
		for _, sample := range found {
			of, number := labelled(sample.Metric, rule), sample.F
			if rule.Alert != "" {
				of, number = e.state(i, of, at), 1
			}
			now[of.String()] = of
			e.store.add(of, at, number)
		}
		e.forget(i, now, at)
	}
	return nil
}

// labelled are the labels of what a rule makes of a sample.
func labelled(of labels.Labels, rule rulefmt.Rule) labels.Labels {
	b := labels.NewBuilder(of).Del(model.MetricNameLabel)
	for name, text := range rule.Labels {
		b.Set(name, text)
	}
	if rule.Alert != "" {
		return b.Set(model.MetricNameLabel, "ALERTS").Set(model.AlertNameLabel, rule.Alert).Labels()
	}
	return b.Set(model.MetricNameLabel, rule.Record).Labels()
}

// state tells whether an alert fires, or hasn't lasted long enough.
func (e *evaluator) state(i int, of labels.Labels, at time.Time) labels.Labels {
	since, ok := e.active[i][of.String()]
	if !ok {
		since = at
		e.active[i][of.String()] = at
	}
	state := "pending"
	if at.Sub(since) >= time.Duration(e.rules[i].For) {
		state = "firing"
	}
	return labels.NewBuilder(of).Set("alertstate", state).Labels()
}

// forget ends the series of a rule that are there no more.
func (e *evaluator) forget(i int, now map[string]labels.Labels, at time.Time) {
	for key, of := range e.shown[i] {
		if _, ok := now[key]; !ok {
			e.store.add(of, at, math.Float64frombits(value.StaleNaN))
		}
	}
	e.shown[i] = now
	alive := map[string]bool{}
	for _, of := range now {
		alive[labels.NewBuilder(of).Del("alertstate").Labels().String()] = true
	}
	for key := range e.active[i] {
		if !alive[key] {
			delete(e.active[i], key)
		}
	}
}

// An alert has to last, comes to an end, and begins anew.
func TestAlertsPendAndEnd(t *testing.T) {
	t.Parallel()
	store := newMemory()
	e := newEvaluator(store, []rulefmt.Rule{
		{Record: "twice", Expr: "2 * cause"},
		{Alert: "Twice", Expr: "twice > 1", For: model.Duration(time.Minute), Labels: map[string]string{"severity": "info"}},
	})
	begin := time.Unix(0, 0)
	var states []string
	for i, number := range []float64{0, 1, 1, 1, 0, 1} {
		at := begin.Add(time.Duration(i) * 30 * time.Second)
		store.add(labels.FromStrings("__name__", "cause", "of", "it"), at, number)
		if err := e.evaluate(at); err != nil {
			t.Fatal(err)
		}
		alerts, err := e.query(`ALERTS{alertname="Twice", severity="info", of="it"}`, at)
		if err != nil {
			t.Fatal(err)
		}
		state := "none"
		for _, alert := range alerts {
			state = alert.Metric.Get("alertstate")
		}
		states = append(states, state)
	}
	if got, want := fmt.Sprint(states), "[none pending pending firing none pending]"; got != want { //nolint:dupword // one state after the other
		t.Errorf("states %s, want %s", got, want)
	}
}
