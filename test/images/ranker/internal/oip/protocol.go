package oip

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/test/images/ranker/internal/score"
)

const (
	modelName   = "ranker"
	inputName   = "candidates"
	scoreOutput = "score"
	orderOutput = "order"
)

// tensorMetadata describes an input or an output; -1 stands for any size.
type tensorMetadata struct {
	Name     string `json:"name"`
	Datatype string `json:"datatype"`
	Shape    []int  `json:"shape"`
}

type modelMetadata struct {
	Name     string           `json:"name"`
	Platform string           `json:"platform"`
	Inputs   []tensorMetadata `json:"inputs"`
	Outputs  []tensorMetadata `json:"outputs"`
}

type serverMetadata struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Extensions []string `json:"extensions"`
}

type inferRequest struct {
	ID      string            `json:"id"`
	Inputs  []requestInput    `json:"inputs"`
	Outputs []requestedOutput `json:"outputs"`
}

type requestInput struct {
	Name     string          `json:"name"`
	Datatype string          `json:"datatype"`
	Shape    []int           `json:"shape"`
	Data     json.RawMessage `json:"data"` // flat, or an array of rows
}

type requestedOutput struct {
	Name string `json:"name"`
}

type inferResponse struct {
	ModelName string           `json:"model_name"`
	ID        string           `json:"id,omitempty"`
	Outputs   []responseOutput `json:"outputs"`
}

type responseOutput struct {
	Name     string `json:"name"`
	Datatype string `json:"datatype"`
	Shape    []int  `json:"shape"`
	Data     any    `json:"data"`
}

// batch is a valid request: candidates row after row, and the outputs asked for.
type batch struct {
	id         string
	n          int
	candidates []float32
	outputs    []string
}

// parseRequest reads an infer request for candidates of the given number of
// features. Its errors start with the field at fault.
func parseRequest(body []byte, features int) (*batch, error) {
	var req inferRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, jsonError(err)
	}
	if len(req.Inputs) != 1 {
		return nil, fmt.Errorf("inputs: got %d, want exactly one, named %q", len(req.Inputs), inputName)
	}
	in := req.Inputs[0]
	if in.Name != inputName {
		return nil, fmt.Errorf("inputs[0].name: got %q, want %q", in.Name, inputName)
	}
	if in.Datatype != "FP32" {
		return nil, fmt.Errorf("inputs[0].datatype: got %q, want \"FP32\"", in.Datatype)
	}
	if len(in.Shape) != 2 || in.Shape[1] != features || in.Shape[0] < 1 || in.Shape[0] > score.MaxBatch {
		return nil, fmt.Errorf("inputs[0].shape: got %v, want [n, %d] with n from 1 to %d", in.Shape, features, score.MaxBatch)
	}
	candidates, err := parseRows(in.Data, in.Shape[0], features)
	if err != nil {
		return nil, fmt.Errorf("inputs[0].data%w", err)
	}

	outputs := []string{scoreOutput, orderOutput}
	if len(req.Outputs) > 0 {
		outputs = nil
	}
	for i, out := range req.Outputs {
		if out.Name != scoreOutput && out.Name != orderOutput {
			return nil, fmt.Errorf("outputs[%d].name: got %q, want %q or %q", i, out.Name, scoreOutput, orderOutput)
		}
		if slices.Contains(outputs, out.Name) {
			return nil, fmt.Errorf("outputs[%d].name: %q is asked for twice", i, out.Name)
		}
		outputs = append(outputs, out.Name)
	}
	return &batch{id: req.ID, n: in.Shape[0], candidates: candidates, outputs: outputs}, nil
}

// parseRows reads n rows of width numbers, flat or one array a row. Its errors
// continue the name of the field.
func parseRows(data json.RawMessage, n, width int) ([]float32, error) {
	if len(data) == 0 {
		return nil, errors.New(": missing")
	}
	// encoding/json reads a null number as 0; no other valid value has these letters.
	if bytes.Contains(data, []byte("null")) {
		return nil, errors.New(": null is not a number")
	}
	if !isNested(data) {
		var flat []float32
		if err := json.Unmarshal(data, &flat); err != nil {
			return nil, fmt.Errorf(": want %d numbers: %w", n*width, jsonError(err))
		}
		if len(flat) != n*width {
			return nil, fmt.Errorf(": got %d values, shape [%d %d] has %d", len(flat), n, width, n*width)
		}
		return flat, nil
	}
	var rows [][]float32
	if err := json.Unmarshal(data, &rows); err != nil {
		return nil, fmt.Errorf(": want %d rows of %d numbers: %w", n, width, jsonError(err))
	}
	if len(rows) != n {
		return nil, fmt.Errorf(": got %d rows, shape [%d %d] has %d", len(rows), n, width, n)
	}
	for i, row := range rows {
		if len(row) != width {
			return nil, fmt.Errorf("[%d]: got %d values, shape [%d %d] has %d", i, len(row), n, width, width)
		}
	}
	return slices.Concat(rows...), nil
}

// isNested says whether the first element of a JSON array is itself an array.
func isNested(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	data = bytes.TrimLeft(bytes.TrimPrefix(data, []byte("[")), " \t\r\n")
	return bytes.HasPrefix(data, []byte("["))
}

// jsonError says what is wrong with a JSON document without naming Go types.
func jsonError(err error) error {
	var typeError *json.UnmarshalTypeError
	var syntaxError *json.SyntaxError
	switch {
	case errors.As(err, &typeError) && typeError.Field == "":
		return fmt.Errorf("a JSON %s is not allowed at byte %d", typeError.Value, typeError.Offset)
	case errors.As(err, &typeError):
		return fmt.Errorf("%s: a JSON %s is not allowed here", typeError.Field, typeError.Value)
	case errors.As(err, &syntaxError):
		return fmt.Errorf("body: not JSON at byte %d: %w", syntaxError.Offset, err)
	default:
		return fmt.Errorf("body: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
}

// respond arranges scores as the outputs that the request asked for.
func (b *batch) respond(scores []float32) *inferResponse {
	resp := &inferResponse{ModelName: modelName, ID: b.id}
	for _, name := range b.outputs {
		out := responseOutput{Name: name, Datatype: "FP32", Shape: []int{b.n}, Data: scores}
		if name == orderOutput {
			out.Datatype, out.Data = "INT64", bestFirst(scores)
		}
		resp.Outputs = append(resp.Outputs, out)
	}
	return resp
}

// bestFirst lists the indices of scores from the highest to the lowest; equal
// scores keep their order.
func bestFirst(scores []float32) []int {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case scores[a] > scores[b]:
			return -1
		case scores[a] < scores[b]:
			return 1
		default:
			return 0
		}
	})
	return order
}
