package slack

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// Path is where the limiter tells what is left, by POST.
	Path = "/v1/slack"
	// MostModels may be asked for at once.
	MostModels = 10_000
)

// Question asks what is left of Models, each as namespace/name.
type Question struct {
	Models []string `json:"models"`
	// Idle are those of them that no replica is to be held for: batch takes what is left, and
	// calls for nothing.
	Idle []string `json:"idle,omitempty"`
	// Needs are what batches that have a deadline need of those, by Model.
	Needs map[string][]Need `json:"needs,omitempty"`
}

// Check says what is wrong with a question, needs left out: see Sound.
func (q Question) Check() error {
	if len(q.Models) > MostModels {
		return fmt.Errorf("models has %d entries, want %d at most: ask for the others by themselves", len(q.Models), MostModels)
	}
	if len(q.Idle) > MostModels {
		return fmt.Errorf("idle has %d entries, want %d at most", len(q.Idle), MostModels)
	}
	total := 0
	for _, needs := range q.Needs {
		if total += len(needs); total > MostNeeds {
			return fmt.Errorf("needs has more than %d entries: ask for the others by themselves", MostNeeds)
		}
	}
	return nil
}

// Sound is the question without the needs that can't be, and what is wrong with each of those:
// one batch's are no reason to leave all others without an answer.
func (q Question) Sound() (Question, []error) {
	var errs []error
	sound := q
	sound.Needs = make(map[string][]Need, len(q.Needs))
	for _, model := range slices.Sorted(maps.Keys(q.Needs)) {
		for i, n := range q.Needs[model] {
			if err := n.Check(); err != nil {
				errs = append(errs, fmt.Errorf("needs[%s][%d]: %w", model, i, err))
				continue
			}
			sound.Needs[model] = append(sound.Needs[model], n)
		}
	}
	return sound, errs
}

// Answer has the Models of which something is left.
type Answer struct {
	Models map[string]Left `json:"models"`
}

// Left is a Slack on its way.
type Left struct {
	RequestsPerSecond float64 `json:"requestsPerSecond"`
	// Seconds count from when the question was sent: so no clocks are compared, and it ends
	// for whoever asked before it does for the limiter.
	Seconds float64 `json:"seconds"`
}

// Told is what is left at a time, for whoever asked.
func (s Slack) Told(now time.Time) Left {
	return Left{RequestsPerSecond: s.At(now), Seconds: max(0, s.Expires.Sub(now).Seconds())}
}

// Since is the Slack of an answer to a question that was sent at a time.
func (l Left) Since(asked time.Time) Slack {
	return Slack{Rate: max(0, l.RequestsPerSecond), Expires: asked.Add(time.Duration(l.Seconds * float64(time.Second)))}
}
