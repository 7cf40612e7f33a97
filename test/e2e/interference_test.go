//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
)

const (
	// repairedWithin bounds the time until what somebody did to a slot is undone.
	repairedWithin = 10 * time.Second
	// rootNamespace is the mesh's: an EnvoyFilter there reaches every proxy.
	rootNamespace = "istio-system"
	// byHand is the name of duplicates.
	byHand = "by-hand"
)

// Somebody edits a Model's slot, deletes it and duplicates it, while twice the limit is
// offered: each is told of and put right, and the limit is never lifted. A duplicate
// that isn't Sluice's to delete is named by the limit that can't be proved.
func TestSlotsAreRepaired(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("m", fixed("50")))
	endpoint := s.serving("m")
	trail := s.follow("m")
	limited := func(to int) {
		s.Helper()
		s.patch("m", fmt.Sprintf(`{"spec": {"limit": {"requestsPerSecondPerReplica": "%d"}}}`, to))
		s.reach(trail, repairedWithin, fmt.Sprintf("a limit of %d/s", to), func(m platform.Moment) bool { return m.Limit == float64(to) })
	}
	limited(50)

	end := s.offer(endpoint, 100)
	slots := s.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace)
	name := slotName(s.namespace, "m")
	right, err := slots.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal("getting the slot:", err)
	}
	began := time.Now().Truncate(time.Second) // as events have it
	edited := right.DeepCopy()
	raise(edited)
	if _, err := slots.Update(t.Context(), edited, metav1.UpdateOptions{}); err != nil {
		t.Fatal("editing the slot:", err)
	}
	s.repaired("SlotEdited", right, began)

	if err := slots.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal("deleting the slot:", err)
	}
	s.repaired("SlotDeleted", right, began)

	s.duplicate(right, gateway.Namespace)
	took := s.until(repairedWithin, "the duplicate to be deleted", func(ctx context.Context) (string, error) {
		_, err := slots.Get(ctx, byHand, metav1.GetOptions{})
		if isGone, err := gone(err); isGone || err != nil {
			return "", err
		}
		return "it is there", nil
	})
	s.told("SlotDuplicated", byHand, began)
	t.Logf("the duplicate was deleted after %.1f s", took.Seconds())
	limited(60)

	remove := s.duplicate(right, rootNamespace)
	s.patch("m", `{"spec": {"limit": {"requestsPerSecondPerReplica": "40"}}}`)
	took = s.until(repairedWithin, "the duplicate elsewhere to be named", func(ctx context.Context) (string, error) {
		got, err := s.Sluice.SluiceV1alpha1().RateLimits(s.namespace).Get(ctx, "m", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if c := got.Status.GetCondition(v1alpha1.RateLimitConditionProved); !c.IsFalse() || !strings.Contains(c.GetMessage(), rootNamespace+"/"+byHand) {
			return fmt.Sprintf("%+v", c), nil
		}
		return "", nil
	})
	t.Logf("the duplicate elsewhere was named after %.1f s", took.Seconds())
	remove()
	limited(40)

	report := end()
	s.noneFailed(report)
	// The limit was 60/s at most, but for what passed until the edited slot was put
	// right, and what refills give away: less than a fifth.
	seconds := float64(len(report.Seconds))
	t.Logf("%d of %d admitted in %.0f s at limits of 50, 60 and 40/s", report.Total.Admitted, report.Total.Offered, seconds)
	if most := 60*seconds*1.2 + 20; float64(report.Total.Admitted) > most {
		t.Errorf("%d admitted in %.0f s, want at most %.0f", report.Total.Admitted, seconds, most)
	}
}

// raise makes every limit of a slot so high that it is none.
func raise(slot *istio.EnvoyFilter) {
	config := slot.Spec.GetConfigPatches()[0].GetPatch().GetValue().GetFields()["typed_config"].GetStructValue()
	for _, d := range config.GetFields()["descriptors"].GetListValue().GetValues() {
		bucket := d.GetStructValue().GetFields()["token_bucket"].GetStructValue().GetFields()
		bucket["max_tokens"], bucket["tokens_per_fill"] = structpb.NewNumberValue(1e6), structpb.NewNumberValue(1e6)
	}
}

// duplicate copies a slot by hand, labels and all, and returns how to remove the copy.
func (s *stage) duplicate(slot *istio.EnvoyFilter, namespace string) (remove func()) {
	s.Helper()
	filters := s.Istio.NetworkingV1alpha3().EnvoyFilters(namespace)
	again := slot.DeepCopy()
	again.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: byHand, Labels: slot.Labels}
	if _, err := filters.Create(s.Context(), again, metav1.CreateOptions{}); err != nil {
		s.Fatalf("duplicating a slot in %s: %v", namespace, err)
	}
	remove = func() {
		err := filters.Delete(context.Background(), byHand, metav1.DeleteOptions{})
		if isGone, err := gone(err); err != nil && !isGone {
			s.Errorf("removing the duplicate from %s: %v", namespace, err)
		}
	}
	s.Cleanup(remove)
	return remove
}

// repaired waits until a slot is as it was, and for word of what was done to it.
func (s *stage) repaired(reason string, right *istio.EnvoyFilter, since time.Time) {
	s.Helper()
	took := s.until(repairedWithin, "the slot to be as it was", func(ctx context.Context) (string, error) {
		got, err := s.Istio.NetworkingV1alpha3().EnvoyFilters(right.Namespace).Get(ctx, right.Name, metav1.GetOptions{})
		if isGone, err := gone(err); isGone || err != nil {
			return "it is deleted", err
		}
		if !proto.Equal(&got.Spec, &right.Spec) {
			return "it is another", nil
		}
		return "", nil
	})
	s.told(reason, right.Name, since)
	s.Logf("%s: as it was after %.2f s", reason, took.Seconds())
}

// told waits for an event of an EnvoyFilter.
func (s *stage) told(reason, name string, since time.Time) {
	s.Helper()
	of := fields.Set{"involvedObject.kind": "EnvoyFilter", "involvedObject.name": name, "reason": reason}
	s.until(repairedWithin, "an event "+reason+" of "+name, func(ctx context.Context) (string, error) {
		events, err := s.Kube.CoreV1().Events(gateway.Namespace).List(ctx, metav1.ListOptions{FieldSelector: of.String()})
		if err != nil {
			return "", err
		}
		for i := range events.Items {
			if !events.Items[i].LastTimestamp.Time.Before(since) {
				return "", nil
			}
		}
		return fmt.Sprintf("%d before", len(events.Items)), nil
	})
}
