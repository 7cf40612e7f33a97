package whatif

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// In JSON, times are text with a unit, as "300ms", as they are in manifests.

// span is a time as it is written there.
type span time.Duration

// MarshalJSON implements json.Marshaler.
func (s span) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, time.Duration(s).String()), nil
}

// UnmarshalJSON implements json.Unmarshaler. Its error gets the field's path by who decodes.
func (s *span) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	var written string
	if err := json.Unmarshal(text, &written); err == nil {
		if d, err := time.ParseDuration(written); err == nil {
			*s = span(d)
			return nil
		}
	}
	return &json.UnmarshalTypeError{Value: string(text[:min(len(text), longestShown)]), Type: reflect.TypeFor[time.Duration]()}
}

// longestShown bounds what is said again of what was written, in bytes.
const longestShown = 40

// strictly decodes what has no fields but those that are known.
func strictly(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into) //nolint:wrapcheck // it goes through who decodes all
}

type (
	writtenGoal struct {
		Percentile float64 `json:"percentile,omitempty"`
		Within     span    `json:"within,omitempty"`
	}
	writtenMeasured struct {
		Latency     span    `json:"latency,omitempty"`
		TailLatency span    `json:"tailLatency,omitempty"`
		Parallel    float64 `json:"parallel,omitempty"`
		ColdStarts  []span  `json:"coldStarts,omitempty"`
		WarmUp      span    `json:"warmUp,omitempty"`
	}
	writtenSettings struct {
		Target            int32 `json:"target"`
		TargetUtilization int32 `json:"targetUtilization"`
		MinReplicas       int32 `json:"minReplicas"`
		MaxReplicas       int32 `json:"maxReplicas"`
		Window            span  `json:"window"`
		HeadroomPercent   int32 `json:"headroomPercent"`
	}
)

// MarshalJSON implements json.Marshaler.
func (g Goal) MarshalJSON() ([]byte, error) {
	return marshal("goal", writtenGoal{g.Percentile, span(g.Within)})
}

// UnmarshalJSON implements json.Unmarshaler. What isn't written is as if it weren't known.
func (g *Goal) UnmarshalJSON(text []byte) error {
	var w writtenGoal
	if err := strictly(text, &w); err != nil {
		return err
	}
	*g = Goal{Percentile: w.Percentile, Within: time.Duration(w.Within)}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (m Measured) MarshalJSON() ([]byte, error) {
	w := writtenMeasured{Latency: span(m.Latency), TailLatency: span(m.TailLatency), Parallel: m.Parallel, WarmUp: span(m.WarmUp)}
	for _, d := range m.ColdStarts {
		w.ColdStarts = append(w.ColdStarts, span(d))
	}
	return marshal("what was measured", w)
}

// UnmarshalJSON implements json.Unmarshaler. What isn't written is as if it weren't known.
func (m *Measured) UnmarshalJSON(text []byte) error {
	var w writtenMeasured
	if err := strictly(text, &w); err != nil {
		return err
	}
	*m = Measured{Latency: time.Duration(w.Latency), TailLatency: time.Duration(w.TailLatency), Parallel: w.Parallel, WarmUp: time.Duration(w.WarmUp)}
	for _, d := range w.ColdStarts {
		m.ColdStarts = append(m.ColdStarts, time.Duration(d))
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (s Settings) MarshalJSON() ([]byte, error) {
	return marshal("settings", writtenSettings{s.Target, s.TargetUtilization, s.MinReplicas, s.MaxReplicas, span(s.Window), s.HeadroomPercent})
}

// UnmarshalJSON implements json.Unmarshaler. It reads those of a later version, too.
func (s *Settings) UnmarshalJSON(text []byte) error {
	var w writtenSettings
	if err := json.Unmarshal(text, &w); err != nil {
		return fmt.Errorf("reading settings: %w", err)
	}
	*s = Settings{w.Target, w.TargetUtilization, w.MinReplicas, w.MaxReplicas, time.Duration(w.Window), w.HeadroomPercent}
	return nil
}

func marshal(of string, written any) ([]byte, error) {
	text, err := json.Marshal(written)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", of, err)
	}
	return text, nil
}
