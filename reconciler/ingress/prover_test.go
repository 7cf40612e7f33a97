package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"knative.dev/networking/pkg/http/header"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"

	"sluice.dev/sluice/reconciler/apis/tlssecret"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

// fleet is gateway pods, by name, and the generation that each serves.
type fleet struct {
	mu     sync.Mutex
	serves map[string]string
	asked  map[string]int
}

func (f *fleet) set(pod, generation string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serves[pod] = generation
}

func (f *fleet) ask(_ context.Context, claim Claim, pod Pod) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[pod.Name]++
	if got := f.serves[pod.Name]; got != claim.Generation {
		return fmt.Errorf("serves %q", got)
	}
	return nil
}

func newTestProver(t *testing.T, pods *fleet) (*Prover, chan types.NamespacedName, context.Context) {
	t.Helper()
	proved := make(chan types.NamespacedName, 10)
	p := NewProver(probePath, clock.RealClock{}, func(key types.NamespacedName) { proved <- key }, anywhere)
	p.ask = pods.ask
	return p, proved, logging.WithLogger(t.Context(), logtesting.TestLogger(t))
}

func await(t *testing.T, proved chan types.NamespacedName) {
	t.Helper()
	select {
	case <-proved:
	case <-time.After(10 * time.Second):
		t.Fatal("not proved within 10 s")
	}
}

func none(t *testing.T, proved chan types.NamespacedName) {
	t.Helper()
	select {
	case key := <-proved:
		t.Fatalf("%s was called proved", key)
	default:
	}
}

func TestProver(t *testing.T) {
	a, b := Pod{Name: "a", IP: "10.0.0.1"}, Pod{Name: "b", IP: "10.0.0.2"}
	claim := Claim{Key: types.NamespacedName{Namespace: "team", Name: "ranker"}, Generation: "1", Pods: []Pod{a, b}}
	pods := &fleet{serves: map[string]string{"a": "1"}, asked: map[string]int{}}
	prover, proved, ctx := newTestProver(t, pods)

	if got := prover.Prove(ctx, claim).Pending; len(got) != 2 {
		t.Fatalf("before any answer, pending are %v", got)
	}
	none(t, proved) // b doesn't serve it
	pods.set("b", "1")
	await(t, proved)
	if proof := prover.Prove(ctx, claim); len(proof.Pending) != 0 {
		t.Errorf("proved by all, got %+v", proof)
	}

	// A pod that comes later is asked, the others are not asked again.
	pods.mu.Lock()
	askedA := pods.asked["a"]
	pods.mu.Unlock()
	c := Pod{Name: "c", IP: "10.0.0.1"}
	claim.Pods = []Pod{a, b, c}
	if got := prover.Prove(ctx, claim).Pending; len(got) != 1 || got[0] != "c" {
		t.Errorf("with a new pod, pending are %v", got)
	}
	pods.set("c", "1")
	await(t, proved)
	pods.mu.Lock()
	if pods.asked["a"] != askedA {
		t.Error("a proved pod was asked again")
	}
	pods.mu.Unlock()

	// A new generation is proved anew; a pod that goes is waited for no more.
	claim.Generation = "2"
	pods.set("a", "2")
	if got := prover.Prove(ctx, claim).Pending; len(got) != 3 {
		t.Errorf("of a new generation, pending are %v", got)
	}
	claim.Pods = []Pod{a}
	prover.Prove(ctx, claim)
	deadline := time.Now().Add(10 * time.Second)
	for len(prover.Prove(ctx, claim).Pending) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the pods that are left never proved")
		}
		time.Sleep(time.Millisecond)
	}
	prover.Forget(claim.Key)
	if len(prover.claims) != 0 {
		t.Error("forgotten, and still there")
	}
}

// anywhere takes every pod for one that is there.
func anywhere(string, string) bool { return true }

