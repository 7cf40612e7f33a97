package limit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/demand"
	"sluice.dev/sluice/functions/limit/division"
	"sluice.dev/sluice/functions/limit/queue"
	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/functions/limit/slack"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	client "sluice.dev/sluice/reconciler/client/clientset/versioned/typed/sluice/v1alpha1"
)

const (
	// burstEvery is the least time between two bursts of writes: istiod waits for
	// 100 ms without an event, which many small writes would never leave it.
	burstEvery = 300 * time.Millisecond
	// passEvery is the least time between two passes.
	passEvery = 20 * time.Millisecond
	// resync is the longest time between two passes: it finds what nothing told.
	resync = 5 * time.Second
	// retryAfter is when a pass that failed is made again.
	retryAfter = time.Second
	// newsKept is how many events may wait for a slow Broker.
	newsKept = 256
	// writesAtOnce bounds the writes in flight within a burst.
	writesAtOnce = 8
)

// Sender hands an event to the Broker.
type Sender interface {
	Send(ctx context.Context, event cloudevents.Event) error
}

// Demand tells how many requests a second arrive for a virtual service at each
// entry of a gateway, in the order of gateway.Entries, refused ones included.
type Demand interface {
	At(gateway, virtualService string) []float64
	// Marked is At of those alone that carry the mark, Latest what arrived of all others
	// between the last two readings. ReadAt is when the gateway's counters were read last:
	// of several pods, the one that was read longest ago.
	Marked(gateway, virtualService string) []float64
	Latest(gateway, virtualService string) []float64
	ReadAt(gateway string) time.Time
	// Known is false as long as there may be more than that, for want of readings.
	Known() bool
	// Arrived counts those that have arrived, from some time on.
	Arrived(gateway, virtualService string) []float64
	// Run keeps the figures fresh until the context ends.
	Run(ctx context.Context)
}

// Function keeps limits in step with replicas. One instance at a time may Run.
type Function struct {
	Caches Caches
	Slots  SlotWriter
	Limits client.RateLimitsGetter
	Prover *Prover
	Demand Demand
	Watch  Watch
	// Scaled is told how many ready replicas the traffic of each virtual service has, by each
	// pass; it may be nil.
	Scaled func(now time.Time, ready map[string]int32)
	Events Sender
	// ProbeToken returns the installation's token, or "" while it has none.
	ProbeToken func() string
	// Recorder tells of what others did to slots.
	Recorder record.EventRecorder
	Clock    clock.Clock
	Log      *zap.SugaredLogger

	look chan struct{}
	// asked is when the pass that is due was asked for, if one is.
	asked    atomic.Pointer[time.Time]
	proved   chan struct{}
	breached chan struct{}
	news     chan cloudevents.Event
	leads    atomic.Bool
	statuses *statuses
	// divisions by virtual service, nil before the first pass.
	divisions map[string]division.Division
	// floors are what the demand calls for, nil before the first pass, and bridges what another
	// limiter told that may be a batch's.
	floors, bridges map[revisionKey]capacity.Floor
	// progress of the revisions that have fewer replicas than they are to have.
	progress map[revisionKey]capacity.Progress
	// took is how long the quickest replica took of the last that started, of those revisions of
	// which one did.
	took map[revisionKey]time.Duration
	// queues by virtual service, of those whose requests may wait.
	queues map[string]queue.Queue
	// slots are those of the last pass, by name; filled those that metrics show.
	slots  map[string]*slot
	filled map[string]struct{}
	// written holds what was written and may not be in the cache yet.
	written map[string]*metav1.PartialObjectMetadata
	pending map[string]pending
	// reported are the statuses as they were last computed. They may wait to be written.
	reported map[limitID]*v1alpha1.RateLimitStatus
	lastOut  time.Time
	// noticed is when the last pass was asked for.
	noticed time.Time
	// inTheWay are EnvoyFilters that keep Envoy from taking slots.
	inTheWay []string
	// plans and pods are those of the last pass; moving is true if any of them is on
	// several gateways.
	plans  []plan
	pods   map[string][]Pod
	moving bool
	// batches are what batch asks for, beside what was decided about it, by RateLimit.
	batches batches
	beside  map[string]beside
	// blamed is when needs were told of last that can't be, nil for never.
	blamed atomic.Pointer[time.Time]
	// traces go on with those of events, at are the stages of the pass that is being made.
	traces *traces
	at     stages
	// called are the replicas that batches call for to meet their deadlines, by RateLimit.
	called map[string]slack.Called
}

