package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/load"
)

const (
	entriesPart = "Entries: refused of a demand below a limit of 100/s, with room for it"
	entriesRate = 100
	// changing is a demand that goes from one entry to the other, and firstOfIt how many of
	// its requests count there.
	changing, firstOfIt = 40, 200
	// staying is one at the cluster-local entry, while another limiter takes over.
	staying = 70
	// unchanged is how long a demand is what it is before something happens, and taken how
	// long it is measured while a limiter goes and the next one comes.
	unchanged, taken = 10 * time.Second, 25 * time.Second
	// limiterLease is the name of the lease by which a limiter leads.
	limiterLease = "limiter"
)

// measureEntries has a demand that is below the limit change its entry, and stay at the
// cluster-local one while the limiter is replaced.
func (b *bench) measureEntries(ctx context.Context) error {
	if err := b.bringUp(ctx, 1); err != nil {
		return err
	}
	if len(b.doors) > 1 {
		return errors.New("the gateway has several pods, each with a part of a limit: run this part before those that need them")
	}
	s := fixed("entries", entriesRate)
	s.local = true
	if err := b.enact(ctx, s); err != nil {
		return err
	}
	b.Sayf("entries: %d/s from one to the other, at a limit of %d/s", changing, entriesRate)
	there := b.target(s)
	there.Address = b.doors[0].local.address
	if _, err := offered(ctx, b.target(s), changing, unchanged); err != nil {
		return err
	}
	for _, to := range []struct {
		name string
		at   load.Target
	}{{"cluster-local", there}, {"external", b.target(s)}} {
		got, err := offered(ctx, to.at, changing, firstOfIt*time.Second/changing)
		if err != nil {
			return err
		}
		b.report.Add(entriesPart, refusedOf(fmt.Sprintf("%d/s that went over to the %s entry: refused of the first %d", changing, to.name, firstOfIt), got.Total))
	}
	if err := b.replaceLimiter(ctx, there); err != nil {
		return err
	}
	return b.dismiss(ctx, s)
}

// refusedOf is a row of how many were refused.
func refusedOf(name string, of load.Second) report.Figure {
	return report.Value(name, 100*float64(of.Limited)/float64(of.Offered), "%").Within(report.AtMost, 2)
}

// replaceLimiter holds a demand while the limiter's pod is deleted and another leads.
func (b *bench) replaceLimiter(ctx context.Context, at load.Target) error {
	before, err := b.leader(ctx)
	if err != nil {
		return err
	}
	b.Sayf("entries: %d/s at the cluster-local one while limiter %s is replaced", staying, before)
	replaced := make(chan error, 1)
	after := time.AfterFunc(unchanged, func() {
		replaced <- b.clients.Kube.CoreV1().Pods(sluice.SystemNamespace).Delete(ctx, before, metav1.DeleteOptions{})
	})
	defer after.Stop()
	got, err := offered(ctx, at, staying, unchanged+taken)
	if err != nil {
		return err
	}
	if err := <-replaced; err != nil {
		return fmt.Errorf("deleting limiter %s: %w", before, err)
	}
	now, err := b.leader(ctx)
	if err != nil {
		return err
	}
	if now == before || now == "" {
		return fmt.Errorf("no other limiter than %s leads after %v", before, taken)
	}
	settled := int(unchanged / time.Second)
	b.report.Add(entriesPart, refusedOf(fmt.Sprintf("%d/s at the cluster-local entry while the limiter is replaced: refused", staying), load.Sum(got.Seconds[settled:])))
	return nil
}

// leader is the limiter's pod that leads.
func (b *bench) leader(ctx context.Context) (string, error) {
	lease, err := b.clients.Kube.CoordinationV1().Leases(sluice.SystemNamespace).Get(ctx, limiterLease, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("getting the limiter's lease: %w", err)
	}
	return ptr.StringValue(lease.Spec.HolderIdentity), nil
}

// offered is what became of a load of one rate, all of which was admitted or refused.
func offered(ctx context.Context, at load.Target, rate float64, lasts time.Duration) (*load.Report, error) {
	schedule := load.Schedule{load.Hold(rate, lasts)}
	got, err := load.Plan{Target: at, Schedule: schedule, Bounds: boundsOf(schedule), Lanes: lanes, RequestTimeout: 5 * time.Second}.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", at.Host, err)
	}
	return got, whole(got)
}
