package limit

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

const (
	// pollEvery is how often gateway pods are asked for their counters.
	pollEvery = time.Second
	// memory is how much of the demand before a poll is kept: a change of entry
	// shows within about three polls.
	memory = 0.5
	// pollAtOnce bounds the pods that are asked at the same time.
	pollAtOnce = 8
	// leastRate, in requests per second, is taken for none.
	leastRate = 0.001
	// pollBytes bounds what is read from one pod: about 10,000 Models.
	pollBytes = 16 << 20
)

// Offered is the demand seen at each gateway, from the counters that its pods'
// access loggers keep by virtual service and entry. A request
// counts as it arrives, refused or not.
type Offered struct {
	fetch func(ctx context.Context, ip string) (map[string]*dto.MetricFamily, error)
	pods  func() []Pod
	clock clock.WithTicker
	log   *zap.SugaredLogger
	// notify is called when demand was seen: shares may have to follow it.
	notify func()

	mu    sync.Mutex
	last  map[counter]float64
	rates map[served][]float64
	at    time.Time
}

// served is a virtual service at a gateway; its name is as in VirtualServiceMetadata.
type served struct{ gateway, route string }

// counter is one pod's counter of what is served at one entry.
type counter struct {
	served
	pod   string
	entry int
}

// NewOffered returns the demand seen at the pods that the function lists.
func NewOffered(pods func() []Pod, c clock.WithTicker, log *zap.SugaredLogger, notify func()) *Offered {
	client := &http.Client{Timeout: pollEvery}
	return &Offered{
		fetch: func(ctx context.Context, ip string) (map[string]*dto.MetricFamily, error) {
			return scrape(ctx, client, ip)
		},
		pods: pods, clock: c, log: log, notify: notify,
		last: map[counter]float64{}, rates: map[served][]float64{},
	}
}

// At implements Demand.
func (o *Offered) At(name, virtualService string) []float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	demand := make([]float64, len(gateway.Entries()))
	copy(demand, o.rates[served{gateway: name, route: gateway.VirtualServiceMetadata(virtualService)}])
	return demand
}

// Run polls until the context ends.
func (o *Offered) Run(ctx context.Context) {
	ticker := o.clock.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			o.poll(ctx)
		}
	}
}

// poll reads every pod's counters and folds what they grew by into the rates. A
// counter that fell was reset by its pod; it counts from its new value on.
func (o *Offered) poll(ctx context.Context) {
	pods := o.pods()
	answers := make([]map[string]*dto.MetricFamily, len(pods))
	var group errgroup.Group
	group.SetLimit(pollAtOnce)
	for i, pod := range pods {
		group.Go(func() error {
			families, err := o.fetch(ctx, pod.IP)
			if err != nil {
				proofErrors.Inc()
				o.log.Debugw("Gateway pod's counters not read", zap.String("pod", pod.Name), zap.Error(err))
			}
			answers[i] = families
			return nil
		})
	}
	_ = group.Wait() // a pod that didn't answer has no families
	now := map[counter]float64{}
	for i, pod := range pods {
		for _, m := range offered(answers[i]) {
			route, entry := tags(m)
			for e, known := range gateway.Entries() {
				if known.Name == entry {
					now[counter{served: served{gateway: pod.Gateway, route: route}, pod: pod.Name, entry: e}] += m.GetCounter().GetValue()
				}
			}
		}
	}
	if o.fold(now) {
		o.notify()
	}
}

// fold returns whether there was demand since the last time.
func (o *Offered) fold(now map[counter]float64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	elapsed := o.clock.Since(o.at).Seconds()
	o.at = o.clock.Now()
	rates := make(map[served][]float64, len(o.rates))
	for s, old := range o.rates {
		rates[s] = make([]float64, len(old))
		for i, rate := range old {
			if rates[s][i] = memory * rate; rates[s][i] < leastRate {
				rates[s][i] = 0
			}
		}
	}
	seen := false
	for c, value := range now {
		before, ok := o.last[c]
		if !ok || value <= before || elapsed <= 0 {
			continue
		}
		if rates[c.served] == nil {
			rates[c.served] = make([]float64, len(gateway.Entries()))
		}
		seen = true
		rates[c.served][c.entry] += (1 - memory) * (value - before) / elapsed
	}
	maps.DeleteFunc(rates, func(_ served, of []float64) bool { return slices.Max(of) == 0 })
	o.last, o.rates = now, rates
	return seen
}

// offered finds the counter. Upstream Envoy shows it with its own prefix, a proxy
// that has registered istio_ as a namespace without.
func offered(families map[string]*dto.MetricFamily) []*dto.Metric {
	if f, ok := families["envoy_"+gateway.OfferedMetric]; ok {
		return f.GetMetric()
	}
	return families[gateway.OfferedMetric].GetMetric()
}

func tags(m *dto.Metric) (route, entry string) {
	for _, l := range m.GetLabel() {
		switch l.GetName() {
		case gateway.RouteTag:
			route = l.GetValue()
		case gateway.EntryTag:
			entry = l.GetValue()
		}
	}
	return route, entry
}

// scrape reads a pod's counters at Envoy's own Prometheus listener, which every
// gateway has.
func scrape(ctx context.Context, client *http.Client, ip string) (map[string]*dto.MetricFamily, error) {
	// Envoy filters by its own name of a counter, where a dot comes after the scope.
	_, name, _ := strings.Cut(gateway.OfferedMetric, "_")
	u := url.URL{
		Scheme: "http", Host: net.JoinHostPort(ip, strconv.Itoa(gateway.StatsPort)), Path: "/stats/prometheus",
		RawQuery: url.Values{"filter": {name}}.Encode(),
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reading counters: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading counters: status %d", resp.StatusCode)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(resp.Body, pollBytes))
	if err != nil {
		return nil, fmt.Errorf("reading counters: %w", err)
	}
	return families, nil
}
