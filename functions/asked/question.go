package asked

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/functions/whatif/trace"
)

// Question is what is asked of a Model, as JSON. All of it may be left out, but a proposal's goal.
type Question struct {
	// Changed is a merge patch of the Model, as kubectl patch takes it, by which the other Model
	// comes about. It may have spec.autoscaling, spec.limit and annotations of
	// autoscaling.knative.dev. A proposal has none.
	Changed json.RawMessage `json:"changed,omitempty"`
	// Goal is the latency that requests should keep, Bounds what else a proposal has to.
	Goal   whatif.Goal   `json:"goal,omitzero"`
	Bounds whatif.Bounds `json:"bounds,omitzero"`
	// Measured is what is known of the Model's replicas.
	Measured whatif.Measured `json:"measured,omitzero"`
	// Ready is how many replicas there are when the demand begins.
	Ready *int32 `json:"ready,omitempty"`
	// Runs are how many courses each figure is of; 0 is as many as usual.
	Runs int `json:"runs,omitempty"`
	// Demand, as lines `time,requests`, takes the place of what was recorded. Of either, what
	// came before From, or at To and later, is left out.
	Demand string     `json:"demand,omitempty"`
	From   *time.Time `json:"from,omitempty"`
	To     *time.Time `json:"to,omitempty"`
}

// readQuestion reads one; an error names the field and the remedy.
func readQuestion(body []byte) (Question, error) {
	var q Question
	if len(bytes.TrimSpace(body)) == 0 {
		return q, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&q); err != nil {
		return Question{}, unreadable(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Question{}, errors.New("there is more behind the question: give one JSON object")
	}
	if string(q.Changed) == "null" {
		q.Changed = nil
	}
	return q, nil
}

// unreadable says what is wrong with JSON.
func unreadable(err error) error {
	var mistyped *json.UnmarshalTypeError
	var noTime *time.ParseError
	switch {
	case errors.As(err, &mistyped) && mistyped.Field == "":
		return fmt.Errorf("the question can't be %s: give a JSON object, as {\"goal\": {\"within\": \"300ms\"}}", mistyped.Value)
	case errors.As(err, &mistyped):
		return fmt.Errorf("%s can't be %s: give %s", mistyped.Field, mistyped.Value, wanted(mistyped.Type))
	case errors.As(err, &noTime):
		return fmt.Errorf("from, or to, can't be %s: give RFC 3339, as 2026-01-31T15:04:05Z", shortened(noTime.Value))
	case strings.Contains(err.Error(), "unknown field"):
		return fmt.Errorf("%s: give what is known, changed, goal, bounds, measured, ready, runs, demand, from and to, as docs/tuning.md has it",
			strings.TrimPrefix(err.Error(), "json: "))
	}
	return fmt.Errorf("reading the question: %w: give a JSON object", err)
}

// wanted is what a field takes, in words.
func wanted(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return `a time with its unit, as "300ms"`
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Struct:
		return "an object"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// longestShown bounds what is said again of what was asked, in bytes.
const longestShown = 60

func shortened(text string) string {
	if len(text) > longestShown {
		return text[:longestShown] + "…"
	}
	return text
}

// given is the demand that the question brings; false if it brings none.
func (q Question) given() (trace.Trace, bool, error) {
	if q.Demand == "" {
		return trace.Trace{}, false, nil
	}
	of, err := trace.Read(strings.NewReader(q.Demand))
	if err != nil {
		return trace.Trace{}, true, fmt.Errorf("demand: %w", err)
	}
	return of, true, nil
}

// cut is the part of the demand that the question is about.
func (q Question) cut(of trace.Trace) (trace.Trace, error) {
	from, to := of.Start, of.End()
	if q.From != nil {
		from = *q.From
	}
	if q.To != nil {
		to = *q.To
	}
	part := of.Between(from, to)
	if part.Known() == 0 {
		return trace.Trace{}, fmt.Errorf("from and to leave nothing of the demand, which is known from %s to %s: give times between these",
			of.Start.UTC().Format(time.RFC3339), of.End().UTC().Format(time.RFC3339))
	}
	return part, nil
}
