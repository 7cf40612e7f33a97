package resources

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	shared = gateway.Shared
	own    = "tenant-search"
	drains = 10 * time.Minute
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(after time.Duration) *metav1.Time { t := metav1.NewTime(start.Add(after)); return &t }

// served is the status of a tenant that is served by one gateway, or by several.
func served(by string, attached ...string) v1alpha1.TenantStatus {
	return v1alpha1.TenantStatus{Gateway: by, GatewaySince: at(-time.Hour), Attached: attached}
}

func moving(status v1alpha1.TenantStatus, phase v1alpha1.MovePhase, from, to string) v1alpha1.TenantStatus {
	status.Move = &v1alpha1.TenantMove{From: from, To: to, Phase: phase, Since: *at(-time.Minute)}
	return status
}

func both(by string) v1alpha1.TenantStatus { return served(by, shared, own) }

func TestNext(t *testing.T) {
	leads := func(to ...string) Seen { return Seen{Wanted: own, Selected: to, LeadsTo: to} }
	except := func(seen Seen, change func(*Seen)) Seen { change(&seen); return seen }
	unready := func(s *Seen) { s.Unready = "no pods" }
	unproved := func(s *Seen) { s.Unproved = "no proof" }
	back := func(s *Seen) { s.Wanted = shared }
	for _, test := range []struct {
		name   string
		status v1alpha1.TenantStatus
		seen   Seen
		// want is how the status reads afterwards: see show.
		want string
		step Step // Select and Wait
	}{
		{"a new tenant is shared", v1alpha1.TenantStatus{}, leads(), "shared [shared] since 0s", Step{}},
		{"at rest", served(own, own), leads(own), "tenant-search [tenant-search]", Step{}},
		{"another gateway is wanted", served(shared, shared), leads(shared), "shared [shared] Preparing tenant-search", Step{}},
		{"it has no pods", moving(served(shared, shared), v1alpha1.MovePreparing, shared, own), except(leads(shared), unready),
			"shared [shared] Preparing tenant-search: no pods", Step{}},
		{"called off before anything", moving(served(shared, shared), v1alpha1.MovePreparing, shared, own), except(leads(shared), back),
			"shared [shared]", Step{}},
		{"it has its pods", moving(served(shared, shared), v1alpha1.MovePreparing, shared, own), except(leads(shared), unproved),
			"shared [shared tenant-search] Attaching tenant-search", Step{}},
		{"not proved", moving(both(shared), v1alpha1.MoveAttaching, shared, own), except(leads(shared), unproved),
			"shared [shared tenant-search] Attaching tenant-search: no proof", Step{}},
		{"lost its pods", moving(both(shared), v1alpha1.MoveAttaching, shared, own), except(leads(shared), unready),
			"shared [shared tenant-search] Attaching tenant-search: no pods", Step{}},
		{"called off while attaching", moving(both(shared), v1alpha1.MoveAttaching, shared, own), except(leads(shared), back),
			"shared [shared tenant-search] Draining shared", Step{}},
		{"proved", moving(both(shared), v1alpha1.MoveAttaching, shared, own), leads(shared),
			"shared [shared tenant-search] Switching tenant-search", Step{}},
		{"switches", moving(both(shared), v1alpha1.MoveSwitching, shared, own), leads(shared),
			"shared [shared tenant-search] Switching tenant-search", Step{Select: own}},
		{"switches the other Service too", moving(both(shared), v1alpha1.MoveSwitching, shared, own), leads(shared, own),
			"shared [shared tenant-search] Switching tenant-search", Step{Select: own}},
		{"endpoints lag", moving(both(shared), v1alpha1.MoveSwitching, shared, own),
			Seen{Wanted: own, Selected: []string{own}, LeadsTo: []string{shared, own}, Unproved: "a new route"},
			"shared [shared tenant-search] Switching tenant-search: Waiting for the endpoints of the address to be pods of gateway tenant-search alone.", Step{}},
		{"switched", moving(both(shared), v1alpha1.MoveSwitching, shared, own), leads(own),
			"tenant-search [shared tenant-search] since 0s Draining tenant-search", Step{}},
		{"switched, and called off since", moving(both(shared), v1alpha1.MoveSwitching, shared, own), except(leads(own), back),
			"tenant-search [shared tenant-search] since 0s Draining tenant-search", Step{}},
		{"the proof is lost before the switch", moving(both(shared), v1alpha1.MoveSwitching, shared, own), except(leads(shared), unproved),
			"shared [shared tenant-search] since 0s Attaching tenant-search", Step{}},
		{"the proof is lost within the switch", moving(both(shared), v1alpha1.MoveSwitching, shared, own), except(leads(shared, own), unproved),
			"shared [shared tenant-search] Switching tenant-search", Step{Select: shared}},
		{"called off within the switch", moving(both(shared), v1alpha1.MoveSwitching, shared, own), except(leads(shared, own), back),
			"shared [shared tenant-search] Switching tenant-search", Step{Select: shared}},
		{"drains", moving(both(own), v1alpha1.MoveDraining, shared, own),
			except(leads(own), func(s *Seen) { s.Drain = time.Hour + 90*time.Second }),
			"tenant-search [shared tenant-search] Draining tenant-search: Until 2026-03-01T12:01:30Z, requests may come by connections " +
				"that were made before the address led to gateway tenant-search alone.", Step{Wait: 90 * time.Second}},
		{"drained", moving(both(own), v1alpha1.MoveDraining, shared, own), leads(own), "tenant-search [tenant-search]", Step{}},
		{"called off while draining", moving(both(own), v1alpha1.MoveDraining, shared, own), except(leads(own), back),
			"tenant-search [shared tenant-search] Attaching shared", Step{}},
		{"drained, but somebody changed a Service", moving(both(own), v1alpha1.MoveDraining, shared, own), leads(own, shared),
			"tenant-search [shared tenant-search] since 0s Draining tenant-search: Waiting for the address to lead to gateway tenant-search alone.", Step{}},
		{"what is attached without a move is detached", both(own), leads(own), "tenant-search [shared tenant-search] Draining tenant-search", Step{}},
		{"its gateway isn't attached", served(own, shared), leads(own), "tenant-search [shared tenant-search]", Step{}},
		{"a move that can't be", moving(served(own, own), v1alpha1.MoveSwitching, shared, own), leads(own),
			"tenant-search [tenant-search] since 0s", Step{}},
		{"an unknown phase", moving(both(own), "Flying", shared, own), leads(own), "tenant-search [shared tenant-search] since 0s", Step{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.seen.Now = start
			before := test.status.DeepCopy()
			got := Next(test.status, test.seen)
			if show(got.Status) != test.want || got.Select != test.step.Select || got.Wait != test.step.Wait {
				t.Errorf("got %s, select %q, wait %s\nwant %s, %+v", show(got.Status), got.Select, got.Wait, test.want, test.step)
			}
			if diff := cmp.Diff(before, &test.status); diff != "" {
				t.Error("changed what it was given:", diff)
			}
			if got.Select != "" && show(got.Status) != show(test.status) {
				t.Error("changes the status and the Services at once")
			}
		})
	}
}

