package usage

import (
	"context"
	"net"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/usage/account"
	"sluice.dev/sluice/functions/usage/split"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/warmup"
)

// judgeEvery is how often all replicas are accounted; those that end are as often as is looked.
const judgeEvery = 5 * time.Second

func warmAddress(ip string) string { return net.JoinHostPort(ip, strconv.Itoa(warmup.Port)) }

// followReplicas accounts what Models' pods use.
func (l *Ledger) followReplicas(ctx context.Context) {
	var judged time.Time
	l.every(ctx, look, func() {
		pods, err := l.Cluster.Replicas()
		if err != nil {
			l.Log.Errorw("Models' pods not listed", zap.Error(err))
			return
		}
		l.note(ctx, pods)
		all := l.Clock.Since(judged) >= judgeEvery
		if all {
			judged = l.Clock.Now()
		}
		l.judge(ctx, pods, all)
		l.forget(pods)
	})
}

// note keeps how replicas came along. Those that are on their way are asked for their warm-up.
func (l *Ledger) note(ctx context.Context, pods []*corev1.Pod) {
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for _, pod := range pods {
		if pod.Spec.NodeName == "" {
			continue
		}
		group.Go(func() error {
			var t told
			if l.asks(pod) {
				t = l.ask(ctx, pod)
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			s := l.replicas[pod.UID]
			if s == nil {
				s = &seen{model: modelOf(pod)}
				l.replicas[pod.UID] = s
			}
			s.pod, s.changes = pod, noted(s.changes, pod, t, l.Clock.Now())
			return nil
		})
	}
	_ = group.Wait() // what can't be asked isn't known
}

// asks is true of a replica whose warm-up may have something new to say.
func (l *Ledger) asks(pod *corev1.Pod) bool {
	if pod.Status.PodIP == "" || pod.DeletionTimestamp != nil || !warms(pod) {
		return false
	}
	ready, _ := readiness(pod)
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.replicas[pod.UID]
	return !ready || s == nil || len(s.changes) == 0 || s.changes[len(s.changes)-1].Phase == split.ColdStart
}

func warms(pod *corev1.Pod) bool {
	for _, c := range pod.Spec.Containers {
		if c.Name == warmup.ContainerName {
			return true
		}
	}
	return false
}

func (l *Ledger) ask(ctx context.Context, pod *corev1.Pod) told {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	status, err := l.warm(ctx, pod.Status.PodIP)
	if err != nil {
		return told{}
	}
	t := told{state: status.State}
	if lasted := status.Seconds; status.State.Ended() && lasted > 0 && lasted < (24*time.Hour).Seconds() {
		t.lasted = time.Duration(lasted * float64(time.Second))
	}
	return t
}

// judge accounts all replicas, or those that end.
//
//nolint:revive // two rounds of the same, at two paces
func (l *Ledger) judge(ctx context.Context, pods []*corev1.Pod, all bool) {
	at := map[string][]*corev1.Pod{}
	for _, pod := range pods {
		if pod.Spec.NodeName != "" && !over(pod) && (all || pod.DeletionTimestamp != nil) {
			at[pod.Spec.NodeName] = append(at[pod.Spec.NodeName], pod)
		}
	}
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for node, on := range at {
		group.Go(func() error {
			l.judgeOn(ctx, node, on)
			return nil
		})
	}
	_ = group.Wait() // a node that isn't read is next time, with what came by then
	if !all {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.books {
		k.book.Judged()
	}
}

func (l *Ledger) judgeOn(ctx context.Context, name string, pods []*corev1.Pod) {
	replicas, err := l.readNode(ctx, name, pods)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		readings.WithLabelValues("node", "failed").Inc()
		l.Log.Warnw("Node's resources not read; what its pods use is seen once they can be again", zap.String("node", name), zap.Error(err))
		return
	}
	readings.WithLabelValues("node", "read").Inc()
	l.mu.Lock()
	defer l.mu.Unlock()
	for model, of := range replicas {
		l.of(model).Replicas(l.Clock.Now(), of)
	}
}

// readNode are the replicas on a node, by Model, as its kubelet tells of them.
func (l *Ledger) readNode(ctx context.Context, name string, pods []*corev1.Pod) (map[types.NamespacedName][]account.Replica, error) {
	node, err := l.Cluster.Node(name)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was being done
	}
	wanted := map[types.NamespacedName]bool{}
	for _, pod := range pods {
		wanted[nameOf(pod)] = true
	}
	ctx, cancel := context.WithTimeout(ctx, nodeWithin)
	defer cancel()
	used, err := l.resources(ctx, node, func(pod types.NamespacedName) bool { return wanted[pod] })
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, replicas := l.Clock.Now(), map[types.NamespacedName][]account.Replica{}
	for _, pod := range pods {
		s := l.replicas[pod.UID]
		if s == nil {
			s = &seen{model: modelOf(pod), pod: pod}
			l.replicas[pod.UID] = s
		}
		r, uses := replicaOf(pod, s.changes), used[nameOf(pod)]
		s.beyond = max(s.beyond, uses.beyond())
		r.At, r.CPU, r.Memory = now, uses.cpu(s.beyond), int64(uses.memory)
		replicas[modelOf(pod)] = append(replicas[modelOf(pod)], r)
	}
	return replicas, nil
}

// forget ends the accounts of replicas that are there no more.
func (l *Ledger) forget(pods []*corev1.Pod) {
	there := map[types.UID]bool{}
	for _, pod := range pods {
		there[pod.UID] = !over(pod)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.Clock.Now()
	for uid, s := range l.replicas {
		if !there[uid] {
			l.of(s.model).Ended(now, replicaOf(s.pod, s.changes), ended(s.pod, now))
			delete(l.replicas, uid)
		}
	}
}

func modelOf(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Labels[sluice.ModelLabelKey]}
}

func nameOf(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}
