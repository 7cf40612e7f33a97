package model

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

const (
	// pullsAtOnce bounds the questions to replicas that are under way, tellsAtOnce the
	// events.
	pullsAtOnce, tellsAtOnce = 16, 4
	// pullTimeout bounds one.
	pullTimeout = time.Second
	// pullAgain is how often a replica is asked that has no verdict yet.
	pullAgain = time.Second
	// maxReason bounds what is shown of an answer. Replicas are the tenants': their
	// answers are not to be trusted.
	maxReason = 400
)

// warmth knows how far replicas are, by asking them; those without a verdict once a
// second, the others when something about their pod changes.
type warmth struct {
	ask func(ctx context.Context, ip string) (warmup.Status, error)
	// changed is told of the Model when a replica of it has come further.
	changed func(model types.NamespacedName)
	clock   clock.PassiveClock
	// beside does something while nobody waits for it; pulls and tells bound how much at
	// once.
	beside       func(func())
	pulls, tells chan struct{}

	mu   sync.Mutex
	seen map[types.UID]*seen
}

// seen is what a replica has said.
type seen struct {
	model types.NamespacedName
	// state of the pod when it was asked last.
	state  string
	asked  time.Time
	asking bool
	status warmup.Status
	// told is the verdict that the Broker has; telling is true while it is being told.
	told    verdict
	telling bool
}

// verdict is one of a replica's.
type verdict struct {
	starts int
	state  warmup.State
}

func newWarmth(changed func(types.NamespacedName), c clock.PassiveClock) *warmth {
	return &warmth{
		ask: askReplica, changed: changed, clock: c, beside: func(work func()) { go work() },
		pulls: make(chan struct{}, pullsAtOnce), tells: make(chan struct{}, tellsAtOnce), seen: map[types.UID]*seen{},
	}
}

// of is what a replica of the Model has said last; it is asked again if it may have
// something new to say.
func (w *warmth) of(model types.NamespacedName, pod *corev1.Pod) seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	known, ok := w.seen[pod.UID]
	if !ok {
		known = &seen{model: model, status: warmup.Status{State: warmup.Waiting}}
		w.seen[pod.UID] = known
	}
	state, now := podState(pod), w.clock.Now()
	due := known.state != state || !known.status.State.Ended() && now.Sub(known.asked) >= pullAgain
	if due && !known.asking && pod.Status.PodIP != "" {
		known.asking, known.state, known.asked = true, state, now
		go w.pull(pod.UID, pod.Status.PodIP)
	}
	return *known
}

// podState is what of a pod tells that its replica may have another verdict.
func podState(pod *corev1.Pod) string {
	parts := []string{pod.Status.PodIP}
	for _, c := range pod.Status.ContainerStatuses {
		parts = append(parts, fmt.Sprint(c.RestartCount, c.Ready))
	}
	return strings.Join(parts, " ")
}

func (w *warmth) pull(pod types.UID, ip string) {
	w.pulls <- struct{}{}
	ctx, cancel := context.WithTimeout(context.Background(), pullTimeout)
	status, err := w.ask(ctx, ip)
	cancel()
	<-w.pulls

	w.mu.Lock()
	known, ok := w.seen[pod]
	if !ok {
		w.mu.Unlock()
		return
	}
	known.asking = false
	news := err == nil && status != known.status
	if news {
		known.status = status
	}
	model := known.model
	w.mu.Unlock()
	if news {
		w.changed(model)
	}
}

// keep forgets the replicas of a Model that are gone.
func (w *warmth) keep(model types.NamespacedName, pods []*corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for uid, known := range w.seen {
		if known.model == model && !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.UID == uid }) {
			delete(w.seen, uid)
		}
	}
}

// tell has the Broker be told of a replica's verdict, beside, and returns whether it
// has been. One at a time: a Broker that is slow, or down, is told the rest later.
func (w *warmth) tell(pod types.UID, v verdict, send func() error) bool {
	w.mu.Lock()
	known, ok := w.seen[pod]
	begin := ok && !known.telling && known.told != v
	if begin {
		known.telling = true
	}
	w.mu.Unlock()
	if begin {
		w.beside(func() {
			w.tells <- struct{}{}
			err := send()
			<-w.tells
			w.mu.Lock()
			defer w.mu.Unlock()
			if known.telling = false; err == nil {
				known.told = v
			}
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return !ok || known.told == v
}

// toReplicas doesn't follow redirects, keeps no connections, and goes past proxies.
var toReplicas = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func askReplica(ctx context.Context, ip string) (warmup.Status, error) {
	status, err := warmup.Ask(ctx, toReplicas, net.JoinHostPort(ip, strconv.Itoa(warmup.Port)))
	if err != nil {
		return status, fmt.Errorf("asking a replica: %w", err)
	}
	return sane(status)
}

// sane is an answer within its bounds.
func sane(s warmup.Status) (warmup.Status, error) {
	if !slices.Contains([]warmup.State{warmup.Waiting, warmup.Warming, warmup.Warm, warmup.Failed, warmup.ServingCold}, s.State) {
		return s, fmt.Errorf("a replica is in no state that there is: %.20q", s.State)
	}
	if s.Starts < 0 || s.Requests < 0 || s.FirstMilliseconds < 0 || s.LastMilliseconds < 0 || s.Seconds < 0 || s.State.Ended() && s.Starts < 1 {
		return s, fmt.Errorf("a replica counts below nothing: %+v", s)
	}
	if runes := []rune(s.Reason); len(runes) > maxReason {
		s.Reason = string(runes[:maxReason]) + "…"
	}
	return s, nil
}
