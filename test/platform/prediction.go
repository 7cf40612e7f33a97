package platform

import (
	"encoding/json"
	"fmt"
	"math"
)

// InferPath is where the ranker takes requests, by the Open Inference Protocol v2.
const InferPath = "/v2/models/ranker/infer"

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
