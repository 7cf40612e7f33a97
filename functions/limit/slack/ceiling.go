package slack

import (
	"math"
	"math/big"
	"time"
)

const (
	// steps are what the limit is divided into for the bucket of marked requests.
	steps = 8
	// patience is the time in which a ceiling rises once, and now and then twice, calm for how
	// long it stays where a single step less would do, patience if that is nothing: to move it is
	// to write the slot, which refills its buckets.
	patience, calm = 5 * time.Second, 30 * time.Second
)

// Ceiling is the rate of the bucket that holds requests with the mark, in eighths of the
// limit. It bounds those who don't go by their credits; what is handed out is the slack,
// which moves each second, and never more than the ceiling.
type Ceiling struct {
	eighths int64
	// due is when it may rise again, or once before it has waited: replicas become ready one a
	// little before the others, and those that the first one is alone for would be idle until
	// then. Above is since when a step less would do.
	due, above time.Time
}

// Next is the ceiling for a slack of a limit, both in requests per second: the least number
// of eighths that it fits in. It falls at once where two less would do.
func (c Ceiling) Next(limit, slack float64, now time.Time) Ceiling {
	fits, stays := int64(math.Ceil(min(1, max(0, slack/limit))*steps)), calm
	if fits == 0 {
		stays = patience
	}
	switch {
	case fits > c.eighths && !now.Add(patience).Before(c.due):
		if c.due.Before(now) {
			c.due = now
		}
		return Ceiling{eighths: fits, due: c.due.Add(patience)}
	case fits >= c.eighths:
		return Ceiling{eighths: c.eighths, due: c.due}
	case fits == c.eighths-1 && c.above.IsZero():
		c.above = now
		return c
	case fits == c.eighths-1 && now.Sub(c.above) < stays:
		return c
	default:
		return Ceiling{eighths: fits, due: c.due}
	}
}

// Of is the ceiling as a rate of that limit.
func (c Ceiling) Of(limit *big.Rat) *big.Rat {
	return new(big.Rat).Mul(limit, big.NewRat(c.eighths, steps))
}

// Under is the part of a slack that passes the ceiling of a limit.
func (c Ceiling) Under(s Slack, limit float64) Slack {
	s.Rate = min(s.Rate, limit*float64(c.eighths)/steps)
	return s
}
