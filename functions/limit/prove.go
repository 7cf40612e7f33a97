package limit

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/gateway/reach"
)

const (
	// linesAtOnce bounds the lines of a pod that are open at the same time, but for
	// those that failed when they were asked last (reach.SuspectsAtOnce).
	linesAtOnce = 4
	// eager is the pause between rounds while an answer is awaited, for as long as
	// eagerFor after the last change; patient is the pause afterwards, and before a
	// line that failed is tried again.
	eager, eagerFor = 25 * time.Millisecond, 5 * time.Second
	patient         = time.Second
	// reprove is how long an answer counts before it is asked for again, so that a
	// pod that lost its limits is found. Certificates may be many, and cost a
	// question for each slot: theirs counts longer.
	reprove, reproveSecure = 5 * time.Second, 30 * time.Second
)

// line is a host of an entry of a gateway pod, which leads to one of the pod's
// connection managers. On the HTTPS entry the host chooses which.
type line struct {
	pod   Pod
	entry gateway.Entry
	host  string
}

// secure is true where the host chooses a certificate.
func (l line) secure() bool { return l.entry.Name == gateway.Secure.Name }

// counts is how long an answer does.
func (l line) counts() time.Duration {
	if l.secure() {
		return reproveSecure
	}
	return reprove
}

// question is what a slot enforces behind a line.
type question struct {
	line
	slot int
}

// String says where, for a status.
func (q question) String() string {
	if q.secure() {
		return fmt.Sprintf("%s (%s %s)", q.pod.Name, q.entry.Name, q.host)
	}
	return fmt.Sprintf("%s (%s)", q.pod.Name, q.entry.Name)
}

// answer is what a pod said to one question.
type answer struct {
	generation string
	at         time.Time
}

// Prover asks gateway pods, through their own data path, which content each of
// their slots enforces.
//
// A slot limits our own prober, known by the token in its path, to one request an
// hour. It gets 429 and, in a response header that the slot itself adds, the
// generation of its content; the very first request after a change is let through
// and tells nothing, so it is repeated. The whole resource is applied or none of
// it, so an answer speaks for every limit in the slot, at that pod and line.
//
// Lines are asked independently of each other. One that fails, as that of a
// certificate which isn't served does, is tried each second, and holds up no other.
type Prover struct {
	// ask puts a question, by a path that begins with the token.
	ask   func(ctx context.Context, client *http.Client, q question, path string) (string, error)
	clock clock.Clock
	// notify is called when an answer changed.
	notify func()
	has    reach.Has

	mu     sync.Mutex
	path   string
	wanted map[question]string
	told   map[question]answer
	// busy lines are being asked; failed tells since when others don't answer.
	busy   sets.Set[line]
	failed map[line]time.Time
	doors  map[Pod]*door
	change time.Time
	wake   chan struct{}
}

// door is the way to a pod, and how many may use it at the same time.
type door struct {
	*reach.Door

	client *http.Client
}

// NewProver returns a Prover that asks over HTTP and HTTPS, where a pod is.
func NewProver(c clock.Clock, notify func(), has reach.Has) *Prover {
	return &Prover{
		ask: ask, clock: c, notify: notify, has: has,
		told: map[question]answer{}, busy: sets.New[line](), failed: map[line]time.Time{}, doors: map[Pod]*door{},
		wake: make(chan struct{}, 1),
	}
}

// Want says what should be enforced by now. What is known of questions that are not
// asked any more is forgotten. Without a token there is nothing to ask by.
func (p *Prover) Want(wanted map[question]string, token string) {
	if token == "" {
		wanted = nil
	}
	lines, pods := sets.New[line](), sets.New[Pod]()
	for q := range wanted {
		lines.Insert(q.line)
		pods.Insert(q.pod)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for q, generation := range wanted {
		if p.wanted[q] != generation {
			p.change = p.clock.Now()
			signal(p.wake)
			break
		}
	}
	p.wanted, p.path = wanted, gateway.ProbePath(token)+"/limits"
	maps.DeleteFunc(p.told, func(q question, _ answer) bool { _, ok := wanted[q]; return !ok })
	maps.DeleteFunc(p.failed, func(l line, _ time.Time) bool { return !lines.Has(l) })
	maps.DeleteFunc(p.doors, func(pod Pod, d *door) bool {
		if pods.Has(pod) {
			return false
		}
		d.client.CloseIdleConnections()
		return true
	})
	for pod := range pods {
		if p.doors[pod] == nil {
			p.doors[pod] = &door{Door: reach.NewDoor(linesAtOnce), client: newClient(pod, p.has)}
		}
	}
}

// unproved returns those of the questions that were not answered as wanted.
func (p *Prover) unproved(asked []question) []question {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []question
	for _, q := range asked {
		if w, ok := p.wanted[q]; !ok || p.told[q].generation != w {
			out = append(out, q)
		}
	}
	return out
}

// Run asks until the context ends.
func (p *Prover) Run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		for _, i := range p.due() {
			asking.Go(func() { p.conduct(ctx, i) })
		}
		timer := p.clock.NewTimer(p.pause())
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

// pause is how long to wait for the next round.
func (p *Prover) pause() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clock.Since(p.change) >= eagerFor {
		return patient
	}
	for q, w := range p.wanted {
		if p.told[q].generation != w {
			return eager
		}
	}
	return patient
}

// interview is what one line is to be asked.
type interview struct {
	line
	slots []int
	path  string
	door  *door
	// suspect is true for one that failed when it was asked last.
	suspect bool
}

// due returns what is to be asked now: what is unproved or was proved long ago, on
// lines that are not busy. From then on they are.
func (p *Prover) due() map[line]*interview {
	p.mu.Lock()
	defer p.mu.Unlock()
	due := map[line]*interview{}
	for q, w := range p.wanted {
		failed, suspect := p.failed[q.line]
		if p.busy.Has(q.line) || (suspect && p.clock.Since(failed) < patient) {
			continue
		}
		if t := p.told[q]; t.generation == w && p.clock.Since(t.at) <= q.counts() {
			continue
		}
		if due[q.line] == nil {
			due[q.line] = &interview{line: q.line, path: p.path, door: p.doors[q.pod], suspect: suspect}
		}
		due[q.line].slots = append(due[q.line].slots, q.slot)
	}
	for l := range due {
		p.busy.Insert(l)
	}
	return due
}

// conduct asks a line about its slots, one after another: they share a connection.
// If it fails, that goes for all of them.
func (p *Prover) conduct(ctx context.Context, i *interview) {
	leave, err := i.door.Enter(ctx, func() bool { return i.suspect })
	if err != nil {
		return
	}
	defer leave()
	for _, slot := range i.slots {
		q, generation := question{line: i.line, slot: slot}, ""
		if err == nil {
			generation, err = p.ask(ctx, i.door.client, q, i.path)
		}
		p.learn(q, generation)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy.Delete(i.line)
	delete(p.failed, i.line)
	if err != nil {
		proofErrors.Inc()
		p.failed[i.line] = p.clock.Now()
	}
}

func (p *Prover) learn(q question, generation string) {
	p.mu.Lock()
	_, wanted := p.wanted[q]
	changed := wanted && p.told[q].generation != generation
	if wanted {
		p.told[q] = answer{generation: generation, at: p.clock.Now()}
	}
	p.mu.Unlock()
	if changed {
		p.notify()
	}
}
