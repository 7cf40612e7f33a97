package v1alpha1

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What a Batch has where it doesn't say.
const (
	defaultBatchRows       int32 = 64
	defaultBatchWorkers    int32 = 2
	defaultBatchAttempts   int32 = 5
	defaultBatchTimeout          = 5 * time.Minute
	defaultBatchRetryDelay       = 500 * time.Millisecond
	defaultBatchMaxDelay         = 30 * time.Second
)

// SetDefaults implements apis.Defaultable. What pods have by default isn't written: it may
// come with another version for runs that are yet to begin.
func (b *Batch) SetDefaults(context.Context) {
	s := &b.Spec
	if s.Format.Type == "" {
		s.Format.Type = FormatLines
	}
	if s.Format.Type == FormatRows {
		orNumber(&s.Format.Rows, defaultBatchRows)
	}
	orNumber(&s.Workers, defaultBatchWorkers)
	orNumber(&s.Retry.Attempts, defaultBatchAttempts)
	orDuration(&s.Request.Timeout, defaultBatchTimeout)
	// The one that is set bounds the default of the other.
	delay, most := defaultBatchRetryDelay, defaultBatchMaxDelay
	if d := s.Retry.MaxDelay; d != nil && d.Duration > 0 {
		delay = min(delay, d.Duration)
	}
	if d := s.Retry.Delay; d != nil {
		most = max(most, d.Duration)
	}
	orDuration(&s.Retry.Delay, delay)
	orDuration(&s.Retry.MaxDelay, most)
}

func orNumber(field **int32, value int32) {
	if *field == nil {
		*field = &value
	}
}

func orDuration(field **metav1.Duration, value time.Duration) {
	if *field == nil {
		*field = &metav1.Duration{Duration: value}
	}
}
