package limit

import (
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/division"
	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/functions/limit/slack"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// askedFor is how long a Model counts as one that batch runs on, from when its slack was
// asked for: as long as its limit has a bucket of its own for requests with the mark.
const askedFor = 10 * time.Second

// ErrStandby says that another replica decides.
var ErrStandby = errors.New("another replica of the limiter leads")

// batches are what passes and those who ask for slack have in common.
type batches struct {
	mu sync.Mutex
	// asked is when batch asked last and what it needs, by RateLimit.
	asked map[string]asking
	left  map[string]slack.Slack
}

// asking is what batch said when it asked.
type asking struct {
	at    time.Time
	needs []slack.Need
	// idle is true where it holds no replica.
	idle bool
}

// Wanted are Models that batch asks for.
type Wanted map[types.NamespacedName]Want

// Want is what batch wants of a Model beside what is left of it.
type Want struct {
	// Needs are what it needs to meet its deadlines.
	Needs []slack.Need
	// Idle is true where no replica is to be held for it.
	Idle bool
}

// Left is what batch may take of Models, by namespace and name, as of the last pass. A Model
// without is one that isn't there, or of which nothing is left, or isn't known yet: it is
// from the next pass on. What is known of them is by the cache: a replica that takes over knows
// them before its first pass.
func (f *Function) Left(models Wanted) (map[types.NamespacedName]slack.Slack, error) {
	if !f.leads.Load() {
		return nil, ErrStandby
	}
	now, left, fresh := f.Clock.Now(), map[types.NamespacedName]slack.Slack{}, false
	f.batches.mu.Lock()
	defer f.batches.mu.Unlock()
	for model, want := range models {
		k := model.String()
		if _, err := f.Caches.RateLimits.RateLimits(model.Namespace).Get(model.Name); apierrs.IsNotFound(err) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("looking up rate limit %s: %w", k, err)
		}
		if _, ok := f.batches.asked[k]; !ok {
			fresh = true
		}
		f.batches.asked[k] = asking{at: now, needs: want.Needs, idle: want.Idle}
		if s, ok := f.batches.left[k]; ok && s.At(now) > 0 {
			left[model] = s
		}
	}
	if fresh {
		f.Look()
	}
	return left, nil
}

// runsOn are those of the RateLimits that there are on which batch runs, and idle those of them
// that it holds no replica for.
func (b *batches) runsOn(limits []*v1alpha1.RateLimit, now time.Time) (on, idle sets.Set[string]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := make(sets.Set[string], len(limits))
	for _, l := range limits {
		known.Insert(key(l))
	}
	on, idle = sets.New[string](), sets.New[string]()
	for k, of := range b.asked {
		if !known.Has(k) || now.Sub(of.at) >= askedFor {
			delete(b.asked, k)
			continue
		}
		if on.Insert(k); of.idle {
			idle.Insert(k)
		}
	}
	return on, idle
}

// recall takes those of the RateLimits for asked for now of which an earlier limiter was, as
// long as nobody has asked here: those that still are will be within that time. Whether batch
// holds a replica isn't known before; what was told stands meanwhile.
func (b *batches) recall(limits []*v1alpha1.RateLimit, told func(virtualService string) bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range limits {
		if _, ok := b.asked[key(l)]; !ok && told(l.Spec.VirtualService) {
			b.asked[key(l)] = asking{at: now, idle: true}
		}
	}
}

// needs are what batch needs of a Model at a time, as far as it said so: what was answered
// since isn't known yet, nor is a deadline that has passed one any more.
func (b *batches) needs(limit string, now time.Time) []slack.Need {
	b.mu.Lock()
	defer b.mu.Unlock()
	of := b.asked[limit]
	needs := make([]slack.Need, 0, len(of.needs))
	for _, n := range of.needs {
		if n, ok := n.After(now.Sub(of.at)); ok {
			needs = append(needs, n)
		}
	}
	return needs
}

func (b *batches) tell(left map[string]slack.Slack) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = left
}

