package whatif

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Times are written with a unit, and read as they are written.
func TestJSON(t *testing.T) {
	for want, of := range map[string]any{
		`{"percentile":95,"within":"300ms"}`: &Goal{Percentile: 95, Within: 300 * time.Millisecond},
		`{}`:                                 &Goal{},
		`{"latency":"20ms","parallel":5,"coldStarts":["2s","1m0s"],"warmUp":"1s"}`: &Measured{
			Latency: 20 * time.Millisecond, Parallel: 5, ColdStarts: []time.Duration{2 * time.Second, time.Minute}, WarmUp: time.Second,
		},
		`{"tailLatency":"40ms"}`: &Measured{TailLatency: 40 * time.Millisecond},
		`{"target":5,"targetUtilization":70,"minReplicas":1,"maxReplicas":9,"window":"15s","headroomPercent":100}`: &Settings{
			Target: 5, TargetUtilization: 70, MinReplicas: 1, MaxReplicas: 9, Window: 15 * time.Second, HeadroomPercent: 100,
		},
	} {
		text, err := json.Marshal(of)
		if err != nil || string(text) != want {
			t.Errorf("%+v is %s, %v, want %s", of, text, err, want)
		}
		back := reflect.New(reflect.TypeOf(of).Elem()).Interface()
		if err := json.Unmarshal(text, back); err != nil || !reflect.DeepEqual(back, of) {
			t.Errorf("%s is read as %+v, %v", text, back, err)
		}
	}
	var lasting struct{ Settings Settings }
	if err := json.Unmarshal([]byte(`{"settings": {"target": 3, "something": "new"}}`), &lasting); err != nil || lasting.Settings.Target != 3 {
		t.Errorf("settings of a later version: %+v, %v", lasting, err)
	}
}

// What can't be read is named by its path.
func TestJSONErrors(t *testing.T) {
	for text, says := range map[string]string{
		`{"goal": {"within": 300}}`:                                 "goal.within",
		`{"goal": {"within": "300"}}`:                               "goal.within",
		`{"goal": {"within": "` + strings.Repeat("9", 1000) + `"}}`: "goal.within",
		`{"goal": {"percentile": "95"}}`:                            "goal.percentile",
		`{"goal": {"withn": "300ms"}}`:                              `unknown field "withn"`,
		`{"measured": {"coldStarts": ["2s", 3]}}`:                   "measured.coldStarts",
		`{"measured": {"latency": {}}}`:                             "measured.latency",
		`{"measured": {"color": 1}}`:                                `unknown field "color"`,
	} {
		var of struct {
			Goal     Goal     `json:"goal"`
			Measured Measured `json:"measured"`
		}
		if err := json.Unmarshal([]byte(text), &of); err == nil || !strings.Contains(err.Error(), says) || len(err.Error()) > 200 {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}
