package asked

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/functions/whatif"
)

func TestReadQuestion(t *testing.T) {
	from := time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC)
	ready := int32(0)
	for text, want := range map[string]Question{
		"":                  {},
		" \n":               {},
		"{}":                {},
		`{"changed": null}`: {},
		`{"changed": {"spec": {"autoscaling": {"target": 7}}}, "runs": 3}`: {
			Changed: json.RawMessage(`{"spec": {"autoscaling": {"target": 7}}}`), Runs: 3,
		},
		`{"goal": {"percentile": 95, "within": "300ms"}, "measured": {"latency": "50ms", "coldStarts": ["2s"]}, "bounds": {"overShare": 0.1}}`: {
			Goal:     whatif.Goal{Percentile: 95, Within: 300 * time.Millisecond},
			Measured: whatif.Measured{Latency: 50 * time.Millisecond, ColdStarts: []time.Duration{2 * time.Second}},
			Bounds:   whatif.Bounds{OverShare: .1},
		},
		`{"demand": "0,1\n", "from": "2026-01-31T15:04:05Z", "ready": 0}`: {Demand: "0,1\n", From: &from, Ready: &ready},
	} {
		got, err := readQuestion([]byte(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
			continue
		}
		// Who asks from Go writes what is read.
		written, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := readQuestion(written); err != nil || len(again.Changed) == 0 && !reflect.DeepEqual(again, want) {
			t.Errorf("%s is read as %+v, %v", written, again, err)
		}
	}
}

// What can't be read is named, with the remedy.
func TestReadQuestionErrors(t *testing.T) {
	for text, says := range map[string]string{
		`[]`:                                 "the question can't be array: give a JSON object",
		`{`:                                  "reading the question: unexpected EOF: give a JSON object",
		`{} {}`:                              "more behind the question",
		`{"target": 5}`:                      `unknown field "target": give what is known, changed, goal`,
		`{"goal": {"withn": "1s"}}`:          `unknown field "withn"`,
		`{"goal": {"within": 300}}`:          `goal.within can't be 300: give a time with its unit, as "300ms"`,
		`{"goal": "300ms"}`:                  "goal can't be string: give an object",
		`{"runs": "3"}`:                      "runs can't be string: give a whole number",
		`{"bounds": {"overShare": "2 %"}}`:   "bounds.overShare can't be string: give a number",
		`{"demand": 5}`:                      "demand can't be number: give text",
		`{"measured": {"coldStarts": "2s"}}`: "measured.coldStarts can't be string: give a list",
		`{"from": "yesterday"}`:              "from, or to, can't be yesterday: give RFC 3339",
	} {
		if got, err := readQuestion([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %+v, %v, want %q", text, got, err, says)
		}
	}
}

func TestCut(t *testing.T) {
	at := func(seconds int64) *time.Time { when := time.Unix(seconds, 0); return &when }
	of, given, err := Question{Demand: "100,1\n101,2\n104,4\n"}.given()
	if err != nil || !given || of.Known() != 3 {
		t.Fatalf("%v, %t, %v", of, given, err)
	}
	for _, c := range []struct {
		q     Question
		start int64
		known int // 0 for an error
	}{
		{Question{}, 100, 3},
		{Question{From: at(101)}, 101, 2},
		{Question{To: at(101)}, 100, 1},
		{Question{From: at(101), To: at(104)}, 101, 1},
		{Question{From: at(102), To: at(104)}, 0, 0},
		{Question{From: at(105)}, 0, 0},
	} {
		got, err := c.q.cut(of)
		switch {
		case c.known == 0:
			if err == nil || !strings.Contains(err.Error(), "known from 1970-01-01T00:01:40Z to 1970-01-01T00:01:45Z: give times between") {
				t.Errorf("%+v: %v, %v", c.q, got, err)
			}
		case err != nil || got.Start.Unix() != c.start || got.Known() != c.known:
			t.Errorf("%+v: %v, %v", c.q, got, err)
		}
	}
	if _, given, err := (Question{Demand: "0,1\n0,1\n"}).given(); !given || err == nil || !strings.HasPrefix(err.Error(), "demand: line 2: 0 is there twice") {
		t.Errorf("%t, %v", given, err)
	}
}
