//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/otlp"
	"sluice.dev/sluice/test/platform"
)

const (
	// tracedWithin bounds the way of spans: Envoy sends what it has every five seconds, the SDK too.
	tracedWithin = 30 * time.Second
	// secret is what a caller keeps to himself.
	secret = "s3cr3t-of-a-caller"
)

// redacted are attributes by which Knative's spans show URLs whole. Those are taken away by the
// collector; nothing else may show what is in a query.
var redacted = []string{"url.full"}

// A request is one trace from the gateway to the model, through the activator where the
// model has no replica; and a scale event is one from the controller through the Broker
// and the limiter to the proof of its limit. None of them shows a query or a header.
func TestTraces(t *testing.T) {
	s := newStage(t)
	listener, err := s.ListenForPods(t.Context())
	if errors.Is(err, platform.ErrElsewhere) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	receiver := otlp.Start(t, listener)
	s.traceTo(receiver)

	s.create(s.ranker("m", func(m *v1alpha1.Model) {
		m.Spec.Autoscaling.MinReplicas = ptr.Int32(0)
		m.Spec.Autoscaling.TargetBurstCapacity = ptr.Int32(0) // no activator where there is a replica
	}))
	endpoint := s.serving("m")
	s.until(time.Minute, "gateways to trace", func(ctx context.Context) (string, error) {
		trace, _, err := s.asked(ctx, endpoint, "00")
		if err != nil {
			return err.Error(), nil
		}
		short, cancel := context.WithTimeout(ctx, 8*time.Second)
		defer cancel()
		if _, err := receiver.Await(short, has(trace, "sluice-gateway")); err != nil {
			return err.Error(), nil
		}
		return "", nil
	})
	s.oneTrace(receiver, endpoint, "sluice-gateway", "m")

	s.replicas("m", 2)
	s.scaleEvent(receiver)

	s.patch("m", `{"spec": {"autoscaling": {"minReplicas": 0, "maxReplicas": 2}}}`)
	s.atRest("m")
	s.oneTrace(receiver, endpoint, "sluice-gateway", "activator", "m")
	checkSecrets(t, receiver.Spans())

	// A caller outside who traces all that he sends doesn't have all of it traced here.
	s.configureFor(sluice.SystemNamespace, "config-gateway", map[string]*string{"trace-sample": ptr.String("0.000001")})
	s.until(time.Minute, "a caller's flag to be ours to choose", func(ctx context.Context) (string, error) {
		trace, got, err := s.asked(ctx, endpoint, "01")
		if err == nil && strings.HasPrefix(got, "00-"+trace+"-") && strings.HasSuffix(got, "-00") {
			return "", nil
		}
		return fmt.Sprintf("of trace %s the model was told %q, %v", trace, got, err), nil
	})
}

// asked asks the ranker as a caller who traces, sampled or not by his flag, with a secret where callers have theirs, and
// returns his trace and span, and what the model was told of them.
func (s *stage) asked(ctx context.Context, endpoint platform.Endpoint, flag string) (trace, got string, err error) {
	id := make([]byte, 24)
	_, _ = rand.Read(id)
	trace, span := hex.EncodeToString(id[:16]), hex.EncodeToString(id[16:])
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint.URL(platform.InferPath+"?token="+secret), bytes.NewReader(cluster.request))
	if err != nil {
		return trace, "", err
	}
	for name, value := range map[string]string{
		"Traceparent": "00-" + trace + "-" + span + "-" + flag, "Authorization": "Bearer " + secret, "Cookie": "session=" + secret,
		"X-Client-Trace-Id": secret, "X-Envoy-Downstream-Service-Cluster": secret, "Content-Type": "application/json",
	} {
		request.Header.Set(name, value)
	}
	response, err := (&http.Client{Transport: endpoint.Transport()}).Do(request)
	if err != nil {
		return trace, "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return trace, "", fmt.Errorf("status %d", response.StatusCode)
	}
	return trace, response.Header.Get("Got-Traceparent"), nil
}

