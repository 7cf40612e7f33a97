package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	rolloutPart = "Rollout of a changed container under 200 requests/s, two replicas"
	rolloutRate = 200
	// rolloutFrom is how many replicas there are.
	rolloutFrom = 2
	// beforeFor is how long the load is there before the change.
	beforeFor = 8 * time.Second
	// rolloutWithin bounds the rollout, and with it the load.
	rolloutWithin = 75 * time.Second
	// wholly is for how long all answers have to be the new revision's.
	wholly = 2 * time.Second
	// servedEarly is what the ranker logs.
	servedEarly = "served before the warm-up ended"
)

// measureRollout changes the container of a warmed Model under load: of the ranker as it
// is, and of the slow one, whose cold replicas would be seen for longer.
func (b *bench) measureRollout(ctx context.Context) error {
	for _, v := range variants {
		b.Sayf("rollout: %s", v.title)
		var all rolledOut
		for round := range v.rollouts {
			s := v.warm
			s.name = fmt.Sprintf("rollout-%s-%d", s.name, round)
			s.changes = append([]change{replicas(rolloutFrom), direct}, s.changes...)
			seen, err := b.rollOut(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			all.add(seen)
			// Both revisions' replicas would be kept for a while.
			if err := b.clients.Sluice.SluiceV1alpha1().Models(namespace).Delete(ctx, s.name, metav1.DeleteOptions{}); err != nil {
				return fmt.Errorf("deleting Model %s: %w", s.name, err)
			}
		}
		b.reportRollout(v, all)
	}
	return nil
}

// rolledOut is what callers and replicas saw of rollouts.
type rolledOut struct {
	offered, lost  int
	took           []float64
	before, during platform.Answers
	// unchanged are those during that the revision before gave, whose replicas are the
	// same all along.
	unchanged platform.Answers
	// fresh are answers of the new revision, early those of both that were given before
	// a warm-up had ended.
	fresh, early int
}

// add pools another rollout of the same.
func (r *rolledOut) add(other rolledOut) {
	r.offered, r.lost = r.offered+other.offered, r.lost+other.lost
	r.fresh, r.early = r.fresh+other.fresh, r.early+other.early
	r.took = append(r.took, other.took...)
	r.before, r.during = append(r.before, other.before...), append(r.during, other.during...)
	r.unchanged = append(r.unchanged, other.unchanged...)
}

func (b *bench) rollOut(ctx context.Context, s subject) (rolledOut, error) {
	endpoints, err := b.populate(ctx, s)
	if err != nil {
		return rolledOut{}, err
	}
	old, err := b.replicas(ctx, s.name, rolloutFrom)
	if err != nil {
		return rolledOut{}, err
	}
	r := rollout{bench: b, model: s.name, ledger: &platform.Ledger{}}
	stop, done := make(chan struct{}), make(chan error, 1)
	steering, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(stop)
		done <- r.steer(steering)
	}()
	got, err := b.drive(ctx, endpoints[s.name], driving{rate: rolloutRate, lasts: beforeFor + rolloutWithin, stop: stop, into: r.ledger})
	cancel() // it is over, or late
	if failed := <-done; err == nil && failed != nil {
		err = fmt.Errorf("under a load of %v: %w", beforeFor+rolloutWithin, failed)
	}
	if err != nil {
		return rolledOut{}, err
	}
	early, err := b.early(ctx, s.name, old)
	if err != nil {
		return rolledOut{}, err
	}
	seen, err := r.judge(got.Total)
	seen.early = early
	return seen, err
}

// rollout is a change under way.
type rollout struct {
	*bench
	model  string
	ledger *platform.Ledger
	// began and ended are when the change was sent and when it was wholly there, revision
	// is what it made.
	began, ended time.Time
	revision     string
}

// steer waits, changes the Model and waits for the change.
func (r *rollout) steer(ctx context.Context) error {
	if err := command.Pause(ctx, beforeFor); err != nil {
		return err
	}
	m, err := r.ready(ctx, r.model, func(*v1alpha1.Model) string { return "" })
	if err != nil {
		return err
	}
	was := m.Status.LatestReadyRevision
	setVariable(m, "RANKER_BUILD", "2")
	merge, err := json.Marshal(map[string]any{"spec": map[string]any{"container": m.Spec.Container}})
	if err != nil {
		return fmt.Errorf("writing the change: %w", err)
	}
	r.began = time.Now()
	if err := r.patch(ctx, r.model, string(merge)); err != nil {
		return err
	}
	_, err = r.ready(ctx, r.model, func(m *v1alpha1.Model) string {
		r.revision = m.Status.LatestReadyRevision
		if r.revision == was {
			return "the new revision isn't ready"
		}
		return unmoved(r.ledger.Answers(), r.revision, time.Now().Add(-wholly))
	})
	r.ended = time.Now()
	return err
}

