package routing

import (
	"slices"
	"testing"
	"time"

	metav1alpha1 "istio.io/api/meta/v1alpha1"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"pgregory.net/rapid"
)

// name is that of a gateway, or of a Service.
var name = rapid.StringMatching("[a-z]([-a-z0-9]{0,8}[a-z0-9])?")

// What is recorded is what is read, whatever was recorded before and whatever else the
// status says; and of a VirtualService that changed since, no more than that it was
// proved once.
func TestProofIsReadAsRecorded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vs := &istiov1.VirtualService{}
		vs.Generation = rapid.Int64Range(1, 9).Draw(t, "generation")
		vs.Status.Conditions = []*metav1alpha1.IstioCondition{{Type: "Reconciled", Status: "True", Message: "a,b"}}
		if got := ProofOf(vs); got.Ever || len(got.Gateways) > 0 {
			t.Fatalf("read %+v of one that nobody has seen", got)
		}
		ever := false
		for range rapid.IntRange(1, 4).Draw(t, "times") {
			gateways := rapid.SliceOfNDistinct(name, 0, 3, rapid.ID).Draw(t, "gateways")
			before := ProofOf(vs)
			changed := Record(vs, gateways, time.Unix(7, 0))
			got := ProofOf(vs)
			ever = ever || len(gateways) > 0
			if !slices.Equal(got.Gateways, gateways) || got.Ever != ever {
				t.Fatalf("read %+v of %v", got, gateways)
			}
			if changed == slices.Equal(before.Gateways, gateways) {
				t.Fatalf("changed: %t, from %+v to %v", changed, before, gateways)
			}
			if Record(vs, gateways, time.Unix(8, 0)) {
				t.Fatal("the same again is a change")
			}
			if len(gateways) > 0 && (!got.On(gateways) || !got.On(gateways[:1]) || got.On(append(gateways, "x_"))) {
				t.Fatalf("%v is where it was seen", gateways)
			}
			if rapid.Bool().Draw(t, "edited") {
				vs.Generation++
				if got := ProofOf(vs); len(got.Gateways) > 0 || got.Ever != ever {
					t.Fatalf("read %+v of one that changed", got)
				}
			}
		}
		if len(vs.Status.Conditions) > 2 || vs.Status.Conditions[0].Message != "a,b" {
			t.Fatalf("conditions are %v", vs.Status.Conditions)
		}
	})
}

func TestAddressIsReadAsPublished(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ing, address, other := &netv1alpha1.Ingress{}, name.Draw(t, "address"), name.Draw(t, "other")
		if Publishes(ing, address) {
			t.Fatal("it isn't published")
		}
		Publish(ing, address)
		if !Publishes(ing, address) || Publishes(ing, other) != (address == other) {
			t.Fatalf("published at %s, read otherwise", address)
		}
	})
}
