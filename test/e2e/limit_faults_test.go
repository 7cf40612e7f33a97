//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/util/retry"
	"knative.dev/pkg/network"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// limiter is the name of the limiter's Deployment, component and Lease.
	limiter = "limiter"
	// takenOver bounds the time until another limiter has done what one that was killed
	// left undone: the lease of 15 s, a try every 2 s for it, and a pod's start.
	takenOver = 25 * time.Second
	// handedOver bounds it where the limiter that goes gives up its lease.
	handedOver = 8 * time.Second
	// restored bounds the wait for a Deployment to be as large as it was.
	restored = 90 * time.Second
	// istiodAway is for how long there is no istiod.
	istiodAway = 60 * time.Second
	// reconnected bounds the time from a gateway pod's reconnection to istiod to the
	// proof of its limits.
	reconnected = 5 * time.Second
	// quiet is for how long nothing is to be written.
	quiet = 20 * time.Second
	// istiodMonitoring is the port of istiod's metrics.
	istiodMonitoring = 15014
)

// A limiter that is killed while it writes, with the two seconds that a kubelet leaves
// at least, is followed by another, which finds every slot, and takes the limit to where
// it should be.
func TestLimiterKilledInMidWrite(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("m", fixed("50")))
	endpoint := s.serving("m")
	trail := s.follow("m")
	s.reach(trail, 10*time.Second, "a limit of 50/s", limitOf(50))
	before, leader := s.slots(), s.leader(t.Context())
	end := s.offer(endpoint, 200)

	// Changes come three to a burst's time; the limiter dies on the first write.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	written, err := s.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).Watch(ctx, metav1.SingleObject(metav1.ObjectMeta{
		Name: slotName(s.namespace, "m"),
	}))
	if err != nil {
		t.Fatal("watching a slot:", err)
	}
	changed := make(chan error, 1)
	go func() { changed <- s.changeLimit(ctx, "m", 40, 60) }()
	if _, err := watchtools.UntilWithoutRetry(ctx, written, func(e watch.Event) (bool, error) { return e.Type == watch.Modified, nil }); err != nil {
		t.Fatal("waiting for a write:", err)
	}
	killed := time.Now()
	if err := s.Kube.CoreV1().Pods(sluice.SystemNamespace).Delete(ctx, leader, metav1.DeleteOptions{GracePeriodSeconds: ptr.Int64(0)}); err != nil {
		t.Fatal("killing the limiter:", err)
	}
	if err := <-changed; err != nil {
		t.Fatal(err)
	}
	s.reach(trail, takenOver, "the last limit", limitOf(60))
	took := time.Since(killed)
	s.scaled(sluice.SystemNamespace, limiter, 1)
	if now := s.slots(); !maps.Equal(now, before) {
		t.Errorf("slots are %v, were %v", now, before)
	}
	report := end()
	t.Logf("killed %s; the last limit was proved %.1f s later by %s; all %d slots are those from before", leader, took.Seconds(), s.leader(t.Context()), len(before))
	s.bounded(report, 60, 1)
}

