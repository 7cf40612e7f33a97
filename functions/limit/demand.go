package limit

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/zap"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

const (
	// pollEvery is how often gateway pods are asked for their counters.
	pollEvery = time.Second
	// memory is how much of the demand before a poll is kept: a change of entry
	// shows within about three polls.
	memory = 0.5
	// pollBytes bounds what is read from one pod: about 10,000 Models.
	pollBytes = 16 << 20
)

// Offered is the demand seen at the gateways, from the counters that each
// gateway pod's access logger keeps by virtual service and entry. A request
// counts as it arrives, refused or not.
type Offered struct {
	fetch func(ctx context.Context, ip string) (map[string]*dto.MetricFamily, error)
	pods  func() []Pod
	clock clock.WithTicker
	log   *zap.SugaredLogger
	// notify is called when demand was seen where there was none.
	notify func()

	mu    sync.Mutex
	last  map[counter]float64
	rates map[string][]float64
	at    time.Time
}

// counter is one pod's counter of one virtual service at one entry.
type counter struct {
	pod, route string
	entry      int
}

// NewOffered returns the demand seen at the pods that the function lists.
func NewOffered(pods func() []Pod, c clock.WithTicker, log *zap.SugaredLogger, notify func()) *Offered {
	client := &http.Client{Timeout: pollEvery}
	return &Offered{
		fetch: func(ctx context.Context, ip string) (map[string]*dto.MetricFamily, error) {
			return scrape(ctx, client, ip)
		},
		pods: pods, clock: c, log: log, notify: notify,
		last: map[counter]float64{}, rates: map[string][]float64{},
	}
}

// At implements Demand.
func (o *Offered) At(_, virtualService string) []float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	demand := make([]float64, len(gateway.Entries()))
	copy(demand, o.rates[gateway.VirtualServiceMetadata(virtualService)])
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
	entries := gateway.Entries()
	now := map[counter]float64{}
	for _, pod := range o.pods() {
		families, err := o.fetch(ctx, pod.IP)
		if err != nil {
			proofErrors.Inc()
			o.log.Debugw("Gateway pod's counters not read", zap.String("pod", pod.Name), zap.Error(err))
			continue
		}
		for _, m := range offered(families) {
			route, entry := tags(m)
			for i, e := range entries {
				if e.Name == entry {
					now[counter{pod: pod.Name, route: route, entry: i}] += m.GetCounter().GetValue()
				}
			}
		}
	}
	if o.fold(now) {
		o.notify()
	}
}

func (o *Offered) fold(now map[counter]float64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	elapsed := o.clock.Since(o.at).Seconds()
	o.at = o.clock.Now()
	grown := map[string][]float64{}
	for c, value := range now {
		if grown[c.route] == nil {
			grown[c.route] = make([]float64, len(gateway.Entries()))
		}
		if before, ok := o.last[c]; ok && value >= before && elapsed > 0 {
			grown[c.route][c.entry] += (value - before) / elapsed
		}
	}
	appeared := false
	for route, rates := range grown {
		for i := range rates {
			old := 0.0
			if known := o.rates[route]; known != nil {
				old = known[i]
			}
			appeared = appeared || (old == 0 && rates[i] > 0)
			if rates[i] = memory*old + (1-memory)*rates[i]; rates[i] < 0.001 {
				rates[i] = 0
			}
		}
	}
	o.last, o.rates = now, grown
	return appeared
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
	u := url.URL{
		Scheme: "http", Host: net.JoinHostPort(ip, strconv.Itoa(gateway.StatsPort)), Path: "/stats/prometheus",
		RawQuery: url.Values{"filter": {gateway.OfferedMetric}}.Encode(),
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
