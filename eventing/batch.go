package eventing

import (
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

const (
	// BatchStartedType is the type of the event that tells that a run has begun.
	BatchStartedType = "dev.sluice.batch.started.v1"
	// BatchProgressedType is the type of the event that tells how far a run is.
	BatchProgressedType = "dev.sluice.batch.progressed.v1"
	// BatchCompletedType is the type of the event that tells that each item of a run is in its
	// output or among the errors there.
	BatchCompletedType = "dev.sluice.batch.completed.v1"
	// BatchFailedType is the type of the event that tells that a run has failed for good.
	BatchFailedType = "dev.sluice.batch.failed.v1"
)

// BatchRun is the run of a Batch that an event is about.
type BatchRun struct {
	// Batch that is run, UID its own: a Batch of the same name is another run.
	Batch Ref    `json:"batch"`
	UID   string `json:"uid"`
	// Model is the name of the Model that is asked, in the Batch's namespace.
	Model string `json:"model"`
}

func (d BatchRun) subject() string { return d.Batch.String() }

func (d BatchRun) source() string {
	return fmt.Sprintf("/apis/sluice.dev/v1alpha1/namespaces/%s/batches/%s", d.Batch.Namespace, d.Batch.Name)
}

// BatchItems are the items of a run.
type BatchItems struct {
	// Succeeded are answered, Failed among the errors.
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
}

// BatchStarted is the data of BatchStartedType.
type BatchStarted struct {
	BatchRun
	// Since is when it began, in whole seconds.
	Since time.Time `json:"since"`
}

// BatchProgressed is the data of BatchProgressedType.
type BatchProgressed struct {
	BatchRun
	BatchItems
	// Total is how many items the input has.
	Total int64 `json:"total"`
	// RequestsPerSecond is the rate at which the Model answered last, a decimal number; empty
	// while it isn't asked.
	RequestsPerSecond string `json:"requestsPerSecond,omitempty"`
	// EstimatedEnd is when the run is over at that rate.
	EstimatedEnd *time.Time `json:"estimatedEnd,omitempty"`
	// Since is when this was seen.
	Since time.Time `json:"since"`
}

// BatchCompleted is the data of BatchCompletedType.
type BatchCompleted struct {
	BatchRun
	BatchItems
	// Total is how many items the input has.
	Total int64 `json:"total"`
	// Since is when it was over, in whole seconds, Seconds how long it took from its start.
	Since   time.Time `json:"since"`
	Seconds float64   `json:"seconds"`
}

// BatchFailed is the data of BatchFailedType.
type BatchFailed struct {
	BatchRun
	BatchItems
	// Reason is one word, as in the condition Complete; Message says what is to be done.
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Since is when it was over, in whole seconds.
	Since time.Time `json:"since"`
}

// NewBatchStarted returns the event.
func NewBatchStarted(d BatchStarted) (cloudevents.Event, error) {
	d.Since = inSeconds(d.Since)
	return newEvent(BatchStartedType, d.source(), d, d.UID, "started")
}

// NewBatchProgressed returns the event.
func NewBatchProgressed(d BatchProgressed) (cloudevents.Event, error) {
	d.Since = d.Since.UTC()
	return newEvent(BatchProgressedType, d.source(), d, d.UID, "progressed", d.Succeeded, d.Failed, d.Since.Format(time.RFC3339Nano))
}

// NewBatchCompleted returns the event.
func NewBatchCompleted(d BatchCompleted) (cloudevents.Event, error) {
	d.Since = inSeconds(d.Since)
	return newEvent(BatchCompletedType, d.source(), d, d.UID, "completed")
}

// NewBatchFailed returns the event.
func NewBatchFailed(d BatchFailed) (cloudevents.Event, error) {
	d.Since = inSeconds(d.Since)
	return newEvent(BatchFailedType, d.source(), d, d.UID, "failed")
}

func inSeconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
