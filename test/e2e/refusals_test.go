//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/networking/pkg/http/header"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// heldRate is what a replica of the tagged Service serves.
	heldRate = 20
	// tag is that of its revision at 0 %.
	tag = "next"
)

// Whoever is refused is told so in the form that they speak, and how to go on; what
// a Model answers itself stays as it is.
func TestRefusalsTellHowToGoOn(t *testing.T) {
	s := newStage(t)
	s.create(s.streams("plain", fixed("1")))
	s.create(s.streams("modern", fixed("1"), overHTTP2))
	s.create(s.streams("calm"))
	plain, modern, calm := s.serving("plain"), s.serving("modern"), s.serving("calm")
	for name, check := range map[string]func(context.Context) error{
		"HTTP/1.1":        func(ctx context.Context) error { return refusesInJSON(ctx, newCaller(plain, 1)) },
		"HTTP/2":          func(ctx context.Context) error { return refusesInJSON(ctx, newCaller(plain, 2)) },
		"many at once":    func(ctx context.Context) error { return spreadsCallers(ctx, newCaller(plain, 1)) },
		"gRPC":            func(ctx context.Context) error { return refusesRPC(ctx, newCaller(modern, 2)) },
		"WebSocket":       func(ctx context.Context) error { return refusesSocket(ctx, newCaller(plain, 1)) },
		"the Model's own": func(ctx context.Context) error { return ownRefusalStays(ctx, newCaller(calm, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// untilRefused tries until an attempt is refused. A limit of one a second is met
// within a few, one after another.
func untilRefused(attempt func() (refused bool, err error)) error {
	for range 50 {
		if refused, err := attempt(); refused || err != nil {
			return err
		}
	}
	return errors.New("50 requests at once, and none was refused")
}

func refusesInJSON(ctx context.Context, c *caller) error {
	return untilRefused(func() (bool, error) {
		response, err := c.get(ctx, "/hello", nil)
		if err != nil {
			return false, err
		}
		defer response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return false, checkLimitHeaders(response.Header, nil)
		}
		var body struct {
			Status          int
			Reason          string
			Message, Advice string
		}
		decoder := json.NewDecoder(response.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&body); err != nil {
			return false, fmt.Errorf("reading the body of a refusal: %w", err)
		}
		if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Content-Type") != "application/json" ||
			body.Status != http.StatusTooManyRequests || body.Reason != "RateLimited" || body.Message == "" || body.Advice == "" {
			return false, fmt.Errorf("status %d, headers %v, body %+v", response.StatusCode, response.Header, body)
		}
		if response.Header.Get("Access-Control-Allow-Origin") != "*" || response.Header.Get("Access-Control-Expose-Headers") != "Retry-After, RateLimit" {
			return false, fmt.Errorf("a page of another origin can't read a refusal with headers %v", response.Header)
		}
		pause := response.Header.Get("Retry-After")
		if n, err := strconv.Atoi(pause); err != nil || n < 1 || n > 8 {
			return false, fmt.Errorf("Retry-After is %q, want 1 to 8 whole seconds", pause)
		}
		return true, checkLimitHeaders(response.Header, map[string]string{"Retry-After": pause, "Ratelimit": `"model";r=0;t=` + pause})
	})
}

// spreadsCallers wants those who are refused together not to be told to come back
// together: of this many refusals no pause, of eight, is to have as much as half.
func spreadsCallers(ctx context.Context, c *caller) error {
	const refusals = 64
	var mu sync.Mutex
	told := map[string]int{}
	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(16)
	for range refusals {
		asking.Go(func() error {
			return untilRefused(func() (bool, error) {
				response, err := c.get(ctx, "/hello", nil)
				if err != nil {
					return false, err
				}
				response.Body.Close()
				if response.StatusCode != http.StatusTooManyRequests {
					return false, nil
				}
				mu.Lock()
				defer mu.Unlock()
				told[response.Header.Get("Retry-After")]++
				return true, nil
			})
		})
	}
	if err := asking.Wait(); err != nil {
		return err
	}
	for pause, n := range told {
		if len(told) < 4 || n > refusals/2 {
			return fmt.Errorf("of %d callers %d are told to come back after %ss: %v", refusals, n, pause, told)
		}
	}
	return nil
}

// checkLimitHeaders wants just these of the headers that tell of limits, each once.
func checkLimitHeaders(got http.Header, want map[string]string) error {
	of := map[string]string{}
	for name, values := range got {
		if name == "Retry-After" || strings.Contains(strings.ToLower(name), "ratelimit") {
			of[name] = strings.Join(values, " and ")
		}
	}
	if !maps.Equal(of, want) {
		return fmt.Errorf("headers of limits: %v, want %v", of, want)
	}
	return nil
}

func refusesRPC(ctx context.Context, c *caller) error {
	return untilRefused(func() (bool, error) {
		err := c.unary(ctx)
		if err == nil {
			return false, nil
		}
		var refusal interface{ GRPCStatus() *status.Status }
		if !errors.As(err, &refusal) {
			return false, err
		}
		if s := refusal.GRPCStatus(); s.Code() != codes.ResourceExhausted || s.Message() == "" || strings.ContainsAny(s.Message(), "{}") {
			return false, fmt.Errorf("refused by %v, want ResourceExhausted in plain words", s)
		}
		return true, nil
	})
}

func refusesSocket(ctx context.Context, c *caller) error {
	return untilRefused(func() (bool, error) {
		response, err := c.get(ctx, "/socket", http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Origin": {"http://" + c.Host},
		})
		if err != nil {
			return false, err
		}
		response.Body.Close()
		switch response.StatusCode {
		case http.StatusTooManyRequests:
			return true, nil
		case http.StatusSwitchingProtocols:
			return false, nil
		}
		return false, fmt.Errorf("an upgrade was answered by %s", response.Status)
	})
}

func ownRefusalStays(ctx context.Context, c *caller) error {
	response, err := c.get(ctx, "/refusal", nil)
	if err != nil {
		return err
	}
	response.Body.Close()
	status, body, err := c.ask(ctx, "/refusal", nil)
	if err == nil && (status != http.StatusTooManyRequests || string(body) != "the model's own refusal\n") {
		err = fmt.Errorf("the Model's refusal came as status %d: %q", status, body)
	}
	return errors.Join(err, checkLimitHeaders(response.Header, nil))
}

// counts are a Model's requests at the shared gateway, by pod.
type counts map[string]struct{ offered, refused float64 }

func (c counts) sum() (offered, refused int) {
	for _, pod := range c {
		offered += int(pod.offered)
		refused += int(pod.refused)
	}
	return offered, refused
}

// count reads the gateway's counters of a Model, over all entries.
func (s *stage) count(ctx context.Context, name string) (counts, error) {
	pods, err := s.gatewayPods(ctx, gateway.Shared)
	if err != nil {
		return nil, err
	}
	out := counts{}
	for _, pod := range pods {
		families, err := s.gatewayCounters(ctx, pod)
		if err != nil {
			return nil, err
		}
		route, of := gateway.VirtualServiceMetadata(gateway.VirtualServiceName(s.namespace, name)), out[pod]
		of.offered = ofRoute(families["envoy_"+gateway.OfferedMetric], route)
		of.refused = ofRoute(families["envoy_"+gateway.RefusedMetric], route)
		out[pod] = of
	}
	return out, nil
}

// gatewayCounters reads what a gateway pod counts of Models' requests.
func (s *stage) gatewayCounters(ctx context.Context, pod string) (map[string]*dto.MetricFamily, error) {
	text, err := s.Kube.CoreV1().Pods(gateway.Namespace).
		ProxyGet("http", pod, strconv.Itoa(gateway.StatsPort), "/stats/prometheus", map[string]string{"filter": "sluice_"}).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the counters of pod %s: %w", pod, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	_ = text.Close() // it was read to its end
	if err != nil {
		return nil, fmt.Errorf("reading the counters of pod %s: %w", pod, err)
	}
	return families, nil
}

// ended is what a gateway's pods have counted of a Model's requests as they ended, by outcome.
func (s *stage) ended(of, name string) map[gateway.Outcome]int64 {
	s.Helper()
	pods, err := s.gatewayPods(s.Context(), of)
	if err != nil {
		s.Fatal(err)
	}
	sum := map[gateway.Outcome]int64{}
	for _, pod := range pods {
		counted, err := s.endedAt(s.Context(), pod, name)
		if err != nil {
			s.Fatal(err)
		}
		for outcome, n := range counted {
			sum[outcome] += n
		}
	}
	return sum
}

// endedAt is what one of them has.
func (s *stage) endedAt(ctx context.Context, pod, name string) (map[gateway.Outcome]int64, error) {
	families, err := s.gatewayCounters(ctx, pod)
	if err != nil {
		return nil, err
	}
	route, counted := gateway.VirtualServiceMetadata(gateway.VirtualServiceName(s.namespace, name)), map[gateway.Outcome]int64{}
	for _, metric := range families["envoy_"+gateway.EndedMetric].GetMetric() {
		if labels := labelsOf(metric); labels[gateway.RouteTag] == route {
			counted[gateway.Outcome(labels[gateway.OutcomeTag])] += int64(metric.GetCounter().GetValue())
		}
	}
	return counted, nil
}

// labelsOf are a series' labels, by name.
func labelsOf(metric *dto.Metric) map[string]string {
	labels := map[string]string{}
	for _, label := range metric.GetLabel() {
		labels[label.GetName()] = label.GetValue()
	}
	return labels
}

func ofRoute(family *dto.MetricFamily, route string) float64 {
	sum := 0.0
	for _, metric := range family.GetMetric() {
		for _, label := range metric.GetLabel() {
			if label.GetName() == gateway.RouteTag && label.GetValue() == route {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// tallied waits until the gateway has counted so many requests of a Model.
func (s *stage) tallied(name string, offered, refused int) counts {
	s.Helper()
	var now counts
	s.until(answerWithin, "the gateway's counters", func(ctx context.Context) (string, error) {
		var err error
		if now, err = s.count(ctx, name); err != nil {
			return "", err
		}
		if o, r := now.sum(); o != offered || r != refused {
			return fmt.Sprintf("%d offered and %d refused, want %d and %d", o, r, offered, refused), nil
		}
		return "", nil
	})
	return now
}

// What the gateway counts is what was sent: every request as offered, and those that
// a limit refused as refused; so the difference is what was admitted.
func TestCountersTellWhatWasRefused(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("ranker", fixed("20")))
	endpoint := s.serving("ranker")
	p := plan(endpoint, load.Schedule{load.Hold(60, 6*time.Second)})
	total := s.run(p).Total
	pods := s.tallied("ranker", total.Offered+total.Repeated, total.Limited)
	for pod, of := range pods {
		if of.offered == 0 || of.refused == 0 {
			t.Errorf("pod %s counted %+v, though all pods had requests", pod, of)
		}
	}
	t.Logf("%d offered, %d admitted, %d refused; by pod %+v", total.Offered, total.Admitted, total.Limited, pods)
}

// A stream counts once, when it is opened, however much is said on it and however
// long it lasts.
func TestStreamsCountOnce(t *testing.T) {
	s := newStage(t)
	s.create(s.streams("streams", fixed("5"), timeout(600), func(m *v1alpha1.Model) {
		// All three may come to one gateway pod.
		m.Spec.Limit.Burst = &metav1.Duration{Duration: 2 * time.Second}
	}))
	endpoint := s.serving("streams")
	var over atomic.Bool
	var echoed atomic.Int64
	streams := []func(context.Context) error{
		func(ctx context.Context) error {
			return newCaller(endpoint, 1).converse(ctx, func(n int) bool { echoed.Store(int64(n)); return !over.Load() })
		},
		func(ctx context.Context) error {
			return newCaller(endpoint, 1).events(ctx, 600, func(int) bool { return !over.Load() })
		},
		func(ctx context.Context) error {
			return newCaller(endpoint, 2).events(ctx, 600, func(int) bool { return !over.Load() })
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var open sync.WaitGroup
	for _, stream := range streams {
		open.Go(func() {
			if err := stream(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
	}
	s.until(answerWithin, "more messages than the limit has tokens", func(context.Context) (string, error) {
		if n := echoed.Load(); n < 30 {
			return fmt.Sprintf("%d messages", n), nil
		}
		return "", nil
	})
	s.tallied("streams", len(streams), 0)
	over.Store(true)
	open.Wait()
	s.tallied("streams", len(streams), 0)
}

// A revision that only a tag leads to is held to what it can serve, at the tag's host
// and by header, while the host of the Service has the whole limit; together they have
// no more than that.
func TestTagsAreHeldToTheirRevision(t *testing.T) {
	s := newStage(t)
	before := configure(t, servingNamespace, "config-features", "tag-header-based-routing", ptr.String("enabled"))
	s.Cleanup(func() { configure(t, servingNamespace, "config-features", "tag-header-based-routing", before) })
	host, tagHost := s.tagged("held")
	s.limit("held")

	const seconds = 6
	at := func(host string, rate float64, header http.Header) load.Plan {
		p := plan(platform.Endpoint{Address: cluster.address, Host: host}, load.Schedule{load.Hold(rate, seconds*time.Second)})
		p.Target.Method, p.Target.Path, p.Target.Header, p.Target.Body = http.MethodGet, "/hello", header, nil
		return p
	}
	byHeader := http.Header{header.RouteTagKey: {tag}}
	for _, load := range []struct {
		name  string
		plans map[string]load.Plan
		most  float64
	}{
		{"tag's host", map[string]load.Plan{"tag": at(tagHost, 3*heldRate, nil)}, heldRate},
		{"tag's host with a port", map[string]load.Plan{"tag": at(tagHost+":80", 3*heldRate, nil)}, heldRate},
		{"header", map[string]load.Plan{"tag": at(host, 3*heldRate, byHeader)}, heldRate},
		{"host", map[string]load.Plan{"host": at(host, 4*heldRate, nil)}, 2 * heldRate},
		{"all", map[string]load.Plan{"tag": at(tagHost, 2*heldRate, nil), "header": at(host, 2*heldRate, byHeader), "host": at(host, 2*heldRate, nil)}, 2 * heldRate},
	} {
		t.Run(load.name, func(t *testing.T) {
			s := &stage{T: t, Clients: s.Clients, namespace: s.namespace}
			all, tags := 0, 0
			for name, report := range s.runAll(load.plans) {
				s.noneFailed(report)
				all += report.Total.Admitted
				if name != "host" {
					tags += report.Total.Admitted
				}
				t.Logf("%s: %+v", name, report.Total)
			}
			s.within("all", all, load.most, seconds)
			if tags > most(heldRate, seconds) {
				t.Errorf("%d admitted to the tag's revision in %d s, which serves %d/s", tags, seconds, heldRate)
			}
		})
	}
}

// most is how many requests may pass in so many seconds: the rate's, a tenth of a
// second's burst, and two more at each pod and entry, of which there are two; and the
// bursts again, as the shares follow the demand.
func most(rate float64, seconds int) int { return int(rate*(float64(seconds)+0.2)) + 16 }

// within checks an admitted number. Something is lost at the start, until shares
// follow the demand.
func (s *stage) within(what string, admitted int, rate float64, seconds int) {
	s.Helper()
	if least := int(0.8 * rate * float64(seconds)); admitted < least || admitted > most(rate, seconds) {
		s.Errorf("%s: %d admitted in %d s, want %d to %d", what, admitted, seconds, least, most(rate, seconds))
	}
}

// tagged makes a Knative Service of our class with two revisions: one with two
// replicas and all of the traffic, and one with a replica, at 0 %, that a tag leads
// to. It returns the hosts of the Service and of the tag.
func (s *stage) tagged(name string) (host, tagHost string) {
	s.Helper()
	template := func(revision, replicas string) servingv1.RevisionTemplateSpec {
		return servingv1.RevisionTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{
				Name: revision, Labels: map[string]string{sluice.ModelLabelKey: name},
				Annotations: map[string]string{
					autoscaling.MinScaleAnnotationKey: replicas, autoscaling.MaxScaleAnnotationKey: replicas, autoscaling.InitialScaleAnnotationKey: replicas,
				},
			},
			Spec: servingv1.RevisionSpec{PodSpec: corev1.PodSpec{Containers: []corev1.Container{s.streamsContainer()}}},
		}
	}
	services := s.Serving.ServingV1().Services(s.namespace)
	ready := func(tags int) *servingv1.Service {
		var service *servingv1.Service
		s.until(readyWithin, "the Service to be Ready", func(ctx context.Context) (string, error) {
			var err error
			service, err = services.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			if !service.IsReady() || service.Generation != service.Status.ObservedGeneration || len(service.Status.Traffic) != 1+tags {
				return fmt.Sprintf("%+v", service.Status.GetCondition(servingv1.ServiceConditionReady)), nil
			}
			return "", nil
		})
		return service
	}
	_, err := services.Create(s.Context(), &servingv1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: name,
			Annotations: map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName},
		},
		Spec: servingv1.ServiceSpec{ConfigurationSpec: servingv1.ConfigurationSpec{Template: template(name+"-first", "2")}},
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal("creating the Service:", err)
	}
	ready(0)
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		service, err := services.Get(s.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		service.Spec.Template = template(name+"-second", "1")
		service.Spec.Traffic = []servingv1.TrafficTarget{
			{RevisionName: name + "-first", Percent: ptr.Int64(100)}, {RevisionName: name + "-second", Tag: tag, Percent: ptr.Int64(0)},
		}
		_, err = services.Update(s.Context(), service, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		s.Fatal("adding a tagged revision:", err)
	}
	service := ready(1)
	s.until(answerWithin, "a route by header", func(ctx context.Context) (string, error) {
		ingress, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		for _, rule := range ingress.Spec.Rules {
			if _, ok := rule.HTTP.Paths[0].Headers[header.RouteTagKey]; ok && ingress.IsReady() {
				return "", nil
			}
		}
		return fmt.Sprintf("rules %+v", ingress.Spec.Rules), nil
	})
	for _, target := range service.Status.Traffic {
		if target.Tag == tag {
			tagHost = target.URL.Host
		}
	}
	return service.Status.URL.Host, tagHost
}

// limit makes the RateLimit that a Model's reconciler would make of a Service of
// tagged, and waits until it is proved.
func (s *stage) limit(name string) {
	s.Helper()
	limits := s.AsController.SluiceV1alpha1().RateLimits(s.namespace)
	_, err := limits.Create(s.Context(), &v1alpha1.RateLimit{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: v1alpha1.RateLimitSpec{
			Gateways: []string{gateway.Shared}, VirtualService: gateway.VirtualServiceName(s.namespace, name),
			RequestsPerSecondPerReplica: *quantity(strconv.Itoa(heldRate)), Burst: metav1.Duration{Duration: 100 * time.Millisecond},
			Policy: v1alpha1.PolicyReady,
			Traffic: []v1alpha1.RevisionTraffic{
				{Revision: name + "-first", Percent: 100}, {Revision: name + "-second", Tagged: true},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal("creating the RateLimit:", err)
	}
	s.Cleanup(func() {
		if err := limits.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			s.Error("removing the RateLimit:", err)
		}
	})
	s.until(20*time.Second, "the limit to be proved", func(ctx context.Context) (string, error) {
		got, err := limits.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if !got.IsReady() || got.Status.Limit.RequestsPerSecond.Value() != 2*heldRate {
			return fmt.Sprintf("%+v", got.Status), nil
		}
		return "", nil
	})
}
