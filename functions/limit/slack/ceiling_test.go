package slack

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCeiling(t *testing.T) {
	c, now := Ceiling{}, read
	for _, step := range []struct {
		name  string
		slack float64
		after time.Duration
		want  int64
	}{
		{"nothing is left", 0, time.Second, 0},
		{"it fits in five eighths", 60, time.Second, 5},
		{"just", 62.5, time.Second, 5},
		{"more, soon", 75, time.Second, 6},
		{"more, too soon", 90, time.Second, 6},
		{"more", 90, 2 * time.Second, 8},
		{"a step less would do", 80, time.Second, 8},
		{"still", 80, 29 * time.Second, 8},
		{"for long enough", 80, time.Second, 7},
		{"two less would do", 61, time.Second, 5},
		{"nothing is left at once", 0, time.Second, 0},
		{"something again", 10, time.Second, 1},
		{"nothing", 0, time.Second, 1},
		{"still", 0, 4 * time.Second, 1},
		{"for long enough", 0, time.Second, 0},
	} {
		now = now.Add(step.after)
		if c = c.Next(100, step.slack, now); c.eighths != step.want {
			t.Errorf("%s: %d eighths, want %d", step.name, c.eighths, step.want)
		}
	}
	if got := (Ceiling{eighths: 3}).Of(big.NewRat(100, 3)); got.Cmp(big.NewRat(25, 2)) != 0 {
		t.Errorf("three eighths of 100/3 are %s", got)
	}
	if got := (Ceiling{eighths: 3}).Under(Slack{Rate: 50, Expires: read}, 80); got.Rate != 30 || !got.Expires.Equal(read) {
		t.Errorf("50 under three eighths of 80 is %+v", got)
	}
}

// However the slack moves, a ceiling rises once in patience and once more at most, and so is
// written a bounded number of times; once the slack stands for as long, it is within an eighth.
func TestCeilingIsWrittenSeldom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Float64Range(.001, 1e5).Draw(t, "limit")
		var c Ceiling
		var rises []time.Time
		now, slack := read, 0.0
		for range rapid.IntRange(1, 60).Draw(t, "readings") {
			now = now.Add(time.Second)
			slack = rapid.Float64Range(0, 1.2).Draw(t, "slack") * limit
			next := c.Next(limit, slack, now)
			if next.eighths > c.eighths {
				rises = append(rises, now)
				for i, first := range rises {
					if n := len(rises) - i; n > 2 && now.Sub(first) < time.Duration(n-2)*patience {
						t.Fatalf("rose %d times in %v", n, now.Sub(first))
					}
				}
			}
			if most := slack + 2*limit/steps; float64(next.eighths)*limit/steps >= most+1e-6*limit && next.eighths > 0 {
				t.Fatalf("%d eighths of %g for a slack of %g", next.eighths, limit, slack)
			}
			c = next
		}
		for range 2 * int(calm/time.Second) {
			now = now.Add(time.Second)
			c = c.Next(limit, slack, now)
		}
		got, want := float64(c.eighths)*limit/steps, min(slack, limit)
		if got < want-1e-6*limit || got > want+limit/steps {
			t.Fatalf("%g for a slack of %g that stands, of %g", got, slack, limit)
		}
	})
}
