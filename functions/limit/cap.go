package limit

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

// applyCaps scales down the limits of plans that share a cap. While its rate is
// being changed they may disagree on it: the smallest holds.
func applyCaps(plans []plan) {
	groups, most := map[string][]*plan{}, map[string]*big.Rat{}
	for i := range plans {
		p := &plans[i]
		if p.err != nil {
			continue
		}
		p.limit = p.uncapped
		if p.cap == nil {
			continue
		}
		name := p.of.Spec.Cap.Name
		groups[name] = append(groups[name], p)
		if known, ok := most[name]; !ok || p.cap.Cmp(known) < 0 {
			most[name] = p.cap
		}
	}
	for name, group := range groups {
		limits := make([]*big.Rat, len(group))
		for i, p := range group {
			limits[i] = p.uncapped
		}
		for i, limit := range UnderCap(limits, most[name]) {
			group[i].limit = limit
		}
	}
}
