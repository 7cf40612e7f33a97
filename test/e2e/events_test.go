//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/platform"
)

const (
	eventingNamespace = "knative-eventing"
	// brokerAway is for how long there is no Broker.
	brokerAway = 30 * time.Second
	// followsWithin bounds the time from a change of replicas to the proof of the limit
	// for them: a burst of writes, istiod's pause, and what a busy machine adds.
	followsWithin = 5 * time.Second
	// received is the limiter's count of events.
	received = "sluice_limit_events_received_total"
)

// Without a Broker no event arrives: the limiter's caches tell it of the replicas.
// Afterwards events arrive again.
func TestBrokerAway(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("m", fixed("20")))
	s.serving("m")
	trail := s.follow("m")
	s.reach(trail, 10*time.Second, "a limit of 20/s", limitOf(20))
	before := s.outcomes("controller", "sluice_revisionscale_events_total")

	broker := s.in(t)
	broker.scale(eventingNamespace, "mt-broker-ingress", 0)
	broker.scale(eventingNamespace, "mt-broker-filter", 0)
	away := time.Now()
	for i := 0; time.Since(away) < brokerAway; i++ {
		n := 2 + i%2
		s.replicas("m", n)
		s.ready(trail, n)
	}
	lags := platform.Lags(trail.Since(away))
	failed := s.outcomes("controller", "sluice_revisionscale_events_total")["failed"] - before["failed"]
	t.Logf("the Broker was away for %.0f s; %.0f events weren't taken; limits followed after %v", time.Since(away).Seconds(), failed, lags)
	if failed == 0 {
		t.Error("every event was taken, so the Broker wasn't away")
	}

	for _, deployment := range []string{"mt-broker-ingress", "mt-broker-filter"} {
		s.resize(t.Context(), eventingNamespace, deployment, 1)
		s.scaled(eventingNamespace, deployment, 1)
	}
	before = s.outcomes(limiter, received)
	s.replicas("m", 1)
	s.ready(trail, 1)
	took := s.until(time.Minute, "an event to arrive", func(ctx context.Context) (string, error) {
		now, err := s.counters(ctx, limiter, received)
		if err != nil || taken(now) > taken(before) {
			return "", err
		}
		sent, err := s.counters(ctx, "controller", "sluice_revisionscale_events_total")
		return fmt.Sprintf("the limiter took %v, before %v; the controller sent %v: %v", now, before, sent, err), nil
	})
	t.Logf("events arrived again %.1f s after the next change", took.Seconds())
}

// taken are the events that a limiter took in, be it the one that leads or not.
func taken(received map[string]float64) float64 { return received["looked"] + received["standby"] }

func (s *stage) outcomes(component, name string) map[string]float64 {
	s.Helper()
	got, err := s.counters(s.Context(), component, name)
	if err != nil {
		s.Fatal(err)
	}
	return got
}

// ready waits for a Model's replicas, and then for the limit for them.
func (s *stage) ready(trail *platform.Trail, n int) {
	s.Helper()
	s.until(time.Minute, fmt.Sprintf("%d replicas", n), func(context.Context) (string, error) {
		if now := trail.Now(); int(now.Ready()) != n || int(now.Desired()) != n {
			return now.String(), nil
		}
		return "", nil
	})
	s.reach(trail, followsWithin, fmt.Sprintf("%d replicas", n), func(m platform.Moment) bool { return int(m.Ready()) == n })
}

// A subscriber in front of the limiter swallows events, doubles them, and delivers them
// out of order: limits are the right ones all the same.
func TestChaoticEvents(t *testing.T) {
	s := newStage(t)
	c := s.chaos()
	s.subscribe(c.address)
	s.create(s.ranker("m", fixed("20")))
	s.serving("m")
	trail := s.follow("m")
	began := time.Now()
	for i := 0; !c.raged() && time.Since(began) < time.Minute; i++ {
		n := 1 + (i+1)%3
		s.replicas("m", n)
		s.ready(trail, n)
	}
	s.replicas("m", 2)
	s.ready(trail, 2)
	seen, refused := c.Seen()
	t.Logf("%s; limits followed after %v", seen, platform.Lags(trail.Since(began)))
	if !c.raged() || len(refused) > 0 {
		t.Errorf("%s; refused: %v", seen, refused)
	}
}

