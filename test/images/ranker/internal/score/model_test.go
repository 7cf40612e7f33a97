package score

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"testing"
)

// tolerance is the largest accepted difference from the training library's score.
const tolerance = 1e-5

type expectation struct {
	TrainedWith string      `json:"trained_with"`
	Features    []string    `json:"features"`
	Candidates  [][]float32 `json:"candidates"`
	Scores      []float32   `json:"scores"`
}

func load(t testing.TB) (*Model, expectation) {
	t.Helper()
	weights, err := os.ReadFile("../../testdata/model.onnx")
	if err != nil {
		t.Fatal(err)
	}
	model, err := Load(weights)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("../../testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var want expectation
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	return model, want
}

// difference is the largest distance between got and want.
func difference(t testing.TB, got, want []float32) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d scores, want %d", len(got), len(want))
	}
	worst := 0.0
	for i := range got {
		worst = math.Max(worst, math.Abs(float64(got[i])-float64(want[i])))
	}
	return worst
}

func TestScoresAgreeWithTheTrainingLibrary(t *testing.T) {
	model, want := load(t)
	if model.Features() != len(want.Features) {
		t.Fatalf("features = %d, want %d", model.Features(), len(want.Features))
	}
	got, err := model.Score(slices.Concat(want.Candidates...))
	if err != nil {
		t.Fatal(err)
	}
	worst := difference(t, got, want.Scores)
	if worst > tolerance {
		t.Errorf("scores differ from those of %s by up to %.1e, want at most %.0e", want.TrainedWith, worst, tolerance)
	}
	t.Logf("%d held-out candidates: scores differ from those of %s by at most %.1e", len(got), want.TrainedWith, worst)
}

// A score depends neither on the batch size nor on the neighbours in the batch.
func TestScoresDoNotDependOnTheBatch(t *testing.T) {
	model, want := load(t)
	for _, n := range []int{1, 2, 7, 8, 9, 16, 17, 64, 100, 129, MaxBatch} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var rows, scores []float32
			for i := range n {
				j := (i*5 + n) % len(want.Scores)
				rows = append(rows, want.Candidates[j]...)
				scores = append(scores, want.Scores[j])
			}
			got, err := model.Score(rows)
			if err != nil {
				t.Fatal(err)
			}
			if worst := difference(t, got, scores); worst > tolerance {
				t.Errorf("scores differ by up to %.1e", worst)
			}
		})
	}
}

func TestConcurrentFirstUse(t *testing.T) {
	model, want := load(t)
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			n := 1 << (i % (maxBatchLog2 - 1))
			got, err := model.Score(slices.Concat(want.Candidates[:n]...))
			if err != nil {
				t.Error(err)
				return
			}
			if worst := difference(t, got, want.Scores[:n]); worst > tolerance {
				t.Errorf("batch of %d: scores differ by up to %.1e", n, worst)
			}
		})
	}
	wg.Wait()
}

func TestScoreRefuses(t *testing.T) {
	model, want := load(t)
	for name, rows := range map[string][]float32{
		"no candidate":        {},
		"half a candidate":    want.Candidates[0][:15],
		"too many candidates": make([]float32, (MaxBatch+1)*model.Features()),
	} {
		if _, err := model.Score(rows); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	extreme := slices.Concat(want.Candidates[:3]...)
	for i := 2 * model.Features(); i < len(extreme); i++ {
		extreme[i] = math.MaxFloat32
	}
	if got, err := model.Score(extreme); !errors.Is(err, ErrNotFinite) {
		t.Errorf("overflowing candidate: scores %v, error %v, want ErrNotFinite", got, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	if _, err := Load([]byte("not an ONNX file")); err == nil {
		t.Error("no error")
	}
}

func TestBatchLog2(t *testing.T) {
	for n, want := range map[int]int{1: 3, 8: 3, 9: 4, 16: 4, 17: 5, 64: 6, 65: 7, 128: 7, 129: 8, 256: 8} {
		if got := batchLog2(n); got != want {
			t.Errorf("batchLog2(%d) = %d, want %d", n, got, want)
		}
	}
}

// BenchmarkScore is the steady cost of one call, compilation excluded.
func BenchmarkScore(b *testing.B) {
	model, want := load(b)
	for n := 1 << minBatchLog2; n <= MaxBatch; n *= 2 {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rows := slices.Concat(want.Candidates...)
			for len(rows) < n*model.Features() {
				rows = append(rows, rows...)
			}
			rows = rows[:n*model.Features()]
			if _, err := model.Score(rows); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := model.Score(rows); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
