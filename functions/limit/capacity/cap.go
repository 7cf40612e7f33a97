package capacity

import "math/big"

// UnderCap returns limits of which none is above its own and whose sum is at most
// the cap: themselves, or, where together they exceed it, each scaled down in
// proportion, exactly.
func UnderCap(limits []*big.Rat, most *big.Rat) []*big.Rat {
	sum := new(big.Rat)
	for _, l := range limits {
		sum.Add(sum, l)
	}
	if sum.Cmp(most) <= 0 {
		return limits
	}
	scale := new(big.Rat).Quo(most, sum)
	scaled := make([]*big.Rat, len(limits))
	for i, l := range limits {
		scaled[i] = new(big.Rat).Mul(l, scale)
	}
	return scaled
}
