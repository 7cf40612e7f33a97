// Package score turns a batch of candidates into one score each: it parses the
// trained network (ONNX), compiles it for the batch size at hand and runs it, in
// pure Go. It knows nothing of HTTP.
package score

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sync"

	"github.com/gomlx/gomlx/backends/simplego"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/onnx-gomlx/onnx"
)

const (
	inputName  = "candidates" // FP32 [n, features]
	outputName = "score"      // FP32 [n]

	minBatchLog2 = 3 // the smallest compiled batch: 8
	maxBatchLog2 = 8 // the largest: 256

	// MaxBatch is the largest number of candidates in one call.
	MaxBatch = 1 << maxBatchLog2
)

// ErrNotFinite says that some candidate is so far outside the range of the
// training data that its score overflows float32.
var ErrNotFinite = errors.New("score is not finite")

// Model scores candidates. A graph is compiled for a fixed batch size, so batches
// are padded to a power of two; that bounds the compiled graphs to six.
// Its methods may be called concurrently.
type Model struct {
	exec     *context.Exec
	features int
	compile  [maxBatchLog2 - minBatchLog2 + 1]func() error
}

// Load parses an ONNX model whose input is candidates FP32 [n, features] and whose
// output is score FP32 [n]. It compiles nothing: see Prepare.
func Load(weights []byte) (*Model, error) {
	network, err := onnx.Parse(weights)
	if err != nil {
		return nil, fmt.Errorf("parsing the ONNX model: %w", err)
	}
	names, shapes := network.Inputs()
	if len(names) != 1 || names[0] != inputName || shapes[0].Rank() != 2 || shapes[0].Dimensions[1] < 1 {
		return nil, fmt.Errorf("ONNX model has inputs %v %v, want one %q [n, features]", names, shapes, inputName)
	}
	variables := context.New()
	if err := network.VariablesToContext(variables); err != nil {
		return nil, fmt.Errorf("reading the weights: %w", err)
	}
	backend, err := simplego.New("")
	if err != nil {
		return nil, fmt.Errorf("creating the backend: %w", err)
	}
	exec, err := context.NewExec(backend, variables, func(ctx *context.Context, candidates *graph.Node) *graph.Node {
		inputs := map[string]*graph.Node{inputName: candidates}
		return network.CallGraph(ctx, candidates.Graph(), inputs, outputName)[0]
	})
	if err != nil {
		return nil, fmt.Errorf("creating the executor: %w", err)
	}

	m := &Model{exec: exec, features: shapes[0].Dimensions[1]}
	exec.SetMaxCache(len(m.compile))
	for i := range m.compile {
		m.compile[i] = sync.OnceValue(func() error {
			return exec.PreCompile(m.pad(nil, 1<<(minBatchLog2+i)))
		})
	}
	return m, nil
}

// Features is the number of values that describe one candidate.
func (m *Model) Features() int { return m.features }

// Prepare compiles the graph that a batch of n candidates needs, unless that is
// done already. This is what makes the first requests of a process slow.
func (m *Model) Prepare(n int) error {
	if n < 1 || n > MaxBatch {
		return fmt.Errorf("batch of %d candidates: want 1 to %d", n, MaxBatch)
	}
	if err := m.compile[batchLog2(n)-minBatchLog2](); err != nil {
		return fmt.Errorf("compiling for %d candidates: %w", n, err)
	}
	return nil
}

// Exercise compiles the graphs of all batch sizes and runs them, on candidates that
// are all zero, as long as asked to: what frameworks do that tune themselves on their
// first request.
func (m *Model) Exercise(goOn func() bool) error {
	for {
		for n := 1 << minBatchLog2; n <= MaxBatch; n *= 2 {
			if _, err := m.Score(make([]float32, n*m.features)); err != nil {
				return fmt.Errorf("exercising: %w", err)
			}
			if !goOn() {
				return nil
			}
		}
	}
}

// Score returns the score of each candidate, the probability that it is relevant
// (0 to 1). The candidates are given row after row, Features values each.
func (m *Model) Score(candidates []float32) ([]float32, error) {
	n := len(candidates) / m.features
	if n*m.features != len(candidates) {
		return nil, fmt.Errorf("%d values are no multiple of %d features", len(candidates), m.features)
	}
	if err := m.Prepare(n); err != nil {
		return nil, err
	}
	input := m.pad(candidates, 1<<batchLog2(n))
	defer input.MustFinalizeAll()
	output, err := m.exec.Exec1(input)
	if err != nil {
		return nil, fmt.Errorf("running the network on %d candidates: %w", n, err)
	}
	defer output.MustFinalizeAll()
	scores, err := tensors.CopyFlatData[float32](output)
	if err != nil {
		return nil, fmt.Errorf("reading the scores: %w", err)
	}
	for i, s := range scores[:n] {
		if math.IsNaN(float64(s)) || math.IsInf(float64(s), 0) {
			return nil, fmt.Errorf("candidate %d: %w", i, ErrNotFinite)
		}
	}
	return scores[:n], nil
}

// pad copies candidates into a tensor of batch rows, the rest zero.
func (m *Model) pad(candidates []float32, batch int) *tensors.Tensor {
	rows := make([]float32, batch*m.features)
	copy(rows, candidates)
	return tensors.FromFlatDataAndDimensions(rows, batch, m.features)
}

// batchLog2 is the base-2 logarithm of the compiled batch size that n fits in.
func batchLog2(n int) int {
	return max(minBatchLog2, bits.Len(uint(n-1)))
}
