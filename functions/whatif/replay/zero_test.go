package replay

import (
	"testing"
	"time"
)

func TestZeroing(t *testing.T) {
	const s = time.Second
	rules := zeroing{enabled: true, window: 60 * s, grace: 30 * s, deadline: 600 * s}
	kept := rules
	kept.retention = 50 * s
	never := rules
	never.enabled = false
	for name, c := range map[string]struct {
		rules zeroing
		way   way
		now   time.Duration
		want  int32
		apply bool
		known bool
	}{
		"where the cluster forbids it":            {never, way{inactive, 0, 0}, 1000 * s, 1, true, true},
		"active for less than the window":         {rules, way{active, 0, 0}, 59 * s, 1, true, true},
		"active for the window":                   {rules, way{active, 0, 0}, 60 * s, 0, false, true},
		"inactive, the activator just came in":    {rules, way{inactive, 60 * s, 60 * s}, 89 * s, 0, false, true},
		"for the grace period":                    {rules, way{inactive, 60 * s, 60 * s}, 90 * s, 0, true, true},
		"the activator was in the path before":    {rules, way{inactive, 60 * s, 10 * s}, 60 * s, 0, true, true},
		"without it no sooner than the grace":     {rules, way{inactive, 60 * s, Never}, 89 * s, 0, false, true},
		"a retention holds the last one":          {kept, way{inactive, 60 * s, 10 * s}, 109 * s, 0, false, true},
		"until it is over":                        {kept, way{inactive, 60 * s, 10 * s}, 110 * s, 0, true, true},
		"one that starts isn't given up so soon":  {rules, way{activating, 0, 0}, 629 * s, 0, true, false},
		"but past its deadline and Knative's own": {rules, way{activating, 0, 0}, 630 * s, 0, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			want, apply, known := c.rules.next(c.way, c.now)
			if want != c.want || apply != c.apply || known != c.known {
				t.Errorf("next() = %d, %t, %t, want %d, %t, %t", want, apply, known, c.want, c.apply, c.known)
			}
		})
	}
}

// A phase begins when it is another one, and goes by what is wanted before what is ready.
func TestWay(t *testing.T) {
	w := way{inactive, 0, 0}
	for i, c := range []struct {
		want, ready int32
		phase       phase
		since       time.Duration
	}{{0, 0, inactive, 0}, {2, 0, activating, 2}, {2, 1, active, 3}, {3, 1, active, 3}, {0, 1, inactive, 5}, {1, 1, active, 6}, {1, 0, activating, 7}} {
		if w = w.moved(c.want, c.ready, 1, time.Duration(i+1)); w.phase != c.phase || w.since != c.since {
			t.Errorf("%d: %+v, want %d since %d", i, w, c.phase, c.since)
		}
	}
	if w = w.through(false, 1).through(true, 2).through(true, 3); w.proxied != 2 {
		t.Errorf("the activator is in the path since %d, want 2", w.proxied)
	}
}
