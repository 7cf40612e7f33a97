package limit

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/reconciler/apis/gateway"
)

// A limiter that takes over goes on with the division that it finds, until it knows the
// demand, and follows replicas that changed meanwhile at once.
func TestTakeover(t *testing.T) {
	t.Parallel()
	moving := rateLimit("m")
	moving.Spec.Gateways = []string{gateway.Shared, blue}
	b := newBench(t, 1, moving)
	for _, g := range moving.Spec.Gateways {
		b.serve(g, g, gateway.External, "./*")
		b.serve(gateway.LocalName(g), g, gateway.Local, "./*")
	}
	b.route(routeTo("team.m", []string{gateway.Shared, gateway.LocalName(gateway.Shared), blue, gateway.LocalName(blue)}))
	for _, tt := range []struct {
		name    string
		offered map[string][]float64
		want    map[string][]float64
	}{
		{"each has the whole limit", map[string][]float64{gateway.Shared: {0, 0, 7}},
			map[string][]float64{gateway.Shared: {1.25, 0.01, 8.74}, blue: {1.25, 0.01, 8.74}}},
		{"divided over both", map[string][]float64{gateway.Shared: {0, 0, 60}, blue: {20, 0, 0}},
			map[string][]float64{gateway.Shared: {0.01, 0.01, 7.47}, blue: {2.49, 0.01, 0.01}}},
	} {
		b.set(func() { b.offered, b.unread = tt.offered, false })
		for g, want := range tt.want {
			b.until(tt.name+", at "+g, b.admits(g, "team.m", want...))
		}
		b.end()
		b.set(func() { b.offered, b.unread = nil, true })
		b.scale(2, 2)
		b.start()
		for g, want := range tt.want {
			b.until(tt.name+", at "+g+", of twice the limit", func() bool {
				followed := true
				for e, rate := range b.rates(g, "team.m") { // read one after another
					if rate != want[e] && rate != 2*want[e] {
						t.Fatalf("%s: with another limiter %s admits %v, had %v", tt.name, g, rate, want)
					}
					followed = followed && rate == 2*want[e]
				}
				return followed
			})
		}
		b.scale(1, 1)
	}
}

// What can't be read of a slot is no division, and no reason not to write it.
func TestTakeoverOfASlotThatSaysNonsense(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, rateLimit("m"))
	b.serve(gateway.Shared, gateway.Shared, gateway.External, "./*")
	b.route(routeTo("team.m", []string{gateway.Shared}))
	b.until("the first limit", b.applied(10))
	b.end()
	f, err := b.Filters.Get(t.Context(), slotAt(gateway.Shared, "team.m"), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.Annotations[resources.SharesAnnotationKey] = `{"": "x"}`
	if _, err := b.Filters.Update(t.Context(), f, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.scale(2, 2)
	b.set(func() { b.unread = true })
	b.start()
	b.until("the next limit", b.admits(gateway.Shared, "team.m", 19.96, 0.02, 0.02))
}

// A limiter that takes over leaves batch its bucket, until it is known whether somebody asks;
// one that can't read what is told begins without.
func TestTakeoverLeavesBatchItsBucket(t *testing.T) {
	t.Parallel()
	b := newBench(t, 2, rateLimit("m"))
	b.serveBoth()
	b.until("the limit is proved", b.applied(20))
	b.leaves("all of it is left", 0.97*20)
	for _, tt := range []struct {
		spoil bool
		want  []float64
	}{{false, []float64{20}}, {true, nil}} {
		b.end()
		if tt.spoil {
			f, err := b.Filters.Get(t.Context(), slotAt(gateway.Shared, "team.m"), metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			f.Annotations[resources.MarksAnnotationKey] = "x"
			if _, err := b.Filters.Update(t.Context(), f, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		b.build()
		if err := b.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.markedRates(); !slices.Equal(got, tt.want) {
			t.Errorf("after its first pass, buckets for the mark admit %v, want %v", got, tt.want)
		}
	}
}