// A limiter whose lease is somebody else's ends at once, whatever it is writing. That
// one never writes: the lease runs out, and the limit gets to where it should be.
func TestLimiterLosesItsLease(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("m", fixed("40")))
	endpoint := s.serving("m")
	trail := s.follow("m")
	s.reach(trail, 10*time.Second, "a limit of 40/s", limitOf(40))
	before, leader := s.slots(), s.leader(t.Context())
	end := s.offer(endpoint, 300)

	if err := s.takeLease(t.Context(), "nobody"); err != nil {
		t.Fatal("taking the limiter's lease:", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	changed := make(chan error, 1)
	go func() { changed <- s.changeLimit(ctx, "m", 40, 300) }() // until it is stopped
	began := time.Now()
	took := s.until(20*time.Second, "the limiter to end", func(ctx context.Context) (string, error) {
		pod, err := s.Kube.CoreV1().Pods(sluice.SystemNamespace).Get(ctx, leader, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		for _, c := range pod.Status.ContainerStatuses {
			if c.State.Running == nil || c.State.Running.StartedAt.After(began) {
				return "", nil
			}
		}
		return "it runs", nil
	})
	stop()
	if err := <-changed; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	ended := time.Now()
	// Another pod starts at once, however often this one has ended lately. Its container may be
	// starting again just now, and take no notice of being told to end: it would lead, and be killed
	// half a minute later with the lease in its hands.
	if err := s.Kube.CoreV1().Pods(sluice.SystemNamespace).Delete(t.Context(), leader, metav1.DeleteOptions{GracePeriodSeconds: ptr.Int64(1)}); err != nil {
		t.Fatal("deleting the limiter that ended:", err)
	}
	s.patch("m", `{"spec": {"limit": {"requestsPerSecondPerReplica": "30"}}}`)
	s.reach(trail, takenOver, "the last limit", limitOf(30))
	if now := s.slots(); !maps.Equal(now, before) {
		t.Errorf("slots are %v, were %v", now, before)
	}
	t.Logf("the limiter ended %.1f s after its lease was taken; the last limit was proved %.1f s later by %s",
		took.Seconds(), time.Since(ended).Seconds(), s.leader(t.Context()))
	s.bounded(end(), 40+10*(took.Seconds()+1), 1)
}

// Of a demand of seven tenths of the limit, all of it at the cluster-local entry, none is
// refused while the limiter is replaced: the next one goes on with the shares of the last.
func TestNextLimiterKeepsTheShares(t *testing.T) {
	const limit, rate, after = 100, 70, 5 * time.Second
	s := newStage(t)
	s.create(s.ranker("m", fixed("100")))
	s.serving("m")
	s.reach(s.follow("m"), 10*time.Second, "the limit", limitOf(limit))
	local := platform.Endpoint{Address: s.localAddress(gateway.Shared), Host: network.GetServiceHostname("m", s.namespace)}
	began, end := time.Now(), s.offer(local, rate)

	slots := s.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace)
	s.until(20*time.Second, "most of the limit at the cluster-local entry", func(ctx context.Context) (string, error) {
		slot, err := slots.Get(ctx, slotName(s.namespace, "m"), metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		told, err := resources.SharesIn(slot)
		if err != nil {
			return "", err
		}
		shares := told.Of(gateway.VirtualServiceName(s.namespace, "m"))
		// Well more than is offered. How much more goes by what the limiter saw of it first.
		if len(shares) == 0 || shares[len(shares)-1] < 750 {
			return fmt.Sprint("shares are ", shares), nil
		}
		return "", nil
	})
	from := int(time.Since(began)/time.Second) + 2
	s.until(10*time.Second, "some time with these shares", func(context.Context) (string, error) {
		if left := time.Until(began.Add(time.Duration(from) * time.Second)); left > 0 {
			return left.String(), nil
		}
		return "", nil
	})
	leader := s.leader(t.Context())
	if err := s.Kube.CoreV1().Pods(sluice.SystemNamespace).Delete(t.Context(), leader, metav1.DeleteOptions{}); err != nil {
		t.Fatal("deleting the limiter:", err)
	}
	var leads time.Time
	s.until(takenOver+after, "another limiter to lead for a while", func(ctx context.Context) (string, error) {
		now := s.leader(ctx)
		if now == leader || now == "" {
			return "nobody leads", nil
		}
		if leads.IsZero() {
			leads = time.Now()
		}
		if left := after - time.Since(leads); left > 0 {
			return left.String(), nil
		}
		return "", nil
	})
	report := end()
	s.noneFailed(report)
	sum := load.Sum(report.Seconds[from : len(report.Seconds)-1])
	t.Logf("%d of %d refused from second %d on; another limiter led in second %.0f", sum.Limited, sum.Offered, from, leads.Sub(began).Seconds())
	if most := sum.Offered / 50; sum.Limited > most { // the load isn't quite even
		t.Errorf("%d of %d refused while the limiter was replaced, want at most %d", sum.Limited, sum.Offered, most)
		for _, second := range report.Seconds[from:] {
			t.Logf("second %d: %d offered, %d refused", second.Index, second.Offered, second.Limited)
		}
	}
}

// takeLease makes somebody else the leader.
func (s *stage) takeLease(ctx context.Context, by string) error {
	leases := s.Kube.CoordinationV1().Leases(sluice.SystemNamespace)
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		lease, err := leases.Get(ctx, limiter, metav1.GetOptions{})
		if err != nil {
			return err
		}
		now := metav1.NowMicro()
		lease.Spec.HolderIdentity, lease.Spec.AcquireTime, lease.Spec.RenewTime = &by, &now, &now
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		return err
	})
}

