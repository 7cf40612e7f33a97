package whatif

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// mostTries bounds the tunings that are tried.
	mostTries = 500
	// hills are how many of the best coarse places are gone on from.
	hills = 3
	// triesOf is how many courses each try is of; of a demand that is longer than shortDemand
	// seconds it is one, as that has enough chance of its own.
	triesOf     = 3
	shortDemand = 3600
)

// Bounds are what a proposal has to keep.
type Bounds struct {
	// OverShare is the part of the seconds with requests that may be over the goal, 0 to 1;
	// 0 is DefaultOverShare.
	OverShare float64 `json:"overShare,omitempty"`
	// RefusedShare is the part of the requests that may be refused or fail, 0 to 1; 0 is
	// DefaultRefusedShare.
	RefusedShare float64 `json:"refusedShare,omitempty"`
}

const (
	// DefaultOverShare has the goal kept in 98 % of the seconds.
	DefaultOverShare = .02
	// DefaultRefusedShare lets one request in a hundred be refused.
	DefaultRefusedShare = .01
)

// Proposal is a tuning.
type Proposal struct {
	Settings Settings `json:"settings"`
	// Model is the Model so tuned.
	Model *v1alpha1.Model `json:"-"`
	// Kept is true if it keeps the bounds in every course that it was tried by. Otherwise no
	// tuning that was tried does, and this one has the fewest seconds over and refusals.
	Kept bool `json:"kept"`
	// Answer compares it with the Model in force.
	Answer *Answer `json:"answer"`
	// Tried is how many tunings were, at most 500.
	Tried int `json:"tried"`
}

// Propose looks for the tuning with the fewest replica-seconds of those that keep a latency
// goal: on a coarse grid first, and from the best places there on to neighbours for as long
// as one is better. What the Model says of what is proposed plays no part in it. An error
// is about what was asked, or the context's.
func Propose(ctx context.Context, q Question, bounds Bounds) (*Proposal, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	if q.Goal.Within <= 0 {
		return nil, errors.New("goal.within is missing: say within what time requests should be answered")
	}
	for name, share := range map[string]float64{"overShare": bounds.OverShare, "refusedShare": bounds.RefusedShare} {
		if !(share >= 0 && share < 1) {
			return nil, fmt.Errorf("bounds.%s is %g: give 0 to less than 1", name, share)
		}
	}
	s, err := newSearch(q, bounds)
	if err != nil {
		return nil, err
	}
	best, err := s.run(ctx)
	if err != nil {
		return nil, err
	}
	p := &Proposal{Settings: s.space.at(best.at), Kept: best.kept(), Tried: len(s.tried)}
	p.Model = p.Settings.On(q.Model)
	if p.Answer, err = Predict(ctx, q, p.Model); err != nil {
		return nil, err
	}
	return p, nil
}

// search is one.
type search struct {
	q      Question
	bounds Bounds
	space  space
	// tried are the places that were, best the best of them.
	tried map[place]try
	best  *try
}

// try is what came of a place: the mean of replica-seconds, and by how much the bounds were
// passed at worst, in parts of them.
type try struct {
	at             place
	replicaSeconds float64
	excess         float64
	// cut is true if it wasn't run to the end, as it couldn't be the best any more.
	cut bool
}

func (t try) kept() bool { return !t.cut && t.excess <= 0 }

// compare has the better one first.
func (t try) compare(u try) int {
	if t.cut != u.cut {
		if t.cut {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(max(0, t.excess), max(0, u.excess)), cmp.Compare(t.replicaSeconds, u.replicaSeconds))
}

func newSearch(q Question, bounds Bounds) (*search, error) {
	bounds.OverShare = cmp.Or(bounds.OverShare, DefaultOverShare)
	bounds.RefusedShare = cmp.Or(bounds.RefusedShare, DefaultRefusedShare)
	of, _, err := q.setupOf(q.Model)
	if err != nil {
		return nil, err
	}
	q.Measured, q.Runs = of.known, triesOf
	if len(q.Demand.Seconds) > shortDemand {
		q.Runs = 1
	}
	of.Question = q
	return &search{q: q, bounds: bounds, space: spaceOf(&of), tried: map[place]try{}}, nil
}

// run tries places until no neighbour of the best ones is better, or there were enough.
func (s *search) run(ctx context.Context) (try, error) {
	var coarse []try
	for _, p := range s.space.coarse() {
		t, err := s.try(ctx, p)
		if err != nil {
			return try{}, err
		}
		coarse = append(coarse, t)
	}
	slices.SortStableFunc(coarse, try.compare)
	for _, from := range coarse[:min(hills, len(coarse))] {
		for at := from; ; {
			next := at
			for _, p := range s.space.around(at.at) {
				t, err := s.try(ctx, p)
				if err != nil {
					return try{}, err
				}
				if t.compare(next) < 0 {
					next = t
				}
			}
			if next.at == at.at {
				break
			}
			at = next
		}
	}
	return *s.best, nil
}

// try runs the demand with the settings of a place, once. It ends a run as soon as it is
// known to be no better than the best one.
func (s *search) try(ctx context.Context, p place) (try, error) {
	if t, ok := s.tried[p]; ok || len(s.tried) >= mostTries {
		if !ok {
			t.cut, t.at = true, p
		}
		return t, nil
	}
	t := try{at: p}
	setup, _, err := s.q.setupOf(s.space.at(p).On(s.q.Model))
	if err != nil {
		return try{}, err
	}
	for run := range s.q.runs() {
		enough := func(o outcome) bool { return s.best != nil && s.hopeless(t, o) }
		o, ok, err := setup.once(ctx, run, enough)
		if err != nil {
			return try{}, err
		}
		if !ok {
			t.cut = true
			break
		}
		t.replicaSeconds += o.replicaSeconds / float64(s.q.runs())
		t.excess = max(t.excess, s.excess(o))
	}
	s.tried[p] = t
	if s.best == nil || t.compare(*s.best) < 0 {
		s.best = &t
	}
	return t, nil
}

// hopeless is true once a try, with what came of a run of it so far, can't be better than
// the best one: that keeps the bounds, and this one doesn't or takes more.
func (s *search) hopeless(t try, o outcome) bool {
	if !s.best.kept() {
		return false
	}
	used := t.replicaSeconds + o.replicaSeconds/float64(s.q.runs())
	return used > s.best.replicaSeconds || s.excessSoFar(o) > 0
}

// excess is by how much a run passes the bounds, in parts of them; none if it keeps them.
func (s *search) excess(o outcome) float64 {
	over := o.overShare()/s.bounds.OverShare - 1
	refused := share(o.refused+o.failed, o.offered)/s.bounds.RefusedShare - 1
	return max(0, over, refused)
}

// excessSoFar is that of a run that hasn't ended: what is refused of all that is to come is
// not known to be more than what was.
func (s *search) excessSoFar(o outcome) float64 {
	o.offered = s.q.Demand.Requests()
	return s.excess(o)
}
