package history

import (
	"math"
	"math/bits"
)

// short is a number of requests in two bytes: an exponent of 5 bits over a mantissa of 11.
// Whole numbers up to 2,047 are exact, larger ones within 0.05 %.
type short uint16

const (
	// missing is a second of which nothing is known.
	missing short = 1<<16 - 1
	// mantissa has so many bits, and most is the largest number: far above what comes in a second.
	mantissa = 11
	most     = (1<<mantissa - 1) << 30
)

func shorten(n float64) short {
	if !(n > 0) {
		return 0
	}
	n = min(n, most)
	exponent := max(0, bits.Len64(uint64(n))-mantissa)
	whole := uint64(math.Round(math.Ldexp(n, -exponent)))
	if whole == 1<<mantissa { // rounded up to the next power
		whole, exponent = whole>>1, exponent+1
	}
	return short(exponent<<mantissa) | short(whole)
}

func (s short) requests() float32 {
	return float32(uint64(s&(1<<mantissa-1)) << (s >> mantissa))
}