// New returns a Function that has yet to be given its parts.
func New() *Function {
	return &Function{
		Clock:    clock.RealClock{},
		look:     make(chan struct{}, 1),
		proved:   make(chan struct{}, 1),
		breached: make(chan struct{}, 1),
		news:     make(chan cloudevents.Event, newsKept),
		filled:   map[string]struct{}{},
		written:  map[string]*metav1.PartialObjectMetadata{},
		pending:  map[string]pending{},
		reported: map[limitID]*v1alpha1.RateLimitStatus{},
		statuses: newStatuses(),
		batches:  batches{asked: map[string]asking{}},
		traces:   newTraces(),
	}
}

// Look asks for a pass soon. It never blocks; what is asked for while a pass is
// due already needs no other.
func (f *Function) Look() {
	now := f.Clock.Now()
	f.asked.CompareAndSwap(nil, &now)
	signal(f.look)
}

// Proved asks for the statuses to be compared with the proofs soon.
func (f *Function) Proved() { signal(f.proved) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run makes passes until the context ends: when something says to look, and every
// resync. It is the only writer of slots and statuses; once it returns, none is on
// its way.
func (f *Function) Run(ctx context.Context) {
	f.leads.Store(true)
	defer f.leads.Store(false)
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { f.Prover.Run(ctx) })
	beside.Go(func() { f.Demand.Run(ctx) })
	beside.Go(func() { f.Watch.Run(ctx) })
	beside.Go(func() { f.tell(ctx) })
	beside.Go(func() { f.statuses.run(ctx, f.Limits, f.Log) })

	next := f.Clock.NewTimer(0)
	defer next.Stop()
	for {
		look := f.look
		if f.Clock.Since(f.lastOut) < burstEvery {
			look = nil // next comes when the burst is over, and looks at all that came meanwhile
		}
		var err error
		wait := resync
		switch {
		case f.moving, len(f.beside) > 0:
			wait = demand.PollEvery // whether each gateway may have the whole limit depends on the demand, and so does what batch may take
		case len(f.pending) > 0:
			wait = patience
		}
		select {
		case <-ctx.Done():
			return
		case <-f.proved:
			f.noticed = f.Clock.Now()
			f.report()
			continue
		case <-f.breached:
			f.reportBreaches()
			continue
		case <-look:
			err = f.pass(ctx)
		case <-next.C():
			err = f.pass(ctx)
		}
		if since := f.Clock.Since(f.lastOut); since < burstEvery {
			wait = burstEvery - since
		}
		if err != nil {
			f.Log.Errorw("Pass failed; trying again", zap.Error(err))
			passErrors.Inc()
			wait = retryAfter
		}
		next.Reset(wait)
		f.Clock.Sleep(passEvery)
	}
}

// pass brings the gateways to what the caches say, and the statuses to what the
// gateways say.
func (f *Function) pass(ctx context.Context) error {
	began := f.Clock.Now()
	f.noticed = began
	if asked := f.asked.Swap(nil); asked != nil {
		f.noticed = *asked
	}
	s, err := f.Caches.gather()
	if err != nil {
		return err
	}
	f.at = stages{noticed: f.noticed, began: began, gathered: f.Clock.Now()}
	if err := f.expect(s, f.Clock.Now()); err != nil {
		return err
	}
	inTheWay, expelled := f.expel(ctx, s.strangers)
	f.inTheWay = inTheWay
	if f.divisions == nil {
		f.batches.recall(s.limits, f.toldMarks(s), began)
	}
	f.recordReady(began, s)
	s.batches, s.idle = f.batches.runsOn(s.limits, began)
	plans := decide(s, f.plans)
	f.divide(s, plans)
	f.leave(plans)
	f.line(plans)
	uncalled := f.call(s, plans)
	f.setFloors(s, plans)
	f.at.decided = f.Clock.Now()
	generations, err := f.write(ctx, s, plans)
	f.at.written = f.Clock.Now()
	if !f.lastOut.Before(began) {
		steps.WithLabelValues("wait").Observe(began.Sub(f.noticed).Seconds())
		steps.WithLabelValues("write").Observe(f.Clock.Since(began).Seconds())
	}
	f.plans, f.pods = plans, s.pods
	f.recordFill(s)
	f.Prover.Want(questions(s, plans, generations), f.ProbeToken())
	f.settle()
	f.reportBreaches()
	f.report()
	f.traces.passed(f.at, f.Clock.Now())
	return errors.Join(expelled, uncalled, err)
}

