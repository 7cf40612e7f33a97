package limit

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/functions/callers"
	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/demand/recorded"
	"sluice.dev/sluice/functions/whatif/trace"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	listers "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

func whole(string) bool { return true }

// What came to a Model is told to its own namespace and to ours, by the replica that leads.
func TestRecordedHandler(t *testing.T) {
	f, recording := New(), NewRecording(3)
	known := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	again, fresh := rateLimit("again"), rateLimit("fresh")
	again.CreationTimestamp, fresh.CreationTimestamp = metav1.Unix(1_700_000_002, 0), metav1.Unix(1_700_000_004, 0)
	for _, limit := range []*v1alpha1.RateLimit{rateLimit("m"), rateLimit("quiet"), again, fresh} {
		if err := known.Add(limit); err != nil {
			t.Fatal(err)
		}
	}
	f.Caches.RateLimits = listers.NewRateLimitLister(known)
	recording.Scale(time.Unix(1_700_000_000, 0), map[string]int32{"team.m": 2})
	for second := range 5 {
		n := float64(10 + second)
		recording.Tell(time.Unix(1_700_000_000+int64(second), 0), map[string]float64{"team.m": n, "team.again": n, "team.fresh": n}, whole)
	}
	handler := http.NewServeMux()
	handler.Handle("GET "+recorded.Path, f.RecordedHandler(recording, func(r *http.Request) (callers.Caller, error) {
		switch from := r.Header.Get("From"); from {
		case "":
			return callers.Caller{}, fmt.Errorf("%w: who are you", callers.ErrUnknown)
		case "later":
			return callers.Caller{}, errors.New("no keys yet")
		default:
			return callers.Caller{Namespace: from, ServiceAccount: "default", Pod: "x"}, nil
		}
	}, "sluice-system"))
	for name, tt := range map[string]struct {
		leads    bool
		from, of string
		code     int
		want     string
	}{
		"its own":            {true, "team", "team/m", http.StatusOK, "time,requests,replicas\n2023-11-14T22:13:20Z,11,2\n"},
		"one made again":     {true, "team", "team/again", http.StatusOK, "time,requests\n2023-11-14T22:13:22Z,13\n"},
		"made just now":      {true, "team", "team/fresh", http.StatusNotFound, "no demand of Model fresh is recorded"},
		"ours":               {true, "sluice-system", "team/m", http.StatusOK, "time,requests,replicas\n"},
		"another's":          {true, "else", "team/m", http.StatusForbidden, "a pod of namespace else may not know of Models in team"},
		"of one not there":   {true, "else", "team/nobody", http.StatusForbidden, "a pod of namespace else"},
		"nobody":             {true, "", "team/m", http.StatusUnauthorized, "unknown caller: who are you"},
		"nobody can be told": {true, "later", "team/m", http.StatusServiceUnavailable, "no keys yet"},
		"another one leads":  {false, "team", "team/m", http.StatusServiceUnavailable, ErrStandby.Error()},
		"no such Model":      {true, "team", "team/nobody", http.StatusNotFound, "there is no Model nobody in namespace team"},
		"nothing came":       {true, "team", "team/quiet", http.StatusNotFound, "no demand of Model quiet is recorded"},
	} {
		t.Run(name, func(t *testing.T) {
			f.leads.Store(tt.leads)
			r := httptest.NewRequest(http.MethodGet, "/v1/demand/"+tt.of, http.NoBody)
			r.Header.Set("From", tt.from)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != tt.code || !strings.HasPrefix(w.Body.String(), tt.want) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.code, tt.want)
			}
			if w.Code != http.StatusOK {
				return
			}
			if got, err := trace.Read(w.Body); err != nil || got.Known() != 4 && tt.of != "team/again" {
				t.Errorf("what is told can't be read: %v, %v", got, err)
			}
		})
	}
}

