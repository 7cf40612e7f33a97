package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/bench/internal/report"
)

const (
	// rankerLimit is what the ranker is said to serve, in requests of 64 rows a second.
	rankerLimit = 60
	// fewItems are those of the run that a large one is compared with.
	fewItems = 10_000
	// runWithin bounds a run, of so many items a second at least.
	runWithin, leastRate = 3 * time.Minute, 500
	// mostWorker is what a worker requests by default, mostFunction what the function may come to,
	// in bytes, however many items there are; functionGrows how much more than with few items the
	// latter may have with many. A worker has two parts at a time, and with few items only one.
	mostWorker, mostFunction = 128 << 20, 128 << 20
	functionGrows            = 1.25
	// statusEvery is how often a Batch's status is written at most, while no condition changes;
	// mostWrites is what a run has beside that: its Jobs, its conditions.
	statusEvery = 5 * time.Second
	mostWrites  = 20
	// mostPods are one for each of the shards that two workers have, the planner's, and some that
	// Kubernetes makes anew.
	mostPods = 32 + 1 + 4
)

// bulk is what was seen of a run.
type bulk struct {
	items int
	batch *v1alpha1.Batch
	*effects
	writes writes
	memory peaks
}

func (r *bulk) seconds() float64 {
	return r.batch.Status.CompletionTime.Sub(r.batch.Status.StartTime.Time).Seconds()
}

// beyond is how many of Sluice's writes of a run its length doesn't explain.
func (r *bulk) beyond() float64 { return r.writes.own() - r.seconds()/statusEvery.Seconds() }

// beginMany has the part go on beside what else is measured.
func (b *bench) beginMany(ctx context.Context) {
	b.many = make(chan error, 1)
	go func() { b.many <- b.measureMany(ctx) }()
}

// endMany waits for the part, and begins it unless it has begun.
func (b *bench) endMany(ctx context.Context) error {
	if b.many == nil {
		b.beginMany(ctx)
	}
	return <-b.many
}

// measureMany compares a run of very many items with one of a few.
func (b *bench) measureMany(ctx context.Context) error {
	line, err := b.prediction()
	if err != nil {
		return err
	}
	b.Sayf("many: putting %d items, and deploying the ranker", b.items)
	putting, inner := errgroup.WithContext(ctx)
	putting.Go(func() error { return b.upload(inner, "in/few/", fewItems, line) })
	putting.Go(func() error { return b.upload(inner, "in/many/", b.items, line) })
	putting.Go(func() error {
		_, err := b.deploy(inner, ranker("ranker", b.ranker, rankerLimit))
		return err
	})
	if err := putting.Wait(); err != nil {
		return err
	}
	few, err := b.bulk(ctx, "few", fewItems)
	if err != nil {
		return err
	}
	many, err := b.bulk(ctx, "many", b.items)
	if err != nil {
		return err
	}
	b.reportMany(few, many)
	return b.dismiss(ctx, "ranker")
}

// bulk runs a Batch of rows, which are gathered.
func (b *bench) bulk(ctx context.Context, name string, items int) (*bulk, error) {
	of := b.batch(name, "ranker", rankerPath, "in/"+name+"/")
	of.Spec.Format.Type = v1alpha1.FormatRows
	watching, stop := context.WithCancel(ctx)
	defer stop()
	written, err := b.watchWrites(watching, name)
	if err != nil {
		return nil, err
	}
	memory := b.watchMemory(watching)
	if err := b.start(ctx, of); err != nil {
		return nil, err
	}
	r := &bulk{items: items}
	if r.batch, err = b.complete(ctx, name, runWithin+time.Duration(items/leastRate)*time.Second); err != nil {
		return nil, err
	}
	stop()
	r.memory = <-memory
	if r.writes, err = written(); err != nil {
		return nil, err
	}
	if r.effects, err = b.count(ctx, name, items, ranked); err != nil {
		return nil, err
	}
	b.Sayf("many: %d items in %.0f s; API writes: %v; memory: %v", items, r.seconds(), r.writes, r.memory)
	return r, b.remove(ctx, name)
}

func (b *bench) reportMany(few, many *bulk) {
	part := fmt.Sprintf("Many: %d items, gathered by 64, beside %d", many.items, few.items)
	b.report.Add(part,
		report.Value("items", float64(many.items)/many.seconds(), "items/s"),
		report.Value("from its start to its end", many.seconds(), "s"),
		report.Value("items without a record, or with more than one", float64(many.missing()+many.doubled), "").Within(report.AtMost, 0),
		report.Value("records that are no right answer", float64(many.odd), "").Within(report.AtMost, 0),
		report.Value("a worker's memory, at most", many.memory.worker/mebi, "MiB").Within(report.AtMost, mostWorker/mebi),
		report.Value("a worker's memory with few items", few.memory.worker/mebi, "MiB"),
		report.Value("the function's memory, at most", many.memory.function/mebi, "MiB").Within(report.AtMost, mostFunction/mebi),
		report.Value("the function's memory, many / few", many.memory.function/few.memory.function, "×").Within(report.AtMost, functionGrows),
	)
	for _, r := range []*bulk{few, many} {
		b.report.Add(part,
			report.Value(fmt.Sprintf("API writes by Sluice for %d items", r.items), r.writes.own(), ""),
			report.Value(fmt.Sprintf("beyond one each %v of it", statusEvery), r.beyond(), "").Within(report.AtMost, mostWrites),
			report.Value("pods", float64(r.writes.pods), "").Within(report.AtMost, mostPods),
		)
	}
}
