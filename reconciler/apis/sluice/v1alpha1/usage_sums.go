package v1alpha1

import (
	"cmp"
	"slices"
)

// Plus is the sum of both.
func (r UsageRequests) Plus(o UsageRequests) UsageRequests {
	return UsageRequests{
		Ended: r.Ended + o.Ended, OK: r.OK + o.OK, ClientErrors: r.ClientErrors + o.ClientErrors,
		ServerErrors: r.ServerErrors + o.ServerErrors, Refused: r.Refused + o.Refused, Left: r.Left + o.Left,
	}
}

// Minus is what the one has more of than the other.
func (r UsageRequests) Minus(o UsageRequests) UsageRequests {
	return UsageRequests{
		Ended: r.Ended - o.Ended, OK: r.OK - o.OK, ClientErrors: r.ClientErrors - o.ClientErrors,
		ServerErrors: r.ServerErrors - o.ServerErrors, Refused: r.Refused - o.Refused, Left: r.Left - o.Left,
	}
}

// Below is true if the one has less of any kind than the other.
func (r UsageRequests) Below(o UsageRequests) bool {
	return r.OK < o.OK || r.ClientErrors < o.ClientErrors || r.ServerErrors < o.ServerErrors || r.Refused < o.Refused || r.Left < o.Left
}

// Plus is the sum of both.
func (p UsageParts) Plus(o UsageParts) UsageParts {
	return UsageParts{
		Total: p.Total + o.Total, ColdStart: p.ColdStart + o.ColdStart, WarmUp: p.WarmUp + o.WarmUp,
		Serving: p.Serving + o.Serving, Batch: p.Batch + o.Batch, Idle: p.Idle + o.Idle,
	}
}

// Plus is the sum of both; neither changes.
func (s UsageSums) Plus(o UsageSums) UsageSums {
	sum := UsageSums{
		Requests: s.Requests.Plus(o.Requests), ReplicaSeconds: s.ReplicaSeconds.Plus(o.ReplicaSeconds),
		CPUSeconds: s.CPUSeconds.Plus(o.CPUSeconds), MemoryGiBSeconds: s.MemoryGiBSeconds.Plus(o.MemoryGiBSeconds),
		Devices: slices.Clone(s.Devices),
	}
	for _, d := range o.Devices {
		at, found := slices.BinarySearchFunc(sum.Devices, d, func(a, b DeviceUsage) int { return cmp.Compare(a.Resource, b.Resource) })
		if found {
			sum.Devices[at].Seconds = sum.Devices[at].Seconds.Plus(d.Seconds)
		} else {
			sum.Devices = slices.Insert(sum.Devices, at, d)
		}
	}
	return sum
}

// IsZero is true where nothing was used.
func (s UsageSums) IsZero() bool {
	return s.Requests == UsageRequests{} && s.ReplicaSeconds == UsageParts{} && s.CPUSeconds == UsageParts{} &&
		s.MemoryGiBSeconds == UsageParts{} && len(s.Devices) == 0
}
