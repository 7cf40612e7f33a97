package progress

import "time"

const (
	// over is the time over which a rate is averaged, and enough how many answers it takes
	// into account, at least: of a Model that takes long for a request those of some seconds
	// say little.
	over, enough = 10 * time.Second, 10
	// apart is the least time between two marks, marksKept how many are kept.
	apart, marksKept = time.Second, 32
)

// mark is what was counted at a time: requests answered, and items that these settled.
type mark struct {
	at              time.Time
	requests, items int64
}

// counter counts what workers say, and keeps marks of it.
type counter struct {
	now mark
	// marks are those of times at which it had grown, oldest first.
	marks []mark
}

// add counts so many more, at a time.
func (c *counter) add(requests, items int64, at time.Time) {
	grown := requests > 0 || items > 0
	c.now = mark{at: at, requests: c.now.requests + requests, items: c.now.items + items}
	switch last := len(c.marks) - 1; {
	case last < 0:
		c.marks = append(c.marks, c.now)
	case at.Sub(c.marks[last].at) < apart:
		// What several workers say of one time isn't taken for what came after it.
		c.marks[last].requests, c.marks[last].items = c.now.requests, c.now.items
	case grown:
		c.marks = append(c.marks[max(0, len(c.marks)-marksKept+1):], c.now)
	}
}

// rate is that of requests and of items, per second: of the last seconds, or of as many more
// as it takes to have enough answers. It is 0 before there was time for any.
func (c *counter) rate() (requests, items float64) {
	if len(c.marks) == 0 {
		return 0, 0
	}
	since := c.marks[0]
	for i := len(c.marks) - 1; i >= 0; i-- {
		if m := c.marks[i]; c.now.at.Sub(m.at) >= over && c.now.requests-m.requests >= enough {
			since = m
			break
		}
	}
	took := c.now.at.Sub(since.at)
	if took < 2*apart {
		return 0, 0
	}
	return float64(c.now.requests-since.requests) / took.Seconds(), float64(c.now.items-since.items) / took.Seconds()
}

// pause forgets what was before a time in which nobody said anything: an average over that
// would be of no use.
func (c *counter) pause() { c.marks = nil }
