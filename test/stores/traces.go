package stores

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"
)

// Traces answers for traces, as Jaeger does, and takes them by OTLP.
type Traces struct {
	// URL is where it is asked, OTLP where it takes traces over gRPC, as host:port.
	URL, OTLP string
}

// Span is a part of a trace.
type Span struct {
	// ID is the span's, Parent that of the span that it is part of, "" of the first.
	ID, Parent string
	// Service and Operation name what was done.
	Service, Operation string
	Start              time.Time
	Lasted             time.Duration
	// Tags are what else is said of it.
	Tags map[string]any
}

// FindJaeger returns the Jaeger that the environment names. Where it doesn't answer it is
// brought up by name, if the environment says by whom.
func FindJaeger(ctx context.Context) (*Traces, error) {
	t := &Traces{OTLP: os.Getenv("SLUICE_JAEGER_OTLP")}
	if t.OTLP == "" {
		return nil, errors.New("SLUICE_JAEGER_OTLP names where Jaeger takes traces, and isn't set: the local stack sets it (hack/cluster/cluster env)")
	}
	var err error
	t.URL, err = found(ctx, "SLUICE_JAEGER", "jaeger", "/api/services")
	return t, err
}

// jaegerTraces is an answer of Jaeger's API.
type jaegerTraces struct {
	Data []struct {
		Spans []struct {
			SpanID     string `json:"spanID"`
			Operation  string `json:"operationName"`
			References []struct {
				Type   string `json:"refType"`
				SpanID string `json:"spanID"`
			} `json:"references"`
			StartMicroseconds    int64 `json:"startTime"`
			DurationMicroseconds int64 `json:"duration"`
			Tags                 []struct {
				Key   string `json:"key"`
				Value any    `json:"value"`
			} `json:"tags"`
			ProcessID string `json:"processID"`
		} `json:"spans"`
		Processes map[string]struct {
			Service string `json:"serviceName"`
		} `json:"processes"`
	} `json:"data"`
}

// Trace returns the spans of a trace, in the order in which they began: none of a trace that
// isn't there. Its id is 32 digits.
func (t *Traces) Trace(ctx context.Context, id string) ([]Span, error) {
	ctx, cancel := context.WithTimeout(ctx, putWithin)
	defer cancel()
	body, err := ask(ctx, t.URL+"/api/traces/"+url.PathEscape(id), nil)
	if errors.Is(err, errNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readTraces(body)
}

func readTraces(body []byte) ([]Span, error) {
	var answer jaegerTraces
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("reading traces: %w", err)
	}
	var spans []Span
	for _, trace := range answer.Data {
		for _, of := range trace.Spans {
			span := Span{
				ID: of.SpanID, Service: trace.Processes[of.ProcessID].Service, Operation: of.Operation,
				Start: time.UnixMicro(of.StartMicroseconds), Lasted: time.Duration(of.DurationMicroseconds) * time.Microsecond, Tags: map[string]any{},
			}
			for _, r := range of.References {
				if r.Type == "CHILD_OF" {
					span.Parent = r.SpanID
				}
			}
			for _, tag := range of.Tags {
				span.Tags[tag.Key] = tag.Value
			}
			spans = append(spans, span)
		}
	}
	slices.SortStableFunc(spans, func(a, b Span) int { return cmp.Compare(a.Start.UnixMicro(), b.Start.UnixMicro()) })
	return spans, nil
}
