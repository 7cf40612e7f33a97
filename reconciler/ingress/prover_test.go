package ingress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"knative.dev/networking/pkg/http/header"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
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
	p := NewProver(probePath, clock.RealClock{}, func(key types.NamespacedName) { proved <- key })
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

func TestAsk(t *testing.T) {
	var hosts []string
	answer := func(w http.ResponseWriter, r *http.Request) {
		hosts = append(hosts, r.Host)
		if !strings.HasPrefix(r.URL.Path, probePath+"/") {
			t.Errorf("asked for %s", r.URL.Path)
		}
		if r.Host == "stale.example.com" {
			w.Header().Set(header.HashKey, "0")
			return
		}
		if r.Host == "gone.example.com" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if r.Host == "limited.example.com" {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Header().Set(header.HashKey, "1")
	}
	server := httptest.NewServer(http.HandlerFunc(answer))
	defer server.Close()
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ip, portText, err := net.SplitHostPort(address.Host)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(portText, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	a := &asker{path: probePath, client: server.Client()}
	for host, proves := range map[string]bool{
		"served.example.com": true, "stale.example.com": false, "gone.example.com": false, "limited.example.com": false,
	} {
		err := a.ask(t.Context(), Claim{Generation: "1", Questions: []Question{{Port: uint32(port), Host: host}}}, Pod{IP: ip})
		if (err == nil) != proves || errors.Is(err, errWarming) {
			t.Errorf("host %s: %v, want proof %t", host, err, proves)
		}
	}
	if len(hosts) != 4 {
		t.Errorf("asked %q", hosts)
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
