package v1alpha1

// DefaultTrialPercentile is trial.unless.latency.percentile where it is unset.
const DefaultTrialPercentile int32 = 99

// setDefaults leaves what is tried alone: what that doesn't say, the Model says.
func (t *TrialSpec) setDefaults() {
	if t == nil || t.Unless == nil || t.Unless.Latency == nil {
		return
	}
	if latency := t.Unless.Latency; latency.Percentile == nil {
		percentile := DefaultTrialPercentile
		latency.Percentile = &percentile
	}
}
