package bounds

import "math"

// chanceOf is the probability that of n requests k or more are bad where each is with
// probability p, from 0 to 1, whatever becomes of the others: the upper tail of the binomial
// distribution.
func chanceOf(k, n int64, p float64) float64 {
	switch {
	case k <= 0:
		return 1
	case k > n || p <= 0:
		return 0
	case p >= 1 || float64(k) <= float64(n)*p:
		return 1 // not below the mean: at least about one half, and of no interest
	}
	// The terms fall from k on, which is above the mean, each by a factor below 1.
	term := math.Exp(logChoose(n, k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	sum, odds := term, p/(1-p)
	for i := k; i < n && term > negligible*sum; i++ {
		term *= odds * float64(n-i) / float64(i+1)
		sum += term
	}
	return min(1, sum)
}

// negligible is a part of a sum that changes nothing of it any more.
const negligible = 1e-12

// logChoose is the logarithm of the number of ways to choose k of n.
func logChoose(n, k int64) float64 {
	all, _ := math.Lgamma(float64(n + 1))
	chosen, _ := math.Lgamma(float64(k + 1))
	others, _ := math.Lgamma(float64(n - k + 1))
	return all - chosen - others
}