// show writes what of a status a move changes; GatewaySince where it isn't an hour
// ago.
func show(s v1alpha1.TenantStatus) string {
	out := s.Gateway + " [" + strings.Join(s.Attached, " ") + "]"
	if s.GatewaySince != nil && !s.GatewaySince.Equal(at(-time.Hour)) {
		out += " since " + s.GatewaySince.Sub(start).String()
	}
	if m := s.Move; m != nil {
		out += " " + string(m.Phase) + " " + m.To
		if m.Message != "" {
			out += ": " + m.Message
		}
	}
	return out
}

// cluster is a tenant in a cluster whose parts lag, fail and are killed.
type cluster struct {
	t *rapid.T
	// status is what the API server keeps.
	status v1alpha1.TenantStatus
	// selected and behind are, for each of the two Services, the gateway that it
	// selects and the one whose pods are behind it.
	selected, behind [2]string
	wanted           string
	ready, proved    bool
	now              time.Time
	// led is when the address last led to a gateway.
	led map[string]time.Time
}

func newCluster(t *rapid.T) *cluster {
	return &cluster{
		t: t, selected: [2]string{shared, shared}, behind: [2]string{shared, shared},
		wanted: own, ready: true, proved: true, now: start, led: map[string]time.Time{},
	}
}

// actions are everything that can happen, in any order.
func (c *cluster) actions() map[string]func(*rapid.T) {
	either := rapid.Bool()
	actions := map[string]func(*rapid.T){
		"wanted":    func(t *rapid.T) { c.wanted = rapid.SampledFrom([]string{shared, own}).Draw(t, "gateway") },
		"pods":      func(t *rapid.T) { c.ready = either.Draw(t, "ready") },
		"proof":     func(t *rapid.T) { c.proved = either.Draw(t, "proved") },
		"endpoints": func(t *rapid.T) { i := rapid.IntRange(0, 1).Draw(t, "service"); c.behind[i] = c.selected[i] },
		"time":      func(t *rapid.T) { c.pass(time.Duration(rapid.IntRange(1, 12).Draw(t, "tenths")) * drains / 10) },
		"killed":    func(t *rapid.T) { c.reconcile(rapid.IntRange(0, 2).Draw(t, "writes")) },
		"":          func(*rapid.T) { c.check() },
	}
	// What makes a move go on has to be common among them, or few get far.
	for _, name := range []string{"reconciled", "reconciled once more", "and again"} {
		actions[name] = func(*rapid.T) { c.behind = c.selected; c.reconcile(99) }
	}
	return actions
}

