package resources

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

func TestSharesAreToldByTheSlot(t *testing.T) {
	want := Shares{"team.m": {949, 1, 50}, "team.n": {1, 998, 1}}
	object, _, err := Slot{Gateway: gateway.Shared, Slots: 1, Shares: want}.EnvoyFilter()
	if err != nil {
		t.Fatal(err)
	}
	got, err := SharesIn(object)
	if err != nil {
		t.Fatal(err)
	}
	for name, of := range want {
		if !slices.Equal(got.Of(name), of) {
			t.Errorf("shares of %s = %v, want %v", name, got.Of(name), of)
		}
	}
	if of := got.Of("team.other"); of != nil {
		t.Errorf("shares of a limit that isn't there: %v", of)
	}
	object.Annotations[SharesAnnotationKey] = "{"
	if got, err := SharesIn(object); err == nil || !strings.Contains(err.Error(), object.Name) {
		t.Errorf("SharesIn() of what isn't JSON = %v, %v, want an error that names the slot", got, err)
	}
	object.Annotations = nil
	if got, err := SharesIn(object); err != nil || got.Of("team.m") != nil {
		t.Errorf("SharesIn() of a slot that says nothing = %v, %v", got, err)
	}
}

// Kubernetes takes 256 KiB of annotations, and etcd 1.5 MiB of an object, which some 2,000
// limits fill.
func TestSharesFit(t *testing.T) {
	shares := Shares{}
	for i := range 2000 {
		shares[strings.Repeat("n", 63)+"."+fmt.Sprintf("%063d", i)] = []int64{333, 333, 334}
	}
	content, err := shares.encode()
	if err != nil || len(content) > 64<<10 {
		t.Errorf("2,000 shares are %d bytes, %v, want at most 64 KiB", len(content), err)
	}
}