// limitOf is met by a limit in force.
func limitOf(rate float64) func(platform.Moment) bool {
	return func(m platform.Moment) bool { return m.Limit == rate }
}

// changeLimit takes a fixed limit from one rate to another, ten times a second.
func (s *stage) changeLimit(ctx context.Context, model string, from, to int) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for rate := from; rate <= to; rate++ {
		merge := fmt.Sprintf(`{"spec": {"limit": {"requestsPerSecondPerReplica": "%d"}}}`, rate)
		if _, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Patch(ctx, model, types.MergePatchType, []byte(merge), metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("changing a limit: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// slots are the shared gateway's, by name: their identities.
func (s *stage) slots() map[string]types.UID {
	s.Helper()
	list, err := s.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).List(s.Context(), metav1.ListOptions{})
	if err != nil {
		s.Fatal("listing slots:", err)
	}
	names := map[string]bool{}
	for i := range gateway.DefaultSlots {
		names[gateway.SlotObjectName(gateway.Shared, gateway.DefaultSlots, i)] = true
	}
	slots := map[string]types.UID{}
	for _, f := range list.Items {
		if names[f.Name] {
			slots[f.Name] = f.UID
		}
	}
	if len(slots) != len(names) {
		s.Errorf("there are %d slots, want %d", len(slots), len(names))
	}
	return slots
}

// leader is the limiter's pod that writes.
func (s *stage) leader(ctx context.Context) string {
	s.Helper()
	lease, err := s.Kube.CoordinationV1().Leases(sluice.SystemNamespace).Get(ctx, limiter, metav1.GetOptions{})
	if err != nil {
		s.Fatal("getting the limiter's lease:", err)
	}
	return ptr.StringValue(lease.Spec.HolderIdentity)
}

// offer begins a load; what it returns ends it.
func (s *stage) offer(endpoint platform.Endpoint, rate float64, connections ...load.Connection) (end func() *load.Report) {
	s.Helper()
	const most = 4 * time.Minute
	p := plan(endpoint, load.Schedule{load.Hold(rate, most)})
	p.Bounds.Requests, p.Connections = p.Schedule.Requests(), connections
	return s.begin(p)
}

// begin runs a plan until the returned function is called, which says what became of
// it.
func (s *stage) begin(p load.Plan) (end func() *load.Report) {
	s.Helper()
	stop, done := make(chan struct{}), make(chan *load.Report, 1)
	p.Stop = stop
	go func() {
		report, err := p.Run(s.Context())
		if err != nil {
			s.Error(err)
		}
		done <- report
	}()
	return func() *load.Report {
		s.Helper()
		close(stop)
		report := <-done
		if report == nil {
			s.FailNow()
		}
		return report
	}
}

// bounded checks that only 2xx and 429 were answered, and that in no second so many
// gateway pods admitted more than the limit, each bucket's burst, and what refills by
// changes in every burst of writes give away. It goes by what was sent and answered
// within a second: after a stall of whatever is behind the gateway, answers come in a
// bunch, for which no limit is to blame.
func (s *stage) bounded(report *load.Report, limit float64, pods int) {
	s.Helper()
	s.noneFailed(report)
	const writesASecond, burst = 3.4, 0.1
	most := float64(pods) * (limit*(1+burst*writesASecond) + 4)
	worst, offered := 0, 0
	for _, second := range report.Seconds {
		worst, offered = max(worst, second.Within), max(offered, second.Offered)
	}
	s.Logf("%d of %d admitted in %d s, at most %d in a second; the bound is %.0f, %d were offered",
		report.Total.Admitted, report.Total.Offered, len(report.Seconds), worst, most, offered)
	if float64(worst) <= most {
		return
	}
	s.Errorf("%d admitted within a second, want at most %.0f", worst, most)
	for _, second := range report.Seconds {
		s.Logf("second %d: %d offered, %d admitted, %d of them sent in it too, p99 %v", second.Index, second.Offered, second.Admitted, second.Within, second.P99)
	}
}

// scale makes a Deployment of a size, waits until it is, and undoes it when the test
// ends.
func (s *stage) scale(namespace, deployment string, to int32) {
	s.Helper()
	from := s.resize(s.Context(), namespace, deployment, to)
	s.Cleanup(func() {
		s.resize(context.Background(), namespace, deployment, from)
		if err := platform.Until(context.Background(), restored, deployment+" to be as it was", s.sized(namespace, deployment, from)); err != nil {
			s.Error(err)
		}
	})
	s.scaled(namespace, deployment, to)
}

func (s *stage) resize(ctx context.Context, namespace, deployment string, to int32) (from int32) {
	s.Helper()
	deployments := s.Kube.AppsV1().Deployments(namespace)
	size, err := deployments.GetScale(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		s.Fatalf("getting the size of Deployment %s/%s: %v", namespace, deployment, err)
	}
	from = size.Spec.Replicas
	merge := fmt.Sprintf(`{"spec": {"replicas": %d}}`, to)
	if _, err := deployments.Patch(ctx, deployment, types.MergePatchType, []byte(merge), metav1.PatchOptions{}, "scale"); err != nil {
		s.Fatalf("scaling Deployment %s/%s: %v", namespace, deployment, err)
	}
	return from
}

// scaled waits until a Deployment has so many pods, all ready, and none that ends.
func (s *stage) scaled(namespace, deployment string, to int32) {
	s.Helper()
	s.until(restored, fmt.Sprintf("%d pods of %s", to, deployment), s.sized(namespace, deployment, to))
}

func (s *stage) sized(namespace, deployment string, to int32) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		d, err := s.Kube.AppsV1().Deployments(namespace).Get(ctx, deployment, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		pods, err := s.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
		if err != nil {
			return "", err
		}
		if d.Status.ReadyReplicas != to || len(pods.Items) != int(to) {
			return fmt.Sprintf("%d pods, %d ready", len(pods.Items), d.Status.ReadyReplicas), nil
		}
		return "", nil
	}
}

// Of two limiters one writes: at a steady demand neither writes anything, and nothing
// is written against each other's will. When the leader goes, the other goes on.
func TestTwoLimitersDoNotFight(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("m", fixed("50")))
	endpoint := s.serving("m")
	trail := s.follow("m")
	s.scale(sluice.SystemNamespace, limiter, 2)
	s.reach(trail, 10*time.Second, "a limit of 50/s", limitOf(50))
	end := s.offer(endpoint, 100)

	// The shares follow the new demand first.
	var written map[string]float64
	since := time.Now()
	s.until(time.Minute, "nothing to be written for "+quiet.String(), func(ctx context.Context) (string, error) {
		now, err := s.counters(ctx, limiter, "sluice_limit_slot_writes_total")
		if err != nil {
			return "", err
		}
		if !maps.Equal(now, written) {
			written, since = now, time.Now()
		}
		if left := quiet - time.Since(since); left > 0 {
			return fmt.Sprintf("%v, for %.0f s more", written, left.Seconds()), nil
		}
		return "", nil
	})
	limit := s.rateLimit("m")
	first := since.Sub(trail.Since(time.Time{})[0].At)
	t.Logf("no slot was written for %v at 100/s under a limit of 50/s, from %.1f s after the start on; since the limiters started: %v", quiet, first.Seconds(), written)
	if written["conflict"]+written["failed"] > 0 {
		t.Errorf("writes of slots: %v, want no conflict and no failure", written)
	}
	if at := limit.Status.Limit.Since; at == nil || at.After(since) {
		t.Errorf("the status was written meanwhile: %+v", limit.Status.Limit)
	}

	var leader string
	s.until(readyWithin, "a limiter that is there to lead", func(ctx context.Context) (string, error) {
		leader = s.leader(ctx) // it may be one that a test before has ended
		_, err := s.Kube.CoreV1().Pods(sluice.SystemNamespace).Get(ctx, leader, metav1.GetOptions{})
		if apierrs.IsNotFound(err) {
			return leader + " is gone", nil
		}
		return "", err
	})
	began := time.Now()
	if err := s.Kube.CoreV1().Pods(sluice.SystemNamespace).Delete(t.Context(), leader, metav1.DeleteOptions{}); err != nil {
		t.Fatal("deleting the leader:", err)
	}
	s.patch("m", `{"spec": {"limit": {"requestsPerSecondPerReplica": "40"}}}`)
	s.reach(trail, handedOver, "the standby's limit", limitOf(40))
	t.Logf("%s was deleted; the next limit was proved after %.1f s", leader, time.Since(began).Seconds())
	s.until(handedOver, "another limiter to lead", func(ctx context.Context) (string, error) {
		if s.leader(ctx) == leader {
			return leader + " does still", nil
		}
		return "", nil
	})
	s.scaled(sluice.SystemNamespace, limiter, 2)
	now, err := s.counters(t.Context(), limiter, "sluice_limit_slot_writes_total")
	if err != nil {
		t.Fatal(err)
	}
	if now["conflict"] > 0 {
		t.Errorf("writes of slots: %v, want no conflict", now)
	}
	s.bounded(end(), 50, 1)
}

