package credits

import (
	"math"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	good := Ask{Namespace: "team", Batch: "score.nightly", UID: "0f7c2f0e-7a1f-4a0c-9d7e-0d1c8e6a1b2c", Worker: "score-nightly-3-x7k2p", Wanted: 40}
	if err := good.Check(); err != nil {
		t.Error("Check() =", err)
	}
	for field, spoil := range map[string]func(*Ask){
		"namespace": func(a *Ask) { a.Namespace = "a/b" },
		"batch":     func(a *Ask) { a.Batch = "" },
		"uid":       func(a *Ask) { a.UID = "x\n" },
		"worker":    func(a *Ask) { a.Worker = strings.Repeat("w", 300) },
		"shard":     func(a *Ask) { a.Shard = -1 },
		"lease":     func(a *Ask) { a.Lease = -1 },
		"inFlight":  func(a *Ask) { a.InFlight = -1 },
		"succeeded": func(a *Ask) { a.Succeeded = -1 },
		"failed":    func(a *Ask) { a.Failed = -1 },
		"requests":  func(a *Ask) { a.Requests = -1 },
		"items":     func(a *Ask) { a.Items = mostCounted + 1 },
		"wanted":    func(a *Ask) { a.Wanted = math.NaN() },
		"wanted is": func(a *Ask) { a.Wanted = math.Inf(1) },
	} {
		bad := good
		spoil(&bad)
		if err := bad.Check(); err == nil || !strings.HasPrefix(err.Error(), field) || !strings.Contains(err.Error(), "want") {
			t.Errorf("%s: Check() = %v, want the field and what it should be", field, err)
		}
	}
}
