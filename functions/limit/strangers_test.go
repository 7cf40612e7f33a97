package limit

import (
	"slices"
	"strings"
	"testing"

	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// A slot that was edited, deleted or copied by hand is put right, and said to have
// been. A copy that isn't ours to delete is named by whoever waits for a proof.
func TestInterference(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, rateLimit("m"))
	b.serve(gateway.Shared, gateway.Shared, gateway.External, "./*")
	b.until("the limit", b.applied(10))
	name := slotAt(gateway.Shared, "team.m")
	read := func() *istio.EnvoyFilter {
		got, err := b.Filters.Get(t.Context(), name, metav1.GetOptions{})
		if apierrs.IsNotFound(err) {
			return nil
		} else if err != nil {
			t.Fatal(err)
		}
		return got
	}
	told := func(what string) func() bool {
		return func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return slices.Contains(b.repaired, what)
		}
	}
	right := read()
	stands := func() bool { got := read(); return got != nil && got.Spec.String() == right.Spec.String() }

	wrong := right.DeepCopy()
	wrong.Spec.WorkloadSelector = nil
	wrong.Generation++
	if _, err := b.Filters.Update(t.Context(), wrong, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("word of the edited slot", told("SlotEdited "+name))
	b.until("the edited slot to be as it was", stands)

	if err := b.Filters.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("word of the deleted slot", told("SlotDeleted "+name))
	b.until("the deleted slot to be there again", stands)

	duplicate := right.DeepCopy()
	duplicate.ObjectMeta = metav1.ObjectMeta{Namespace: gateway.Namespace, Name: "copy", Labels: right.Labels}
	if _, err := b.Filters.Create(t.Context(), duplicate, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("word of the copy", told("SlotDuplicated copy"))
	if _, err := b.Filters.Get(t.Context(), "copy", metav1.GetOptions{}); !apierrs.IsNotFound(err) {
		t.Error("the copy is there:", err)
	}

	elsewhere := duplicate.DeepCopy()
	elsewhere.Namespace = "istio-system"
	if _, err := b.istio.NetworkingV1alpha3().EnvoyFilters("istio-system").Create(t.Context(), elsewhere, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.set(func() { b.lagging = "shared-a" })
	b.scale(2, 2)
	b.until("the copy elsewhere to be named", func() bool { return strings.Contains(b.unproved("m"), "istio-system/copy") })
	if !stands() {
		right = read() // its content is another by now
	}
	if err := b.istio.NetworkingV1alpha3().EnvoyFilters("istio-system").Delete(t.Context(), "copy", metav1.DeleteOptions{}); err != nil {
		t.Error("the copy elsewhere was touched:", err)
	}
}

// Only what has a slot's extension is in the way.
func TestStrangers(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, rateLimit("m"))
	b.until("the slots", func() bool { return b.slotWrites() >= gateway.DefaultSlots })
	slot, err := b.Filters.Get(t.Context(), gateway.SlotObjectName(gateway.Shared, gateway.DefaultSlots, 1), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	renamed := slot.DeepCopy()
	renamed.Name = "own"
	unlabelled := renamed.DeepCopy()
	unlabelled.Name, unlabelled.Labels = "other", nil
	harmless := unlabelled.DeepCopy()
	harmless.Spec.ConfigPatches = harmless.Spec.ConfigPatches[:1]
	harmless.Spec.ConfigPatches[0].Patch.Value.Fields["name"] = harmless.Spec.ConfigPatches[0].Patch.Value.Fields["typed_config"]
	going := slot.DeepCopy()
	going.Labels = map[string]string{gateway.LabelKey: "tenant-blue"}
	going.Name = gateway.SlotObjectName("tenant-blue", gateway.DefaultSlots, 1)
	s := &state{slots: map[string]*metav1.PartialObjectMetadata{}, counts: map[string]sets.Set[int]{}}
	s.sortOut([]*metav1.PartialObjectMetadata{metadataOf(slot), metadataOf(renamed)}, []*istio.EnvoyFilter{unlabelled, harmless, going})
	names := func(of []*metav1.PartialObjectMetadata) (names []string) {
		for _, f := range of {
			names = append(names, f.Name)
		}
		return names
	}
	if got := names(s.strangers); len(s.slots) != 2 || !slices.Equal(got, []string{"other", "own"}) {
		t.Errorf("slots %v, strangers %v", s.slots, got)
	}
}
