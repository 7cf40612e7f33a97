package limit

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/eventing"
)

const (
	// eventBytes bounds what is read of an event.
	eventBytes = 64 << 10
	// longestWay is the most that an event's way here is taken to last. One whose time
	// is further off was stamped by another clock.
	longestWay = time.Minute
	// rejectionsLogged bounds the different rejections that are logged within
	// rejectionsFor, each once; all are counted.
	rejectionsLogged, rejectionsFor = 100, time.Hour
	// textLogged bounds each of a rejection's texts, in bytes.
	textLogged = 300
)

// Handler serves Receive over HTTP to whom admit lets in: it returns an error for
// others, after it has written the status.
func (f *Function) Handler(admit func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := admit(w, r); err != nil {
			f.reject("", host(r), err)
			_, _ = fmt.Fprintln(w, "rejected:", err)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, eventBytes)
		event, err := cloudevents.NewEventFromHTTPRequest(r)
		if err != nil {
			f.reject("", host(r), err)
			http.Error(w, fmt.Sprint("rejected: not a CloudEvent: ", err), http.StatusBadRequest)
			return
		}
		if result := f.Receive(r.Context(), *event); !cloudevents.IsACK(result) {
			http.Error(w, result.Error(), http.StatusBadRequest)
		}
	})
}

// Receive takes in one event. It only says "look now": whatever the event claims,
// the next pass goes by the state of the cluster, so events may be lost, doubled,
// late or out of order. An event that is not valid is refused, for good.
func (f *Function) Receive(_ context.Context, event cloudevents.Event) cloudevents.Result {
	if _, err := eventing.ParseRevisionScaled(event); err != nil {
		f.reject(event.Type(), event.Source(), err)
		return cloudevents.NewHTTPResult(http.StatusBadRequest, "rejected: %w", err)
	}
	if !f.leads.Load() {
		// Another replica leads and its caches tell it of the same change.
		eventsReceived.WithLabelValues(eventing.RevisionScaledType, "standby").Inc()
		return cloudevents.ResultACK
	}
	eventsReceived.WithLabelValues(eventing.RevisionScaledType, "looked").Inc()
	if way := f.Clock.Since(event.Time()); way.Abs() < longestWay {
		steps.WithLabelValues("event").Observe(max(0, way.Seconds())) // clocks differ
	}
	f.Look()
	return cloudevents.ResultACK
}

// host is where a request came from: of its sender no more is known.
func host(r *http.Request) string {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return address
}

func (f *Function) reject(eventType, sender string, why error) {
	eventsReceived.WithLabelValues(knownType(eventType), "rejected").Inc()
	sender, reason := brief(sender), brief(why.Error())
	if f.rejections.isNews(f.Clock.Now(), sender, reason) {
		f.Log.Warnw("Event rejected; not logged again for a while",
			zap.String("type", brief(eventType)), zap.String("sender", sender), zap.String("reason", reason))
	}
}

// brief bounds what a sender can have logged at once.
func brief(text string) string { return text[:min(len(text), textLogged)] }

// knownType keeps a sender's inventions out of metric labels.
func knownType(t string) string {
	if t == eventing.RevisionScaledType {
		return t
	}
	return "unknown"
}

// rejections are those that were logged: whoever sends nonsense can't fill the log.
type rejections struct {
	mu     sync.Mutex
	since  time.Time
	logged sets.Set[[2]string]
}

func (r *rejections) isNews(now time.Time, sender, reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.since) >= rejectionsFor {
		r.since, r.logged = now, sets.New[[2]string]()
	}
	news := [2]string{sender, reason}
	if r.logged.Has(news) || r.logged.Len() >= rejectionsLogged {
		return false
	}
	r.logged.Insert(news)
	return true
}
