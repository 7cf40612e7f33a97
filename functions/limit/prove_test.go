package limit

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/gateway/reach"
)

// slotAnswers is a gateway pod that lets the first probe of a slot through.
func slotAnswers(t *testing.T, asked *atomic.Int32) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "m.blue.test" || r.URL.Path != "/token/limits" || r.Header.Get(gateway.SlotHeader) != "3" {
			t.Errorf("asked %s%s for slot %q", r.Host, r.URL.Path, r.Header.Get(gateway.SlotHeader))
		}
		if r.TLS != nil && r.TLS.ServerName != "m.blue.test" {
			t.Errorf("asked for the certificate of %q", r.TLS.ServerName)
		}
		if asked.Add(1) > 1 {
			w.Header().Set(gateway.GenerationHeader, "abc")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
}

// anywhere takes every pod for one that is there.
func anywhere(string, string) bool { return true }

// What carries the token goes to no address that isn't a gateway pod's.
func TestAsksNobodyElse(t *testing.T) {
	asked := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer server.Close()
	at := lineTo(t, server, gateway.External.Name)
	pod := at.pod
	q := question{line: at}
	client := newClient(pod, func(name, address string) bool { return name != pod.Name || address != pod.IP })
	if _, err := ask(t.Context(), client, q, "/token/limits"); err == nil || asked {
		t.Errorf("asked: %t, %v", asked, err)
	}
}

// lineTo is the line to a server that stands for an entry of a gateway pod.
func lineTo(t *testing.T, server *httptest.Server, entry string) line {
	t.Helper()
	ip, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return line{pod: Pod{Name: "a", IP: ip}, entry: gateway.Entry{Name: entry, Port: uint32(number)}, host: "m.blue.test"}
}

func TestAskTwiceWhenTheFirstIsLetThrough(t *testing.T) {
	var asked atomic.Int32
	for name, serve := range map[string]func(http.Handler) *httptest.Server{
		gateway.External.Name: httptest.NewServer,
		gateway.Secure.Name:   httptest.NewTLSServer,
	} {
		t.Run(name, func(t *testing.T) {
			asked.Store(0)
			server := serve(slotAnswers(t, &asked))
			defer server.Close()
			at := lineTo(t, server, name)
			q := question{line: at, slot: 3}
			got, err := ask(t.Context(), newClient(at.pod, anywhere), q, "/token/limits")
			if err != nil || got != "abc" || asked.Load() != 2 {
				t.Errorf("ask() = %q, %v after %d questions", got, err, asked.Load())
			}
		})
	}
}

// gatewayPods answer with a generation, but for those of their hosts that fail, or
// are silent until the test ends.
type gatewayPods struct {
	mu         sync.Mutex
	generation string
	failing    map[string]error
	asked      map[string]int
	// waiting is how many questions have no answer, most is how many at once.
	waiting, most int
}

var errSilent = errors.New("silent")

func (g *gatewayPods) ask(ctx context.Context, _ *http.Client, q question, _ string) (string, error) {
	g.mu.Lock()
	g.asked[q.host]++
	g.waiting++
	g.most = max(g.most, g.waiting)
	err, generation := g.failing[q.host], g.generation
	g.mu.Unlock()
	if errors.Is(err, errSilent) {
		<-ctx.Done()
	}
	g.mu.Lock()
	g.waiting--
	g.mu.Unlock()
	return generation, err
}

func (g *gatewayPods) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

