package receiver

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	"k8s.io/utils/clock"
)

func open(b Bounds, answer Answerer) (*Door, *counts) {
	c := &counts{of: map[string]int{}}
	return Open(Options{Admit: letIn, Count: c.count, Clock: clock.RealClock{}, Log: zap.NewNop().Sugar()}, b, func(r *http.Request) (*Addressee, Answer) {
		return &Addressee{Key: r.URL.Path, Name: "Trigger " + r.URL.Path, Answer: answer}, Answer{}
	}), c
}

var roomy = Bounds{Bytes: MaxBytes, Held: 2 * MaxBytes, AtOnce: 2, Answered: time.Minute}

// An open door takes any type, about whatever, and answers with a reply, nothing, or why not.
func TestOpenDoor(t *testing.T) {
	t.Parallel()
	reply := cloudevents.NewEvent()
	reply.SetID("r")
	reply.SetSource("/me")
	reply.SetType("answered")
	if err := reply.SetData("text/plain", []byte("yes")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer Answer
		status int
		says   string
		id     string
		count  string
	}{
		"a reply":      {Answer{Outcome: "replied", Status: http.StatusOK, Reply: &reply}, http.StatusOK, "yes", "r", "unknown replied"},
		"nothing":      {Answer{Outcome: "taken", Status: http.StatusAccepted}, http.StatusAccepted, "", "", "unknown taken"},
		"later":        {Answer{Outcome: Failed, Status: http.StatusServiceUnavailable, RetryAfter: "7", Why: "not now"}, http.StatusServiceUnavailable, "not now", "", "unknown failed"},
		"never":        {Answer{Outcome: Rejected, Status: http.StatusGone, Why: "gone"}, http.StatusGone, "gone", "", "unknown rejected"},
		"no more room": {Answer{Outcome: Busy, Status: http.StatusServiceUnavailable, Why: "full"}, http.StatusServiceUnavailable, "full", "", "unknown busy"},
	} {
		done := false
		c.answer.Done = func() { done = true }
		d, counted := open(roomy, func(_ context.Context, _ *http.Request, got cloudevents.Event) Answer {
			if got.Type() != "dev.sluice.revision.scaled.v1" {
				t.Errorf("%s: the event is %v", name, got)
			}
			return c.answer
		})
		// About another namespace than its source's, which Kinds of ours may not be.
		w := post(d, strings.NewReader(strings.Replace(event, `"subject":"team/m"`, `"subject":"rival/m"`, 1)))
		if w.Code != c.status || strings.TrimSpace(w.Body.String()) != c.says || w.Header().Get("Ce-Id") != c.id || w.Header().Get("Retry-After") != c.answer.RetryAfter {
			t.Errorf("%s: %d, %v, %s", name, w.Code, w.Header(), w.Body)
		}
		if counted.of[c.count] != 1 || len(counted.of) != 1 || !done {
			t.Errorf("%s: counted %v, done %t", name, counted.of, done)
		}
	}
}

// What is under way is bounded by how many and by how large they are; what comes beyond, a Broker
// delivers again, and there is room once one is answered.
func TestBoundsOfAnOpenDoor(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]Bounds{
		"many":  {Bytes: MaxBytes, Held: 10 * MaxBytes, AtOnce: 1, Answered: time.Minute},
		"large": {Bytes: MaxBytes, Held: int64(len(event)) + 10, AtOnce: 10, Answered: time.Minute},
	} {
		entered, leave := make(chan struct{}), make(chan struct{})
		d, counted := open(b, func(context.Context, *http.Request, cloudevents.Event) Answer {
			entered <- struct{}{}
			<-leave
			return Answer{Outcome: "taken", Status: http.StatusAccepted}
		})
		var first sync.WaitGroup
		first.Go(func() {
			if w := post(d, strings.NewReader(event)); w.Code != http.StatusAccepted {
				t.Errorf("%s: %d, %s", name, w.Code, w.Body)
			}
		})
		<-entered
		if w := post(d, strings.NewReader(event)); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || counted.of["unknown busy"] != 1 {
			t.Errorf("%s: %d, %s, %v", name, w.Code, w.Body, counted.of)
		}
		close(leave)
		first.Wait()
		go func() { <-entered }()
		if w := post(d, strings.NewReader(event)); w.Code != http.StatusAccepted {
			t.Errorf("%s: %d, %s", name, w.Code, w.Body)
		}
	}
}

