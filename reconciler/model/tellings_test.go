package model

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// slow is a Broker that takes its time, and may refuse.
type slow struct {
	sent atomic.Int32
	err  error
}

func (s *slow) Send(context.Context, cloudevents.Event) error {
	time.Sleep(time.Second)
	s.sent.Add(1)
	return s.err
}

// Nothing waits for the Broker, which is told once of what came, and again after a while when it
// couldn't be.
func TestTellings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broker, changed := &slow{err: errors.New("away")}, 0
		tells := newTellings(broker, func(types.NamespacedName) { changed++ }, clock.RealClock{})
		m, what := model(), telling{"ranker-1", 2}
		tell := func(what telling) bool {
			began := time.Now()
			told := tells.tell(t.Context(), m, what, cloudevents.NewEvent())
			if waited := time.Since(began); waited > 0 {
				t.Errorf("waited for %s", waited)
			}
			return told
		}
		for range 29 {
			if tell(what) {
				t.Error("it counts as told")
			}
			time.Sleep(time.Second)
		}
		if broker.sent.Load() != 1 || changed != 0 {
			t.Errorf("within %s it was tried %d times, and the Model was woken %d times; want once, and never", lookAgain, broker.sent.Load(), changed)
		}
		broker.err = nil
		time.Sleep(2 * time.Second)
		tell(what)
		time.Sleep(2 * time.Second)
		for range 3 {
			if !tell(what) {
				t.Error("it doesn't count as told")
			}
		}
		if broker.sent.Load() != 2 || changed != 1 {
			t.Errorf("it was tried %d times, and the Model was woken %d times; want twice, and once", broker.sent.Load(), changed)
		}
		if tell(telling{"ranker-1", 4}) {
			t.Error("that the state came once more counts as told")
		}
		time.Sleep(time.Hour)
		m = model(func(m *v1alpha1.Model) { m.UID = "other" })
		tell(what)
		if len(tells.of) != 1 {
			t.Errorf("%d attempts are remembered, want one", len(tells.of))
		}
		time.Sleep(time.Minute)
	})
}

// While a Broker is slow, no more is sent at once than may be.
func TestTellingsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broker := &slow{}
		tells := newTellings(broker, func(types.NamespacedName) {}, clock.RealClock{})
		began := time.Now()
		for i := range 3 * tellsAtOnce {
			m := model(func(m *v1alpha1.Model) { m.UID = types.UID(fmt.Sprint(i)) })
			tells.tell(t.Context(), m, telling{"ranker-1", 2}, cloudevents.NewEvent())
		}
		for range 3 {
			time.Sleep(time.Second + time.Millisecond)
			synctest.Wait()
			if most, sent := int(time.Since(began)/time.Second)*tellsAtOnce, int(broker.sent.Load()); sent > most {
				t.Errorf("after %s %d were sent, want %d at most", time.Since(began), sent, most)
			}
		}
		if sent := broker.sent.Load(); sent != 3*tellsAtOnce {
			t.Errorf("%d were sent, want all", sent)
		}
	})
}
