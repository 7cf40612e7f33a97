package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

type phase int

const (
	waiting phase = iota
	running
	ended
	failed
)

type row struct {
	phase  phase
	since  time.Time
	took   time.Duration
	reused bool
	doing  string
}

// Display shows a plan's progress: a line for each step that has ended, and on
// a terminal, below them, a list of what runs now that is redrawn in place.
// Steps that found their work done are not worth a line.
type Display struct {
	out      io.Writer
	terminal bool
	now      func() time.Time

	mu    sync.Mutex
	begun time.Time
	names []string
	rows  map[string]*row
	drawn int
	stop  chan struct{}
	idle  sync.WaitGroup
}

// NewDisplay writes to out; terminal says whether it can be redrawn.
func NewDisplay(out io.Writer, terminal bool, now func() time.Time) *Display {
	return &Display{out: out, terminal: terminal, now: now, begun: now()}
}

func (d *Display) begin(names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names = names
	d.rows = make(map[string]*row, len(names))
	for _, n := range names {
		d.rows[n] = &row{}
	}
	d.stop = make(chan struct{})
	d.idle.Add(1)
	go d.tick()
}

// tick redraws a terminal twice a second; elsewhere it tells every half minute
// what still runs, so that a long build is never silent.
func (d *Display) tick() {
	defer d.idle.Done()
	every := 30 * time.Second
	if d.terminal {
		every = 500 * time.Millisecond
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-ticker.C:
			d.mu.Lock()
			if d.terminal {
				d.redraw()
			} else if now := d.runningNow(); len(now) > 0 {
				d.line("running: %s", strings.Join(now, ", "))
			}
			d.mu.Unlock()
		}
	}
}

func (d *Display) end() {
	close(d.stop)
	d.idle.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.terminal {
		d.redraw()
	}
}

func (d *Display) started(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows[name].phase, d.rows[name].since = running, d.now()
	if d.terminal {
		d.redraw()
	}
}

func (d *Display) doing(name, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rows[name].doing == what {
		return
	}
	d.rows[name].doing = what
	if !d.terminal {
		d.line("%s: %s", name, what)
	}
}

func (d *Display) ended(name string, reused bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.rows[name]
	r.phase, r.took, r.reused, r.doing = ended, d.now().Sub(r.since), reused, ""
	if err != nil {
		r.phase = failed
	}
	if d.terminal {
		switch {
		case err != nil:
			d.settle("✗", name, r.took)
		case !reused:
			d.settle("✓", name, r.took)
		}
		d.redraw()
		return
	}
	switch {
	case errors.Is(err, context.Canceled):
		d.line("%s stopped after %s", name, short(r.took))
	case err != nil:
		d.line("%s failed after %s", name, short(r.took))
	case !reused:
		d.line("%s (%s) [%d/%d]", name, short(r.took), d.count(ended), len(d.names))
	}
}

func (d *Display) line(format string, args ...any) {
	fmt.Fprintf(d.out, "%7s  %s\n", short(d.now().Sub(d.begun)), fmt.Sprintf(format, args...))
}

func (d *Display) count(p phase) int {
	n := 0
	for _, r := range d.rows {
		if r.phase == p {
			n++
		}
	}
	return n
}

func (d *Display) runningNow() []string {
	var now []string
	for _, name := range d.names {
		if r := d.rows[name]; r.phase == running {
			now = append(now, fmt.Sprintf("%s %s", name, short(d.now().Sub(r.since))))
		}
	}
	return now
}

// redraw replaces the live part: what runs now and how far the plan is. It is
// kept short, because a terminal can't be redrawn above its first line.
func (d *Display) redraw() {
	d.erase()
	for _, name := range d.names {
		if r := d.rows[name]; r.phase == running {
			note := short(d.now().Sub(r.since)) + "  " + r.doing
			fmt.Fprintf(d.out, "  ▸ %-28s %s\n", name, clip(note, 44))
			d.drawn++
		}
	}
	fmt.Fprintf(d.out, "  %d of %d steps, %d waiting, %s\n", d.count(ended), len(d.names), d.count(waiting), short(d.now().Sub(d.begun)))
	d.drawn++
}

// erase removes the live part.
func (d *Display) erase() {
	if d.drawn > 0 {
		fmt.Fprintf(d.out, "\x1b[%dA\x1b[J", d.drawn)
	}
	d.drawn = 0
}

// settle writes a line for a step that has ended, above the live part.
func (d *Display) settle(mark, name string, took time.Duration) {
	d.erase()
	fmt.Fprintf(d.out, "  %s %-28s %s\n", mark, name, short(took))
}

func clip(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s
}

// short writes a duration the way a stopwatch would.
func short(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}
