package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"time"
)

// InferPath is where the ranker takes requests, by the Open Inference Protocol v2.
const InferPath = "/v2/models/ranker/infer"

// Endpoint is a Model's place on a gateway.
type Endpoint struct {
	// Address is the gateway's, "IP:port".
	Address string
	// Host is the Model's.
	Host string
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// Post sends one request on a connection of its own and returns the answer's
// status, its body, and the time from sending to the answer's last byte.
func (e Endpoint) Post(ctx context.Context, path string, body []byte) (int, []byte, time.Duration, error) {
	return e.send(ctx, http.MethodPost, path, body)
}

// Get is Post without a body.
func (e Endpoint) Get(ctx context.Context, path string) (int, []byte, time.Duration, error) {
	return e.send(ctx, http.MethodGet, path, nil)
}

func (e Endpoint) send(ctx context.Context, method, path string, body []byte) (int, []byte, time.Duration, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", e.Address)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+e.Host+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, 0, fmt.Errorf("building a request: %w", err)
	}
	start := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, 0, fmt.Errorf("asking %s at %s: %w", e.Host, e.Address, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, nil, 0, fmt.Errorf("reading the answer of %s: %w", e.Host, err)
	}
	return response.StatusCode, answer, time.Since(start), nil
}

// Prediction is an answer of the ranker.
type Prediction struct {
	// Scores by candidate: the probability of malignancy.
	Scores []float64
	// Order of the candidates, highest score first.
	Order []float64
}

// ParsePrediction reads an answer in the Open Inference Protocol v2.
func ParsePrediction(answer []byte) (Prediction, error) {
	var parsed struct {
		Outputs []struct {
			Name string    `json:"name"`
			Data []float64 `json:"data"`
		} `json:"outputs"`
	}
	if err := json.Unmarshal(answer, &parsed); err != nil {
		return Prediction{}, fmt.Errorf("reading a prediction: %w", err)
	}
	var p Prediction
	for _, output := range parsed.Outputs {
		switch output.Name {
		case "score":
			p.Scores = output.Data
		case "order":
			p.Order = output.Data
		}
	}
	if len(p.Scores) == 0 || len(p.Order) != len(p.Scores) {
		return Prediction{}, fmt.Errorf("reading a prediction: %d scores and an order of %d", len(p.Scores), len(p.Order))
	}
	return p, nil
}

// Difference is the largest difference between two predictions' scores: +Inf if
// they are of different lengths or order their candidates differently.
func (p Prediction) Difference(other Prediction) float64 {
	if len(p.Scores) != len(other.Scores) || len(p.Order) != len(other.Order) {
		return math.Inf(1)
	}
	for i, candidate := range p.Order {
		if candidate != other.Order[i] {
			return math.Inf(1)
		}
	}
	largest := 0.0
	for i, score := range p.Scores {
		largest = max(largest, math.Abs(score-other.Scores[i]))
	}
	return largest
}