// beside is what batch takes beside the demand for a Model, as one pass knows it.
type beside struct {
	// ceiling is the one in force, proved the last that every gateway pod was seen to hold.
	ceiling, proved slack.Ceiling
	backlog         slack.Backlog
}

// leave decides what batch may take of each plan that it runs on.
func (f *Function) leave(plans []plan) {
	now := f.Clock.Now()
	next, left := map[string]beside{}, map[string]slack.Slack{}
	before := map[string]*plan{}
	for i := range f.plans {
		if p := &f.plans[i]; p.marks {
			before[key(p.of)] = p
		}
	}
	for i := range plans {
		p := &plans[i]
		if !p.batch {
			continue
		}
		k, demand, marked := key(p.of), f.online(p), 0.0
		for _, h := range p.homes {
			marked += sum(f.Demand.Marked(h.gateway, p.of.Spec.VirtualService))
		}
		limit, _ := p.limit.Float64()
		serves, _ := p.serving.Float64()
		b := f.beside[k]
		switch last := before[k]; {
		case last == nil || !last.holdsMark() || !p.holdsMark():
			b.proved = slack.Ceiling{}
		case last.reported != nil && last.reported.complete():
			b.proved = b.ceiling
		}
		taken, _ := b.ceiling.Of(p.limit).Float64()
		b.backlog = b.backlog.Next(min(demand.Mean, limit)+min(marked, taken), serves, now)
		s := slack.Usual.Of(slack.Model{Limit: limit, Serves: serves, Demand: demand, Backlog: b.backlog})
		b.ceiling = b.ceiling.Next(limit, s.Rate, now)
		next[k], p.marked = b, b.ceiling.Of(p.limit)
		// What no bucket of its own holds yet would be taken from online requests.
		left[k] = b.proved.Under(b.ceiling.Under(s, limit), limit)
	}
	f.beside = next
	f.batches.tell(left)
}

// holdsMark is true where a plan's bucket for requests with the mark can be seen to be in
// force. On its way to another gateway a route may be at one of which nobody asks, and batch
// waits.
func (p *plan) holdsMark() bool { return p.marks && len(p.homes) == 1 }

// online is the demand for a plan, without what carries the mark.
func (f *Function) online(p *plan) slack.Demand {
	name := p.of.Spec.VirtualService
	d := slack.Demand{Mean: f.divisions[name].Demand()}
	for i, h := range p.homes {
		if at := f.Demand.ReadAt(h.gateway); i == 0 || at.Before(d.At) {
			d.At = at
		}
		for e, rate := range f.Demand.Latest(h.gateway, name) {
			if h.roles[e] == division.Forwarding { // what is redirected comes to no replica
				d.Last += rate
			}
		}
	}
	if perRequest(p.of.Spec.RequestsPerSecondPerReplica) > slack.Usual.Every {
		d.Last = d.Mean
	}
	return d
}

func sum(of []float64) float64 {
	total := 0.0
	for _, n := range of {
		total += n
	}
	return total
}

// mark gives a limit at the cluster-local entry of one of so many gateways its bucket for
// requests with the mark, in each of so many places there.
func (p *plan) mark(limit *resources.Limit, entry gateway.Entry, places int64) {
	if !p.marks || p.marked == nil || entry != gateway.Local {
		return
	}
	b := capacity.NewBucket(new(big.Rat).Mul(p.marked, big.NewRat(1, places)), p.burst)
	limit.Marked = resources.Bucket{MaxTokens: b.MaxTokens, Tokens: b.Tokens, Fill: b.Fill}
}

// unmarked is the demand at the entries of a gateway, of which what carries the mark is none
// where batch has a bucket of its own.
func (f *Function) unmarked(p plan, name string) []float64 {
	demand := f.Demand.At(name, p.of.Spec.VirtualService)
	if !p.marks {
		return demand
	}
	for e, rate := range f.Demand.Marked(name, p.of.Spec.VirtualService) {
		demand[e] = max(0, demand[e]-rate)
	}
	return demand
}
