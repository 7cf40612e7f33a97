package usage

import (
	"context"
	"errors"
	"io"
	"syscall"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/usage/account"
)

const (
	// readEvery is how often gateway pods are read, and endingEvery those that end: the more often, the
	// less they can count that nobody sees.
	readEvery, endingEvery = time.Second, 100 * time.Millisecond
	// logEvery is the least time between two lines of the log about one pod.
	logEvery = time.Minute
	// certainWithin is how long before its end a pod may have been read last, for what it counted to be all.
	certainWithin = 2 * time.Second
	proxy         = "istio-proxy"
)

// followed is a gateway pod that is read until it is there no more.
type followed struct {
	pod    *corev1.Pod
	cancel context.CancelFunc
	// read is when it was read last, zero for never; failed when it couldn't be first since then, closed
	// if it didn't listen any more.
	read, failed, logged time.Time
	closed               bool
}

// followGateways reads each gateway pod by itself, so that none waits for another.
func (l *Ledger) followGateways(ctx context.Context) {
	l.every(ctx, endingEvery, func() {
		pods, err := l.Cluster.GatewayPods()
		if err != nil {
			l.Log.Errorw("Gateway pods not listed", zap.Error(err))
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		there := map[types.UID]bool{}
		for _, pod := range pods {
			there[pod.UID] = true
			f := l.followed[pod.UID]
			if f == nil && pod.Status.PodIP != "" && !over(pod) {
				following, cancel := context.WithCancel(ctx)
				f = &followed{cancel: cancel}
				l.followed[pod.UID] = f
				go l.follow(following, pod.UID)
			}
			if f != nil {
				f.pod = pod
			}
		}
		for uid, f := range l.followed {
			if !there[uid] {
				f.cancel()
				delete(l.followed, uid)
				l.gone(uid, f)
			}
		}
		l.tellLag()
	})
}

// over is true for a pod that is left only to be looked at.
func over(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// follow reads a gateway pod until the context ends.
func (l *Ledger) follow(ctx context.Context, uid types.UID) {
	ticker := l.Clock.NewTicker(endingEvery)
	defer ticker.Stop()
	var last time.Time
	for {
		if pod, due := l.turnOf(uid, last); due {
			last = l.Clock.Now()
			l.readPod(ctx, pod)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

// turnOf is the pod as it is now, and whether it is to be read again.
func (l *Ledger) turnOf(uid types.UID, last time.Time) (*corev1.Pod, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.followed[uid]
	if f == nil || f.pod == nil {
		return nil, false
	}
	return f.pod, f.pod.DeletionTimestamp != nil || l.Clock.Since(last) >= readEvery
}

func (l *Ledger) readPod(ctx context.Context, pod *corev1.Pod) {
	bounded, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	read, err := l.read(bounded, pod.Status.PodIP, l.known)
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f, now := l.followed[pod.UID], l.Clock.Now()
	if f == nil {
		return
	}
	if err != nil {
		l.failed(f, err, now)
		return
	}
	readings.WithLabelValues("gateway", "read").Inc()
	f.read, f.failed, f.closed = now, time.Time{}, false
	for name, of := range read.models {
		l.of(name).Gateway(now, readingOf(pod, read.uptime, of))
	}
}

// failed notes that a pod couldn't be read. Before it was read once it needn't be there yet.
func (l *Ledger) failed(f *followed, err error, now time.Time) {
	if f.read.IsZero() {
		return
	}
	readings.WithLabelValues("gateway", "failed").Inc()
	if f.failed.IsZero() {
		f.failed, f.closed = now, errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
	}
	if f.pod.DeletionTimestamp == nil && now.Sub(f.logged) >= logEvery {
		f.logged = now
		l.Log.Warnw("Gateway pod's counters not read; what it counts is seen once it can be again", zap.String("pod", f.pod.Name), zap.Error(err))
	}
	if f.pod.DeletionTimestamp != nil {
		for _, k := range l.books {
			k.book.Ending(f.pod.UID)
		}
		l.hurry()
	}
}

// hurry has what is urgent be written now.
func (l *Ledger) hurry() {
	select {
	case l.ending <- struct{}{}:
	default: // it is about to be
	}
}

// gone ends the accounts of a pod that is there no more. It needs the lock.
func (l *Ledger) gone(uid types.UID, f *followed) {
	now := l.Clock.Now()
	if f.read.IsZero() {
		return // it never served
	}
	end := ended(f.pod, now) // in whole seconds
	if f.closed && f.failed.Before(end) {
		end = f.failed
	}
	unread := end.Sub(f.read)
	if unread <= certainWithin {
		unread = 0
	}
	reading := "certain"
	for _, k := range l.books {
		if !k.book.Gone(now, uid, unread) {
			reading = "uncertain"
		}
	}
	for name, book := range l.left {
		if book.Gone(now, uid, 0); len(book.GatewayPods()) == 0 {
			delete(l.left, name)
		}
	}
	podsEnded.WithLabelValues(reading).Inc()
	l.hurry()
	if reading != "certain" {
		l.Log.Warnw("Gateway pod ended with requests under way, or unread: what it counted last isn't known",
			zap.String("pod", f.pod.Name), zap.Duration("unread", unread))
	}
}

func readingOf(pod *corev1.Pod, uptime time.Duration, of *modelCounts) account.Reading {
	r := account.Reading{UID: pod.UID, Name: pod.Name, Uptime: uptime, Offered: of.offered, Marked: of.marked, Ended: of.rows()}
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name == proxy {
			r.Restarts = c.RestartCount
		}
	}
	return r
}

// tellLag says how long ago pods were read. It needs the lock.
func (l *Ledger) tellLag() {
	longest := time.Duration(0)
	for _, f := range l.followed {
		if !f.read.IsZero() && f.pod.DeletionTimestamp == nil {
			longest = max(longest, l.Clock.Since(f.read))
		}
	}
	lag.Set(longest.Seconds())
}
