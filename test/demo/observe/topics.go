package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What is asked of Kafka: every record since the run began, of which topics.
const (
	lineTopics   = "the gateways' log"
	metricTopics = "metrics"
)

// topics reads what comes to the collector's topics, and counts what is of one Model.
type topics struct {
	client *kgo.Client
	of     asked
	stop   context.CancelFunc
	ended  sync.WaitGroup

	// mu guards the rest, which is written as records come.
	mu     sync.Mutex
	counts map[string]float64
	err    error
}

// follow begins to read the topics whose names begin with a prefix, from now on.
func follow(ctx context.Context, broker, prefix string, of asked) (*topics, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker), kgo.ConsumeRegex(), kgo.ConsumeTopics("^"+prefix+".*$"),
		// From a time, as a topic may be made by what comes first.
		kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(time.Now().UnixMilli())),
		kgo.MetadataMinAge(250*time.Millisecond), kgo.MetadataMaxAge(time.Second),
	)
	if err != nil {
		return nil, fmt.Errorf("making a client of Kafka: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	t := &topics{client: client, of: of, stop: stop, counts: map[string]float64{}}
	t.ended.Go(func() { t.read(ctx) })
	return t, nil
}

func (t *topics) read(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := t.client.PollFetches(ctx)
		t.mu.Lock()
		if err := fetches.Err(); err != nil && ctx.Err() == nil {
			t.err = fmt.Errorf("reading topics: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if err := t.add(r.Value); err != nil {
				t.err = fmt.Errorf("topic %s, offset %d: %w", r.Topic, r.Offset, err)
			}
		})
		t.mu.Unlock()
	}
}

// counted is how many there were so far of what is asked for.
func (t *topics) counted(query string) (float64, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[query], t.counts[query] > 0, t.err
}

func (t *topics) close() {
	t.stop()
	t.ended.Wait()
	t.client.Close()
}

// exported is a record of the collector's exporter, in OTLP's JSON: logs or metrics.
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
type exported struct {
	Logs []struct {
		Scopes []struct {
			Records []struct {
				Attributes attributes `json:"attributes"`
			} `json:"logRecords"`
		} `json:"scopeLogs"`
	} `json:"resourceLogs"`
	Metrics []struct {
		Scopes []struct {
			Metrics []struct {
				Name string `json:"name"`
				Sum  struct {
					Points []struct {
						Attributes attributes `json:"attributes"`
					} `json:"dataPoints"`
				} `json:"sum"`
			} `json:"metrics"`
		} `json:"scopeMetrics"`
	} `json:"resourceMetrics"`
}

type attributes []struct {
	Key   string `json:"key"`
	Value struct {
		Text string `json:"stringValue"`
	} `json:"value"`
}

func (a attributes) text(key string) string {
	for _, of := range a {
		if of.Key == key {
			return of.Value.Text
		}
	}
	return ""
}

// add counts what a record has of the Model.
func (t *topics) add(record []byte) error {
	var of exported
	if err := json.Unmarshal(record, &of); err != nil {
		return fmt.Errorf("it is no OTLP in JSON: %w", err)
	}
	for _, resource := range of.Logs {
		for _, scope := range resource.Scopes {
			for _, line := range scope.Records {
				if line.Attributes.text("route") == t.of.route() {
					t.counts[lineTopics]++
				}
			}
		}
	}
	for _, resource := range of.Metrics {
		for _, scope := range resource.Scopes {
			for _, metric := range scope.Metrics {
				if !strings.HasPrefix(strings.ReplaceAll(metric.Name, ".", "_"), "sluice_model_requests") {
					continue
				}
				for _, point := range metric.Sum.Points {
					if point.Attributes.text("model") == t.of.model {
						t.counts[metricTopics]++
					}
				}
			}
		}
	}
	return nil
}