// oneTrace demands that a request is one trace with spans of these services, each of which
// comes from the one before, and that the model was told of it.
func (s *stage) oneTrace(receiver *otlp.Receiver, endpoint platform.Endpoint, services ...string) {
	s.Helper()
	trace, got, err := s.asked(s.Context(), endpoint, "00")
	if err != nil {
		s.Fatal(err)
	}
	if !strings.HasPrefix(got, "00-"+trace+"-") || !strings.HasSuffix(got, "-01") {
		s.Errorf("the model was told %q, want trace %s, sampled", got, trace)
	}
	ctx, cancel := context.WithTimeout(s.Context(), tracedWithin)
	defer cancel()
	all, err := receiver.Await(ctx, has(trace, services...))
	spans := of(all, trace)
	for _, span := range spans {
		s.Logf("%s < %s: %s %q, %v", span.ID, span.Parent, span.Service(), span.Name, span.End.Sub(span.Start))
	}
	if err != nil {
		s.Fatalf("want spans of %v: %v", services, err)
	}
	// Whoever the model heard of is the last of a chain that reaches the gateway.
	chain := []string{}
	for id := strings.Split(got, "-")[2]; ; {
		i := slices.IndexFunc(spans, func(span otlp.Span) bool { return span.ID == id })
		if i < 0 {
			break
		}
		if of := spans[i].Service(); len(chain) == 0 || chain[0] != of {
			chain = slices.Insert(chain, 0, of)
		}
		id = spans[i].Parent
	}
	if !slices.Equal(chain, services) {
		s.Errorf("the way to the model was through %v, want %v", chain, services)
	}
	for _, span := range spans {
		if span.Service() == "sluice-gateway" && span.Attributes["upstream_cluster"] == "" {
			s.Errorf("the gateway's span doesn't say which revision: %v", span.Attributes)
		}
	}
}

// scaleEvent demands that one of the Model's scale events is one trace, to its proof.
func (s *stage) scaleEvent(receiver *otlp.Receiver) {
	s.Helper()
	want := []string{"controller scale event", "limiter receive dev.sluice.revision.scaled.v1", "limiter pass", "limiter gather", "limiter decide", "limiter write", "limiter prove"}
	whole := func(spans []otlp.Span) string {
		for _, root := range spans {
			if root.Name != "scale event" || root.Attributes["k8s.namespace.name"] != s.namespace || root.Parent != "" {
				continue
			}
			var names []string
			for _, span := range of(spans, root.Trace) {
				names = append(names, span.Service()+" "+span.Name)
			}
			if !slices.ContainsFunc(want, func(name string) bool { return !slices.Contains(names, name) }) {
				return root.Trace
			}
		}
		return ""
	}
	ctx, cancel := context.WithTimeout(s.Context(), 2*time.Minute)
	defer cancel()
	spans, err := receiver.Await(ctx, func(spans []otlp.Span) bool { return whole(spans) != "" })
	if err != nil {
		for _, span := range spans {
			if span.Service() == "limiter" || span.Service() == "controller" {
				s.Logf("%s %s < %s: %s %q", span.Trace, span.ID, span.Parent, span.Service(), span.Name)
			}
		}
		s.Fatal(err)
	}
	for _, span := range of(spans, whole(spans)) {
		s.Logf("%s %q took %v %v", span.Service(), span.Name, span.End.Sub(span.Start), span.Attributes)
	}
}

// of are the spans of a trace.
func of(spans []otlp.Span, trace string) []otlp.Span {
	return slices.DeleteFunc(slices.Clone(spans), func(span otlp.Span) bool { return span.Trace != trace })
}

// has is met once a trace has spans of all these services.
func has(trace string, services ...string) func([]otlp.Span) bool {
	return func(spans []otlp.Span) bool {
		for _, service := range services {
			if !slices.ContainsFunc(spans, func(span otlp.Span) bool { return span.Trace == trace && span.Service() == service }) {
				return false
			}
		}
		return true
	}
}

// checkSecrets finds what callers keep to themselves in spans.
func checkSecrets(t *testing.T, spans []otlp.Span) {
	t.Helper()
	for _, span := range spans {
		if strings.Contains(span.Name, secret) {
			t.Errorf("%s has a span %q", span.Service(), span.Name)
		}
		for key, value := range span.Attributes {
			if strings.Contains(value, secret) && (span.Service() == "sluice-gateway" || !slices.Contains(redacted, key)) {
				t.Errorf("%s shows %s=%q", span.Service(), key, value)
			}
		}
	}
}
