package task

import (
	"encoding/json"
	"errors"
	"strings"
)

const (
	// ReportFile is where Kubernetes takes a worker's Report from.
	ReportFile = "/dev/termination-log"
	// ExitFinal is the code of a worker that ends with what no other attempt would mend.
	// With any other but 0 it is worth starting again.
	ExitFinal = 3
	// maxMessage bounds what a Report says: of the file, Kubernetes takes 4096 bytes.
	maxMessage = 600
)

// Why a worker ends.
const (
	// InputMissing means that there is no such bucket, object or page.
	InputMissing = "InputMissing"
	// InputUnreadable means that what is there can't be read as the format has it.
	InputUnreadable = "InputUnreadable"
	// InputChanged means that it isn't any more what it was when it was planned.
	InputChanged = "InputChanged"
	// OutputInUse means that the output's prefix is another batch's.
	OutputInUse = "OutputInUse"
	// OutputMissing means that there is no such bucket or folder.
	OutputMissing = "OutputMissing"
	// OutputUnsafe means that the store overwrites what it was told not to, or can't be told.
	OutputUnsafe = "OutputUnsafe"
	// StoreRefused means that a store refused the credentials, or what they ask for.
	StoreRefused = "StoreRefused"
	// StoreAway means that a store didn't answer for as long as a worker waits.
	StoreAway = "StoreAway"
	// DiskFull means that results have no room, on the pod's disk or on the volume.
	DiskFull = "DiskFull"
	// ModelAway means that the Model took no request for as long as a worker waits.
	ModelAway = "ModelAway"
	// TooManyFailedItems means that more failed than may.
	TooManyFailedItems = "TooManyFailedItems"
	// Interrupted means that the worker was told to end.
	Interrupted = "Interrupted"
	// Failed means anything else.
	Failed = "Failed"
)

// Report is what a worker ends with.
type Report struct {
	// Items, Parts and Shards are a plan's.
	Items  int64 `json:"items,omitempty"`
	Parts  int   `json:"parts,omitempty"`
	Shards int   `json:"shards,omitempty"`
	// Succeeded and Failed are the items of a shard that are in the output.
	Succeeded int64 `json:"succeeded,omitempty"`
	Failed    int64 `json:"failed,omitempty"`
	// Reason and Message say why it didn't reach its end.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Encode writes a Report in as many bytes as are read.
func (r Report) Encode() []byte {
	if len(r.Message) > maxMessage {
		r.Message = strings.ToValidUTF8(r.Message[:maxMessage], "") + "…"
	}
	content, err := json.Marshal(r)
	if err != nil {
		// Numbers and text: there is nothing that couldn't be written.
		panic(err)
	}
	return content
}

// ReasonedError is an error that has a reason.
type ReasonedError struct {
	Reason string
	// Final is true of what no other attempt would mend.
	Final bool
	Err   error
}

func (f *ReasonedError) Error() string { return f.Err.Error() }

func (f *ReasonedError) Unwrap() error { return f.Err }

// Final returns a ReasonedError that no other attempt would mend.
func Final(reason string, err error) *ReasonedError {
	return &ReasonedError{Reason: reason, Final: true, Err: err}
}

// Passing returns a ReasonedError that may be over at the next attempt.
func Passing(reason string, err error) *ReasonedError {
	return &ReasonedError{Reason: reason, Err: err}
}

// Blame completes a Report by an error, and returns the code to exit with.
func (r Report) Blame(err error) (Report, int) {
	if err == nil {
		return r, 0
	}
	r.Reason, r.Message = Failed, err.Error()
	failure := &ReasonedError{}
	if !errors.As(err, &failure) {
		return r, 1
	}
	r.Reason = failure.Reason
	if failure.Final {
		return r, ExitFinal
	}
	return r, 1
}
