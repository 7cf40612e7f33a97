package resources

import (
	"strings"
	"testing"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

func TestMarksAreToldByTheSlot(t *testing.T) {
	slot := Slot{Gateway: gateway.Shared, Slots: 1, Limits: [][]Limit{{}, {}, {
		withMarked(Limit{VirtualService: "team.m", Tokens: 1, Fill: MinFill}, 1, 1), withMarked(Limit{VirtualService: "team.n", Tokens: 1, Fill: MinFill}, 1, 0),
	}}}
	object, _, err := slot.EnvoyFilter()
	if err != nil {
		t.Fatal(err)
	}
	got, err := MarksIn(object)
	if err != nil || !got.Has("team.m") || got.Has("team.n") || len(object.Annotations[MarksAnnotationKey]) > markBytes {
		t.Errorf("MarksIn() = %v, %v, want team.m alone", got, err)
	}
	object.Annotations[MarksAnnotationKey] = "{"
	if got, err := MarksIn(object); err == nil || !strings.Contains(err.Error(), object.Name) {
		t.Errorf("MarksIn() of what isn't JSON = %v, %v, want an error that names the slot", got, err)
	}
	slot.Limits[2] = slot.Limits[2][1:]
	if object, _, err = slot.EnvoyFilter(); err != nil {
		t.Fatal(err)
	}
	if _, ok := object.Annotations[MarksAnnotationKey]; ok {
		t.Error("a slot without a bucket for the mark tells of some")
	}
	if got, err := MarksIn(object); err != nil || got.Has("team.m") {
		t.Errorf("MarksIn() of a slot that says nothing = %v, %v", got, err)
	}
}
