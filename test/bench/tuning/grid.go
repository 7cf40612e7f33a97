package main

import (
	"math"
	"slices"
	"time"

	"sluice.dev/sluice/functions/whatif"
)

// The space in which docs/tuning.md has tunings looked for, but for each of its aims, of which
// there is every second.
var (
	gridWindows  = []time.Duration{6 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 3 * time.Minute}
	gridHeadroom = []int32{50, 100, 200}
)

const (
	leastAim, mostAim = .15, 2.
	// aimRatio is that of two neighbouring aims of the space.
	aimRatio = 1.15
)

// grid are tunings all over the space, and those around each that was proposed: with an aim
// that is somewhat lower or higher, and each minimum.
func grid(proposed []whatif.Settings) []whatif.Settings {
	most := int32(0)
	for _, p := range proposed {
		most = max(most, p.MaxReplicas)
	}
	var aims []float64
	for aim := leastAim; aim <= mostAim; aim *= aimRatio * aimRatio {
		aims = append(aims, aim)
	}
	for _, p := range proposed {
		is := float64(p.Target) * float64(p.TargetUtilization) / 100 / perReplica
		aims = append(aims, is/aimRatio, is, is*aimRatio)
	}
	var places []whatif.Settings
	for _, aim := range aims {
		for least := int32(0); least <= most; least++ {
			for _, window := range gridWindows {
				for _, headroom := range gridHeadroom {
					places = append(places, settings(aim, least, most, window, headroom))
				}
			}
		}
	}
	slices.SortFunc(places, compare)
	return slices.Compact(places)
}

// settings aim at a part of what a replica serves.
func settings(aim float64, least, most int32, window time.Duration, headroom int32) whatif.Settings {
	target := math.Ceil(perReplica * math.Max(1, aim))
	return whatif.Settings{
		Target: int32(target), TargetUtilization: int32(math.Max(1, math.Round(100*aim*perReplica/target))),
		MinReplicas: least, MaxReplicas: most, Window: window, HeadroomPercent: headroom,
	}
}

// compare has an order in which equal ones are neighbours.
func compare(a, b whatif.Settings) int {
	key := func(s whatif.Settings) []int64 {
		return []int64{int64(s.Target), int64(s.TargetUtilization), int64(s.MinReplicas), int64(s.MaxReplicas), int64(s.Window), int64(s.HeadroomPercent)}
	}
	return slices.Compare(key(a), key(b))
}
