package replay

import "time"

// Second lets a second pass, whose requests come in its steps. It takes them all at once
// where that comes to the same: the second begins at a full one; no limit and no replica
// is about to change in it, nor the floor; none of its requests is refused; nothing waits,
// and work can begin on all that comes in the step in which it comes; and there is a
// replica, or nothing comes. Then nobody who looks in between could see anything but
// what he sees at its end: the limiter looks at replicas that stay the same, and what the autoscaler
// gets a report of is told apart. Any other second passes step by step.
func (w *World) Second(requests *Steps) {
	if w.fine || w.now%time.Second != 0 || !w.atOnce(requests) {
		for _, n := range requests {
			w.Step(n)
		}
	}
}

// atOnce lets the second pass, or changes nothing that the steps wouldn't.
func (w *World) atOnce(requests *Steps) bool {
	w.replicas.place(w.now)
	w.look()
	total := 0.
	for _, n := range requests {
		total += n
	}
	if total > 0 && w.scaler.sleeps() {
		return false
	}
	floor := w.floor
	if w.rule.Floor != nil {
		v := w.view
		v.Now = w.now + Lag
		if floor = w.rule.Floor(w.floor, v); floor.Replicas != w.floor.Replicas {
			return false
		}
	}
	before := *w.gateway
	if !w.gateway.admitAll(w.now, requests) {
		return false
	}
	w.replicas.activator = w.scaler.activator
	until := w.scaler.phases.Report // that comes a report
	if until == 0 {
		until = time.Second
	}
	reported := int(until / Step)
	early, all, ok := w.replicas.passAll(w.now, requests, total, reported)
	if !ok {
		*w.gateway = before
		return false
	}
	w.floor = floor
	came := func(requests []float64, inFlight float64) Flow {
		f := Flow{InFlight: inFlight}
		for _, n := range requests {
			f.Offered += n
		}
		f.Admitted = f.Offered
		return f
	}
	sooner, later := came(requests[:reported], early), came(requests[reported:], all-early)
	w.second = sooner.plus(later)
	w.spend(time.Second)
	w.unreported = w.unreported.plus(sooner)
	w.now += until
	w.report()
	w.unreported = w.unreported.plus(later)
	w.now += time.Second - until
	w.read()
	w.tick()
	return true
}