// A pod that doesn't answer takes its own turns and nobody else's.
func TestProverIsNotHeldUpByADeadPod(t *testing.T) {
	const ingresses = 4 * probesInFlight
	live, dead := Pod{Name: "live"}, Pod{Name: "dead"}
	prover, _, _ := newTestProver(t, nil)
	ctx := logging.WithLogger(t.Context(), zap.NewNop().Sugar()) // some ask until the test has ended
	var asked atomic.Int32
	prover.ask = func(ctx context.Context, _ Claim, pod Pod) error {
		if pod == dead {
			<-t.Context().Done()
			return ctx.Err()
		}
		asked.Add(1)
		return nil
	}
	// Those to the dead one are under way before the other is asked for anything.
	for i := range ingresses {
		prover.Prove(ctx, Claim{Key: types.NamespacedName{Name: fmt.Sprint("dead", i)}, Generation: "1", Pods: []Pod{dead}})
	}
	for deadline := time.Now().Add(time.Second); len(prover.slots) < probesInFlight && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	for i := range ingresses {
		prover.Prove(ctx, Claim{Key: types.NamespacedName{Name: fmt.Sprint("live", i)}, Generation: "1", Pods: []Pod{live}})
	}
	for deadline := time.Now().Add(10 * time.Second); asked.Load() < ingresses; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d questions to a pod that answers were asked", asked.Load(), ingresses)
		}
	}
}

// Once a question got no answer, a pod is asked one at a time, beside the others' turns.
func TestProverSuspectsASilentPod(t *testing.T) {
	dead := Pod{Name: "dead"}
	prover, _, ctx := newTestProver(t, nil)
	way := prover.use(dead)
	prover.ask = func(context.Context, Claim, Pod) error { return context.DeadlineExceeded }
	if err := prover.askOnce(ctx, Claim{}, dead, way); err == nil || !way.silent.Load() {
		t.Fatalf("%v, silent: %t", err, way.silent.Load())
	}
	prover.ask = func(context.Context, Claim, Pod) error {
		if len(prover.slots) != 0 {
			t.Error("a silent pod takes a turn of the others")
		}
		return errors.New("serves another generation")
	}
	if err := prover.askOnce(ctx, Claim{}, dead, way); err == nil || way.silent.Load() {
		t.Errorf("%v, silent: %t", err, way.silent.Load())
	}
	prover.disuse(dead)
	if len(prover.doors) != 0 {
		t.Error("the door of a pod that nobody asks is kept")
	}
}

// Nothing is sent to an address that isn't the gateway pod's any more.
func TestAsksNobodyElse(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer server.Close()
	address := netip.MustParseAddrPort(server.Listener.Addr().String())
	a := &asker{path: probePath, has: func(string, string) bool { return false }}
	claim := Claim{Generation: "1", Questions: []Question{{Host: "h", Port: uint32(address.Port())}}}
	if err := a.ask(t.Context(), claim, Pod{Name: "a", IP: address.Addr().String()}); err == nil || asked.Load() != 0 {
		t.Errorf("asked %d times, %v", asked.Load(), err)
	}
}

// A cluster that warms for ever, of whomever, does not hold up everyone else.
func TestProverEndsItsPatience(t *testing.T) {
	prover, proved, ctx := newTestProver(t, nil)
	prover.clock = hasty{}
	prover.ask = func(context.Context, Claim, Pod) error { return errWarming }
	prover.Prove(ctx, Claim{Generation: "1", Pods: []Pod{{Name: "a"}}})
	await(t, proved)
}

// hasty is a clock on which every interval is over at once, and long.
type hasty struct{ clock.RealClock }

func (hasty) Since(time.Time) time.Duration { return warmingPatience }

func (h hasty) After(time.Duration) <-chan time.Time { return h.RealClock.After(0) }

// A claim that waits for something has asked since it first did; one that asks
// something else, such as another certificate, is proved anew.
func TestProverProvesOtherQuestionsAnew(t *testing.T) {
	pod := Pod{Gateway: "shared", Name: "a"}
	claim := Claim{Generation: "1", Pods: []Pod{pod}, Missing: []string{"Istio Gateway x"}}
	pods := &fleet{serves: map[string]string{"a": "1"}, asked: map[string]int{}}
	prover, proved, ctx := newTestProver(t, pods)

	first := prover.Prove(ctx, claim)
	await(t, proved)
	second := prover.Prove(ctx, claim)
	if second.complete() || len(second.Pending) != 1 || second.Pending[0] != claim.Missing[0] || second.Since.After(first.Since) {
		t.Errorf("with something missing: %+v, at first %+v", second, first)
	}
	claim.Missing, claim.Questions = nil, []Question{{Gateway: "shared", Host: "a.example", Certificate: "old"}}
	if proof := prover.Prove(ctx, claim); proof.complete() {
		t.Error("what came was not asked")
	}
	await(t, proved)
	claim.Questions = []Question{{Gateway: "shared", Host: "a.example", Certificate: "new"}}
	if proof := prover.Prove(ctx, claim); proof.complete() {
		t.Error("another certificate was not asked for")
	}
	await(t, proved)
	claim.Split = "user"
	if proof := prover.Prove(ctx, claim); proof.complete() {
		t.Error("another split was not asked for")
	}
	await(t, proved)
	if proof := prover.Prove(ctx, claim); !proof.complete() {
		t.Errorf("proved, and pending are %q", proof.Pending)
	}
}

