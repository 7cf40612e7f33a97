package demand

import (
	"context"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

const (
	// PollEvery is how often gateway pods are asked for their counters.
	PollEvery = time.Second
	// pollAtOnce bounds the pods that are asked at the same time.
	pollAtOnce = 8
	// logEvery is the least time between two lines of the log about one pod.
	logEvery = time.Minute
)

// Pod is a pod of a gateway that takes requests.
type Pod struct {
	Gateway, Name, IP string
}

// Cluster is what there is to read.
type Cluster interface {
	// ReadyPods are those of every gateway.
	ReadyPods() []Pod
	// Served are the names of the virtual services that there are.
	Served() sets.Set[string]
	// Slow are the virtual services of which a replica takes longer for a request than
	// PollEvery, with how long: one request is a demand for no more than one replica.
	Slow() map[string]time.Duration
	// Gateways are those that serve a virtual service. One that isn't there may be served by
	// any of them.
	Gateways() map[string][]string
}

// Keeper keeps what came until now, by virtual service; whole is true of one of which all of
// it is known.
type Keeper func(now time.Time, came map[string]float64, whole func(virtualService string) bool)

// Offered is the demand seen at each gateway, from the counters that its pods'
// access loggers keep by virtual service and entry. A request
// counts as it arrives, refused or not.
type Offered struct {
	fetch   func(ctx context.Context, ip string, served sets.Set[string]) (counts, error)
	cluster Cluster
	clock   clock.WithTicker
	log     *zap.SugaredLogger
	// notify is called when demand was seen: shares may have to follow it.
	notify func()
	// keep is told what came to each virtual service since it was told last, but for requests
	// with the mark, and of which every pod of their gateways said so; it may be nil.
	keep Keeper
	// polled is when the last poll began.
	polled time.Time
	// tallies by pod, of those too that are gone and whose demand fades.
	tallies map[string]*tally

	mu          sync.Mutex
	all, marked seen
	// read is when the pods of a gateway were last read, the longest ago of them.
	read  map[string]time.Time
	known bool
}

// New returns the demand seen at the pods of a cluster's gateways.
func New(cluster Cluster, c clock.WithTicker, log *zap.SugaredLogger, notify func()) *Offered {
	client := &http.Client{Timeout: PollEvery}
	return &Offered{
		fetch: func(ctx context.Context, ip string, served sets.Set[string]) (counts, error) {
			return scrape(ctx, client, ip, served)
		},
		cluster: cluster, clock: c, log: log, notify: notify, tallies: map[string]*tally{},
	}
}

// Keep has what comes be kept, too. It is for before Run.
func (o *Offered) Keep(keep Keeper) { o.keep = keep }

// At returns how many requests a second arrive for a virtual service at each entry of
// a gateway, in the order of gateway.Entries.
func (o *Offered) At(name, virtualService string) []float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.rates.at(name, virtualService)
}

// Marked is At of those requests alone that carry the mark, which At has, too.
func (o *Offered) Marked(name, virtualService string) []float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.marked.rates.at(name, virtualService)
}

// Latest returns how many requests a second arrived without the mark between the last two
// readings, at each entry of a gateway.
func (o *Offered) Latest(name, virtualService string) []float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	latest := o.all.latest.at(name, virtualService)
	for e, rate := range o.marked.latest.at(name, virtualService) {
		latest[e] = max(0, latest[e]-rate)
	}
	return latest
}

// ReadAt is when the counters of a gateway were read last: of several pods, the one that was
// read longest ago. It is zero while one of them wasn't, and where there is none.
func (o *Offered) ReadAt(name string) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.read[name]
}

// Arrived counts the requests that have arrived for a virtual service at each entry of a
// gateway, refused ones included. It begins anew, at 0, after a time without any.
func (o *Offered) Arrived(name, virtualService string) []float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.arrived.at(name, virtualService)
}

// Known is false until every pod was seen for a while, or was not to be read for
// long: until then there may be more demand than is told.
func (o *Offered) Known() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known
}

// Run polls until the context ends.
func (o *Offered) Run(ctx context.Context) {
	ticker := o.clock.NewTicker(PollEvery)
	defer ticker.Stop()
	o.poll(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			o.poll(ctx)
		}
	}
}

// reading is what came of asking a pod.
type reading struct {
	counts counts
	at     time.Time
	err    error
}

// poll reads every pod's counters and folds what they grew by into the rates.
func (o *Offered) poll(ctx context.Context) {
	began := o.clock.Now()
	pods, served, slow := o.cluster.ReadyPods(), o.cluster.Served(), halfLives(o.cluster.Slow())
	readings := make([]reading, len(pods))
	var group errgroup.Group
	group.SetLimit(pollAtOnce)
	for i, pod := range pods {
		group.Go(func() error {
			r := &readings[i]
			r.counts, r.err = o.fetch(ctx, pod.IP, served)
			r.at = o.clock.Now()
			return nil
		})
	}
	_ = group.Wait() // each reading has its own error
	listed, came, said := sets.New[string](), map[string]counts{}, saying{}
	for i, pod := range pods {
		listed.Insert(pod.Name)
		said.note(pod.Gateway, readings[i].err == nil && o.compares(pod))
		if of := o.fold(pod, readings[i], served, slow); len(of) > 0 {
			came[pod.Name] = of
		}
	}
	for name, t := range o.tallies {
		if !listed.Has(name) {
			t.fade()
			if len(t.rates) == 0 {
				delete(o.tallies, name)
			}
		}
	}
	o.sum(listed, came)
	if o.keep != nil {
		o.keep(o.clock.Now(), unmarked(came), said.wholeOf(o.cluster.Gateways()))
	}
	o.polled = began
	if len(came) > 0 {
		o.notify()
	}
}

