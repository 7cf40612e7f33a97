package s3batch

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Input is an object of rows, each the request of one line, and what has to come of them.
type Input struct {
	// Content is the object.
	Content string
	// Scores are those of the training library, by item; a row that is broken has none.
	Scores []float64
	// Broken are the rows that nobody can score, in order.
	Broken []Broken
}

// Broken is a row that isn't as it should be.
type Broken struct {
	// Item is its number, from 0; its line is one more.
	Item int64
	// Says is what its record has to say of it.
	Says string
}

// damages are what may be wrong with a row, and a word of what has to be said of it.
var damages = []struct {
	says   string
	damage func(row string) string
}{
	{"isn't JSON", func(row string) string { return row[:len(row)/2] }},
	{"29", func(row string) string {
		return strings.Replace(row, `"shape":[1,30],"data":[`, `"shape":[1,29],"data":[`, 1)
	}},
	{"inputs", func(row string) string { return strings.Replace(row, `"inputs"`, `"measured"`, 1) }},
}

// NewInput makes an object of as many rows from the candidates and scores that the training
// library has written, in turns. Of all, some are broken, spread evenly.
func NewInput(expected []byte, rows, broken int) (*Input, error) {
	var known struct {
		Candidates []json.RawMessage
		Scores     []float64
	}
	if err := json.Unmarshal(expected, &known); err != nil {
		return nil, fmt.Errorf("reading the training library's scores: %w", err)
	}
	switch {
	case len(known.Candidates) == 0 || len(known.Candidates) != len(known.Scores):
		return nil, fmt.Errorf("there are %d candidates and %d scores", len(known.Candidates), len(known.Scores))
	case broken < 0 || 2*broken > rows:
		return nil, errors.New("more than half of the rows would be broken")
	}
	in := &Input{Scores: make([]float64, rows)}
	var lines strings.Builder
	for i := range rows {
		of := i % len(known.Candidates)
		row := fmt.Sprintf(`{"id":%q,"inputs":[{"name":"candidates","datatype":"FP32","shape":[1,30],"data":%s}]}`, rowID(int64(i)), known.Candidates[of])
		in.Scores[i] = known.Scores[of]
		// The k-th of them is in the middle of the k-th of as many equal parts.
		if k := len(in.Broken); k < broken && i == (2*k+1)*rows/(2*broken) {
			d := damages[k%len(damages)]
			row = d.damage(row)
			in.Broken = append(in.Broken, Broken{Item: int64(i), Says: d.says})
		}
		lines.WriteString(row + "\n")
	}
	in.Content = lines.String()
	return in, nil
}

// Rows is how many there are, the broken ones included.
func (in *Input) Rows() int64 { return int64(len(in.Scores)) }

// rowID names a row, and so what the Model answers to it.
func rowID(item int64) string { return fmt.Sprintf("row-%d", item) }
