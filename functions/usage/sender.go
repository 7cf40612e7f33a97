package usage

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// sendAgain is after how long an event is sent again that the Broker didn't take.
const sendAgain = 10 * time.Second

// send hands to the Broker what is written, each Model's in its order.
func (l *Ledger) send(ctx context.Context) {
	l.every(ctx, look, func() {
		var group errgroup.Group
		group.SetLimit(askedAtOnce)
		for _, name := range l.toSend() {
			group.Go(func() error {
				l.sendAll(ctx, name)
				return nil
			})
		}
		_ = group.Wait() // what isn't sent is again
	})
}

func (l *Ledger) toSend() (names []types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range l.names() {
		k := l.books[name]
		if _, ok := k.next(); ok && !l.Clock.Now().Before(k.sendAfter) {
			k.sending = true
			names = append(names, name)
		}
	}
	return names
}

// next is the oldest event that is yet to be sent, if it is written as it is.
func (k *kept) next() (v1alpha1.UsageReport, bool) {
	unsent := k.book.Unsent()
	if len(unsent) == 0 || k.object == nil {
		return v1alpha1.UsageReport{}, false
	}
	for _, written := range k.object.Status.Unsent {
		if written.Minute.Equal(&unsent[0].Minute) {
			return written, equality.Semantic.DeepEqual(written, unsent[0])
		}
	}
	return v1alpha1.UsageReport{}, false
}

func (l *Ledger) sendAll(ctx context.Context, name types.NamespacedName) {
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k := l.books[name]; k != nil {
			k.sending = false
		}
	}()
	for {
		l.mu.Lock()
		k := l.books[name]
		if k == nil {
			l.mu.Unlock()
			return
		}
		report, ok := k.next()
		l.mu.Unlock()
		if !ok {
			return
		}
		err := l.sendOne(ctx, name, report)
		l.mu.Lock()
		if err == nil {
			k.book.Sent(report.Minute.Time)
		} else {
			k.sendAfter = l.Clock.Now().Add(sendAgain)
		}
		l.mu.Unlock()
		if err != nil {
			eventsSent.WithLabelValues("failed").Inc()
			l.Log.Warnw("Event of usage not sent; it will be again", zap.Stringer("model", name), zap.Error(err))
			return
		}
		eventsSent.WithLabelValues("sent").Inc()
	}
}

func (l *Ledger) sendOne(ctx context.Context, name types.NamespacedName, report v1alpha1.UsageReport) error {
	event, err := eventing.NewUsage(usageOf(name, report))
	if err != nil {
		return fmt.Errorf("building the event: %w", err)
	}
	if err := l.Events.Send(ctx, event); err != nil {
		return fmt.Errorf("handing it to the broker: %w", err)
	}
	return nil
}

// usageOf is what an event tells.
func usageOf(name types.NamespacedName, report v1alpha1.UsageReport) eventing.Usage {
	d := eventing.Usage{
		Model: eventing.Ref{Namespace: name.Namespace, Name: name.Name}, UID: string(report.ModelUID), Tenant: report.Tenant,
		Minute: report.Minute.Time, Day: report.Date, BatchRequests: report.BatchRequests, Revisions: []eventing.RevisionUsage{},
	}
	for _, row := range report.Revisions {
		d.Revisions = append(d.Revisions, eventing.RevisionUsage{Revision: row.Revision, UsageSums: sumsOf(row.UsageSums)})
	}
	return d
}

func sumsOf(s v1alpha1.UsageSums) eventing.UsageSums {
	out := eventing.UsageSums{
		Requests:       eventing.UsageRequests(s.Requests),
		ReplicaSeconds: partsOf(s.ReplicaSeconds), CPUSeconds: partsOf(s.CPUSeconds), MemoryGiBSeconds: partsOf(s.MemoryGiBSeconds),
	}
	for _, device := range s.Devices {
		out.Devices = append(out.Devices, eventing.DeviceUsage{Resource: device.Resource, Seconds: partsOf(device.Seconds)})
	}
	return out
}

func partsOf(p v1alpha1.UsageParts) eventing.UsageParts {
	return eventing.UsageParts{
		Total: p.Total.String(), ColdStart: p.ColdStart.String(), WarmUp: p.WarmUp.String(),
		Serving: p.Serving.String(), Batch: p.Batch.String(), Idle: p.Idle.String(),
	}
}
