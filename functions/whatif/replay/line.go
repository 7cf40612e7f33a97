package replay

// nothing is less than any number of requests that counts.
const nothing = 1e-9

// line is requests that wait, those that came first in front.
type line struct {
	batches []batch
	// head is where the line begins in batches.
	head int
	// n is how many wait.
	n float64
}

// batch is requests that came in the same step.
type batch struct {
	came int
	n    float64
}

func (l *line) push(came int, n float64) {
	if n <= 0 {
		return
	}
	l.n += n
	if last := len(l.batches) - 1; last >= l.head && l.batches[last].came == came {
		l.batches[last].n += n
		return
	}
	l.batches = append(l.batches, batch{came: came, n: n})
}

// take has the first n leave, at most all.
func (l *line) take(n float64, to func(came int, n float64)) {
	for n > 0 && l.head < len(l.batches) {
		first := &l.batches[l.head]
		took := min(n, first.n)
		first.n, l.n, n = first.n-took, l.n-took, n-took
		to(first.came, took)
		if first.n > 0 {
			break
		}
		l.head++
	}
	l.tidy()
}

// drop has the last n leave, at most all.
func (l *line) drop(n float64, to func(came int, n float64)) {
	for n > 0 && l.head < len(l.batches) {
		last := &l.batches[len(l.batches)-1]
		took := min(n, last.n)
		last.n, l.n, n = last.n-took, l.n-took, n-took
		to(last.came, took)
		if last.n > 0 {
			break
		}
		l.batches = l.batches[:len(l.batches)-1]
	}
	l.tidy()
}

// expire has those leave that came before a step.
func (l *line) expire(before int, to func(came int, n float64)) {
	for l.head < len(l.batches) && l.batches[l.head].came < before {
		first := l.batches[l.head]
		l.n -= first.n
		to(first.came, first.n)
		l.head++
	}
	l.tidy()
}

// split takes a part out of each batch.
func (l *line) split(part float64) line {
	out := line{batches: make([]batch, 0, len(l.batches)-l.head), n: l.n * part}
	for i := l.head; i < len(l.batches); i++ {
		b := &l.batches[i]
		out.batches = append(out.batches, batch{came: b.came, n: b.n * part})
		b.n *= 1 - part
	}
	l.n -= out.n
	return out
}

// tidy forgets those who left, so that a line takes room for those who wait.
func (l *line) tidy() {
	switch {
	case l.head == len(l.batches):
		l.batches, l.head, l.n = l.batches[:0], 0, 0
	case l.head >= 64 && l.head > len(l.batches)/2:
		l.batches = l.batches[:copy(l.batches, l.batches[l.head:])]
		l.head = 0
	}
}
