package main

import (
	"fmt"
	"time"

	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/platform"
)

// phases are the answers of replicas that are new.
type phases struct {
	// fresh are the first ones of each; steady those sent after the last of these was
	// answered.
	fresh, steady platform.Answers
	// beside are those that the replicas which were there before gave to requests sent
	// from the first to the last of the fresh ones: the same machine, no fresh replica.
	beside platform.Answers
}

// split parts the answers of a load. Of those replicas that were not there before, each
// must have given its first ones, and there must be so many; nothing is known of the
// steady state otherwise.
func split(all platform.Answers, before map[string]bool, replicas int) (phases, error) {
	fresh := all.First(first, before)
	if len(fresh) != replicas*first || len(fresh.Replicas()) != replicas {
		return phases{}, fmt.Errorf("new replicas served %v of their first %d requests, want %d replicas to have served all", fresh.Replicas(), first, replicas)
	}
	from, until := fresh[0].Due, time.Time{}
	for _, s := range fresh {
		if s.Due.Before(from) {
			from = s.Due
		}
		if done := s.Due.Add(s.Latency); done.After(until) {
			until = done
		}
	}
	out := phases{
		fresh:  fresh,
		steady: all.Of(func(s platform.Served) bool { return !before[s.Replica] && s.Due.After(until) }),
		beside: all.Of(func(s platform.Served) bool { return before[s.Replica] && !s.Due.Before(from) && !s.Due.After(until) }),
	}
	if len(out.steady) < first/2 {
		return phases{}, fmt.Errorf("only %d requests were served in the steady state", len(out.steady))
	}
	return out, nil
}

// add pools another run of the same.
func (p *phases) add(other phases) {
	p.fresh = append(p.fresh, other.fresh...)
	p.steady = append(p.steady, other.steady...)
	p.beside = append(p.beside, other.beside...)
}

// slower is the 99th percentile of the fresh against that of others.
func (p *phases) slower(than platform.Answers) float64 { return ratio(p.fresh, than) }

// ratio is how many times the 99th percentile of some answers is that of others.
func ratio(of, to platform.Answers) float64 {
	return of.Latency(0.99).Seconds() / to.Latency(0.99).Seconds()
}

// figures are the latencies of both phases.
func (p *phases) figures(title string) []report.Figure {
	return []report.Figure{
		report.Value(title+": first 200, p50", milliseconds(p.fresh.Latency(0.5)), "ms"),
		report.Value(title+": first 200, p99", milliseconds(p.fresh.Latency(0.99)), "ms"),
		report.Value(title+": first 200, max", milliseconds(p.fresh.Latency(1)), "ms"),
		report.Value(title+": steady, p50", milliseconds(p.steady.Latency(0.5)), "ms"),
		report.Value(title+": steady, p99", milliseconds(p.steady.Latency(0.99)), "ms"),
		report.Value(title+": steady, max", milliseconds(p.steady.Latency(1)), "ms"),
	}
}