// unmoved says which answers since a time are of another revision; there have to be
// some that aren't.
func unmoved(all platform.Answers, revision string, since time.Time) string {
	recent := all.Of(func(s platform.Served) bool { return s.Due.After(since) })
	own := recent.Of(func(s platform.Served) bool { return of(revision, s.Replica) })
	if len(own) == 0 || len(own) < len(recent) {
		return fmt.Sprintf("%d of the last %d answers are of %s", len(own), len(recent), revision)
	}
	return ""
}

// of tells whether a replica is a revision's, by its name.
func of(revision, replica string) bool { return strings.HasPrefix(replica, revision+"-deployment-") }

// judge reduces the answers; without any before or during the rollout there is nothing
// to compare.
func (r *rollout) judge(total load.Second) (rolledOut, error) {
	all := r.ledger.Answers()
	seen := rolledOut{
		offered: total.Offered, lost: lost(total), took: []float64{r.ended.Sub(r.began).Seconds()},
		before: all.Of(func(s platform.Served) bool { return s.Due.Before(r.began) }),
		during: all.Of(func(s platform.Served) bool { return !s.Due.Before(r.began) && s.Due.Before(r.ended) }),
		fresh:  len(all.Of(func(s platform.Served) bool { return of(r.revision, s.Replica) })),
	}
	seen.unchanged = seen.during.Of(func(s platform.Served) bool { return !of(r.revision, s.Replica) })
	if len(seen.before) == 0 || len(seen.during) == 0 {
		return seen, fmt.Errorf("%d answers before the rollout, %d during", len(seen.before), len(seen.during))
	}
	return seen, nil
}

// early sums up, over all replicas of a Model that there are, the requests served before
// a warm-up had ended: as they tell it, and where they don't any more, as they have
// logged it. One of those that were there before may be gone.
func (b *bench) early(ctx context.Context, model string, old []corev1.Pod) (int, error) {
	pods, err := b.pods(ctx, model)
	if err != nil {
		return 0, err
	}
	sum, before := 0, names(old)
	for _, pod := range pods {
		n, err := b.earlyOf(ctx, pod.Name)
		if err != nil && !before[pod.Name] {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func (b *bench) earlyOf(ctx context.Context, pod string) (int, error) {
	log, logErr := b.clients.Kube.CoreV1().Pods(namespace).
		GetLogs(pod, &corev1.PodLogOptions{Container: "user-container"}).DoRaw(ctx)
	logged := loggedEarly(log)
	data, err := b.clients.Kube.CoreV1().Pods(namespace).ProxyGet("http", pod, rankerPort, "/v2/warmth", nil).DoRaw(ctx)
	if err != nil {
		// It is ending, and its log is what is left of it.
		return logged, logErr
	}
	var told warmth
	if err := json.Unmarshal(data, &told); err != nil {
		return 0, fmt.Errorf("reading the warmth of %s: %w", pod, err)
	}
	if told.WarmUp == 0 {
		return 0, fmt.Errorf("%s was not warmed up: no request of its container %s came", pod, warmup.ContainerName)
	}
	return max(logged, told.Early), nil
}

// rankerPort is where the model itself listens, past the queue-proxy.
const rankerPort = "8080"

// warmth is what the ranker tells of the requests that it got.
type warmth struct {
	WarmUp int `json:"warmUp"`
	Early  int `json:"early"`
}

// loggedEarly is the last count of early requests in a ranker's log.
func loggedEarly(log []byte) int {
	count := 0
	for line := range bytes.Lines(log) {
		var entry struct {
			Message  string `json:"msg"`
			Requests int    `json:"requests"`
		}
		if json.Unmarshal(line, &entry) == nil && entry.Message == servedEarly {
			count = max(count, entry.Requests)
		}
	}
	return count
}

func (b *bench) reportRollout(v variant, seen rolledOut) {
	part := rolloutPart + ": " + v.title
	b.report.Add(part,
		report.Value("requests not answered with 2xx", float64(seen.lost), "").Within(report.AtMost, 0),
		report.Value("requests served before the warm-up ended", float64(seen.early), "").Within(report.AtMost, 0),
		v.rolloutBound(report.Value("p99 during / before", ratio(seen.during, seen.before), "×")),
		report.Value("p99 before", milliseconds(seen.before.Latency(0.99)), "ms"),
		report.Value("p99 during", milliseconds(seen.during.Latency(0.99)), "ms"),
		report.Value("p99 during, of the replicas that were there before", milliseconds(seen.unchanged.Latency(0.99)), "ms"),
		report.Value("max before", milliseconds(seen.before.Latency(1)), "ms"),
		report.Value("max during", milliseconds(seen.during.Latency(1)), "ms"),
		report.Value("requests", float64(seen.offered), ""),
		report.Value("of which the new revision served", float64(seen.fresh), ""),
		report.Median("from the change to all requests at the new revision", stats.Summarize(seen.took), "s"),
	)
}
