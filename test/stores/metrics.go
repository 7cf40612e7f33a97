package stores

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// Metrics answers PromQL, over Prometheus' API.
type Metrics struct {
	// URL is where it is.
	URL string
}

// Sample is one series of an answer.
type Sample struct {
	Labels map[string]string
	Value  float64
	At     time.Time
}

// errAmbiguous is for a query that should have had one answer.
var errAmbiguous = errors.New("the query has several answers")

// FindPrometheus returns the Prometheus that the environment names. Where it doesn't answer it
// is brought up by name, if the environment says by whom.
func FindPrometheus(ctx context.Context) (*Metrics, error) {
	at, err := found(ctx, "SLUICE_PROMETHEUS", "prometheus", "/-/ready")
	return &Metrics{URL: at}, err
}

// FindVictoriaMetrics returns the VictoriaMetrics that the environment names, as above.
func FindVictoriaMetrics(ctx context.Context) (*Metrics, error) {
	at, err := found(ctx, "SLUICE_VICTORIAMETRICS", "victoriametrics", "/health")
	return &Metrics{URL: at}, err
}

// vector is an answer of Prometheus' API to an instant query for one.
type vector struct {
	Data struct {
		Type   string `json:"resultType"`
		Result []struct {
			Metric map[string]string `json:"metric"`
			Value  [2]any            `json:"value"`
		} `json:"result"`
	} `json:"data"`
}

// Query answers an instant query as of now.
func (m *Metrics) Query(ctx context.Context, promQL string) ([]Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	body, err := ask(ctx, m.URL+"/api/v1/query", url.Values{"query": {promQL}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", promQL, err)
	}
	samples, err := readVector(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", promQL, err)
	}
	return samples, nil
}

func readVector(body []byte) ([]Sample, error) {
	var answer vector
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if answer.Data.Type != "vector" {
		return nil, fmt.Errorf("the answer is a %s, not a vector", answer.Data.Type)
	}
	var samples []Sample
	for _, of := range answer.Data.Result {
		at, isTime := of.Value[0].(float64)
		text, isText := of.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if !isTime || !isText || err != nil {
			return nil, fmt.Errorf("the answer has the value %v", of.Value)
		}
		samples = append(samples, Sample{Labels: of.Metric, Value: value, At: time.UnixMilli(int64(at * 1000))})
	}
	return samples, nil
}

// Number answers a query that has one answer. What has none is not there, which isn't an error.
func (m *Metrics) Number(ctx context.Context, promQL string) (value float64, there bool, err error) {
	samples, err := m.Query(ctx, promQL)
	switch {
	case err != nil || len(samples) == 0:
		return 0, false, err
	case len(samples) > 1:
		return 0, false, fmt.Errorf("%s: %w: %d", promQL, errAmbiguous, len(samples))
	}
	return samples[0].Value, true, nil
}

// Range answers a query over a time, as a panel asks it, and tells how many series there are.
func (m *Metrics) Range(ctx context.Context, promQL string, from, to time.Time, step time.Duration) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	unix := func(at time.Time) string { return strconv.FormatFloat(float64(at.UnixMilli())/1e3, 'f', 3, 64) }
	body, err := ask(ctx, m.URL+"/api/v1/query_range", url.Values{
		"query": {promQL}, "start": {unix(from)}, "end": {unix(to)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", promQL, err)
	}
	var answer struct {
		Data struct {
			Result []json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, fmt.Errorf("%s: reading the answer: %w", promQL, err)
	}
	return len(answer.Data.Result), nil
}
