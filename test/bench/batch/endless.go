package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/platform"
)

const (
	// endless is the Batch that is suspended whenever it isn't wanted, and has more items than
	// the parts have time for.
	endless, endlessItems = "endless", 100_000
	// endlessWorkers have as many requests under way as it takes, 32 each.
	endlessWorkers = 4
	// atWorkWithin bounds the time until its pods take mostOf what is left.
	atWorkWithin, mostOf = time.Minute, 0.8
)

// busy is the Model of the parts beside and step. It is said to serve 200/s, at which five of
// seven of its replica's places are taken, and some more by what a request takes beside its
// sleep: of a replica that is all but full, any p99 would be that of chance. It is what two cores
// can do with workers, gateway, store and callers on them: what shows is the queue before the
// replica, which requests the CPU that it takes. At 400/s all of them wait for the cores.
var busy = sleeper{name: "busy", seconds: 0.2, concurrency: 56, perReplica: 200, min: 1, max: 1, cpu: "250m"}

// prepare has the endless Batch at work at the busy Model, while nobody else asks.
func (b *bench) prepare(ctx context.Context) error {
	limit := float64(busy.perReplica)
	if b.busy.Host != "" {
		return b.resume(ctx, limit)
	}
	b.Sayf("deploying a Model of %d/s, and a batch of %d items", busy.perReplica, endlessItems)
	if err := b.upload(ctx, "in/endless/", endlessItems, plain); err != nil {
		return err
	}
	at, err := b.deploy(ctx, busy.model(b.streams))
	if err != nil {
		return err
	}
	of := b.batch(endless, busy.name, busy.path(), "in/endless/")
	of.Spec.Workers = ptr.Int32(endlessWorkers)
	// On nodes of their own, workers wouldn't take CPU from those who serve: on this one they have
	// what the others leave. The local stack's gateway and activator request hardly any.
	of.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m")}
	if err := b.start(ctx, of); err != nil {
		return err
	}
	b.busy = at
	return b.atWork(ctx, limit)
}

// resume has the endless Batch go on, and waits until it is at work.
func (b *bench) resume(ctx context.Context, left float64) error {
	if err := b.suspend(ctx, endless, false); err != nil {
		return err
	}
	return b.atWork(ctx, left)
}

// atWork waits until the endless Batch takes most of what is left to it, in requests per
// second.
func (b *bench) atWork(ctx context.Context, left float64) error {
	var before platform.Counts
	return platform.Until(ctx, atWorkWithin, "the batch to be at work", func(ctx context.Context) (string, error) {
		now, err := b.counts(ctx, busy.name)
		if err != nil {
			return "", err
		}
		since := now.At.Sub(before.At).Seconds()
		if since < 1 {
			return "nothing was counted yet", nil
		}
		rate := (now.Marked - before.Marked) / since
		if !before.At.IsZero() && rate > mostOf*left {
			return "", nil
		}
		before = now
		return fmt.Sprintf("%.0f requests/s", rate), nil
	})
}

// rest suspends the endless Batch, and waits until it has no pod.
func (b *bench) rest(ctx context.Context) error {
	if err := b.suspend(ctx, endless, true); err != nil {
		return err
	}
	return platform.Until(ctx, atWorkWithin, "the batch to rest", func(ctx context.Context) (string, error) {
		pods, err := b.workers(ctx, endless)
		if err != nil || len(pods) == 0 {
			return "", err
		}
		return fmt.Sprintf("%d pods", len(pods)), nil
	})
}

// counts are what the gateway has counted of a Model.
func (b *bench) counts(ctx context.Context, model string) (platform.Counts, error) {
	return b.clients.GatewayCounts(ctx, gateway.Shared, namespace, model)
}
