package receiver

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/sets"
)

const (
	// rejectionsLogged bounds the different rejections that are logged within
	// rejectionsFor, each once; all are counted.
	rejectionsLogged, rejectionsFor = 100, time.Hour
	// textLogged bounds each of a rejection's texts, in bytes.
	textLogged = 300
)

func (d *Door) reject(eventType, sender string, why error) {
	known := unknown
	if _, ok := d.kinds[eventType]; ok {
		known = eventType // a sender's inventions are no label
	}
	d.rejectAs(known, eventType, sender, why)
}

// rejectAs is reject for who knows what it is counted as.
func (d *Door) rejectAs(counted, eventType, sender string, why error) {
	d.Count(counted, Rejected)
	sender, reason := brief(sender), brief(why.Error())
	if d.rejections.isNews(d.Clock.Now(), sender, reason) {
		d.Log.Warnw("Event rejected; not logged again for a while",
			zap.String("type", brief(eventType)), zap.String("sender", sender), zap.String("reason", reason))
	}
}

// brief bounds what a sender can have logged at once.
func brief(text string) string { return text[:min(len(text), textLogged)] }

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
