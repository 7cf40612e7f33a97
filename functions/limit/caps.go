package limit

import (
	"math/big"

	"sluice.dev/sluice/functions/limit/capacity"
)

// applyCaps scales down the limits of plans that share a cap. While its rate is
// being changed they may disagree on it: the smallest holds.
func applyCaps(plans []plan) {
	groups, most := map[string][]*plan{}, map[string]*big.Rat{}
	for i := range plans {
		p := &plans[i]
		if p.err != nil {
			continue
		}
		p.limit, p.group = p.uncapped, nil
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
		for i, limit := range capacity.UnderCap(limits, most[name]) {
			group[i].limit, group[i].group = limit, most[name]
		}
	}
}
