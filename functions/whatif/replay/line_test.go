package replay

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Whatever comes and goes, nobody is made up or lost, who came first leaves first, and who
// is turned away came last.
func TestLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l line
		in, out := 0., 0.
		for now := range rapid.IntRange(1, 300).Draw(t, "steps") {
			n := float64(rapid.IntRange(0, 5).Draw(t, "come"))
			l.push(now, n)
			in += n
			last := math.MinInt
			first := func(came int, n float64) {
				if came < last {
					t.Fatalf("one of %d left after one of %d", came, last)
				}
				last, out = came, out+n
			}
			switch rapid.IntRange(0, 3).Draw(t, "leave") {
			case 0:
				l.take(rapid.Float64Range(0, 10).Draw(t, "n"), first)
			case 1:
				l.expire(now-20, first)
			case 2:
				last = math.MaxInt
				l.drop(rapid.Float64Range(0, 4).Draw(t, "n"), func(came int, n float64) {
					if came > last {
						t.Fatalf("one of %d was turned away after one of %d", came, last)
					}
					last, out = came, out+n
				})
			default:
				part := l.split(.25)
				out += part.n
			}
			sum := 0.
			for _, b := range l.batches[l.head:] {
				sum += b.n
			}
			if math.Abs(in-out-l.n) > 1e-6 || math.Abs(sum-l.n) > 1e-6 {
				t.Fatalf("%g came and %g left, %g wait, which are %g", in, out, l.n, sum)
			}
			if len(l.batches) > 2*(now+1) {
				t.Fatalf("%d batches of %d steps", len(l.batches), now)
			}
		}
	})
}
