// Package show is how the demos print: steps, lines with the time, and figures. It knows
// nothing of what they show.
package show

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Page is what a demo prints on. Its methods may be called concurrently.
type Page struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

// NewPage begins a page, whose times count from now.
func NewPage(out io.Writer) *Page { return &Page{out: out, start: time.Now()} }

// Title begins a step.
func (p *Page) Title(text string) { p.Printf("\n%s\n", text) }

// Sayf prints a line with the time since the page began.
func (p *Page) Sayf(format string, args ...any) {
	p.Printf("%8s  %s\n", Seconds(time.Since(p.start)), fmt.Sprintf(format, args...))
}

// Line prints a name and what there is to say of it.
func (p *Page) Line(name, format string, args ...any) {
	p.Printf("  %-15s %s\n", name, fmt.Sprintf(format, args...))
}

// Printf prints.
func (p *Page) Printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format, args...)
}

// Seconds is a time with a hundredth.
func Seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// Milliseconds leaves out what was not measured.
func Milliseconds(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	default:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
}

// Rate is one in requests per second.
func Rate(perSecond float64) string { return fmt.Sprintf("%g/s", perSecond) }

// Digest keeps as much of an image's digest as tells it from others.
func Digest(image string) string {
	if at := strings.Index(image, "@sha256:"); at >= 0 && len(image) > at+20 {
		return image[:at+20] + "…"
	}
	return image
}
