package eventing

import (
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// UsageType is the type of the event that tells what a Model used in a minute. The sum of a day's
// events is what its Usage says of the day.
const UsageType = "dev.sluice.usage.v1"

// Usage is the data of UsageType.
type Usage struct {
	// Model that was used, UID its own, Tenant its namespace's, if it has one.
	Model  Ref    `json:"model"`
	UID    string `json:"uid"`
	Tenant string `json:"tenant,omitempty"`
	// Minute in which it was noted, Day in UTC that it is a part of.
	Minute time.Time `json:"minute"`
	Day    string    `json:"day"`
	// BatchRequests arrived with the mark of a batch.
	BatchRequests int64 `json:"batchRequests"`
	// Revisions that were used.
	Revisions []RevisionUsage `json:"revisions"`
}

// RevisionUsage is what one revision used.
type RevisionUsage struct {
	// Revision is its name, "none" of requests for which none was chosen, "others" of those that are too
	// many.
	Revision string `json:"revision"`
	UsageSums
}

// UsageSums are requests and resources; amounts are decimal numbers of three digits after the point.
type UsageSums struct {
	Requests         UsageRequests `json:"requests"`
	ReplicaSeconds   UsageParts    `json:"replicaSeconds"`
	CPUSeconds       UsageParts    `json:"cpuSeconds"`
	MemoryGiBSeconds UsageParts    `json:"memoryGiBSeconds"`
	// Devices are extended resources that pods requested.
	Devices []DeviceUsage `json:"devices,omitempty"`
}

// UsageRequests are requests that ended, by how: Ended is the sum.
type UsageRequests struct {
	Ended        int64 `json:"ended"`
	OK           int64 `json:"ok"`
	ClientErrors int64 `json:"clientErrors"`
	ServerErrors int64 `json:"serverErrors"`
	Refused      int64 `json:"refused"`
	Left         int64 `json:"left"`
}

// UsageParts is an amount by what replicas did: Total is the sum.
type UsageParts struct {
	Total     string `json:"total"`
	ColdStart string `json:"coldStart"`
	WarmUp    string `json:"warmUp"`
	Serving   string `json:"serving"`
	Batch     string `json:"batch"`
	Idle      string `json:"idle"`
}

// DeviceUsage is one extended resource, in units times seconds.
type DeviceUsage struct {
	Resource string     `json:"resource"`
	Seconds  UsageParts `json:"seconds"`
}

func (d Usage) subject() string { return d.Model.String() }

// NewUsage returns the event: of one Model and minute there is one.
func NewUsage(d Usage) (cloudevents.Event, error) {
	d.Minute = d.Minute.UTC().Truncate(time.Minute)
	source := fmt.Sprintf("/apis/sluice.dev/v1alpha1/namespaces/%s/usages/%s", d.Model.Namespace, d.Model.Name)
	return newEvent(UsageType, source, d, d.UID, d.Minute.Unix())
}
