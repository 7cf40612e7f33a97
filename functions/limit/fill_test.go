package limit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/networking/pkg/apis/networking"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// etcdTakes is the largest request that etcd takes as it comes.
const etcdTakes = 3 << 19

// crowd is the shared gateway, with that many slots, and Models of names of that length,
// the eldest first. If tagged, each has two revisions, one by a tag alone.
func crowd(models, nameLength, slots int, tagged bool) *state {
	s := &state{
		replicas: map[string][]capacity.Replicas{}, pods: map[string][]Pod{gateway.Shared: {{Slots: slots}}},
		counts: map[string]sets.Set[int]{gateway.Shared: sets.New(slots)},
	}
	s.routing = newRouting([]*istiov1.Gateway{istioGatewayOf(gateway.Shared, gateway.Shared, gateway.External, "./*")}, nil)
	for i := range models {
		name := fmt.Sprintf("m%0*d", nameLength-1, i)
		l := rateLimit(name)
		l.Namespace = fmt.Sprintf("t%0*d", nameLength-1, i%100)
		l.Spec.VirtualService = gateway.VirtualServiceName(l.Namespace, name)
		l.CreationTimestamp = metav1.Time{Time: time.Unix(int64(i), 0)}
		l.Spec.Traffic = nil
		for r := range 2 {
			revision := fmt.Sprintf("%s-%05d", name[:min(len(name), 57)], r)
			l.Spec.Traffic = append(l.Spec.Traffic, v1alpha1.RevisionTraffic{Revision: revision, Percent: int32(100 * r), Tagged: tagged})
			s.replicas[key(l)] = append(s.replicas[key(l)], capacity.Replicas{
				Revision: revision, Protocol: networking.ProtocolHTTP1, Percent: int32(100 * r), Ready: int32(1 + 8*r), Desired: int32(1 + 8*r),
			})
			if !tagged {
				l.Spec.Traffic, s.replicas[key(l)] = l.Spec.Traffic[r:], s.replicas[key(l)][r:]
			}
		}
		s.limits = append(s.limits, l)
	}
	return s
}

// passed are the plans of a pass, and how many bytes the fullest slot has as JSON.
func passed(t *testing.T, s *state, before []plan) (plans []plan, largest int) {
	t.Helper()
	f := New()
	f.Demand = arriving{1, 0, 1}
	plans = decide(s, before)
	f.divide(s, plans)
	fullest := slices.MaxFunc(f.slotsOf(s, plans, strings.Repeat("t", 32)), func(a, b resources.Slot) int { return cmp.Compare(a.Claimed, b.Claimed) })
	filter, _, err := fullest.EnvoyFilter()
	if err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(filter)
	if err != nil {
		t.Fatal(err)
	}
	return plans, len(content)
}

// Thousands of Models of one gateway have room, at Sluice's own number of slots or at
// what a gateway grows to, and with the longest names at the latter.
func TestThousandsOfModelsFit(t *testing.T) {
	for name, tt := range map[string]struct {
		models, nameLength, slots int
		tagged                    bool
	}{
		"5,000":           {5000, 20, 4, false},
		"1,000 with tags": {1000, 20, 4, true},
		"5,000, longest":  {5000, 63, 8, false},
	} {
		t.Run(name, func(t *testing.T) {
			plans, largest := passed(t, crowd(tt.models, tt.nameLength, tt.slots, tt.tagged), nil)
			t.Logf("the fullest of %d slots has %d bytes", tt.slots, largest)
			if largest > etcdTakes*9/10 {
				t.Errorf("the fullest slot has %d bytes, etcd takes %d", largest, etcdTakes)
			}
			for i := range plans {
				if plans[i].err != nil || plans[i].lacksRoom() {
					t.Fatalf("RateLimit %s: %v, %v", key(plans[i].of), plans[i].err, plans[i].fits)
				}
			}
		})
	}
}

// A slot that is full takes no more limits, and says so of each; those that it has stay,
// and can still change.
func TestFullSlotKeepsWhatItHas(t *testing.T) {
	s := crowd(3000, 63, 1, false)
	younger := s.limits
	s.limits = younger[1000:]
	before, size := passed(t, s, nil)
	refused := sets.New[string]()
	for i := range before {
		if p := &before[i]; p.refused() {
			refused.Insert(key(p.of))
		}
	}
	if refused.Len() == 0 || refused.Len() > 1500 {
		t.Fatalf("%d of 2000 limits have no room", refused.Len())
	}
	if size > etcdTakes*9/10 {
		t.Errorf("the slot has %d bytes, etcd takes %d", size, etcdTakes)
	}

	// Older ones come, as when a tenant moves here. They have to wait.
	s.limits = younger
	after := decide(s, before)
	for i := range after {
		p := &after[i]
		if was := refused.Has(key(p.of)) || i < 1000; p.refused() != was {
			t.Fatalf("limit %d: refused %v, want %v", i, p.refused(), was)
		}
	}
	was := &v1alpha1.RateLimitStatus{Limit: &v1alpha1.LimitStatus{ProvedGateways: []string{"other", gateway.Shared}}}
	status, _ := New().statusOf(&after[0], was, proof{})
	condition := status.GetCondition(v1alpha1.RateLimitConditionWritten)
	if !condition.IsFalse() || condition.Reason != "SlotFull" || !strings.Contains(condition.Message, "limit-slots") || isReady(status) {
		t.Errorf("its status says %+v", status.Conditions)
	}
	if got := status.Limit.ProvedGateways; !slices.Equal(got, []string{"other"}) {
		t.Errorf("it is said to be proved at %q", got)
	}
}

// A process that begins goes by what statuses say was written.
func TestFullSlotAfterARestart(t *testing.T) {
	s := crowd(2000, 63, 1, false)
	last := s.limits[len(s.limits)-1]
	last.GetConditionSet().Manage(&last.Status).MarkTrue(v1alpha1.RateLimitConditionWritten)
	plans := decide(s, nil)
	if p := &plans[len(plans)-1]; p.refused() {
		t.Errorf("a limit that was written lost its place: %v", p.fits)
	}
}