// counters are a component's, summed over its pods, by outcome.
func (s *stage) counters(ctx context.Context, component, name string) (map[string]float64, error) {
	return s.Outcomes(ctx, component, name)
}

// rateLimit is a Model's.
func (s *stage) rateLimit(model string) *v1alpha1.RateLimit {
	s.Helper()
	got, err := s.Sluice.SluiceV1alpha1().RateLimits(s.namespace).Get(s.Context(), model, metav1.GetOptions{})
	if err != nil {
		s.Fatal("getting a RateLimit:", err)
	}
	return got
}

// A gateway's pods are replaced under a load of four times the limit, which comes over
// new connections: a new pod enforces the limit from its first request on, and becomes
// ready without a limiter, too.
func TestNewGatewayPodsAreLimited(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("m", fixed("50")))
	endpoint := s.serving("m")
	trail := s.follow("m")
	for _, running := range []int32{1, 0} {
		t.Run(fmt.Sprintf("%dLimiters", running), func(t *testing.T) {
			s := s.in(t)
			s.reach(trail, 30*time.Second, "a limit of 50/s", limitOf(50))
			s.scale(sluice.SystemNamespace, limiter, running)
			pods := len(s.podNames(gateway.Namespace, gateway.LabelKey+"="+gateway.Shared))
			end := s.offer(endpoint, 200, load.Fresh)
			s.restartGateway(gateway.Shared)
			// While both serve, each pod has what one of those before had.
			s.bounded(end(), 50, pods+1)
		})
	}
}

