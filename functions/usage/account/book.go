package account

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// WriteEvery is the least time between two writes of a Model's usage: what comes between is
	// recounted from the counters by whoever goes on after a crash.
	WriteEvery = time.Minute
	// None is the row of requests for which no revision was chosen.
	None = "none"
	// Others is the row of revisions that are too many to be told one by one.
	Others = "others"
	// maxRevisions bounds the revisions that are told one by one.
	maxRevisions = 8
	// maxUnsent is from how many events on that wait for the Broker minutes are told together, and
	// mostUnsent from how many on the oldest is dropped.
	maxUnsent, mostUnsent = 15, 64
)

// Book is what a Model used, as it was written last and with what came since.
type Book struct {
	status v1alpha1.UsageStatus
	// open is what came since, nil for nothing.
	open *v1alpha1.UsageReport
	// dirty is true if there is something else to write, and urgent if it would be lost with us.
	dirty, urgent bool
	// fresh are the gateway pods that counted something since the last write.
	fresh map[types.UID]bool
	// activity are the requests since replicas were accounted.
	activity activity
	// known is the minute of the newest event that was there when the book was opened: which of these
	// the Broker may have isn't known.
	known time.Time
	// Dropped is how many events were dropped.
	Dropped int
}

// Open goes on from a status as it was written.
func Open(status *v1alpha1.UsageStatus) *Book {
	b := &Book{status: *status.DeepCopy(), fresh: map[types.UID]bool{}, activity: activity{ended: map[string]bool{}}}
	if b.status.Accounted.Minute != nil {
		b.known = b.status.Accounted.Minute.Time
	}
	return b
}

// Due is true if there is something to write, and it is time.
func (b *Book) Due(now time.Time) bool {
	since := now.Sub(b.status.Accounted.At.Time)
	return b.Changed() && (b.urgent || since >= WriteEvery || since < 0)
}

// Changed is true if there is something to write.
func (b *Book) Changed() bool { return b.open != nil || b.dirty }

// Owner says whose the usage is.
func (b *Book) Owner(model types.UID, tenant string) {
	if b.status.ModelUID != model || b.status.Tenant != tenant {
		b.status.ModelUID, b.status.Tenant = model, tenant
	}
}

// Close returns the status that is to be written, with the event of what came since the last one.
func (b *Book) Close(now time.Time) *v1alpha1.UsageStatus {
	b.closeOpen(now)
	b.status.Accounted.At = metav1.NewMicroTime(now)
	b.dirty, b.urgent, b.fresh = false, false, map[types.UID]bool{}
	return b.status.DeepCopy()
}

// Again has the status be written again that couldn't be.
func (b *Book) Again() { b.dirty, b.urgent = true, true }

// Sent takes an event off that the Broker has. It is off the status with the next write.
func (b *Book) Sent(minute time.Time) {
	before := len(b.status.Unsent)
	b.status.Unsent = slices.DeleteFunc(b.status.Unsent, func(r v1alpha1.UsageReport) bool { return r.Minute.Time.Equal(minute) })
	b.dirty = b.dirty || len(b.status.Unsent) < before
}

// Left is what is to be known of a Model whose usage isn't kept any more, should there be one of its
// name again: up to where gateway pods were accounted that are there still. It is nil for nothing.
func (b *Book) Left() *v1alpha1.UsageStatus {
	if len(b.status.Accounted.Gateways) == 0 {
		return nil
	}
	return &v1alpha1.UsageStatus{Accounted: v1alpha1.UsageCheckpoint{
		Gateways: b.status.DeepCopy().Accounted.Gateways, OthersThrough: b.status.Accounted.OthersThrough,
	}}
}

// Unsent are the events that the Broker isn't known to have, the oldest first.
func (b *Book) Unsent() []v1alpha1.UsageReport { return b.status.Unsent }

// Status is the usage with what came since the last write.
func (b *Book) Status() *v1alpha1.UsageStatus { return b.status.DeepCopy() }

// closeOpen makes an event of what came since the last one.
func (b *Book) closeOpen(now time.Time) {
	report := b.open
	if report == nil {
		return
	}
	b.open = nil
	unsent := b.status.Unsent
	if last := len(unsent) - 1; last >= maxUnsent-1 && unsent[last].Date == report.Date && unsent[last].Minute.After(b.known) {
		// The Broker has had the oldest at most of those that came since the book was opened.
		report.Minute, report.ModelUID, report.Tenant = unsent[last].Minute, unsent[last].ModelUID, unsent[last].Tenant
		for _, row := range unsent[last].Revisions {
			report.Revisions = added(report.Revisions, row)
		}
		report.Total = report.Total.Plus(unsent[last].Total)
		report.BatchRequests += unsent[last].BatchRequests
		unsent[last] = *report
		return
	}
	minute := metav1.NewTime(now.UTC().Truncate(time.Minute))
	if last := b.status.Accounted.Minute; last != nil && !minute.After(last.Time) {
		minute = metav1.NewTime(last.Add(time.Minute))
	}
	report.Minute, b.status.Accounted.Minute = minute, &minute
	report.ModelUID, report.Tenant = b.status.ModelUID, b.status.Tenant
	b.status.Unsent = append(b.status.Unsent, *report)
	if over := len(b.status.Unsent) - mostUnsent; over > 0 {
		b.status.Unsent = slices.Delete(b.status.Unsent, 0, over)
		b.Dropped += over
	}
}

