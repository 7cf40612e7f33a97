package account

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// slack is how far two clocks may be from each other that tell how long an Envoy has run.
const slack = 5 * time.Second

// Reading is what a gateway pod says that it counted of one Model, since its Envoy began.
type Reading struct {
	UID  types.UID
	Name string
	// Uptime is how long its Envoy has run, Restarts how often its container was started again, as far
	// as that is known by now.
	Uptime   time.Duration
	Restarts int32
	// Offered have arrived, Marked of them with the mark of a batch.
	Offered, Marked int64
	// Ended by revision, "" where none was chosen.
	Ended []v1alpha1.RevisionRequests
}

// activity are a Model's requests since its replicas were accounted.
type activity struct {
	ended           map[string]bool
	marked, arrived int64
}

// Gateway counts what a gateway pod has counted beyond what was taken over. A pod that wasn't seen
// before has counted all of it for us.
func (b *Book) Gateway(now time.Time, r Reading) {
	account := b.accountOf(r)
	if account == nil {
		if r.Offered == 0 && len(r.Ended) == 0 {
			return
		}
		b.status.Accounted.Gateways = append(b.status.Accounted.Gateways, v1alpha1.GatewayPodAccount{UID: r.UID, Name: r.Name})
		account = &b.status.Accounted.Gateways[len(b.status.Accounted.Gateways)-1]
	} else if b.restarted(now, account, r) {
		// What it counted after it was read last is gone with it.
		if lost := underWay(account); lost > 0 {
			b.missed(now, v1alpha1.UsageUncertain{GatewayPods: 1, Requests: lost})
		}
		*account = v1alpha1.GatewayPodAccount{UID: r.UID, Name: r.Name}
	}
	arrived, marked := r.Offered-account.Offered, r.Marked-account.Marked
	b.activity.arrived += arrived
	b.activity.marked += marked
	before := account.Revisions
	ended := b.grouped(r.Ended)
	account.UptimeSeconds, account.Restarts = int64(r.Uptime/time.Second), max(account.Restarts, r.Restarts)
	account.At = metav1.NewMicroTime(now)
	account.Offered, account.Marked, account.Revisions = r.Offered, r.Marked, ended
	b.add(now, v1alpha1.RevisionUsage{}, marked)
	for _, row := range ended {
		came := row.Minus(countOf(before, row.Revision))
		if came == (v1alpha1.UsageRequests{}) {
			continue
		}
		b.activity.ended[row.Revision], b.fresh[r.UID] = true, true
		b.add(now, v1alpha1.RevisionUsage{Revision: b.rowOf(row.Revision), UsageSums: v1alpha1.UsageSums{Requests: came}}, 0)
	}
}

// Baseline takes over what a gateway pod counted before there was a ledger, and counts none of it.
func (b *Book) Baseline(now time.Time, r Reading) {
	if b.accountOf(r) != nil {
		return
	}
	b.status.Accounted.Gateways = append(b.status.Accounted.Gateways, v1alpha1.GatewayPodAccount{
		UID: r.UID, Name: r.Name, At: metav1.NewMicroTime(now), UptimeSeconds: int64(r.Uptime / time.Second), Restarts: r.Restarts,
		Offered: r.Offered, Marked: r.Marked, Revisions: b.grouped(r.Ended),
	})
	b.dirty = true
	b.bound()
}

// Ending has what a gateway pod counted be written at once: it can't be read again.
func (b *Book) Ending(pod types.UID) { b.urgent = b.urgent || b.fresh[pod] }

// Gone says that a gateway pod is there no more, and for how long before nobody read it. It is true if
// all was seen that the pod counted.
func (b *Book) Gone(now time.Time, pod types.UID, unread time.Duration) bool {
	at := slices.IndexFunc(b.status.Accounted.Gateways, func(g v1alpha1.GatewayPodAccount) bool { return g.UID == pod })
	if at < 0 {
		return true
	}
	missed := v1alpha1.UsageUncertain{
		Requests: underWay(&b.status.Accounted.Gateways[at]), UnreadSeconds: int64(unread / time.Second),
	}
	certain := missed == (v1alpha1.UsageUncertain{})
	if !certain {
		missed.GatewayPods = 1
	}
	b.missed(now, missed)
	b.status.Accounted.Gateways = slices.Delete(b.status.Accounted.Gateways, at, at+1)
	b.Ending(pod)
	b.dirty = true
	return certain
}

// GatewayPods are those that counted requests of the Model.
func (b *Book) GatewayPods() []types.UID {
	pods := make([]types.UID, 0, len(b.status.Accounted.Gateways))
	for _, g := range b.status.Accounted.Gateways {
		pods = append(pods, g.UID)
	}
	return pods
}

// At is when the usage was written last.
func (b *Book) At() time.Time { return b.status.Accounted.At.Time }

func (b *Book) accountOf(r Reading) *v1alpha1.GatewayPodAccount {
	for i := range b.status.Accounted.Gateways {
		if g := &b.status.Accounted.Gateways[i]; g.UID == r.UID {
			return g
		}
	}
	return nil
}

// restarted is true if a pod's Envoy isn't the one that was read: it has run for less than that one
// had, or counts less, or its container was started again and it has run for less than that one
// would have by now. Neither of the last two is enough: what is known of the container may be late,
// and clocks are put forward.
func (b *Book) restarted(now time.Time, account *v1alpha1.GatewayPodAccount, r Reading) bool {
	before := time.Duration(account.UptimeSeconds) * time.Second
	if r.Uptime < before-slack || r.Offered < account.Offered || r.Marked < account.Marked {
		return true
	}
	for _, row := range account.Revisions {
		if countOf(b.grouped(r.Ended), row.Revision).Below(row.UsageRequests) {
			return true
		}
	}
	would := before + now.Sub(account.At.Time)
	return r.Restarts > account.Restarts && r.Uptime < would-slack
}

func countOf(of []v1alpha1.RevisionRequests, revision string) v1alpha1.UsageRequests {
	for _, r := range of {
		if r.Revision == revision {
			return r.UsageRequests
		}
	}
	return v1alpha1.UsageRequests{}
}

// underWay are the requests that had arrived and not ended when a pod was read last.
func underWay(account *v1alpha1.GatewayPodAccount) int64 {
	ended := int64(0)
	for _, row := range account.Revisions {
		ended += row.Ended
	}
	return max(0, account.Offered-ended)
}
