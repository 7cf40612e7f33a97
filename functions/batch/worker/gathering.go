package worker

import "sync"

// mostInVain is how many questions about several rows may be in vain, one after the other, before
// no more are asked: more than it takes to find one row among the most that are gathered.
const mostInVain = 16

// gathering is whether rows are asked about together. A Model may have outputs without rows, or
// take one row at a time.
type gathering struct {
	mu     sync.Mutex
	inVain int
}

// over is true once that has shown to be of no use.
func (g *gathering) over() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inVain >= mostInVain
}

// failed takes in that a question about several rows was in vain, and tells whether it is over by
// that.
func (g *gathering) failed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inVain++
	return g.inVain == mostInVain
}

// worked takes in that an answer was cut.
func (g *gathering) worked() { g.begin() }

// excused takes in that a row had no answer by itself either: what was in vain before may have been
// for its sake, or the Model's.
func (g *gathering) excused() { g.begin() }

// begin has the count begin anew, unless it is over.
func (g *gathering) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inVain < mostInVain {
		g.inVain = 0
	}
}
