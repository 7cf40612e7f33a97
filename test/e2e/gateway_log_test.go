//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/platform"
)

const (
	// logSchema is the schema of a gateway's lines.
	logSchema = "../../docs/gateway-log.schema.json"
	// loggedWithin bounds the wait for a line: Envoy writes them once a second.
	loggedWithin = 15 * time.Second
	// loggedSecret is what no line may have.
	loggedSecret = "hunter2-5fe9c1"
)

// gatewayLog is what the pods of a gateway log from now on of the requests to a namespace.
type gatewayLog struct {
	*stage
	schema *jsonschema.Schema

	mu    sync.Mutex
	lines []logLine
	wrong []string
}

// logLine is a line, as far as tests look at it.
type logLine struct {
	Route, Cluster, Entry, Limit, Flags, Details, Method, Path, Pod, Gateway string
	UserAgent                                                                string `json:"user_agent"`
	Traceparent                                                              string
	Code                                                                     int
	Duration                                                                 float64 `json:"duration_ms"`
	Sent                                                                     int     `json:"bytes_sent"`
	Sample                                                                   float64
	whole                                                                    string
}

// followLog reads on, as the kubelet begins a new file whenever one is full.
func (s *stage) followLog(of string) *gatewayLog {
	s.Helper()
	schema, err := jsonschema.NewCompiler().Compile(logSchema)
	if err != nil {
		s.Fatal(err)
	}
	pods, err := s.Kube.CoreV1().Pods(gateway.Namespace).List(s.Context(), metav1.ListOptions{LabelSelector: gateway.LabelKey + "=" + of})
	if err != nil || len(pods.Items) == 0 {
		s.Fatalf("listing the pods of gateway %s: %d, %v", of, len(pods.Items), err)
	}
	l := &gatewayLog{stage: s, schema: schema}
	var reading sync.WaitGroup
	ctx, stop := context.WithCancel(s.Context())
	s.Cleanup(func() { stop(); reading.Wait() })
	for _, pod := range pods.Items {
		since := int64(1)
		text, err := s.Kube.CoreV1().Pods(gateway.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: "istio-proxy", Follow: true, SinceSeconds: &since}).Stream(ctx)
		if err != nil {
			s.Fatalf("reading the log of pod %s: %v", pod.Name, err)
		}
		reading.Go(func() { l.read(text) })
	}
	return l
}

func (l *gatewayLog) read(text io.ReadCloser) {
	defer text.Close()
	lines := bufio.NewReader(text)
	for {
		whole, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if strings.Contains(whole, "/"+l.namespace+"/") {
			l.take(strings.TrimSuffix(whole, "\n"))
		}
	}
}

func (l *gatewayLog) take(whole string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(whole))
	if err == nil {
		err = l.schema.Validate(value)
	}
	line := logLine{whole: whole}
	if err == nil {
		err = json.Unmarshal([]byte(whole), &line)
	}
	if err != nil {
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %v", whole, err))
	}
	l.lines = append(l.lines, line)
}