// Every pass tells how many replicas there are, of all that a limit's requests go to.
func TestReadyIsRecorded(t *testing.T) {
	f, l := New(), rateLimit("m")
	f.recordReady(time.Unix(7, 0), &state{}) // nobody asks
	var at time.Time
	var told map[string]int32
	f.Scaled = func(now time.Time, ready map[string]int32) { at, told = now, ready }
	f.recordReady(time.Unix(7, 0), &state{
		limits:   []*v1alpha1.RateLimit{l, rateLimit("none")},
		replicas: map[string][]capacity.Replicas{key(l): {{Revision: "m-1", Ready: 2, Desired: 5}, {Revision: "m-2", Ready: 1}}},
	})
	if want := map[string]int32{l.Spec.VirtualService: 3, rateLimit("none").Spec.VirtualService: 0}; at.Unix() != 7 || !maps.Equal(told, want) {
		t.Errorf("told %v at %v, want %v", told, at, want)
	}
}

// slowReader is told begun when it is written to, and takes it in once it may.
type slowReader struct {
	*httptest.ResponseRecorder
	begun, may chan struct{}
}

func (s slowReader) Write(text []byte) (int, error) {
	select {
	case s.begun <- struct{}{}:
		<-s.may
	case <-s.may:
	}
	return s.ResponseRecorder.Write(text)
}

// Two recordings are told at a time, one to each namespace.
func TestRecordedHandlerAtOnce(t *testing.T) {
	f, recording := New(), NewRecording(3)
	f.leads.Store(true)
	known := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	came := map[string]float64{}
	for _, namespace := range []string{"a", "b", "c"} {
		limit := rateLimit("m")
		limit.Namespace, limit.Spec.VirtualService = namespace, namespace+".m"
		came[limit.Spec.VirtualService] = 1
		if err := known.Add(limit); err != nil {
			t.Fatal(err)
		}
	}
	f.Caches.RateLimits = listers.NewRateLimitLister(known)
	for second := range int64(3) {
		recording.Tell(time.Unix(1_700_000_000+second, 0), came, whole)
	}
	handler := http.NewServeMux()
	handler.Handle("GET "+recorded.Path, f.RecordedHandler(recording, func(r *http.Request) (callers.Caller, error) {
		return callers.Caller{Namespace: r.Header.Get("From")}, nil
	}, "sluice-system"))
	ask := func(from, of string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/v1/demand/"+of+"/m", http.NoBody)
		r.Header.Set("From", from)
		return r
	}
	expect := func(from, of string, code int) {
		t.Helper()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, ask(from, of))
		if w.Code != code || (w.Header().Get("Retry-After") == "1") != (code == http.StatusTooManyRequests) {
			t.Errorf("%s asks of %s: %d, Retry-After %q, want %d", from, of, w.Code, w.Header().Get("Retry-After"), code)
		}
	}
	begun, may := make(chan struct{}), make(chan struct{})
	var told sync.WaitGroup
	begin := func(from string) {
		told.Go(func() { handler.ServeHTTP(slowReader{httptest.NewRecorder(), begun, may}, ask(from, from)) })
		<-begun
	}
	begin("a")
	expect("a", "a", http.StatusTooManyRequests)
	expect("b", "b", http.StatusOK)
	expect("sluice-system", "a", http.StatusOK)
	begin("b")
	expect("c", "c", http.StatusTooManyRequests)
	expect("c", "a", http.StatusForbidden)
	close(may)
	told.Wait()
	for _, namespace := range []string{"a", "b", "c"} {
		expect(namespace, namespace, http.StatusOK)
	}
}

// Models of other namespaces keep their recording where one has many.
func TestNewRecording(t *testing.T) {
	recording := NewRecording(2)
	recording.Tell(time.Unix(1_700_000_000, 0), nil, whole)
	for second, name := range []string{"a.m", "b.1", "b.2", "b.3"} {
		recording.Tell(time.Unix(1_700_000_001+int64(second), 0), map[string]float64{name: 1}, whole)
	}
	for name, want := range map[string]bool{"a.m": true, "b.1": false, "b.2": false, "b.3": true} {
		if _, ok := recording.Of(name, time.Time{}); ok != want {
			t.Errorf("%s is kept: %t, want %t", name, ok, want)
		}
	}
}
