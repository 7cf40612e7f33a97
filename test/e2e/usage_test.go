//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
)

const (
	// ledger is the name of the ledger's Deployment, component and Lease.
	ledger = "usage"
	// noted bounds the time until what was used is written: another ledger's start, a minute, and the write.
	noted = 2 * time.Minute
	// cpuWithin is how far the ledger may be from the pods' cgroups.
	cpuWithin = 0.01
	// kubeletLooks is how old what a kubelet says may be.
	kubeletLooks = 15 * time.Second
	// cgroups is where this machine's kubelet has those of pods.
	cgroups = "/sys/fs/cgroup/cpuacct/sluice-cluster/kubepods"
)

// Requests that go well, are refused and fail are counted once each, by how they ended, while a gateway
// pod goes, and limiter and ledger are killed; what the Broker is told adds up to the same, and what the
// Model's pods used is what their cgroups say.
func TestUsageAddsUp(t *testing.T) { //nolint:gocyclo // one step after the other
	s := newStage(t)
	if _, err := s.Kube.AppsV1().Deployments(sluice.SystemNamespace).Get(t.Context(), ledger, metav1.GetOptions{}); apierrs.IsNotFound(err) {
		t.Skip("there is no ledger: install with SLUICE_OBSERVABILITY=true")
	}
	s.twoGatewayPods()
	told := s.usageEvents("m")
	s.create(s.streams("m", fixed("20"), func(m *v1alpha1.Model) { m.Spec.Autoscaling.MinReplicas = ptr.Int32(1) }))
	endpoint := s.serving("m")
	s.reach(s.follow("m"), 20*time.Second, "a limit of 20/s", limitOf(20))

	var ends []func() *load.Report
	for path, rate := range map[string]float64{"/hello": 30, "/failure": 4, "/nothing": 4} {
		p := plan(endpoint, load.Schedule{load.Hold(rate, 3*time.Minute)})
		p.Target.Method, p.Target.Path, p.Target.Body, p.Target.Header = http.MethodGet, path, nil, nil
		p.Bounds.Requests, p.Lanes = p.Schedule.Requests(), 8
		ends = append(ends, s.begin(p))
	}
	s.usedFor(10 * time.Second)
	pods, err := s.gatewayPods(t.Context(), gateway.Shared)
	if err != nil || len(pods) < 2 {
		t.Fatalf("gateway pods are %v, %v", pods, err)
	}
	if by, err := s.count(t.Context(), "m"); err != nil || by[pods[0]].offered == 0 || by[pods[1]].offered == 0 {
		t.Fatalf("gateway pods counted %+v, %v: all were meant to", by, err)
	}
	if err := s.Kube.CoreV1().Pods(gateway.Namespace).Delete(t.Context(), pods[0], metav1.DeleteOptions{}); err != nil {
		t.Fatal("deleting a gateway pod:", err)
	}
	s.until(time.Minute, "the gateway pod to go", func(ctx context.Context) (string, error) {
		_, err := s.Kube.CoreV1().Pods(gateway.Namespace).Get(ctx, pods[0], metav1.GetOptions{})
		if apierrs.IsNotFound(err) {
			return "", nil
		}
		return "it is there", err
	})
	for _, component := range []string{ledger, limiter} {
		s.killLeader(component)
	}
	s.usedFor(15 * time.Second)
	s.killLeader(ledger)
	s.usedFor(10 * time.Second)
	want := outcomesOf(t, ends)

	var usage *v1alpha1.Usage
	s.until(noted, "the sums", func(ctx context.Context) (string, error) {
		if usage, err = s.Sluice.SluiceV1alpha1().Usages(s.namespace).Get(ctx, "m", metav1.GetOptions{}); err != nil {
			return "", err
		}
		if got := days(usage).Requests; got != want {
			return fmt.Sprintf("%+v, the load was %+v", got, want), nil
		}
		return "", nil
	})
	t.Logf("%+v", want)
	if want.OK == 0 || want.Refused == 0 || want.ServerErrors == 0 || want.ClientErrors == 0 {
		t.Errorf("the load was %+v: some of each was meant", want)
	}
	for _, day := range []*v1alpha1.UsageDay{usage.Status.Day, usage.Status.Previous} {
		if day != nil && day.Uncertain != nil && day.Uncertain.Requests > 0 {
			t.Errorf("uncertain of %s: %+v", day.Date, day.Uncertain)
		}
	}
	s.asEnvoyCounts(usage)
	s.asCgroupsCount("m")
	told.addUp()
}

// leads bounds the wait for a lease to be another's, once its holder has ended.
const leads = time.Minute

// twoGatewayPods has the shared gateway have two pods until the test ends.
func (s *stage) twoGatewayPods() {
	s.Helper()
	const replicas = "replicas"
	before := configure(s.T, sluice.SystemNamespace, config.GatewayName, replicas, ptr.String("2"))
	s.Cleanup(func() { configure(s.T, sluice.SystemNamespace, config.GatewayName, replicas, before) })
	s.scaled(gateway.Namespace, gateway.Shared, 2)
}

// usedFor lets time pass with what runs.
func (s *stage) usedFor(d time.Duration) {
	s.Helper()
	end := time.Now().Add(d)
	s.until(d+10*time.Second, "some time", func(context.Context) (string, error) {
		if left := time.Until(end); left > 0 {
			return left.String(), nil
		}
		return "", nil
	})
}

