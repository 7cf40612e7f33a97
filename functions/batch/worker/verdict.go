package worker

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/functions/batch/task"
)

// verdict is what is to be done after an answer.
type verdict int

const (
	// answered is the end of it: the answer is kept.
	answered verdict = iota
	// failed is the end of it, too: asking again would change nothing, or was tried.
	failed
	// again means that it may be answered another time; it counts as an attempt.
	again
	// later means that the Model wasn't to be had, for whatever request; it doesn't count.
	later
)

// judge goes by an answer alone.
func judge(a Answer) verdict {
	switch {
	case a.Unreached:
		return later
	case a.TooLong:
		return failed
	case a.Status >= 200 && a.Status < 300:
		return answered
	}
	switch a.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return later
	case 0, http.StatusRequestTimeout, http.StatusTooEarly:
		return again
	}
	if a.Status >= 500 {
		return again
	}
	return failed
}

// trial is how a question has fared up to now.
type trial struct {
	attempts int
	// waited is for how long it was told to come later. What it waited for credits isn't
	// among it.
	waited time.Duration
	// away is for how long nobody was answered who asked.
	away time.Duration
	// heard is true when the Model answered anybody in the meantime.
	heard bool
}

// lost is an error of the worker, not of an item: the Model answers nobody.
const lost verdict = -1

// next says what is to be done, by the answer and by how often and how long it was tried.
func (t trial) next(a Answer, r task.Retry) verdict {
	v := judge(a)
	switch {
	case v == again && t.attempts >= r.Attempts:
		return failed
	case v == later && t.waited >= time.Duration(r.Patience) && t.heard:
		return failed
	case v == later && t.longest() >= time.Duration(r.Patience):
		return lost
	}
	return v
}

// longest is for how long the Model has taken no request.
func (t trial) longest() time.Duration { return max(t.waited, t.away) }

// away is for how long a Model has answered none of a worker's questions, which may have to take
// turns: each by itself waits for little of it.
type away struct {
	mu sync.Mutex
	// heard were the answers then; last is when one came that said to come later.
	heard int64
	last  time.Time
	lasts time.Duration
}

// later takes in such an answer, and how long it took, where so many others have come, and
// returns for how long none has. Time in which nobody may ask isn't among it.
func (a *away) later(now time.Time, heard int64, took time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last.IsZero() || a.heard != heard {
		a.heard, a.last, a.lasts = heard, now.Add(-took), 0
	}
	a.lasts += min(now.Sub(a.last), took+longestPause)
	a.last = now
	return a.lasts
}

// maxShown bounds what a reason repeats of an answer.
const maxShown = 500

// reason says why an item has failed.
func reason(a Answer) string {
	if a.Problem != "" {
		return a.Problem
	}
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(a.Body[:min(len(a.Body), maxShown)]), "\uFFFD")), " ")
	if len(a.Body) > maxShown {
		text += "…"
	}
	if text == "" {
		return fmt.Sprintf("%d %s", a.Status, http.StatusText(a.Status))
	}
	return fmt.Sprintf("%d %s: %s", a.Status, http.StatusText(a.Status), text)
}
