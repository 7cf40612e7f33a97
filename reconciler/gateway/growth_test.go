package gateway

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

func TestSlotsFor(t *testing.T) {
	const room = gateway.SlotBytes
	for name, tt := range map[string]struct{ least, present, claimed, want int }{
		"empty":                         {4, 4, 0, 4},
		"room to spare":                 {4, 4, 2 * room, 4},
		"more than that":                {4, 4, 2.5 * room, 8},
		"much more":                     {4, 4, 6 * room, 16},
		"more than there can be":        {4, 4, 40 * room, 16},
		"no power of two":               {5, 5, 8 * room, 16},
		"as many as there are":          {4, 8, 4 * room, 8},
		"a little less":                 {4, 8, 2 * room, 8},
		"much less":                     {4, 8, room, 4},
		"the configuration says more":   {8, 4, 0, 8},
		"the configuration says enough": {16, 4, 6 * room, 16},
	} {
		if got := slotsFor(tt.least, tt.present, tt.claimed); got != tt.want {
			t.Errorf("%s: slotsFor(%d, %d, %d) = %d, want %d", name, tt.least, tt.present, tt.claimed, got, tt.want)
		}
	}
}

// What is claimed changes little when limits are spread anew, so a number that was
// reached stays.
func TestSlotsForSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		least, present := rapid.IntRange(1, gateway.MaxSlots).Draw(t, "least"), rapid.IntRange(0, gateway.MaxSlots).Draw(t, "present")
		claimed := rapid.IntRange(0, 30*gateway.SlotBytes).Draw(t, "claimed")
		n := slotsFor(least, present, claimed)
		if again := slotsFor(least, n, claimed); again != n || n < least || n > gateway.MaxSlots {
			t.Fatalf("%d of at least %d become %d, and then %d", present, least, n, again)
		}
	})
}

// Limits that claim most of the slots' room bring more slots, told in an event.
func TestSlotsGrow(t *testing.T) {
	w := newWorld(claiming(slots(), gateway.SlotBytes/2)...)
	_, err := w.reconcile(t, true)
	ok(t, err)
	got, err := w.reconcile(t, true)
	ok(t, err)
	if len(got) > 0 {
		t.Fatalf("half full: wrote\n%s", strings.Join(got, "\n"))
	}
	w = newWorld(claiming(slots(), gateway.SlotBytes*2/3)...)
	_, err = w.reconcile(t, true)
	ok(t, err)
	got, err = w.reconcile(t, true)
	ok(t, err)
	if want := []string{"create envoyfilters shared-slots-8"}; !slices.Equal(got, want) {
		t.Fatalf("two thirds full: wrote\n%s", strings.Join(got, "\n"))
	}
	if event := <-w.recorder.Events; !strings.Contains(event, "SlotsGrow") || !strings.Contains(event, "8 slots are made") {
		t.Errorf("the event is %q", event)
	}
	w.add(claiming(inThatNumber("shared", 8), gateway.SlotBytes/3)...)
	got, err = w.reconcile(t, true)
	ok(t, err)
	if want := []string{"update deployments shared"}; !slices.Equal(got, want) {
		t.Fatalf("the slots are there: wrote\n%s", strings.Join(got, "\n"))
	}
}

// claiming has each slot's limits claim so many bytes.
func claiming(slots []runtime.Object, bytes int) []runtime.Object {
	for _, slot := range slots {
		slot.(*istiov1alpha3.EnvoyFilter).Annotations = map[string]string{gateway.ClaimedAnnotationKey: strconv.Itoa(bytes)}
	}
	return slots
}