// compares is true if a pod's counters were read by the last poll: then it is known what
// came since.
func (o *Offered) compares(pod Pod) bool {
	t := o.tallies[pod.Name]
	return !o.polled.IsZero() && t != nil && t.counts != nil && !t.at.Before(o.polled)
}

// saying is, by gateway, whether each of its pods said all that came since the last poll.
type saying map[string]bool

func (s saying) note(gateway string, all bool) {
	before, ok := s[gateway]
	s[gateway] = all && (before || !ok)
}

// wholeOf tells of which virtual services all is known, by the gateways that serve them: one
// without pods says nothing.
func (s saying) wholeOf(gateways map[string][]string) func(virtualService string) bool {
	everywhere := len(s) > 0
	for _, all := range s {
		everywhere = everywhere && all
	}
	return func(virtualService string) bool {
		of, ok := gateways[virtualService]
		if !ok {
			return everywhere
		}
		for _, name := range of {
			if !s[name] {
				return false
			}
		}
		return true
	}
}

// unmarked is what came to each virtual service, at all pods and entries, without the mark.
func unmarked(came map[string]counts) map[string]float64 {
	sum := map[string]float64{}
	for _, of := range came {
		for s, n := range of {
			if s.marked {
				n = -n // the other counter has them, too
			}
			sum[s.virtualService] += n
		}
	}
	return sum
}

// fold takes in what came of asking a pod, and returns the requests that came to it.
func (o *Offered) fold(pod Pod, r reading, served sets.Set[string], slow halfLives) (came counts) {
	t := o.tallies[pod.Name]
	if t == nil {
		t = &tally{gateway: pod.Gateway, at: r.at}
		o.tallies[pod.Name] = t
	}
	if r.err == nil {
		return t.read(r, served, slow)
	}
	pollErrors.Inc()
	gone := r.at.Sub(t.at) > standsFor
	if gone {
		t.fade()
		t.counts = nil
	}
	if t.logged.IsZero() || r.at.Sub(t.logged) >= logEvery {
		t.logged = r.at
		o.log.Warnw("Gateway pod's counters not read; its demand stands for a while and then counts for nothing",
			zap.String("pod", pod.Name), zap.Duration("stands", standsFor), zap.Bool("gone", gone), zap.Error(r.err))
	}
	return nil
}

// sum adds up what pods see, and what came to each of them since they were read last.
func (o *Offered) sum(listed sets.Set[string], came map[string]counts) {
	settled, read := listed.Len() > 0, map[string]time.Time{}
	for name, t := range o.tallies {
		if !listed.Has(name) {
			continue
		}
		settled = settled && t.settled
		at := t.at
		if !t.settled || t.counts == nil {
			at = time.Time{}
		}
		if before, ok := read[t.gateway]; !ok || at.Before(before) {
			read[t.gateway] = at
		}
	}
	all := o.seen(came, func(s series) bool { return !s.marked })
	marked := o.seen(came, func(s series) bool { return s.marked })
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all, o.marked, o.read, o.known = o.all.next(all), o.marked.next(marked), read, o.known || settled
}

// seen is what pods see by some of their counters: arrived is what came since the last time.
func (o *Offered) seen(came map[string]counts, by func(series) bool) seen {
	now := seen{rates: sums{}, arrived: sums{}, latest: sums{}}
	for name, t := range o.tallies {
		for s, rate := range t.rates {
			if by(s) {
				now.rates.add(t.gateway, s, rate)
				now.arrived.add(t.gateway, s, came[name][s])
				now.latest.add(t.gateway, s, came[name][s]/t.over.Seconds())
			}
		}
	}
	return now
}

// seen are requests of one kind.
type seen struct {
	rates sums
	// latest are those of the last reading alone.
	latest sums
	// arrived are sums of what came, for as long as there are rates.
	arrived sums
}

// next goes on counting what arrives, where there are rates still.
func (s seen) next(now seen) seen {
	for name, of := range now.arrived {
		for virtualService, came := range of {
			for entry, n := range s.arrived[name][virtualService] {
				came[entry] += n
			}
		}
	}
	return now
}

// sums are by gateway, virtual service and entry.
type sums map[string]map[string][]float64

func (all sums) add(name string, s series, n float64) {
	of := all[name]
	if of == nil {
		of = map[string][]float64{}
		all[name] = of
	}
	if of[s.virtualService] == nil {
		of[s.virtualService] = make([]float64, len(gateway.Entries()))
	}
	of[s.virtualService][s.entry] += n
}

func (all sums) at(name, virtualService string) []float64 {
	out := make([]float64, len(gateway.Entries()))
	copy(out, all[name][virtualService])
	return out
}
