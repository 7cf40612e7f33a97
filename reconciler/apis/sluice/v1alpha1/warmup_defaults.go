package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// DefaultWarmUpTimeout is warmUp.timeout where it is unset.
	DefaultWarmUpTimeout = 2 * time.Minute
	// DefaultWarmUpWindow is warmUp.until.stable.window where it is unset.
	DefaultWarmUpWindow int32 = 10
	// DefaultWarmUpTolerance is warmUp.until.stable.tolerance where it is unset.
	DefaultWarmUpTolerance int32 = 10
)

// setDefaults writes what the container goes by. A Model keeps what it was given:
// another default in a later release makes no revision.
func (w *WarmUpSpec) setDefaults() {
	if w == nil {
		return
	}
	if w.Concurrency == 0 {
		w.Concurrency = 1
	}
	if w.Timeout == nil {
		w.Timeout = &metav1.Duration{Duration: DefaultWarmUpTimeout}
	}
	if w.OnFailure == "" {
		w.OnFailure = WarmUpBlock
	}
	for i := range w.Requests {
		w.Requests[i].setDefaults()
	}
	if w.Until == nil || w.Until.Stable == nil {
		return
	}
	stable := w.Until.Stable
	if stable.Window == 0 {
		stable.Window = DefaultWarmUpWindow
	}
	if stable.Tolerance == 0 {
		stable.Tolerance = DefaultWarmUpTolerance
	}
}

func (r *WarmUpRequest) setDefaults() {
	switch {
	case r.Method != "" || r.GRPC != "":
	case r.Body != "" || len(r.BodyBytes) > 0 || r.BodyFrom != nil:
		r.Method = "POST"
	default:
		r.Method = "GET"
	}
}
