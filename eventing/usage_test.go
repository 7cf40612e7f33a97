package eventing

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever was used, the event is what its schema says, and is read as it was built.
func TestUsageKeepsItsSchema(t *testing.T) {
	name, amount := rapid.StringMatching(`[a-z]([-a-z0-9]{0,30}[a-z0-9])?`), rapid.Custom(func(t *rapid.T) string {
		n := rapid.Int64Min(0).Draw(t, "thousandths")
		return fmt.Sprintf("%d.%03d", n/1000, n%1000)
	})
	count := rapid.Int64Range(0, 1<<53)
	parts := rapid.Custom(func(t *rapid.T) UsageParts {
		return UsageParts{
			Total: amount.Draw(t, "total"), ColdStart: amount.Draw(t, "cold"), WarmUp: amount.Draw(t, "warm"),
			Serving: amount.Draw(t, "serving"), Batch: amount.Draw(t, "batch"), Idle: amount.Draw(t, "idle"),
		}
	})
	row := rapid.Custom(func(t *rapid.T) RevisionUsage {
		r := RevisionUsage{Revision: name.Draw(t, "revision"), UsageSums: UsageSums{
			Requests:       UsageRequests{Ended: count.Draw(t, "ended"), OK: count.Draw(t, "ok"), Refused: count.Draw(t, "refused")},
			ReplicaSeconds: parts.Draw(t, "time"), CPUSeconds: parts.Draw(t, "cpu"), MemoryGiBSeconds: parts.Draw(t, "memory"),
		}}
		if rapid.Bool().Draw(t, "devices") {
			r.Devices = []DeviceUsage{{Resource: "nvidia.com/gpu", Seconds: parts.Draw(t, "gpu")}}
		}
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		minute := time.Unix(60*rapid.Int64Range(0, 1e8).Draw(t, "minute"), 0).UTC()
		keepsSchema(t, NewUsage, read[Usage](UsageType), Usage{
			Model: Ref{Namespace: name.Draw(t, "namespace"), Name: name.Draw(t, "name")}, UID: name.Draw(t, "uid"),
			Tenant: rapid.SampledFrom([]string{"", "blue"}).Draw(t, "tenant"), Minute: minute, Day: minute.Format(time.DateOnly),
			BatchRequests: count.Draw(t, "marked"), Revisions: rapid.SliceOfN(row, 1, 10).Draw(t, "revisions"),
		})
	})
}

// Of one Model and minute there is one event, whatever it says of them; of another there is another.
func TestIDsOfUsage(t *testing.T) {
	d := Usage{Model: model, UID: "a", Minute: time.Unix(600, 0), Day: "1970-01-01", Revisions: []RevisionUsage{}}
	first := build(t, NewUsage, d)
	again := d
	again.Minute = again.Minute.Add(59 * time.Second)
	if again.BatchRequests = 7; build(t, NewUsage, again).ID() != first.ID() {
		t.Error("a minute has two events")
	}
	for name, change := range map[string]func(*Usage){
		"minute": func(d *Usage) { d.Minute = d.Minute.Add(time.Minute) },
		"Model":  func(d *Usage) { d.UID = "b" },
	} {
		other := d
		if change(&other); build(t, NewUsage, other).ID() == first.ID() {
			t.Errorf("another %s has the same event", name)
		}
	}
}
