package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/test/bench/internal/report"
)

const (
	neighboursPart = "Neighbours: a Model at twice its limit of 200/s, while the limit of another changes 5 times a second"
	neighbourRate  = 200
	// changeEvery is how often the other's limit is changed.
	changeEvery = 200 * time.Millisecond
)

// measureNeighbours loads two subjects at the same time, while the limit of a third
// one changes that is in the slot of one of them.
func (b *bench) measureNeighbours(ctx context.Context) error {
	if err := b.bringUp(ctx, 1); err != nil {
		return err
	}
	changing := fixed("changing", 50)
	apart := named("apart", func(s subject) bool { return s.slot() != changing.slot() })
	beside := named("beside", func(s subject) bool { return s.slot() == changing.slot() })
	if err := b.enact(ctx, changing, apart, beside); err != nil {
		return err
	}
	b.Sayf("neighbours: %d/s for each of two, for %d s", 2*neighbourRate, settle+measured)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	slots, err := b.watchSlots(watching, nil)
	if err != nil {
		return err
	}
	changed := make(chan error, 1)
	go func() { changed <- b.keepChanging(watching, changing) }()
	before, began := slots.count(changing.slotObject()), time.Now()
	seen, err := b.holdAll(ctx, apart, beside)
	writes := float64(slots.count(changing.slotObject())-before) / time.Since(began).Seconds()
	stop()
	if err != nil {
		return err
	}
	if err := <-changed; err != nil {
		return err
	}
	bound := besideBound(neighbourRate, writes, len(b.doors))
	b.report.Add(neighboursPart,
		report.Value("in another slot: off its limit", seen[0].off(neighbourRate), "%").Within(report.AtMost, 2),
		report.Value("in the same slot: admitted / L · (1 + f · burst)", seen[1].rate()/bound, "×").Within(report.AtMost, 1.02),
		report.Value("in the same slot: admitted / L", seen[1].rate()/neighbourRate, "×").Within(report.AtLeast, 0.98),
		report.Value("f, writes of the slot", writes, "1/s"),
	)
	return b.dismiss(ctx, changing, apart, beside)
}

// named is a subject of a name that meets a condition.
func named(prefix string, meets func(subject) bool) subject {
	for i := 0; ; i++ {
		if s := fixed(fmt.Sprintf("%s-%d", prefix, i), neighbourRate); meets(s) {
			return s
		}
	}
}

// besideBound is the most, in requests per second, that is admitted to a subject
// whose slot is written f times a second: each write fills its bucket on each of the
// pods, which holds the burst and one request more.
func besideBound(limit, f float64, pods int) float64 {
	return limit*(1+f*burst.Seconds()) + f*float64(pods)
}

// keepChanging changes a subject's limit until ctx ends.
func (b *bench) keepChanging(ctx context.Context, s subject) error {
	tick := time.NewTicker(changeEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		patch := fmt.Appendf(nil, `{"spec": {"requestsPerSecondPerReplica": "%d"}}`, s.rate+int64(i%10)+1)
		_, err := b.clients.AsController.SluiceV1alpha1().RateLimits(namespace).Patch(ctx, s.name, types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("changing a limit: %w", err)
		}
	}
}
