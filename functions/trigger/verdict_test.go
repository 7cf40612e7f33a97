package trigger

import (
	"net/http"
	"testing"

	"pgregory.net/rapid"
)

// Whatever a Model answers, what may change is delivered again and nothing else is, each failure
// is told by its reason, and no answer is told as taken.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := answer{
			status: rapid.OneOf(rapid.IntRange(300, 599), rapid.Just(0)).Draw(t, "status"), retryAfter: rapid.String().Draw(t, "retryAfter"),
			body: rapid.SliceOf(rapid.Byte()).Draw(t, "body"), tooLong: rapid.Bool().Draw(t, "tooLong"),
		}
		if a.status == 0 {
			a.problem, a.late = "no answer", rapid.Bool().Draw(t, "late")
		}
		got := verdict(a)
		may := a.status == 0 || a.status >= 500 || a.status == http.StatusTooManyRequests || a.status == http.StatusRequestTimeout || a.status == http.StatusTooEarly
		if a.tooLong {
			may = false
		}
		if retried(got.Status) != may || (got.Outcome == away) != may {
			t.Fatalf("%+v has the verdict %+v", a, got)
		}
		if got.Status < 400 || got.Why == "" || len(got.Why) > longestWhy+len("…") {
			t.Fatalf("%+v has the verdict %+v", a, got)
		}
	})
}