// in is the stage for a subtest.
func (s *stage) in(t *testing.T) *stage {
	of := *s
	of.T = t
	return &of
}

// While istiod is away no gateway gets a new limit: they keep the last one, and the
// status says that it is stale, and where. Once istiod is there again they get it.
func TestIstiodAway(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("m", fixed("40")))
	endpoint := s.serving("m")
	trail := s.follow("m")
	s.reach(trail, 10*time.Second, "a limit of 40/s", limitOf(40))
	pods := s.podNames(gateway.Namespace, gateway.LabelKey+"="+gateway.Shared)
	end := s.offer(endpoint, 160)

	istiod := s.in(t)
	istiod.scale(istioNamespace, "istiod", 0)
	away := time.Now()
	s.replicas("m", 2)
	s.until(30*time.Second, "the second replica", func(context.Context) (string, error) {
		if now := trail.Now(); now.Ready() != 2 {
			return now.String(), nil
		}
		return "", nil
	})
	took := s.until(10*time.Second, "the status to say that the limit is stale", func(ctx context.Context) (string, error) {
		return s.stale(ctx, "m", pods)
	})
	t.Logf("%.1f s after the second replica: %s", took.Seconds(), s.rateLimit("m").Status.GetCondition(v1alpha1.RateLimitConditionProved).GetMessage())
	s.until(2*istiodAway, "the time without istiod", func(ctx context.Context) (string, error) {
		if what, err := s.stale(ctx, "m", pods); err != nil || what != "" {
			return "", fmt.Errorf("while istiod is away: %s, %w", what, err)
		}
		if left := istiodAway - time.Since(away); left > 0 {
			return fmt.Sprintf("%.0f s are left", left.Seconds()), nil
		}
		return "", nil
	})
	kept := end()
	s.bounded(kept, 40, len(pods))
	if sum := load.Sum(kept.Seconds[settle : len(kept.Seconds)-1]); float64(sum.Admitted) < 0.9*40*float64(sum.Index) {
		t.Errorf("%d admitted in %d s, want about 40/s", sum.Admitted, sum.Index)
	}

	s.resize(t.Context(), istioNamespace, "istiod", 1)
	s.until(2*time.Minute, "the gateway's pods to be connected to istiod", func(ctx context.Context) (string, error) {
		return s.connected(ctx, len(s.podNames(gateway.Namespace, gateway.LabelKey)))
	})
	back := time.Now()
	s.reach(trail, reconnected, "the limit of two replicas", limitOf(80))
	t.Logf("%.1f s after their reconnection all %d gateway pods had the limit; istiod was away for %.0f s",
		time.Since(back).Seconds(), len(pods), back.Sub(away).Seconds())
}

