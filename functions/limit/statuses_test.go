package limit

import (
	"context"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	kubetesting "k8s.io/client-go/testing"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
)

// writer is a statuses over an API server that numbers what it takes.
type writer struct {
	*statuses
	// written are the rates that were, with the versions that they replaced.
	written []string
	version int
	// answer, if given, is called before a write is taken.
	answer func() error
	end    func()
	ended  bool
}

// startWriter runs a writer until the test calls end, in a bubble of synctest: only
// while that waits does anything happen.
func startWriter(t *testing.T) *writer {
	w := &writer{statuses: newStatuses(), version: 1}
	fake := sluicefake.NewSimpleClientset()
	fake.PrependReactor("update", "ratelimits", func(action kubetesting.Action) (bool, runtime.Object, error) {
		l, _ := action.(kubetesting.UpdateAction).GetObject().(*v1alpha1.RateLimit)
		if w.answer != nil {
			if err := w.answer(); err != nil {
				return true, nil, err
			}
		}
		w.version++
		w.written = append(w.written, l.ResourceVersion+":"+l.Status.Limit.RequestsPerSecond.String())
		got := l.DeepCopy()
		got.ResourceVersion = strconv.Itoa(w.version)
		return true, got, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	w.end = cancel
	go func() {
		w.run(ctx, fake.SluiceV1alpha1(), zap.NewNop().Sugar())
		w.ended = true
	}()
	return w
}

func cachedAt(version string, status *v1alpha1.RateLimitStatus) *v1alpha1.RateLimit {
	l := rateLimit("m")
	l.UID, l.ResourceVersion = "u", version
	if status != nil {
		l.Status = *status
	}
	return l
}

func telling(rate int64) *v1alpha1.RateLimitStatus {
	return &v1alpha1.RateLimitStatus{Limit: &v1alpha1.LimitStatus{RequestsPerSecond: v1alpha1.RateOf(big.NewRat(rate, 1))}}
}

func (w *writer) wrote(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	if !slices.Equal(w.written, want) {
		t.Errorf("written: %v, want %v", w.written, want)
	}
}

func TestStatusesAreWrittenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startWriter(t)
		defer w.end()
		w.want(cachedAt("1", telling(10)), telling(10))
		w.wrote(t) // it is there
		w.want(cachedAt("1", nil), telling(20))
		w.wrote(t, "1:20")
		w.want(cachedAt("1", nil), telling(20)) // the cache is behind
		w.wrote(t, "1:20")
		w.want(cachedAt("1", nil), telling(30)) // and still is
		w.wrote(t, "1:20", "2:30")
		w.want(cachedAt("3", telling(30)), telling(30))
		w.wrote(t, "1:20", "2:30")
		w.want(cachedAt("4", telling(7)), telling(30)) // somebody else wrote
		w.wrote(t, "1:20", "2:30", "4:30")
	})
}

func TestNewestStatusSupersedes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, taken := startWriter(t), make(chan struct{})
		defer w.end()
		w.answer = func() error { <-taken; return nil }
		cached := cachedAt("1", nil)
		w.want(cached, telling(20))
		synctest.Wait() // it is on its way
		for _, rate := range []int64{30, 40, 50} {
			w.want(cached, telling(rate))
		}
		close(taken)
		w.wrote(t, "1:20", "2:50")

		w.answer = func() error { time.Sleep(time.Second); return nil }
		w.want(cachedAt("3", telling(50)), telling(60))
		synctest.Wait()
		w.want(cachedAt("3", telling(50)), telling(70))
		w.want(cachedAt("3", telling(50)), telling(60)) // which is on its way
		time.Sleep(time.Minute)
		w.wrote(t, "1:20", "2:50", "3:60")
	})
}

// What isn't taken is tried again each second, with what is newest by then, until the
// RateLimit is gone.
func TestStatusesRestAfterFailures(t *testing.T) {
	for name, fault := range map[string]error{
		"conflict": apierrs.NewConflict(schema.GroupResource{}, "m", errors.New("changed meanwhile")),
		"failure":  apierrs.NewInternalError(errors.New("etcd is away")),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, tries := startWriter(t), 0
				defer w.end()
				w.answer = func() error { tries++; return fault }
				cached := cachedAt("1", nil)
				w.want(cached, telling(20))
				for range 100 {
					synctest.Wait()
					w.want(cached, telling(20))
				}
				time.Sleep(10*retryAfter + retryAfter/2)
				if tries != 11 {
					t.Errorf("%d tries in 10 s, want one a second", tries)
				}
				w.want(cachedAt("5", nil), telling(30))
				w.answer = nil
				time.Sleep(retryAfter)
				w.wrote(t, "5:30")

				w.answer = func() error { tries++; return fault }
				w.want(cachedAt("6", nil), telling(40))
				synctest.Wait()
				w.keep(sets.New[string]())
				tries = 0
				time.Sleep(time.Minute)
				if tries != 0 {
					t.Errorf("%d tries for a RateLimit that is gone", tries)
				}
			})
		})
	}
}

// Once run has returned nothing is on its way, and nothing more is begun.
func TestStatusesEndWithTheLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, taken := startWriter(t), make(chan struct{})
		w.answer = func() error { <-taken; return nil }
		w.want(cachedAt("1", nil), telling(20))
		synctest.Wait()
		w.want(cachedAt("1", nil), telling(30))
		w.end()
		synctest.Wait()
		if w.ended {
			t.Error("ended while a status was on its way")
		}
		close(taken)
		w.wrote(t, "1:20")
		if !w.ended {
			t.Error("not ended")
		}
	})
}

// A status comes back from the API server as it was sent, or it would be written for ever.
func TestStatusesComeBackAsTheyWere(t *testing.T) {
	f := New()
	p := &plan{of: rateLimit("m"), limit: big.NewRat(1, 3), uncapped: big.NewRat(2, 3), rows: rows(capacity.Rule{
		PerReplica: big.NewRat(10, 1), Policy: v1alpha1.PolicyReady,
	}, []capacity.Replicas{{Revision: "m-1", Percent: 100, Ready: 3}})}
	for name, seen := range map[string]proof{
		"proved": {pods: 2}, "without pods": {without: []string{"shared"}},
		"lagging": {pods: 1, lagging: []question{{line: line{pod: Pod{Name: "shared-a"}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			sent, _ := f.statusOf(p, &v1alpha1.RateLimitStatus{}, seen)
			text, err := json.Marshal(sent)
			if err != nil {
				t.Fatal(err)
			}
			var back v1alpha1.RateLimitStatus
			if err := json.Unmarshal(text, &back); err != nil {
				t.Fatal(err)
			}
			if !equality.Semantic.DeepEqual(*sent, back) {
				t.Errorf("sent %+v, came back as %+v", sent, back)
			}
		})
	}
}