// divide moves each limit's division over its places towards the demand. Until that is
// known the last one stands: what the slots say, in the first pass.
func (f *Function) divide(s *state, plans []plan) {
	next := make(map[string]division.Division, len(plans))
	var told map[string][]resources.WrittenShares
	if f.divisions == nil {
		told = f.toldShares(s)
	}
	known, now := f.Demand.Known(), f.Clock.Now()
	f.moving = false
	for _, p := range plans {
		if p.err != nil {
			continue
		}
		name := p.of.Spec.VirtualService
		limit, _ := p.limit.Float64()
		sites := f.sitesOf(s, p, limit)
		last, ok := f.divisions[name]
		if !ok && told != nil {
			last = restored(name, sites, told)
		}
		if known {
			next[name] = last.Next(sites, limit, now)
		} else {
			next[name] = last.Stand(sites, limit, now)
		}
		f.moving = f.moving || len(sites) > 1
	}
	f.divisions = next
}

// sitesOf are the gateways where a plan's limit is enforced, with the demand at each.
func (f *Function) sitesOf(s *state, p plan, limit float64) []division.Site {
	sites := make([]division.Site, len(p.homes))
	for i, h := range p.homes {
		sites[i] = division.Site{Gateway: h.gateway, Places: make([]division.Place, len(h.roles))}
		for e, rate := range f.unmarked(p, h.gateway) {
			if p.queue > 0 && gateway.Entries()[e] == gateway.Local {
				rate = min(rate, limit) // what is above that waits
			}
			sites[i].Places[e] = division.Place{Role: h.roles[e], Demand: rate, Pods: len(s.pods[h.gateway])}
		}
	}
	return sites
}

// toldShares are what the slots of each gateway say.
func (f *Function) toldShares(s *state) map[string][]resources.WrittenShares {
	told := map[string][]resources.WrittenShares{}
	for _, slot := range s.slots {
		shares, err := resources.SharesIn(slot)
		if err != nil {
			f.Log.Warnw("Limits of a slot are divided anew", zap.Error(err))
			continue
		}
		name := slot.Labels[gateway.LabelKey]
		told[name] = append(told[name], shares)
	}
	return told
}

// toldMarks are the virtual services whose limits have a bucket for the mark, as the slots
// say.
func (f *Function) toldMarks(s *state) func(virtualService string) bool {
	var told []resources.WrittenMarks
	for _, slot := range s.slots {
		marks, err := resources.MarksIn(slot)
		if err != nil {
			f.Log.Warnw("Buckets for batch in a slot go until they are asked for", zap.Error(err))
			continue
		}
		told = append(told, marks)
	}
	return func(virtualService string) bool {
		return slices.ContainsFunc(told, func(marks resources.WrittenMarks) bool { return marks.Has(virtualService) })
	}
}

// restored is the division of a limit that slots tell of.
func restored(virtualService string, sites []division.Site, told map[string][]resources.WrittenShares) division.Division {
	known := make([]division.Shares, len(sites))
	for i, site := range sites {
		for _, shares := range told[site.Gateway] {
			if of := shares.Of(virtualService); of != nil {
				known[i] = of
			}
		}
	}
	return division.Restore(sites, known)
}

// line counts the requests that wait, where they may.
func (f *Function) line(plans []plan) {
	known, now := make(map[string]queue.Queue), f.Clock.Now()
	for _, p := range plans {
		if p.err != nil || p.queue <= 0 {
			continue
		}
		name, arrived := p.of.Spec.VirtualService, 0.0
		for _, h := range p.homes {
			arrived += f.Demand.Arrived(h.gateway, name)[slices.Index(gateway.Entries(), gateway.Local)]
		}
		serves, _ := p.serves.Float64()
		known[name] = f.queues[name].Next(now, arrived, serves, p.depth())
	}
	f.queues = known
}

