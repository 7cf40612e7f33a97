package account

import (
	"cmp"
	"math"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/usage/split"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// memoryStands is for how long a replica's memory is taken to have been what it is: what it was
// before, while nobody read it, isn't known.
const memoryStands = time.Minute

// Replica is what is known of a pod of the Model at a time.
type Replica struct {
	UID            types.UID
	Name, Revision string
	// Began is when it got its node, At up to when it is known.
	Began, At time.Time
	// CPU is what it has used since then, in thousandths of a second; Memory its working set in bytes.
	// Both are 0 where nothing of it runs.
	CPU    v1alpha1.Amount
	Memory int64
	// Devices are the units that it requested of extended resources.
	Devices map[string]int64
	// Changes of what it was at.
	Changes []split.Change
}

// Replicas counts what pods used beyond what was taken over. A pod that wasn't seen before has used
// all of it for us.
func (b *Book) Replicas(now time.Time, replicas []Replica) {
	for _, r := range replicas {
		b.replica(now, r)
	}
}

// Judged has requests be noted from now on for what replicas do next: all of them were accounted.
func (b *Book) Judged() { b.activity = activity{ended: map[string]bool{}} }

func (b *Book) replica(now time.Time, r Replica) {
	account := b.podOf(r.UID)
	if account == nil {
		b.status.Accounted.Pods = append(b.status.Accounted.Pods, v1alpha1.PodAccount{
			UID: r.UID, Name: r.Name, Revision: r.Revision, At: micro(r.Began),
		})
		account = &b.status.Accounted.Pods[len(b.status.Accounted.Pods)-1]
	}
	lasted := r.At.Truncate(time.Millisecond).Sub(account.At.Time)
	if lasted < 0 {
		return
	}
	weights := split.Over(account.At.Time, r.At, r.Changes, b.asked(r.Revision))
	ms := v1alpha1.Amount(lasted / time.Millisecond)
	sums := v1alpha1.UsageSums{ReplicaSeconds: weights.Of(ms), Devices: devices(r.Devices, ms, weights)}
	if r.CPU > account.CPUSeconds {
		sums.CPUSeconds = weights.Of(r.CPU - account.CPUSeconds)
		account.CPUSeconds = r.CPU
	}
	if r.Memory > 0 {
		known := min(lasted, memoryStands)
		sums.MemoryGiBSeconds = weights.Of(gibSeconds(r.Memory, known))
		b.missed(now, v1alpha1.UsageUncertain{UnreadSeconds: int64((lasted - known) / time.Second)})
	}
	account.At = micro(r.At)
	b.add(now, v1alpha1.RevisionUsage{Revision: b.rowOf(r.Revision), UsageSums: sums}, 0)
}

// Take takes over what a pod used before there was a ledger, and counts none of it.
func (b *Book) Take(r Replica) {
	if b.podOf(r.UID) != nil {
		return
	}
	b.status.Accounted.Pods = append(b.status.Accounted.Pods, v1alpha1.PodAccount{
		UID: r.UID, Name: r.Name, Revision: r.Revision, CPUSeconds: r.CPU, At: micro(r.At),
	})
	b.dirty = true
}

// Ended says that a pod is there no more, and when it ended; zero where nobody saw it. What CPU and
// memory it used after it was read last isn't known.
func (b *Book) Ended(now time.Time, pod Replica, at time.Time) {
	account := b.podOf(pod.UID)
	if account == nil {
		return
	}
	missed, since := v1alpha1.UsageUncertain{}, account.At.Time
	if at.IsZero() {
		missed.UnreadSeconds = int64(max(0, now.Sub(since)) / time.Second)
	} else {
		missed.UnreadSeconds = int64(max(0, at.Sub(since)) / time.Second)
		pod.At, pod.CPU, pod.Memory = at, 0, 0
		b.replica(now, pod)
	}
	b.missed(now, missed)
	b.status.Accounted.Pods = slices.DeleteFunc(b.status.Accounted.Pods, func(p v1alpha1.PodAccount) bool { return p.UID == pod.UID })
	b.dirty = true
}

// Pods are those of the Model that were accounted.
func (b *Book) Pods() []types.UID {
	pods := make([]types.UID, 0, len(b.status.Accounted.Pods))
	for _, p := range b.status.Accounted.Pods {
		pods = append(pods, p.UID)
	}
	return pods
}

func (b *Book) podOf(uid types.UID) *v1alpha1.PodAccount {
	for i := range b.status.Accounted.Pods {
		if p := &b.status.Accounted.Pods[i]; p.UID == uid {
			return p
		}
	}
	return nil
}

// asked are a revision's requests since replicas were accounted. What is under way is known of the
// Model alone: it is taken to be any revision's.
func (b *Book) asked(revision string) split.Asked {
	some := b.activity.ended[b.rowOf(revision)]
	for i := range b.status.Accounted.Gateways {
		some = some || underWay(&b.status.Accounted.Gateways[i]) > 0
	}
	return split.Asked{Any: some, Marked: b.activity.marked, Arrived: b.activity.arrived}
}

func devices(units map[string]int64, ms v1alpha1.Amount, weights split.Weights) []v1alpha1.DeviceUsage {
	var used []v1alpha1.DeviceUsage
	for name, n := range units {
		if n > 0 && ms > 0 {
			used = append(used, v1alpha1.DeviceUsage{Resource: name, Seconds: weights.Of(v1alpha1.Amount(n) * ms)})
		}
	}
	slices.SortFunc(used, func(a, b v1alpha1.DeviceUsage) int { return cmp.Compare(a.Resource, b.Resource) })
	return used
}

// gibSeconds are thousandths of a GiB times seconds, to the nearest.
func gibSeconds(bytes int64, lasted time.Duration) v1alpha1.Amount {
	return v1alpha1.Amount(math.Round(float64(bytes) / (1 << 30) * float64(lasted/time.Millisecond)))
}

func micro(t time.Time) metav1.MicroTime {
	return metav1.NewMicroTime(t.UTC().Truncate(time.Millisecond))
}