// What is larger than a door takes is told so, and not read any further.
func TestOpenDoorRefusesTheLarge(t *testing.T) {
	t.Parallel()
	d, counted := open(Bounds{Bytes: 100, Held: 1000, AtOnce: 1, Answered: time.Minute}, func(context.Context, *http.Request, cloudevents.Event) Answer {
		t.Error("it was taken")
		return Answer{}
	})
	if w := post(d, strings.NewReader(event)); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "too large") || counted.of["unknown rejected"] != 1 {
		t.Errorf("%d, %s, %v", w.Code, w.Body, counted.of)
	}
}

// Who an event is for is found out before it is read, and what is for nobody takes no room.
func TestNobodysEventsAreNotRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer Answer
		count  string
	}{
		"gone":          {Answer{Outcome: Rejected, Status: http.StatusGone, Why: "gone"}, "at / rejected"},
		"not known yet": {Answer{Outcome: Failed, Status: http.StatusServiceUnavailable, RetryAfter: "1", Why: "not now"}, "at / failed"},
	} {
		d, counted := open(roomy, nil)
		d.find = func(*http.Request) (*Addressee, Answer) { return nil, c.answer }
		d.CountedAs = func(r *http.Request) string { return "at " + r.URL.Path }
		body := strings.NewReader(event)
		w := post(d, body)
		if w.Code != c.answer.Status || strings.TrimSpace(w.Body.String()) != c.answer.Why || w.Header().Get("Retry-After") != c.answer.RetryAfter || counted.of[c.count] != 1 {
			t.Errorf("%s: %d, %v, %s, counted %v", name, w.Code, w.Header(), w.Body, counted.of)
		}
		if body.Len() != len(event) {
			t.Errorf("%s: %d of %d bytes are left", name, body.Len(), len(event))
		}
	}
}

// Whatever one addressee is sent, and however slowly, leaves room for another; what is beyond its
// share comes again, and there is room for it once one has left.
func TestSharesOfAnOpenDoor(t *testing.T) {
	t.Parallel()
	const size = int64(len(event))
	for name, b := range map[string]struct {
		bounds Bounds
		says   string
	}{
		"many":  {Bounds{Bytes: size, Held: 100 * size, AtOnce: 8, Shares: 4, Answered: time.Minute}, "2 events of Trigger /one are under way"},
		"large": {Bounds{Bytes: size, Held: 8 * size, AtOnce: 100, Shares: 4, Answered: time.Minute}, "events of Trigger /one of"},
	} {
		d, counted := open(b.bounds, func(context.Context, *http.Request, cloudevents.Event) Answer {
			return Answer{Outcome: "taken", Status: http.StatusAccepted}
		})
		send := func(path string, body io.Reader) *httptest.ResponseRecorder {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, body)
			r.Header.Set("Content-Type", cloudevents.ApplicationCloudEventsJSON)
			d.ServeHTTP(w, r)
			return w
		}
		slow, sent := io.Pipe() // of a length that isn't said: the most that it may be
		var senders sync.WaitGroup
		for range 2 {
			senders.Go(func() { send("/one", slow) })
		}
		for deadline := time.Now().Add(time.Minute); len(d.underWay) < 2; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d are under way", name, len(d.underWay))
			}
		}
		if w := send("/one", strings.NewReader(event)); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), b.says) || counted.of["unknown busy"] != 1 {
			t.Errorf("%s: one more: %d, %s, %v", name, w.Code, w.Body, counted.of)
		}
		if w := send("/other", strings.NewReader(event)); w.Code != http.StatusAccepted {
			t.Errorf("%s: another's: %d, %s", name, w.Code, w.Body)
		}
		_ = sent.Close()
		senders.Wait()
		if w := send("/one", strings.NewReader(event)); w.Code != http.StatusAccepted {
			t.Errorf("%s: the next: %d, %s", name, w.Code, w.Body)
		}
		if len(d.shares.taken) != 0 {
			t.Errorf("%s: kept: %v", name, d.shares.taken)
		}
	}
}