// chaos stands between the limiter's Trigger and the limiter.
type chaos struct {
	platform.Chaos
	address string
}

// chaos begins to serve.
func (s *stage) chaos() *chaos {
	s.Helper()
	c := &chaos{Chaos: platform.Chaos{To: "http://" + s.clusterIP(sluice.SystemNamespace, limiter)}}
	c.address = s.listen(c)
	return c
}

// listen serves at the node's address, which pods of a local cluster reach, until the test
// ends, and returns where.
func (s *stage) listen(handler http.Handler) (address string) {
	s.Helper()
	listener, err := s.ListenForPods(s.Context())
	if errors.Is(err, platform.ErrElsewhere) {
		s.Skip(err)
	}
	if err != nil {
		s.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	s.Cleanup(func() { _ = server.Close() })
	return "http://" + listener.Addr().String()
}

func (s *stage) clusterIP(namespace, service string) string {
	s.Helper()
	got, err := s.Kube.CoreV1().Services(namespace).Get(s.Context(), service, metav1.GetOptions{})
	if err != nil {
		s.Fatal("getting a Service:", err)
	}
	return got.Spec.ClusterIP
}

// raged is true once everything has happened twice.
func (c *chaos) raged() bool {
	seen, _ := c.Seen()
	return seen.Raged(2)
}

// subscribe has the limiter's Trigger deliver to another address until the test ends.
func (s *stage) subscribe(address string) {
	s.Helper()
	url, err := apis.ParseURL(address)
	if err != nil {
		s.Fatal(err)
	}
	before, err := s.triggerTo(s.Context(), func(d *duckv1.Destination) { d.Ref, d.URI = nil, url })
	if err != nil {
		s.Fatal("changing the Trigger:", err)
	}
	s.Cleanup(func() {
		if _, err := s.triggerTo(context.Background(), func(d *duckv1.Destination) { *d = before }); err != nil {
			s.Error("restoring the Trigger:", err)
		}
	})
	s.until(20*time.Second, "the Trigger to deliver to "+address, func(ctx context.Context) (string, error) {
		got, err := s.Eventing.EventingV1().Triggers(sluice.SystemNamespace).Get(ctx, limiter, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if !got.Status.IsReady() || got.Status.SubscriberURI.String() != address {
			return fmt.Sprintf("%s, %+v", got.Status.SubscriberURI, got.Status.GetCondition(eventingv1.TriggerConditionReady)), nil
		}
		return "", nil
	})
}

func (s *stage) triggerTo(ctx context.Context, change func(*duckv1.Destination)) (before duckv1.Destination, err error) {
	triggers := s.Eventing.EventingV1().Triggers(sluice.SystemNamespace)
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		got, err := triggers.Get(ctx, limiter, metav1.GetOptions{})
		if err != nil {
			return err
		}
		before = *got.Spec.Subscriber.DeepCopy()
		change(&got.Spec.Subscriber)
		_, err = triggers.Update(ctx, got, metav1.UpdateOptions{})
		return err
	})
	return before, err
}

