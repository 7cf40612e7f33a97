package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"knative.dev/networking/pkg/http/header"
	"knative.dev/pkg/logging"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/gateway/reach"
	"sluice.dev/sluice/reconciler/apis/tlssecret"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

const (
	// A gateway follows within some 150 ms: ask often at first. A question costs
	// it a direct response, and one that isn't answered soon is asked each second.
	firstProbeInterval = 20 * time.Millisecond
	lastProbeInterval  = time.Second
	probeTimeout       = time.Second
	// probesInFlight bounds the sockets and the CPU of a restart, when every
	// Ingress is proved again, and probesOfPod those to one pod.
	probesInFlight, probesOfPod = 16, 8
	// warmingPatience bounds the wait for other Ingresses' clusters, which may
	// warm for long, as one of an unresolvable external name does.
	warmingPatience = 5 * time.Second

	warmingPath = "/stats/prometheus?filter=cluster_manager.warming_clusters"
)

// Claim is what is to be proved of an Ingress: that every pod answers every
// question to its gateway with the generation and the split.
type Claim struct {
	Key        types.NamespacedName
	Generation string
	// Split is the digest of what requests are to be split by; "" of nothing.
	Split     string
	Questions []Question
	Pods      []Pod
	// Missing names what has to be there before all can be asked.
	Missing []string
}

// Proof is how far a claim is proved.
type Proof struct {
	// Pending names what is missing and the pods that haven't answered with the
	// generation yet.
	Pending []string
	// Since is when what is pending longest was first asked for.
	Since time.Time
}

func (p Proof) complete() bool { return len(p.Pending) == 0 }

// Prover asks gateway pods, in the background, whether they serve what was
// written, and calls back when a claim's last pod says so.
type Prover struct {
	ask    func(ctx context.Context, claim Claim, pod Pod) error
	clock  clock.WithTicker
	proved func(types.NamespacedName)
	slots  chan struct{}

	mu     sync.Mutex
	claims map[types.NamespacedName]*proving
	// doors are those of pods that are being asked.
	doors map[Pod]*door
}

// door is the way to a pod.
type door struct {
	*reach.Door

	// users are those who ask the pod for something.
	users int
	// silent tells that the pod gave no answer in time to the last question.
	silent atomic.Bool
}

// proving is the state of one Ingress' claim. A pod that is proved keeps its
// entry, so that only new ones are asked.
type proving struct {
	claim Claim
	since time.Time
	pods  map[Pod]*podProof
}

// is tells whether another claim asks the same, of whichever pods.
func (s *proving) is(claim Claim) bool {
	return s.claim.Generation == claim.Generation && s.claim.Split == claim.Split && slices.Equal(s.claim.Questions, claim.Questions) &&
		slices.Equal(s.claim.Missing, claim.Missing)
}

type podProof struct {
	proved bool
	since  time.Time
	cancel context.CancelFunc
}

// NewProver returns a Prover whose probes begin with probePath. It calls proved,
// from any goroutine, whenever no pod of a claim is pending any more. It asks where a
// pod is.
func NewProver(probePath string, clk clock.WithTicker, proved func(types.NamespacedName), has reach.Has) *Prover {
	return &Prover{
		ask:    (&asker{path: probePath, has: has}).ask,
		clock:  clk,
		proved: proved,
		slots:  make(chan struct{}, probesInFlight),
		claims: map[types.NamespacedName]*proving{},
		doors:  map[Pod]*door{},
	}
}

// Prove says how far a claim is proved and starts, in ctx, to ask those pods that
// haven't been asked. What an earlier claim of the same Ingress asked and this
// one doesn't is given up.
func (p *Prover) Prove(ctx context.Context, claim Claim) Proof {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	state, ok := p.claims[claim.Key]
	if !ok || !state.is(claim) {
		if ok {
			state.cancelAll()
		}
		state = &proving{claim: claim, since: now, pods: map[Pod]*podProof{}}
		p.claims[claim.Key] = state
	}
	state.keepOnly(claim.Pods)

	proof := Proof{Since: now, Pending: slices.Clone(claim.Missing)}
	if len(claim.Missing) > 0 {
		proof.Since = state.since
	}
	for _, pod := range claim.Pods {
		asked, ok := state.pods[pod]
		if !ok {
			podCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
			asked = &podProof{since: now, cancel: cancel}
			state.pods[pod] = asked
			go p.askUntilProved(podCtx, claim, pod, asked)
		}
		if !asked.proved {
			proof.Pending = append(proof.Pending, pod.Name)
			if asked.since.Before(proof.Since) {
				proof.Since = asked.since
			}
		}
	}
	return proof
}

// Forget gives up what is asked for an Ingress.
func (p *Prover) Forget(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if state, ok := p.claims[key]; ok {
		state.cancelAll()
		delete(p.claims, key)
	}
}

func (s *proving) cancelAll() {
	for _, pod := range s.pods {
		pod.cancel()
	}
}

func (s *proving) keepOnly(pods []Pod) {
	keep := map[Pod]bool{}
	for _, pod := range pods {
		keep[pod] = true
	}
	for pod, asked := range s.pods {
		if !keep[pod] {
			asked.cancel()
			delete(s.pods, pod)
		}
	}
}

// pending tells whether any pod is still asked.
func (s *proving) pending() bool {
	for _, pod := range s.pods {
		if !pod.proved {
			return true
		}
	}
	return false
}