// of waits until there are as many lines of a Model, and returns them.
func (l *gatewayLog) of(model string, want int) []logLine {
	l.Helper()
	var found []logLine
	l.until(loggedWithin, fmt.Sprintf("%d lines of Model %s", want, model), func(context.Context) (string, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		found = nil
		for _, line := range l.lines {
			if strings.HasSuffix(line.Route, "/"+l.namespace+"/"+model) {
				found = append(found, line)
			}
		}
		if len(found) < want {
			return fmt.Sprintf("there are %d", len(found)), nil
		}
		return "", nil
	})
	if len(found) != want {
		l.Errorf("Model %s has %d lines, want %d", model, len(found), want)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, wrong := range l.wrong {
		l.Errorf("not as the schema says: %s", wrong)
	}
	return found
}

// raw sends bytes as they are, and returns the status of the answer; 0 of none.
func (s *stage) raw(to platform.Endpoint, request string) int {
	s.Helper()
	connection, err := (&net.Dialer{Timeout: answered}).DialContext(s.Context(), "tcp", to.Address)
	if err != nil {
		s.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(answered)); err != nil {
		s.Fatal(err)
	}
	if _, err := io.WriteString(connection, request); err != nil {
		s.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// Each request has one line, which says what became of it, whatever the request has in it; and
// no line has a secret.
func TestGatewayLog(t *testing.T) { //nolint:gocyclo // what one line has to say, after the other
	t.Parallel()
	s := newStage(t)
	s.create(s.streams("streams"))
	s.create(s.ranker("limited", fixed("5")))
	streams, limited := s.serving("streams"), s.serving("limited")
	before := map[string]map[gateway.Outcome]int64{"streams": s.ended(gateway.Shared, "streams"), "limited": s.ended(gateway.Shared, "limited")}
	log := s.followLog(gateway.Shared)

	lines := func(header ...string) string {
		return strings.Join(append(header, "Connection: close", "", ""), "\r\n")
	}
	get := func(path string, header ...string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: " + streams.Host + "\r\n" + lines(header...)
	}
	long := strings.Repeat("a", 8<<10)
	for _, sent := range []struct {
		request string
		want    int
		check   func(logLine) bool
	}{
		{get("/hello?password="+loggedSecret, "Authorization: Bearer "+loggedSecret, "Cookie: session="+loggedSecret, "X-Api-Key: "+loggedSecret), 200,
			func(l logLine) bool { return l.Path == "/hello" && l.Limit == "admitted" && l.Sent > 0 }},
		{get("/nowhere"), 404, func(l logLine) bool { return l.Details == "via_upstream" }},
		{get("/failure"), 500, func(l logLine) bool { return l.Limit == "admitted" }},
		{get("/refusal"), 429, func(l logLine) bool { return l.Limit == "admitted" && l.Flags == "-" }},
		{get("/hello", "User-Agent: <b>\"\\ \t{\"code\":1}"), 200, func(l logLine) bool { return l.UserAgent == "<b>\"\\ \t{\"code\":1}" }},
		{get("/hello", "User-Agent: \xff\xfe\xc3("), 200, func(l logLine) bool { return l.UserAgent != "" && !strings.Contains(l.UserAgent, "\xff") }},
		{get("/hello", "User-Agent: "+long), 200, func(l logLine) bool { return l.UserAgent == long[:128] }},
		{get("/%0a%0d%22%3Cscript%3E\"<b>?x=%0a" + loggedSecret), 404, func(l logLine) bool { return l.Path == "/%0a%0d%22%3Cscript%3E%22%3Cb%3E" }},
		{get("/" + long), 404, func(l logLine) bool { return len(l.Path) == 256 }},
		{get("/hello", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), 200,
			func(l logLine) bool { return strings.Contains(l.Traceparent, "0af7651916cd43dd8448eb211c80319c") }},
		// Who would have it that he is another is logged as who he is.
		{get("/hello", "route: acme/other/model", "K-Network-Hash: x", "Knative-Serving-Revision: other-00001"), 200,
			func(l logLine) bool {
				return strings.HasPrefix(l.Route, "-/"+s.namespace) && strings.Contains(l.Cluster, "streams-00001")
			}},
	} {
		had := len(log.of("streams", log.count("streams")))
		if got := s.raw(streams, sent.request); got != sent.want {
			t.Errorf("%.60q was answered %d, want %d", sent.request, got, sent.want)
		}
		now := log.of("streams", had+1)
		if l := now[had]; l.Code != sent.want || l.Entry != "http" || l.Gateway != gateway.Shared || l.Sample != 1 || !sent.check(l) {
			t.Errorf("%.60q is logged as %s", sent.request, l.whole)
		}
	}

	s.leave(streams)
	had := log.count("streams")
	last := log.of("streams", had+1)
	if l := last[had]; l.Code != 0 || l.Duration < 200 {
		t.Errorf("a caller who left is logged as %s", l.whole)
	}

	const load = 40
	admitted := 0
	for range load {
		if got := s.raw(limited, "GET /v2/health/ready HTTP/1.1\r\nHost: "+limited.Host+"\r\n"+lines()); got == http.StatusOK {
			admitted++
		}
	}
	refused := 0
	for _, l := range log.of("limited", load) {
		if l.Limit == "refused" && l.Code == http.StatusTooManyRequests && strings.Contains(l.Flags, "RL") {
			refused++
		}
	}
	if refused != load-admitted || refused == 0 {
		t.Errorf("%d are logged as refused, of %d requests %d were", refused, load, load-admitted)
	}
	log.addsUp(before)
}

// count is how many lines there are of a Model.
func (l *gatewayLog) count(model string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		if strings.HasSuffix(line.Route, "/"+l.namespace+"/"+model) {
			n++
		}
	}
	return n
}

// leave sends a request and goes before it is answered.
func (s *stage) leave(from platform.Endpoint) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 300*time.Millisecond)
	defer cancel()
	if status, _, _, err := from.Get(ctx, "/hello?seconds=5"); err == nil {
		s.Errorf("who left was answered %d", status)
	}
}

// addsUp holds each Model's lines to what its gateway counted since, by outcome, and looks for secrets.
func (l *gatewayLog) addsUp(before map[string]map[gateway.Outcome]int64) {
	l.Helper()
	for modelName, was := range before {
		lines := map[gateway.Outcome]int64{}
		for _, line := range l.of(modelName, l.count(modelName)) {
			lines[line.outcome()]++
			if strings.Contains(line.whole, loggedSecret) {
				l.Errorf("a line has a secret: %s", line.whole)
			}
		}
		for outcome, n := range l.ended(gateway.Shared, modelName) {
			if n-was[outcome] != lines[outcome] {
				l.Errorf("of Model %s %d requests are counted as %s, and %d logged", modelName, n-was[outcome], outcome, lines[outcome])
			}
		}
	}
}

func (l logLine) outcome() gateway.Outcome {
	switch {
	case l.Limit == "refused":
		return gateway.OutcomeRefused
	case l.Code == 0:
		return gateway.OutcomeLeft
	case l.Code < http.StatusBadRequest:
		return gateway.OutcomeOK
	case l.Code < http.StatusInternalServerError:
		return gateway.OutcomeClientError
	default:
		return gateway.OutcomeServerError
	}
}