// Where Knative Eventing authenticates, the Broker takes an event from nobody but who
// it is of, and the limiter from nobody but its Trigger.
func TestEventsAreAuthenticated(t *testing.T) {
	s := newStage(t)
	if !s.authenticates() {
		t.Skip("Knative Eventing doesn't authenticate here")
	}
	broker := "http://" + s.clusterIP(eventingNamespace, "broker-ingress") + "/" + sluice.SystemNamespace + "/" + eventing.BrokerName
	direct := "http://" + s.clusterIP(sluice.SystemNamespace, limiter)
	const forBroker, forLimiter = "eventing.knative.dev/broker/" + sluice.SystemNamespace + "/" + eventing.BrokerName, "sluice.dev/limiter"
	scaled, started := s.scaledEvent(), s.startedEvent()
	before := s.outcomes(limiter, received)

	for name, test := range map[string]struct {
		to, namespace, account, audience string
		body                             string
		// want is the status, or 0 where it is the Broker's to say whether it waits for
		// its subscribers.
		want int
	}{
		"nobody's":                       {broker, "", "", "", scaled, http.StatusUnauthorized},
		"another account's":              {broker, s.namespace, "default", forBroker, scaled, http.StatusForbidden},
		"the controller's":               {broker, sluice.SystemNamespace, "controller", forBroker, scaled, http.StatusAccepted},
		"the controller's, for others":   {broker, sluice.SystemNamespace, "controller", forLimiter, scaled, http.StatusUnauthorized},
		"of a run":                       {broker, sluice.SystemNamespace, "batch", forBroker, started, http.StatusAccepted},
		"of a run, by another":           {broker, sluice.SystemNamespace, "controller", forBroker, started, http.StatusForbidden},
		"of a scale, by what runs":       {broker, sluice.SystemNamespace, "batch", forBroker, scaled, http.StatusForbidden},
		"of a type that isn't its own":   {broker, sluice.SystemNamespace, limiter, forBroker, scaled, http.StatusForbidden},
		"past the Broker":                {direct, "", "", "", scaled, http.StatusUnauthorized},
		"past the Broker, with a token":  {direct, sluice.SystemNamespace, "controller", forLimiter, scaled, http.StatusForbidden},
		"the controller's, but nonsense": {broker, sluice.SystemNamespace, "controller", forBroker, strings.Replace(scaled, `"desired":1`, `"desired":"all"`, 1), 0},
	} {
		token := ""
		if test.account != "" {
			token = s.token(test.namespace, test.account, test.audience)
		}
		status, answer, err := post(t.Context(), test.to, token, test.body)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d %s", name, status, answer)
		if test.want != 0 && status != test.want {
			t.Errorf("%s: %d %s, want %d", name, status, answer, test.want)
		}
	}
	s.until(10*time.Second, "the limiter to count them", func(ctx context.Context) (string, error) {
		now, err := s.counters(ctx, limiter, received)
		if err != nil {
			return "", err
		}
		if taken(now) < taken(before)+1 || now["rejected"] != before["rejected"]+3 {
			return fmt.Sprintf("%v, before %v", now, before), nil
		}
		return "", nil
	})
}

// authenticates tells whether Knative Eventing asks who sends.
func (s *stage) authenticates() bool {
	s.Helper()
	features, err := s.Kube.CoreV1().ConfigMaps(eventingNamespace).Get(s.Context(), "config-features", metav1.GetOptions{})
	if err != nil {
		s.Fatal("getting Knative Eventing's features:", err)
	}
	return strings.EqualFold(features.Data["authentication-oidc"], "enabled")
}

// scaledEvent is what the controller would send, structured.
func (s *stage) scaledEvent() string {
	s.Helper()
	return s.structured(eventing.NewRevisionScaled(eventing.RevisionScaled{
		Model: eventing.Ref{Namespace: s.namespace, Name: "none"}, Revision: "none-00001",
		Scale: eventing.Scale{Desired: 1, Ready: 1}, ResourceVersion: "1",
	}))
}

// startedEvent is what is told of a run, structured.
func (s *stage) startedEvent() string {
	s.Helper()
	return s.structured(eventing.NewBatchStarted(eventing.BatchStarted{
		BatchRun: eventing.BatchRun{Batch: eventing.Ref{Namespace: s.namespace, Name: "none"}, UID: "none", Model: "none"},
		Since:    time.Now(),
	}))
}

// structured is an event in JSON, as a request's body.
func (s *stage) structured(event cloudevents.Event, err error) string {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
	content, err := event.MarshalJSON()
	if err != nil {
		s.Fatal(err)
	}
	return string(content)
}

func (s *stage) token(namespace, account, audience string) string {
	s.Helper()
	request := &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: ptr.Int64(600)},
	}
	token := ""
	s.until(10*time.Second, "a token of "+namespace+"/"+account, func(ctx context.Context) (string, error) {
		got, err := s.Kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
		if isGone, err := gone(err); isGone || err != nil {
			return "no such account yet", err
		}
		token = got.Status.Token
		return "", nil
	})
	return token
}

func post(ctx context.Context, to, token, event string) (status int, answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(event))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/cloudevents+json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	return response.StatusCode, strings.TrimSpace(string(body)), errors.Join(err, response.Body.Close())
}