// replicas has a Model run so many, at most and at least.
func (s *stage) replicas(model string, n int) {
	s.Helper()
	s.patch(model, fmt.Sprintf(`{"spec": {"autoscaling": {"minReplicas": %d, "maxReplicas": %d}}}`, n, n))
}

// stale says what a Model's status doesn't say of a limit that no pod enforces.
func (s *stage) stale(ctx context.Context, model string, pods []string) (string, error) {
	limit, err := s.Sluice.SluiceV1alpha1().RateLimits(s.namespace).Get(ctx, model, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	proved := limit.Status.GetCondition(v1alpha1.RateLimitConditionProved)
	for _, pod := range pods {
		if !proved.IsFalse() || !strings.Contains(proved.GetMessage(), pod) {
			return fmt.Sprintf("Proved is %+v", proved), nil
		}
	}
	m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, model, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if limited := m.Status.GetCondition(v1alpha1.ModelConditionLimited); limited.IsTrue() {
		return fmt.Sprintf("Limited is %+v", limited), nil
	}
	return "", nil
}

// connected says that istiod serves fewer proxies than there are.
func (s *stage) connected(ctx context.Context, proxies int) (string, error) {
	pods, err := s.Kube.CoreV1().Pods(istioNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=istiod"})
	if err != nil {
		return "", err
	}
	served := 0.0
	for i := range pods.Items {
		families, err := s.Metrics(ctx, &pods.Items[i], istiodMonitoring)
		if err != nil {
			return err.Error(), nil //nolint:nilerr // it doesn't serve yet
		}
		for _, m := range families["pilot_xds"].GetMetric() {
			served += m.GetGauge().GetValue()
		}
	}
	if int(served) < proxies {
		return fmt.Sprintf("%g of %d are", served, proxies), nil
	}
	return "", nil
}
