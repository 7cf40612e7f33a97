package main

import (
	"encoding/json"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// markHeader is what requests of a batch have.
	markHeader = "Sluice-Batch"
	// maxPredict bounds a request's body.
	maxPredict = 4 << 20
)

// predictions counts what was predicted.
type predictions struct{ marked, others atomic.Int64 }

// tensor is one of the Open Inference Protocol v2.
type tensor struct {
	Name     string    `json:"name"`
	Datatype string    `json:"datatype,omitempty"`
	Shape    []int64   `json:"shape"`
	Data     []float64 `json:"data"`
}

// predict answers each input as an output, after as long as it is asked to take. A number
// below zero it refuses.
func (p *predictions) predict(w http.ResponseWriter, r *http.Request) {
	lasts, ok := seconds(w, r)
	if !ok {
		return
	}
	var question struct {
		ID     string   `json:"id"`
		Inputs []tensor `json:"inputs"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxPredict)).Decode(&question); err != nil {
		http.Error(w, "no request of the Open Inference Protocol: "+err.Error(), http.StatusBadRequest)
		return
	}
	timer := time.NewTimer(lasts)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		return
	}
	count := &p.others
	if r.Header.Get(markHeader) != "" {
		count = &p.marked
	}
	count.Add(1)
	for _, input := range question.Inputs {
		for _, number := range input.Data {
			if number < 0 {
				http.Error(w, "a number is below zero", http.StatusBadRequest)
				return
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"id": question.ID, "outputs": question.Inputs}) // an error is the client's
}

// predicted tells how many requests were answered, of batches and of others.
func (p *predictions) predicted(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(map[string]int64{"batch": p.marked.Load(), "others": p.others.Load()}) // an error is the client's
}
