package receiver

import (
	"context"
	"net/http"
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
	return Open(Options{Admit: letIn, Count: c.count, Clock: clock.RealClock{}, Log: zap.NewNop().Sugar()}, b, answer), c
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