// slot is a slot's object, kept for as long as its content stays: most passes
// change few.
type slot struct {
	content resources.Slot
	filter  *istio.EnvoyFilter
	// generations of its filters, in the order of gateway.Entries.
	generations []string
	// standing is what the API server made of it, nil until it is written.
	standing *metav1.PartialObjectMetadata
}

// write brings every slot to its content in one burst and returns the generations
// of each that is written.
func (f *Function) write(ctx context.Context, s *state, plans []plan) (map[string][]string, error) {
	f.overlay(s)
	generations := map[string][]string{}
	slots, err := f.build(f.slotsOf(s, plans, f.ProbeToken()))
	if err != nil {
		return generations, err
	}
	var group errgroup.Group // a slot that can't be written holds up no other
	group.SetLimit(writesAtOnce)
	out := make(chan *metav1.PartialObjectMetadata, len(slots)) // read once all are written
	for name, slot := range slots {
		generations[name] = slot.generations
		have := s.slots[name]
		if slot.stands(have) {
			continue
		}
		f.notice(name, slot, have)
		f.lastOut = f.Clock.Now()
		group.Go(func() error {
			got, err := f.put(ctx, have, slot.filter)
			if err != nil {
				writes.WithLabelValues(outcome(err)).Inc()
				return err
			}
			writes.WithLabelValues("written").Inc()
			out <- got
			return nil
		})
	}
	err = group.Wait()
	close(out)
	for got := range out {
		f.written[got.Name], slots[got.Name].standing = got, got
	}
	return generations, err
}

// build returns the objects of slots, by name.
func (f *Function) build(contents []resources.Slot) (map[string]*slot, error) {
	slots := make(map[string]*slot, len(contents))
	for _, content := range contents {
		name := content.Name()
		if old := f.slots[name]; old != nil && old.content.Stands(content) {
			slots[name] = old
			continue
		}
		filter, generations, err := content.EnvoyFilter()
		if err != nil {
			return nil, fmt.Errorf("building a slot: %w", err)
		}
		slots[name] = &slot{content: content, filter: filter, generations: generations}
	}
	f.slots = slots
	return slots, nil
}

// stands is true if what is in the cluster is as it should be: what was written, by its
// generation. To read its content each time that it changes would cost far more than to
// write it. What an earlier process wrote is written once more, which changes nothing.
func (s *slot) stands(have *metav1.PartialObjectMetadata) bool {
	return have != nil && s.standing != nil && have.UID == s.standing.UID && have.Generation == s.standing.Generation &&
		maps.Equal(have.Labels, s.filter.Labels) &&
		have.Annotations[resources.SharesAnnotationKey] == s.filter.Annotations[resources.SharesAnnotationKey] &&
		have.Annotations[resources.MarksAnnotationKey] == s.filter.Annotations[resources.MarksAnnotationKey]
}

// overlay puts what was written, and is newer than the cache, in its place.
func (f *Function) overlay(s *state) {
	for name, w := range f.written {
		cached := s.slots[name]
		// What was created may not be in the cache yet; what was updated was.
		deleted := cached == nil && (w.Generation > 1 || f.Clock.Since(f.lastOut) > resync)
		newer := cached == nil || (cached.UID == w.UID && cached.Generation < w.Generation)
		if deleted || !newer {
			delete(f.written, name)
		} else {
			s.slots[name] = w
		}
	}
}

func (f *Function) put(ctx context.Context, have *metav1.PartialObjectMetadata, want *istio.EnvoyFilter) (*metav1.PartialObjectMetadata, error) {
	if have == nil {
		got, err := f.Slots.Create(ctx, want)
		if err != nil {
			return nil, fmt.Errorf("creating slot %s: %w", want.Name, err)
		}
		return got, nil
	}
	next := &istio.EnvoyFilter{TypeMeta: want.TypeMeta, ObjectMeta: want.ObjectMeta}
	next.ResourceVersion = have.ResourceVersion
	want.Spec.DeepCopyInto(&next.Spec)
	got, err := f.Slots.Update(ctx, next)
	if err != nil {
		return nil, fmt.Errorf("updating slot %s: %w", want.Name, err)
	}
	return got, nil
}

func outcome(err error) string {
	if apierrs.IsConflict(err) || apierrs.IsAlreadyExists(err) {
		return "conflict"
	}
	return "failed"
}