// gatewayAnswers is what a pod answers to probes for hosts called after it.
func gatewayAnswers(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, probePath+"/") {
			t.Errorf("asked for %s", r.URL.Path)
		}
		if r.TLS != nil && r.TLS.ServerName != r.Host {
			t.Errorf("asked %s by the name of %s", r.Host, r.TLS.ServerName)
		}
		switch r.Host {
		case "stale.example.com":
			w.Header().Set(header.HashKey, "0")
			return
		case "gone.example.com":
			w.WriteHeader(http.StatusNotFound)
			return
		case "limited.example.com":
			w.WriteHeader(http.StatusTooManyRequests)
			return
		case "redirected.example.com":
			w.Header().Set(header.HashKey, "1")
			w.WriteHeader(http.StatusMovedPermanently)
			return
		}
		w.Header().Set(header.HashKey, "1")
	})
}

func TestAsk(t *testing.T) {
	plain, secure := httptest.NewServer(gatewayAnswers(t)), httptest.NewTLSServer(gatewayAnswers(t))
	defer plain.Close()
	defer secure.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that we break off
	shown := tlssecret.Fingerprint(secure.Certificate())

	for _, test := range []struct {
		name   string
		server *httptest.Server
		asked  Question
		proves bool
	}{
		{"served", plain, Question{Host: "served.example.com"}, true},
		{"an older generation", plain, Question{Host: "stale.example.com"}, false},
		{"not found", plain, Question{Host: "gone.example.com"}, false},
		{"limited", plain, Question{Host: "limited.example.com"}, false},
		{"redirected", plain, Question{Host: "redirected.example.com"}, false},
		{"of another gateway", plain, Question{Host: "gone.example.com", Gateway: "other"}, true},
		{"over HTTPS", secure, Question{Host: "served.example.com", Certificate: shown}, true},
		{"an older generation over HTTPS", secure, Question{Host: "stale.example.com", Certificate: shown}, false},
		{"another certificate", secure, Question{Host: "served.example.com", Certificate: strings.Repeat("0", len(shown))}, false},
		{"no certificate", plain, Question{Host: "served.example.com", Certificate: shown}, false},
		{"a certificate on plain HTTP", secure, Question{Host: "served.example.com"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, err := netip.ParseAddrPort(test.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			asked := test.asked
			asked.Port = uint32(address.Port())
			err = (&asker{path: probePath, has: anywhere}).ask(t.Context(), Claim{Generation: "1", Questions: []Question{asked}}, Pod{IP: address.Addr().String()})
			if (err == nil) != test.proves || errors.Is(err, errWarming) {
				t.Errorf("%v, want proof %t", err, test.proves)
			}
		})
	}
}

func TestAskForTheSplit(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(header.HashKey, "1")
		w.Header().Set(resources.SplitHeader, r.Host)
	}))
	defer server.Close()
	address, err := netip.ParseAddrPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for split, proves := range map[string]bool{"user": true, "session": false, "": false} {
		claim := Claim{Generation: "1", Split: split, Questions: []Question{{Host: "user", Port: uint32(address.Port())}}}
		if err := (&asker{path: probePath, has: anywhere}).ask(t.Context(), claim, Pod{IP: address.Addr().String()}); (err == nil) != proves {
			t.Errorf("split by %q: %v, want proof %t", split, err, proves)
		}
	}
}

func TestWarmingClusters(t *testing.T) {
	for text, want := range map[string]string{
		"# TYPE envoy_cluster_manager_warming_clusters gauge\nenvoy_cluster_manager_warming_clusters{} 0\n": "0",
		"envoy_cluster_manager_warming_clusters{a=\"b\"} 12\n":                                              "12",
		"envoy_cluster_manager_warming_clusters 3\n":                                                        "3",
	} {
		if found := warmingClusters.FindStringSubmatch(text); found == nil || found[1] != want {
			t.Errorf("in %q found %q, want %s", text, found, want)
		}
	}
}
