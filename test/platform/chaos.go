package platform

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

const (
	// chaosKeeps are the events that a Chaos can deliver again.
	chaosKeeps = 32
	// maxEvent bounds the body of an event, forwardWithin its delivery.
	maxEvent      = 1 << 20
	forwardWithin = 5 * time.Second
)

// Chaos is a subscriber that forwards events to another: of each four it swallows one,
// doubles one and delivers one after the next.
type Chaos struct {
	// To is the URL of the subscriber that they are for.
	To string

	mu   sync.Mutex
	seen Deliveries
	held *delivery
	kept []*delivery
	// refused says which the subscriber refused.
	refused []string
}

// Deliveries counts what became of events.
type Deliveries struct {
	// Events came in. Doubled ones were delivered twice at once, Behind ones after the next,
	// Again ones once more, long after.
	Events, Swallowed, Doubled, Behind, Again int
}

// Raged is true once events were swallowed, doubled and reordered so many times each.
func (d Deliveries) Raged(times int) bool { return min(d.Swallowed, d.Doubled, d.Behind) >= times }

func (d Deliveries) String() string {
	return fmt.Sprintf("of %d events %d were swallowed, %d doubled and %d delivered after the next; %d came again long after",
		d.Events, d.Swallowed, d.Doubled, d.Behind, d.Again)
}

// delivery is an event as it came in.
type delivery struct {
	header http.Header
	body   []byte
}

// ServeHTTP takes every event.
func (c *Chaos) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxEvent))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	now := &delivery{header: r.Header.Clone(), body: body}
	if c.kept = append(c.kept, now); len(c.kept) > chaosKeeps {
		c.kept = c.kept[1:]
	}
	held := c.held
	c.held = nil
	c.seen.Events++
	switch c.seen.Events % 4 {
	case 1:
		c.forward(now, now)
		c.seen.Doubled++
	case 2:
		c.held = now
	case 3:
		c.forward(now)
	default:
		c.seen.Swallowed++
	}
	if held != nil {
		c.forward(held)
		c.seen.Behind++
	}
	w.WriteHeader(http.StatusAccepted)
}

// Again delivers all events once more that it still has, in any order.
func (c *Chaos) Again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range rand.Perm(len(c.kept)) { //nolint:gosec // an order, and no secret
		c.forward(c.kept[i])
		c.seen.Again++
	}
}

// Seen is what became of events so far, and what the subscriber said of those that it
// refused.
func (c *Chaos) Seen() (Deliveries, []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen, c.refused
}

func (c *Chaos) forward(events ...*delivery) {
	client := http.Client{Timeout: forwardWithin}
	for _, e := range events {
		request, err := http.NewRequest(http.MethodPost, c.To, bytes.NewReader(e.body)) //nolint:noctx // the client bounds it
		if err != nil {
			c.refuse(err.Error())
			continue
		}
		request.Header = e.header.Clone()
		response, err := client.Do(request)
		if err != nil {
			c.refuse(err.Error())
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode >= http.StatusMultipleChoices {
			c.refuse(response.Status)
		}
	}
}

// refuse keeps the first few reasons.
func (c *Chaos) refuse(why string) {
	if len(c.refused) < chaosKeeps {
		c.refused = append(c.refused, why)
	}
}
