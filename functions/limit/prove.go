package limit

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

const (
	// askTimeout bounds one question to one pod.
	askTimeout = time.Second
	// askAtOnce bounds the questions in flight.
	askAtOnce = 16
	// eager is the pause between rounds while an answer is awaited, for as long as
	// eagerFor after the last change; patient is the pause afterwards.
	eager, eagerFor = 25 * time.Millisecond, 5 * time.Second
	patient         = time.Second
	// reprove is how long an answer counts before the pod is asked again, so that
	// a pod that lost its limits is found.
	reprove = 5 * time.Second
)

// place is one slot of one gateway pod's entry.
type place struct {
	pod   string
	entry gateway.Entry
	slot  int
}

// answer is what a pod said about one place.
type answer struct {
	generation string
	at         time.Time
}

// Prover asks gateway pods, through their own data path, which content each of
// their slots enforces.
//
// A slot limits the probe-only host to one request an hour. Whoever asks there
// gets 429 and, in a response header that the slot itself adds, the generation of
// its content; the very first request after a change is let through and tells
// nothing, so it is repeated. The whole resource is applied or none of it, so an
// answer speaks for every limit in the slot, at that pod and entry.
type Prover struct {
	ask   func(ctx context.Context, ip, host string, at place) (string, error)
	clock clock.Clock
	// notify is called when an answer changed.
	notify func()

	mu     sync.Mutex
	wanted map[place]string
	asked  map[place]Pod
	hosts  map[place]string
	told   map[place]answer
	change time.Time
	wake   chan struct{}
}

// NewProver returns a Prover that asks over HTTP.
func NewProver(c clock.Clock, notify func()) *Prover {
	client := &http.Client{
		Timeout: askTimeout,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: askTimeout}).DialContext,
			MaxIdleConnsPerHost: 2,
			IdleConnTimeout:     time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Prover{ask: askOver(client), clock: c, notify: notify, told: map[place]answer{}, wake: make(chan struct{}, 1)}
}

func askOver(client *http.Client) func(context.Context, string, string, place) (string, error) {
	return func(ctx context.Context, ip, host string, at place) (string, error) {
		url := "http://" + net.JoinHostPort(ip, strconv.Itoa(int(at.entry.Port))) + "/"
		for range 2 {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
			if err != nil {
				return "", fmt.Errorf("building the question: %w", err)
			}
			req.Host = host
			req.Header.Set(gateway.SlotHeader, strconv.Itoa(at.slot))
			resp, err := client.Do(req)
			if err != nil {
				return "", fmt.Errorf("asking gateway pod %s at %s: %w", at.pod, at.entry.Name, err)
			}
			_, _ = io.CopyN(io.Discard, resp.Body, 4096)
			_ = resp.Body.Close()
			if g := resp.Header.Get(gateway.GenerationHeader); g != "" {
				return g, nil
			}
		}
		return "", nil
	}
}

// Want says what every slot of every ready gateway pod should enforce by now.
// What is known of pods that are not named any more is forgotten.
func (p *Prover) Want(pods map[string][]Pod, generations map[string]string) {
	wanted, asked, hosts := map[place]string{}, map[place]Pod{}, map[place]string{}
	for name, of := range pods {
		for _, entry := range gateway.Entries() {
			for i := range gateway.Slots {
				generation, ok := generations[gateway.SlotObjectName(name, entry, i)]
				if !ok {
					continue
				}
				for _, pod := range of {
					at := place{pod: pod.Name, entry: entry, slot: i}
					wanted[at], asked[at], hosts[at] = generation, pod, gateway.ProbeHost(name)
				}
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for at := range p.told {
		if _, ok := wanted[at]; !ok || p.asked[at].IP != asked[at].IP {
			delete(p.told, at)
		}
	}
	for at, generation := range wanted {
		if p.wanted[at] != generation {
			p.change = p.clock.Now()
			p.rouse()
			break
		}
	}
	p.wanted, p.asked, p.hosts = wanted, asked, hosts
}

// rouse wakes the loop; p.mu is held.
func (p *Prover) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Lagging returns those of the pods that were not seen to enforce what is wanted
// in a slot of every entry.
func (p *Prover) Lagging(pods []Pod, slot int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lagging []string
	for _, pod := range pods {
		for _, entry := range gateway.Entries() {
			at := place{pod: pod.Name, entry: entry, slot: slot}
			if w, ok := p.wanted[at]; !ok || p.told[at].generation != w {
				lagging = append(lagging, pod.Name)
				break
			}
		}
	}
	return lagging
}

// Run asks until the context ends.
func (p *Prover) Run(ctx context.Context) {
	for {
		pause := patient
		if p.round(ctx) && p.clock.Since(p.changed()) < eagerFor {
			pause = eager
		}
		timer := p.clock.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-p.wake:
			timer.Stop()
		case <-timer.C():
		}
	}
}

func (p *Prover) changed() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.change
}

// round asks about every place that is unproved or was proved long ago, and
// returns whether something is unproved still.
func (p *Prover) round(ctx context.Context) bool {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(askAtOnce)
	for _, at := range p.due() {
		group.Go(func() error {
			p.mu.Lock()
			pod, host := p.asked[at], p.hosts[at]
			p.mu.Unlock()
			generation, err := p.ask(ctx, pod.IP, host, at)
			if err != nil {
				proofErrors.Inc()
			}
			p.learn(at, pod, generation)
			return nil
		})
	}
	_ = group.Wait()
	return p.unproved()
}

func (p *Prover) due() []place {
	p.mu.Lock()
	defer p.mu.Unlock()
	var due []place
	for at, w := range p.wanted {
		if t := p.told[at]; t.generation != w || p.clock.Since(t.at) > reprove {
			due = append(due, at)
		}
	}
	return due
}

func (p *Prover) learn(at place, pod Pod, generation string) {
	p.mu.Lock()
	if p.asked[at] != pod {
		p.mu.Unlock()
		return
	}
	changed := p.told[at].generation != generation
	p.told[at] = answer{generation: generation, at: p.clock.Now()}
	p.mu.Unlock()
	if changed {
		p.notify()
	}
}

func (p *Prover) unproved() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, w := range p.wanted {
		if p.told[at].generation != w {
			return true
		}
	}
	return false
}