// Certificates that aren't served, however many and whether they fail or are
// silent, hold up nobody's proof.
func TestBrokenCertificatesHoldUpNobody(t *testing.T) {
	const certificates = 20
	pods := &gatewayPods{generation: "one", failing: map[string]error{}, asked: map[string]int{}}
	clk := clocktesting.NewFakeClock(time.Unix(0, 0))
	p := NewProver(clk, func() {}, anywhere)
	p.ask = pods.ask
	pod := Pod{Gateway: gateway.Shared, Name: "shared-a"}
	lines := append(probeLines(gateway.Shared), line{entry: gateway.Secure, host: "sound.test"})
	for i := range certificates {
		host := "broken-" + strconv.Itoa(i) + ".test"
		lines = append(lines, line{entry: gateway.Secure, host: host})
		pods.failing[host] = errors.New("no certificate")
	}
	want := func(generation string) (sound, broken []question) {
		wanted := map[question]string{}
		for _, l := range lines {
			l.pod = pod
			for slot := range gateway.DefaultSlots {
				q := question{line: l, slot: slot}
				wanted[q] = generation
				if pods.failing[l.host] == nil {
					sound = append(sound, q)
				} else {
					broken = append(broken, q)
				}
			}
		}
		p.Want(wanted, "token")
		return sound, broken
	}
	sound, broken := want("one")
	go p.Run(t.Context())
	eventually(t, "all but the broken proved", func() bool { return len(p.unproved(sound)) == 0 })
	eventually(t, "the broken found", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.failed) == certificates && p.busy.Len() == 0
	})
	pods.set(func() {
		for host := range pods.failing {
			if pods.asked[host] != 1 {
				t.Errorf("%s was asked %d questions, though the first failed", host, pods.asked[host])
			}
			pods.failing[host] = errSilent
		}
		pods.most, pods.generation = 0, "two"
	})
	clk.Step(patient) // time to try the broken again
	sound, _ = want("two")
	eventually(t, "the next generation proved", func() bool { return len(p.unproved(sound)) == 0 })
	pods.set(func() {
		if pods.most > linesAtOnce+reach.SuspectsAtOnce {
			t.Errorf("%d questions at once to one pod", pods.most)
		}
	})
	if got := p.unproved(broken); len(got) != len(broken) {
		t.Errorf("%d of %d questions without an answer are unproved", len(got), len(broken))
	}
}

func TestNothingIsProvedWithoutToken(t *testing.T) {
	p := NewProver(clocktesting.NewFakeClock(time.Unix(0, 0)), func() {}, anywhere)
	q := question{line: line{entry: gateway.External, host: gateway.ProbeHost(gateway.Shared)}}
	p.Want(map[question]string{q: "one"}, "")
	p.learn(q, "one")
	if len(p.due()) > 0 || len(p.unproved([]question{q})) == 0 {
		t.Error("something is asked or proved by no token")
	}
}

// What a pod said counts no more once it is another pod, or another content.
func TestAnswersAreForgotten(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(0, 0))
	p := NewProver(clk, func() {}, anywhere)
	at := line{pod: Pod{Name: "a", IP: "10.1.0.1"}, entry: gateway.External, host: "h"}
	q, secure := question{line: at}, question{line: at}
	secure.entry = gateway.Secure
	prove := func() {
		p.Want(map[question]string{q: "one", secure: "one"}, "token")
		p.due()
		p.learn(q, "one")
		p.learn(secure, "one")
		p.busy.Clear()
	}
	prove()
	if got := p.unproved([]question{q, secure}); len(got) > 0 {
		t.Fatalf("unproved after the answers: %v", got)
	}
	clk.Step(reprove + 1)
	if due := p.due(); len(due) != 1 || due[q.line] == nil {
		t.Errorf("after %s due are %v, want the one without a certificate", reprove, due)
	}
	p.busy.Clear()
	clk.Step(reproveSecure)
	if due := p.due(); len(due) != 2 {
		t.Errorf("after %s due are %v, want both", reproveSecure, due)
	}
	p.busy.Clear()
	p.Want(map[question]string{q: "two"}, "token")
	if got := p.unproved([]question{q, secure}); len(got) != 2 {
		t.Errorf("unproved are %v, want one of another content and one that isn't asked any more", got)
	}
	prove()
	moved := q
	moved.pod.IP = "10.1.0.2"
	p.Want(map[question]string{moved: "one"}, "token")
	if got := p.unproved([]question{moved}); len(got) != 1 {
		t.Error("a pod's answer counts at another address")
	}
}
