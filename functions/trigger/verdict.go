package trigger

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"sluice.dev/sluice/eventing/receiver"
)

// What becomes of an event, beside what receiver has.
const (
	// replied is of one that a Model has answered.
	replied receiver.Outcome = "replied"
	// started is of one that has started a Batch, or had before.
	started receiver.Outcome = "started"
	// own is of a reply that has come back to the InferenceTrigger that sent it, or of what a Batch
	// that it started has written.
	own receiver.Outcome = "own"
	// looped is of a reply that as many led to as may.
	looped receiver.Outcome = "looped"
	// refused is of one that was answered for good with something else than 2xx.
	refused receiver.Outcome = "refused"
	// away is of one whose Model couldn't be had, or answered that it can't for now.
	away receiver.Outcome = "away"
)

// answer is what a Model has answered.
type answer struct {
	// status is HTTP's; 0 where there was no answer, or no whole one.
	status      int
	contentType string
	body        []byte
	retryAfter  string
	// problem is why there is no answer, or none that can be kept.
	problem string
	// tooLong is true of an answer over the bound, late of one that didn't come in time.
	tooLong, late bool
	// free gives back the room of the body; nil where it took none.
	free func()
}

// longestWhy bounds what is said of an answer, in bytes: Knative keeps some 760 of them with a dead
// letter.
const longestWhy = 600

// verdict is what the Broker is told of an answer other than 2xx. It delivers an event again after
// 404, 408, 409, 429, and 500 and above, by retries of its own; all else goes to the dead letter
// at once. So what asking again can't change has none of those.
func verdict(a answer) receiver.Answer {
	out := receiver.Answer{Outcome: away, Status: a.status, Why: why(a)}
	switch {
	case a.tooLong:
		out.Outcome, out.Status = refused, http.StatusUnprocessableEntity
	case a.late:
		out.Status = http.StatusGatewayTimeout
	case a.status == 0:
		out.Status = http.StatusServiceUnavailable
	case a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable:
		out.RetryAfter = retryAfter(a.retryAfter)
	case a.status == http.StatusTooEarly:
		out.Status, out.RetryAfter = http.StatusServiceUnavailable, retryAfter(a.retryAfter)
	case a.status == http.StatusRequestTimeout || a.status >= http.StatusInternalServerError:
	case a.status < http.StatusBadRequest || a.status == http.StatusNotFound || a.status == http.StatusConflict:
		out.Outcome, out.Status = refused, http.StatusUnprocessableEntity
	default:
		out.Outcome = refused
	}
	return out
}

// retryAfter is what a Model says, if it is what the header may be, or else a second.
func retryAfter(says string) string {
	if _, err := strconv.ParseUint(says, 10, 31); err == nil {
		return says
	}
	if _, err := http.ParseTime(says); err == nil {
		return says
	}
	return "1"
}

// why says what was answered, in one line.
func why(a answer) string {
	if a.problem != "" {
		return brief(a.problem)
	}
	text := fmt.Sprintf("the Model answered %d %s", a.status, http.StatusText(a.status))
	const most = 4 * longestWhy // spaces go
	if said := strings.Join(strings.Fields(strings.ToValidUTF8(string(a.body[:min(len(a.body), most)]), "\uFFFD")), " "); said != "" {
		text += ": " + said
	}
	return brief(text)
}

func brief(text string) string {
	if len(text) <= longestWhy {
		return text
	}
	return strings.ToValidUTF8(text[:longestWhy], "") + "…"
}