func (p *Prover) askUntilProved(ctx context.Context, claim Claim, pod Pod, asked *podProof) {
	logger := logging.FromContext(ctx)
	way := p.use(pod)
	defer p.disuse(pod)
	var warmingSince time.Time
	for interval := firstProbeInterval; ; interval = min(interval*5/4, lastProbeInterval) {
		err := p.askOnce(ctx, claim, pod, way)
		if errors.Is(err, errWarming) {
			if warmingSince.IsZero() {
				warmingSince = p.clock.Now()
			}
			if p.clock.Since(warmingSince) >= warmingPatience {
				err = nil
			}
		}
		if err == nil {
			p.markProved(claim, pod, asked)
			return
		}
		logger.Debugf("Gateway pod %s doesn't serve %s yet: %v", pod.Name, claim.Key, err)
		select {
		case <-ctx.Done():
			return
		case <-p.clock.After(interval):
		}
	}
}

// askOnce waits for its turn. A pod that doesn't answer takes none of the others'.
func (p *Prover) askOnce(ctx context.Context, claim Claim, pod Pod, way *door) error {
	leave, err := way.Enter(ctx, way.silent.Load)
	if err != nil {
		return err
	}
	defer leave()
	if !way.silent.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p.slots <- struct{}{}:
		}
		defer func() { <-p.slots }()
	}
	err = p.ask(ctx, claim, pod)
	var timed net.Error
	way.silent.Store(errors.As(err, &timed) && timed.Timeout())
	return err
}

// use is the door of a pod, for who asks it from now on, until disuse.
func (p *Prover) use(pod Pod) *door {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.doors[pod] == nil {
		p.doors[pod] = &door{Door: reach.NewDoor(probesOfPod)}
	}
	p.doors[pod].users++
	return p.doors[pod]
}

func (p *Prover) disuse(pod Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.doors[pod].users--; p.doors[pod].users == 0 {
		delete(p.doors, pod)
	}
}

func (p *Prover) markProved(claim Claim, pod Pod, asked *podProof) {
	p.mu.Lock()
	state, ok := p.claims[claim.Key]
	current := ok && state.pods[pod] == asked // neither superseded nor gone
	if current {
		asked.proved = true
		asked.cancel()
	}
	done := current && !state.pending()
	p.mu.Unlock()
	if done {
		p.proved(claim.Key)
	}
}

// asker asks over the gateway's own data path.
type asker struct {
	path string
	has  reach.Has
}

// errWarming is for a pod that serves the routes and is still getting ready some
// cluster behind them, of whichever Ingress.
var errWarming = errors.New("clusters are warming")

// ask returns nil if the pod answers every question to its gateway with the
// claim's generation and has no upstream cluster that is still warming. istiod
// sends clusters before routes, but Envoy takes a cluster into use only with its
// endpoints: without the second question the first request could find a route to
// nowhere.
func (a *asker) ask(ctx context.Context, claim Claim, pod Pod) error {
	for _, question := range claim.Questions {
		if question.Gateway != pod.Gateway {
			continue
		}
		if err := a.askHost(ctx, claim, question, pod); err != nil {
			return fmt.Errorf("asking for host %s on port %d: %w", question.Host, question.Port, err)
		}
	}
	return a.askClusters(ctx, pod)
}

func (a *asker) askHost(ctx context.Context, claim Claim, question Question, pod Pod) error {
	scheme, config := "http", (*tls.Config)(nil)
	if question.Certificate != "" {
		scheme, config = "https", tlsConfig(question)
	}
	address := net.JoinHostPort(pod.IP, strconv.FormatUint(uint64(question.Port), 10))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+a.path+"/"+claim.Generation, nil)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	request.Host = question.Host
	request.Header.Set(header.UserAgentKey, header.IngressReadinessUserAgent)
	got, err := a.do(request, config, pod)
	if err != nil {
		return err
	}
	if told := got.header.Get(header.HashKey); got.status != http.StatusOK || told != claim.Generation {
		return fmt.Errorf("got status %d and generation %q, want 200 and %q", got.status, told, claim.Generation)
	}
	if told := got.header.Get(resources.SplitHeader); told != claim.Split {
		return fmt.Errorf("got split %q, want %q", told, claim.Split)
	}
	return nil
}

// tlsConfig asks for a question's host by SNI and accepts the certificate that it
// names, whoever signed it, and no other.
func tlsConfig(question Question) *tls.Config {
	return &tls.Config{
		ServerName:         question.Host,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection is stricter: it wants this very certificate
		VerifyConnection: func(state tls.ConnectionState) error {
			if got := tlssecret.Fingerprint(state.PeerCertificates[0]); got != question.Certificate {
				return fmt.Errorf("got certificate %.16s…, want %.16s…", got, question.Certificate)
			}
			return nil
		},
	}
}

var warmingClusters = regexp.MustCompile(`(?m)^envoy_cluster_manager_warming_clusters(?:\{[^}]*\})? (\d+)`)

// askClusters returns errWarming if the pod says that a cluster is warming. A
// proxy that doesn't tell is no reason to wait.
func (a *asker) askClusters(ctx context.Context, pod Pod) error {
	address := net.JoinHostPort(pod.IP, strconv.Itoa(gateway.StatsPort))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+warmingPath, nil)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	got, err := a.do(request, nil, pod)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	if found := warmingClusters.FindSubmatch(got.body); found != nil && string(found[1]) != "0" {
		return errWarming
	}
	return nil
}

// answer is what a pod answered, its body up to 1 MiB.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request over a connection of its own: a gateway's workers take turns,
// and none is kept open to a pod that wants to leave.
func (a *asker) do(request *http.Request, config *tls.Config, pod Pod) (answer, error) {
	client := &http.Client{
		Timeout: probeTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       a.has.Dial(pod.Name, pod.IP),
			TLSClientConfig:   config,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("sending the request: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	return answer{status: response.StatusCode, header: response.Header, body: body}, nil
}