// reconcile does what the reconciler does, and is killed after so many writes.
func (c *cluster) reconcile(writes int) {
	write := func(change func()) bool {
		if writes == 0 {
			return false
		}
		writes--
		before := slices.Clone(c.status.Attached)
		change()
		c.checkDetached(before)
		return true
	}
	selectAll := func(name string) bool {
		for i := range c.selected {
			if c.selected[i] != name && !write(func() { c.selected[i] = name }) {
				return false
			}
		}
		return true
	}
	if m := c.status.Move; (m == nil || m.Phase != v1alpha1.MoveSwitching) && c.status.Gateway != "" && !selectAll(c.status.Gateway) {
		return
	}
	seen := Seen{
		Now: c.now, Wanted: c.wanted, Drain: drains,
		Selected: union(c.selected[:]), LeadsTo: union(c.selected[:], c.behind[:]...),
	}
	if !c.ready {
		seen.Unready = "no pods"
	}
	if !c.proved {
		seen.Unproved = "no proof"
	}
	step := Next(c.status, seen)
	if step.Select != "" {
		if step.Select != c.status.Gateway && (!c.ready || !c.proved) {
			c.t.Fatalf("switches to %s without proof: %s", step.Select, show(c.status))
		}
		selectAll(step.Select)
		return
	}
	write(func() { c.status = step.Status })
}

// checkDetached: nothing is taken from a gateway that the address leads to, whatever
// the status was.
func (c *cluster) checkDetached(before []string) {
	for _, name := range before {
		if !slices.Contains(c.status.Attached, name) && slices.Contains(c.leadsTo(), name) {
			c.t.Fatalf("detached %s, to which the address leads: %s", name, show(c.status))
		}
	}
}

func (c *cluster) leadsTo() []string { return union(c.selected[:], c.behind[:]...) }

func (c *cluster) pass(d time.Duration) {
	c.note()
	c.now = c.now.Add(d)
	c.note()
}

func (c *cluster) note() {
	for _, name := range c.leadsTo() {
		c.led[name] = c.now
	}
}

// check: whatever gateway the address leads to, or led to so lately that a request
// may still be under way, has the routes.
func (c *cluster) check() {
	c.note()
	if c.status.Gateway == "" {
		return
	}
	for name, last := range c.led {
		if c.now.Before(last.Add(drains)) && !slices.Contains(c.status.Attached, name) {
			c.t.Fatalf("a request that came %s ago by %s finds no route: %s", c.now.Sub(last), name, show(c.status))
		}
	}
}

// settle lets everything work, and checks that the tenant gets to where it wants.
func (c *cluster) settle() {
	c.ready, c.proved = true, true
	for range 30 {
		c.behind = c.selected
		c.reconcile(99)
		c.check()
		c.pass(drains / 4)
	}
	want := v1alpha1.TenantStatus{Gateway: c.wanted, Attached: []string{c.wanted}, GatewaySince: c.status.GatewaySince}
	if diff := cmp.Diff(want, c.status); diff != "" || !only(c.leadsTo(), c.wanted) {
		c.t.Fatalf("came to rest as %s at %v (-want +got)\n%s", show(c.status), c.leadsTo(), diff)
	}
}

func TestMovesLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(t)
		t.Repeat(c.actions())
		c.settle()
	})
}

// A status changed by hand may lie about what was; from then on nothing is taken
// from a gateway that the address leads to, and the tenant still gets to where it
// wants.
func TestMovesFromAnyStatus(t *testing.T) {
	names := rapid.SampledFrom([]string{shared, own})
	phases := rapid.SampledFrom([]v1alpha1.MovePhase{
		v1alpha1.MovePreparing, v1alpha1.MoveAttaching, v1alpha1.MoveSwitching, v1alpha1.MoveDraining, "Flying"})
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(t)
		c.status = served(names.Draw(t, "gateway"), union(rapid.SliceOfN(names, 0, 2).Draw(t, "attached"))...)
		if rapid.Bool().Draw(t, "moves") {
			c.status = moving(c.status, phases.Draw(t, "phase"), names.Draw(t, "from"), names.Draw(t, "to"))
		}
		if rapid.Bool().Draw(t, "without a time") {
			c.status.GatewaySince = nil
		}
		for i := range c.selected {
			c.selected[i], c.behind[i] = names.Draw(t, "selected"), names.Draw(t, "behind")
		}
		c.wanted = names.Draw(t, "wanted")
		for range rapid.IntRange(0, 5).Draw(t, "attempts") {
			c.ready, c.proved = rapid.Bool().Draw(t, "ready"), rapid.Bool().Draw(t, "proved")
			c.reconcile(rapid.IntRange(0, 3).Draw(t, "writes"))
		}
		c.led = map[string]time.Time{}
		c.ready, c.proved = true, true
		for range 30 {
			c.behind = c.selected
			c.reconcile(99)
			c.now = c.now.Add(drains / 4)
		}
		if s := c.status; s.Gateway != c.wanted || !only(s.Attached, c.wanted) || s.Move != nil || !only(c.leadsTo(), c.wanted) {
			t.Fatalf("came to rest as %s at %v, want %s", show(s), c.leadsTo(), c.wanted)
		}
	})
}