// killLeader ends the pod that leads, without a word, and waits for another to be there. One that ended
// so before may hold its lease for a while yet.
func (s *stage) killLeader(component string) {
	s.Helper()
	s.until(leads, component+" to have a leader", func(ctx context.Context) (string, error) {
		lease, err := s.Kube.CoordinationV1().Leases(sluice.SystemNamespace).Get(ctx, component, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("getting a lease: %w", err)
		}
		holder := ptr.StringValue(lease.Spec.HolderIdentity)
		err = s.Kube.CoreV1().Pods(sluice.SystemNamespace).Delete(ctx, holder, metav1.DeleteOptions{GracePeriodSeconds: ptr.Int64(0)})
		if apierrs.IsNotFound(err) {
			return "it was " + holder + ", which is gone", nil
		}
		return "", err
	})
	s.scaled(sluice.SystemNamespace, component, 1)
}

// outcomesOf ends loads, and is what became of their requests.
func outcomesOf(t *testing.T, ends []func() *load.Report) v1alpha1.UsageRequests {
	t.Helper()
	var sum v1alpha1.UsageRequests
	for _, end := range ends {
		report := end()
		if total := report.Total; total.Errored+total.Repeated+total.Dropped > 0 {
			t.Errorf("%d requests without an answer, %d sent again, %d not sent: %v", total.Errored, total.Repeated, total.Dropped, report.Errors)
		}
		for code, n := range report.Codes {
			r := v1alpha1.UsageRequests{Ended: int64(n)}
			switch {
			case code < http.StatusBadRequest:
				r.OK = int64(n)
			case code == http.StatusTooManyRequests:
				r.Refused = int64(n)
			case code < http.StatusInternalServerError:
				r.ClientErrors = int64(n)
			default:
				r.ServerErrors = int64(n)
			}
			sum = sum.Plus(r)
		}
	}
	return sum
}

// days are the sums of a Usage, on both sides of midnight.
func days(u *v1alpha1.Usage) (sum v1alpha1.UsageSums) {
	for _, day := range []*v1alpha1.UsageDay{u.Status.Day, u.Status.Previous} {
		if day != nil {
			sum = sum.Plus(day.Total)
		}
	}
	return sum
}

// asEnvoyCounts checks the checkpoint against the counters of the gateway pods that are there.
func (s *stage) asEnvoyCounts(u *v1alpha1.Usage) {
	s.Helper()
	compared := 0
	for _, account := range u.Status.Accounted.Gateways {
		counted, err := s.endedAt(s.Context(), account.Name, u.Name)
		if err != nil {
			s.Error(err)
			continue
		}
		got := map[gateway.Outcome]int64{}
		for _, row := range account.Revisions {
			got[gateway.OutcomeOK] += row.OK
			got[gateway.OutcomeClientError] += row.ClientErrors
			got[gateway.OutcomeServerError] += row.ServerErrors
			got[gateway.OutcomeRefused] += row.Refused
			got[gateway.OutcomeLeft] += row.Left
		}
		for outcome, n := range got {
			if counted[outcome] != n {
				s.Errorf("of %s at %s %d are accounted, Envoy has counted %d", outcome, account.Name, n, counted[outcome])
			}
		}
		compared++
	}
	if compared == 0 {
		s.Error("no gateway pod is accounted")
	}
}

// asCgroupsCount holds the CPU of a pod that was there all the time to what its cgroup says: as it was
// when the ledger read, or a little before, since kubelets look every 10 to 15 s.
func (s *stage) asCgroupsCount(model string) {
	s.Helper()
	if _, err := os.Stat(cgroups); errors.Is(err, os.ErrNotExist) {
		s.Log("this machine's cgroups aren't the cluster's, so CPU isn't compared:", err)
		return
	}
	type sample struct {
		at      time.Time
		seconds float64
	}
	var samples []sample
	before := func(t time.Time) (seconds float64) {
		for _, sample := range samples {
			if sample.at.After(t) {
				break
			}
			seconds = sample.seconds
		}
		return seconds
	}
	s.until(noted, "CPU as cgroups count it", func(ctx context.Context) (string, error) {
		u, err := s.Sluice.SluiceV1alpha1().Usages(s.namespace).Get(ctx, model, metav1.GetOptions{})
		if err != nil || len(u.Status.Accounted.Pods) != 1 {
			return fmt.Sprintf("accounted are %+v", u.Status.Accounted.Pods), err
		}
		pod := u.Status.Accounted.Pods[0]
		seconds, err := cgroupSeconds(pod.UID)
		if err != nil {
			return "", err
		}
		samples = append(samples, sample{time.Now(), seconds})
		least, most := before(pod.At.Add(-kubeletLooks)), before(pod.At.Time)
		told := float64(days(u).CPUSeconds.Total) / 1000
		if least == 0 || told < least*(1-cpuWithin) || told > most*(1+cpuWithin) {
			return fmt.Sprintf("%.3f CPU-seconds, its cgroup said %.3f to %.3f", told, least, most), nil
		}
		s.Logf("%.3f CPU-seconds by %s, its cgroup said %.3f then and %.3f %s before", told, pod.At.Format(time.TimeOnly), most, least, kubeletLooks)
		return "", nil
	})
}

// cgroupSeconds is what a pod has used by its cgroup.
func cgroupSeconds(pod types.UID) (float64, error) {
	for _, class := range []string{"", "burstable", "besteffort"} {
		text, err := os.ReadFile(filepath.Join(cgroups, class, "pod"+string(pod), "cpuacct.usage"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("reading a cgroup: %w", err)
		}
		ns, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		return ns / float64(time.Second), err
	}
	return 0, fmt.Errorf("pod %s has no cgroup", pod)
}