// turn goes on to the day of a time. A clock that was put back doesn't bring a day back.
func (b *Book) turn(now time.Time) *v1alpha1.UsageDay {
	date := now.UTC().Format(time.DateOnly)
	if b.status.Day == nil || b.status.Day.Date < date {
		b.closeOpen(now)
		if b.status.Day != nil {
			b.status.Previous = b.status.Day
		}
		b.status.Day = &v1alpha1.UsageDay{Date: date, Revisions: []v1alpha1.RevisionUsage{}}
	}
	return b.status.Day
}

// add counts what a revision used, in the day and in the event of the minute alike.
func (b *Book) add(now time.Time, row v1alpha1.RevisionUsage, marked int64) {
	if row.IsZero() && marked == 0 {
		return
	}
	day := b.turn(now)
	if b.open == nil {
		b.open = &v1alpha1.UsageReport{Date: day.Date, Revisions: []v1alpha1.RevisionUsage{}}
	}
	day.Total, b.open.Total = day.Total.Plus(row.UsageSums), b.open.Total.Plus(row.UsageSums)
	day.BatchRequests += marked
	b.open.BatchRequests += marked
	if row.IsZero() {
		return
	}
	day.Revisions, b.open.Revisions = added(day.Revisions, row), added(b.open.Revisions, row)
	b.bound()
}

// missed notes what wasn't seen.
func (b *Book) missed(now time.Time, m v1alpha1.UsageUncertain) {
	if m == (v1alpha1.UsageUncertain{}) {
		return
	}
	day := b.turn(now)
	if day.Uncertain == nil {
		day.Uncertain = &v1alpha1.UsageUncertain{}
	}
	day.Uncertain.GatewayPods += m.GatewayPods
	day.Uncertain.Requests += m.Requests
	day.Uncertain.UnreadSeconds += m.UnreadSeconds
	b.dirty = true
}

// added are rows with one more, or more of one.
func added(rows []v1alpha1.RevisionUsage, row v1alpha1.RevisionUsage) []v1alpha1.RevisionUsage {
	for i := range rows {
		if rows[i].Revision == row.Revision {
			rows[i].UsageSums = rows[i].Plus(row.UsageSums)
			return rows
		}
	}
	return append(rows, row)
}

// rowOf is the row of a revision.
func (b *Book) rowOf(revision string) string {
	switch {
	case revision == "" || revision == None:
		return None
	case revision == Others || revision <= b.status.Accounted.OthersThrough:
		return Others
	}
	return revision
}

// bound takes the first revisions, by their names, which Knative numbers, together where they are too many.
func (b *Book) bound() {
	for {
		names := b.told()
		if len(names) <= maxRevisions {
			return
		}
		b.status.Accounted.OthersThrough = slices.Min(names)
		b.merge()
	}
}

// told are the revisions that are told one by one.
func (b *Book) told() []string {
	var names []string
	see := func(name string) {
		if name != None && name != Others && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, g := range b.status.Accounted.Gateways {
		for _, row := range g.Revisions {
			see(row.Revision)
		}
	}
	if b.status.Day != nil {
		for _, row := range b.status.Day.Revisions {
			see(row.Revision)
		}
	}
	return names
}

// merge has each row be where rowOf says.
func (b *Book) merge() {
	merge := func(rows []v1alpha1.RevisionUsage) []v1alpha1.RevisionUsage {
		out := []v1alpha1.RevisionUsage{}
		for _, row := range rows {
			row.Revision = b.rowOf(row.Revision)
			out = added(out, row)
		}
		return out
	}
	if b.status.Day != nil {
		b.status.Day.Revisions = merge(b.status.Day.Revisions)
	}
	if b.open != nil {
		b.open.Revisions = merge(b.open.Revisions)
	}
	for i := range b.status.Accounted.Gateways {
		g := &b.status.Accounted.Gateways[i]
		g.Revisions = b.grouped(g.Revisions)
	}
}

// grouped are requests by row, sorted.
func (b *Book) grouped(of []v1alpha1.RevisionRequests) []v1alpha1.RevisionRequests {
	var out []v1alpha1.RevisionRequests
	for _, r := range of {
		r.Revision = b.rowOf(r.Revision)
		at, found := slices.BinarySearchFunc(out, r, func(a, b v1alpha1.RevisionRequests) int { return strings.Compare(a.Revision, b.Revision) })
		if found {
			out[at].UsageRequests = out[at].Plus(r.UsageRequests)
		} else {
			out = slices.Insert(out, at, r)
		}
	}
	return out
}
