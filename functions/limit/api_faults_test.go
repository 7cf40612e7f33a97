package limit

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/prometheus/client_golang/prometheus"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubetesting "k8s.io/client-go/testing"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/gateway"
)

// apiFaults are the answers of an API server that is busy, ill, or ahead of us.
var apiFaults = map[string]struct {
	err     error
	outcome string
}{
	"Conflict":        {apierrs.NewConflict(schema.GroupResource{}, "x", errors.New("changed meanwhile")), "conflict"},
	"AlreadyExists":   {apierrs.NewAlreadyExists(schema.GroupResource{}, "x"), "conflict"},
	"TooManyRequests": {apierrs.NewTooManyRequests("busy", 1), "failed"},
	"InternalError":   {apierrs.NewInternalError(errors.New("etcd is away")), "failed"},
}

// faultyAPI refuses the first writes of each object, and knows when each was tried.
type faultyAPI struct {
	mu       sync.Mutex
	attempts map[string][]time.Time
}

type reacting interface {
	PrependReactor(verb, resource string, reaction kubetesting.ReactionFunc)
}

// refuse has the first writes, by verb, of each object of a resource, that of its
// status if it has one, end with an error.
func refuse(of reacting, verb, resource string, times int, err error) *faultyAPI {
	f := &faultyAPI{attempts: map[string][]time.Time{}}
	of.PrependReactor(verb, resource, func(action kubetesting.Action) (bool, runtime.Object, error) {
		written, ok := action.(interface{ GetObject() runtime.Object })
		if !ok {
			return false, nil, nil
		}
		object, errMeta := meta.Accessor(written.GetObject())
		if errMeta != nil {
			return true, nil, errMeta
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		name := object.GetName()
		f.attempts[name] = append(f.attempts[name], time.Now())
		return len(f.attempts[name]) <= times, nil, err
	})
	return f
}

// of are the attempts to write an object.
func (f *faultyAPI) of(name string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.attempts[name])
}

func counted(t *testing.T, c prometheus.Counter) int {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return int(m.GetCounter().GetValue())
}

// Slots that the API server doesn't take are written again, never faster than bursts
// go out, until they are as they should be; the limit is told of once, and only then.
func TestSlotsAreWrittenAgain(t *testing.T) {
	const refused = 2
	for name, fault := range apiFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 1, rateLimit("m"))
			b.until("the first limit", b.applied(10))
			b.until("its event", func() bool { return b.events() == 1 })
			slot := slotAt(gateway.Shared, "team.m")
			counter := writes.WithLabelValues(fault.outcome)
			before, failed := counted(t, counter), counted(t, passErrors)

			var api *faultyAPI
			if name == "AlreadyExists" {
				api = refuse(b.istio, "create", "envoyfilters", refused, fault.err)
				if err := b.Filters.Delete(t.Context(), slot, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			} else {
				api = refuse(b.istio, "update", "envoyfilters", refused, fault.err)
				b.scale(3, 3)
				b.until("the limit", b.applied(30))
				b.until("its event", func() bool { return b.events() == 2 })
			}
			b.until("the slot's last write", func() bool { return len(api.of(slot)) == refused+1 })
			replicas, err := b.serving.AutoscalingV1alpha1().PodAutoscalers("team").Get(t.Context(), "m-1", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			b.until("the limit in every entry", b.admitsInAll(10*float64(*replicas.Status.DesiredScale)))

			attempts := api.of(slot)
			for i := 1; i < len(attempts); i++ {
				if gap := attempts[i].Sub(attempts[i-1]); gap < burstEvery {
					t.Errorf("tried again after %v, want at least %v", gap, burstEvery)
				}
			}
			// Others are counted beside.
			got, passes := counted(t, counter)-before, counted(t, passErrors)-failed
			t.Logf("%d attempts in %.1f s", len(attempts), attempts[refused].Sub(attempts[0]).Seconds())
			if len(attempts) != refused+1 || got < refused || passes < refused {
				t.Errorf("%d attempts, %d counted as %s, %d failed passes; want %d, and at least %d of each",
					len(attempts), got, fault.outcome, passes, refused+1, refused)
			}
		})
	}
}

// admitsInAll is true once the entries of the shared gateway admit a rate together.
func (b *bench) admitsInAll(want float64) func() bool {
	return func() bool {
		sum := 0.0
		for _, rate := range b.rates(gateway.Shared, "team.m") {
			sum += rate
		}
		return sum > want*0.999 && sum < want*1.001
	}
}

// A status that the API server doesn't take is written again. The event is sent with
// the one that it takes.
func TestStatusesAreWrittenAgain(t *testing.T) {
	for name, fault := range apiFaults {
		if name == "AlreadyExists" {
			continue // no answer to an update
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, 1, rateLimit("m"))
			b.until("the first limit", b.applied(10))
			api := refuse(b.sluice, "update", "ratelimits", 1, fault.err)
			b.scale(3, 3)
			b.until("the status", b.applied(30))
			b.until("its event", func() bool { return b.events() == 2 })
			var d eventing.LimitApplied
			if err := b.sent[1].DataAs(&d); err != nil || d.Old != "10" || d.New != "30" {
				t.Errorf("event data = %+v, %v", d, err)
			}
			attempts := api.of("m")
			t.Logf("%d attempts in %.1f s", len(attempts), attempts[len(attempts)-1].Sub(attempts[0]).Seconds())
		})
	}
}

// A slot that can't be written at all holds up no other, and no limit behind it is said
// to be proved.
func TestOneSlotHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	name := inAnotherSlot("m")
	b := newBench(t, 1, rateLimit("m"), rateLimit(name))
	b.until("the first limit", b.applied(10))
	stuck := slotAt(gateway.Shared, "team.m")
	b.istio.PrependReactor("update", "envoyfilters", func(action kubetesting.Action) (bool, runtime.Object, error) {
		object, err := meta.Accessor(action.(kubetesting.UpdateAction).GetObject())
		if err != nil {
			return true, nil, err
		}
		return object.GetName() == stuck, nil, apiFaults["InternalError"].err
	})
	began := time.Now()
	b.scale(3, 3)
	b.until("the other limit", func() bool {
		l := b.limit(name)
		return l.Status.Limit != nil && l.Status.Limit.RequestsPerSecond.Value() == 30 && isReady(&l.Status)
	})
	t.Logf("the other limit was proved after %.2f s", time.Since(began).Seconds())
	b.until("word of the pod that isn't proved", func() bool {
		l := b.limit("m")
		return !isReady(&l.Status) && slices.Equal(l.Status.Limit.LaggingGatewayPods, []string{"shared-a"})
	})
	if got := b.rates(gateway.Shared, "team.m"); len(got) == 0 {
		t.Error("the limit before was lost")
	}
}

// inAnotherSlot is a name whose virtual service is in another slot than the given one's.
func inAnotherSlot(than string) string {
	name := "other"
	for SlotOf("team."+name, gateway.DefaultSlots) == SlotOf("team."+than, gateway.DefaultSlots) {
		name += "x"
	}
	return name
}
