package resources

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Seen is what a move goes by.
type Seen struct {
	Now time.Time
	// Wanted is the gateway that the tenant asks for.
	Wanted string
	// Selected are the gateways that the address' Services select.
	Selected []string
	// LeadsTo are Selected and the gateways of the pods behind those Services,
	// which follow a change of selector only after a while.
	LeadsTo []string
	// Unready says what is missing to the gateway that the move goes to; empty
	// where it has its pods and serves what the tenant needs.
	Unready string
	// Unproved says which of the tenant's routes and limits were not seen on every
	// attached gateway; empty where all were.
	Unproved string
	// Drain is how long a request can last that came by a connection to the
	// address.
	Drain time.Duration
}

// Step is what brings a move further: a change of the status, or of the Services,
// never both. A caller that is interrupted between any two of its writes comes
// back to a status from which the move goes on.
type Step struct {
	Status v1alpha1.TenantStatus
	// Select is the gateway that the Services have to select, if it isn't empty.
	Select string
	// Wait is when to look again though nothing has changed, if it isn't zero.
	Wait time.Duration
}

// Next returns the next step from a status towards the gateway that is wanted.
//
// A gateway is attached before the address can lead to it, and detached only once
// the address leads elsewhere and has done so for seen.Drain. The address is
// switched in the phase Switching alone, which is entered, and the Services
// changed in it, only while everything is proved.
func Next(status v1alpha1.TenantStatus, seen Seen) Step {
	status = *status.DeepCopy()
	if repair(&status, seen.Now) {
		return Step{Status: status}
	}
	move := status.Move
	if move == nil {
		return rest(status, seen)
	}
	switch move.Phase {
	case v1alpha1.MovePreparing:
		return prepare(status, seen)
	case v1alpha1.MoveAttaching:
		return attach(status, seen)
	case v1alpha1.MoveSwitching:
		return change(status, seen)
	default:
		return drain(status, seen)
	}
}

// repair gives a new tenant its first gateway, and makes a status that holds
// together of one that was changed by hand; false where there is nothing to do.
func repair(status *v1alpha1.TenantStatus, now time.Time) bool {
	if status.Gateway == "" {
		*status = first(*status, now)
		return true
	}
	if attached := union(status.Attached, status.Gateway); !slices.Equal(attached, status.Attached) {
		status.Attached = attached
		return true
	}
	if status.Move != nil && !coherent(*status) {
		status.Move, status.GatewaySince = nil, since(now)
		return true
	}
	return false
}

func first(status v1alpha1.TenantStatus, now time.Time) v1alpha1.TenantStatus {
	status.Gateway, status.GatewaySince = gateway.Shared, since(now)
	status.Attached, status.Move = union(status.Attached, gateway.Shared), nil
	return status
}

func coherent(status v1alpha1.TenantStatus) bool {
	move := status.Move
	attached := slices.Contains(status.Attached, move.To)
	switch move.Phase {
	case v1alpha1.MovePreparing:
		return move.From == status.Gateway && move.To != status.Gateway
	case v1alpha1.MoveAttaching, v1alpha1.MoveSwitching:
		return move.From == status.Gateway && move.To != status.Gateway && attached
	case v1alpha1.MoveDraining:
		return move.To == status.Gateway
	}
	return false
}

func rest(status v1alpha1.TenantStatus, seen Seen) Step {
	at := status.Gateway
	switch {
	case len(status.Attached) > 1:
		return enter(status, seen.Now, v1alpha1.TenantMove{From: other(status.Attached, at), To: at, Phase: v1alpha1.MoveDraining})
	case seen.Wanted != at:
		return enter(status, seen.Now, v1alpha1.TenantMove{From: at, To: seen.Wanted, Phase: v1alpha1.MovePreparing})
	}
	return Step{Status: status}
}

// prepare has given the gateway nothing yet: calling it off leaves nothing behind.
func prepare(status v1alpha1.TenantStatus, seen Seen) Step {
	move := *status.Move
	switch {
	case seen.Wanted != move.To:
		status.Move = nil
		return Step{Status: status}
	case seen.Unready != "":
		return wait(status, "%s", seen.Unready)
	}
	status.Attached = union(status.Attached, move.To)
	return enter(status, seen.Now, v1alpha1.TenantMove{From: move.From, To: move.To, Phase: v1alpha1.MoveAttaching})
}

// attach waits for proof. What is called off is detached again, after the time
// that a switch that was undone may ask for.
func attach(status v1alpha1.TenantStatus, seen Seen) Step {
	move := *status.Move
	switch {
	case seen.Wanted != move.To:
		return enter(status, seen.Now, v1alpha1.TenantMove{From: move.To, To: move.From, Phase: v1alpha1.MoveDraining})
	case seen.unsure() != "":
		return wait(status, "%s", seen.unsure())
	}
	return enter(status, seen.Now, v1alpha1.TenantMove{From: move.From, To: move.To, Phase: v1alpha1.MoveSwitching})
}

// change switches the address. Whoever comes here after an interruption can't know
// since when the Services are as they are, so leaving this phase, forwards or
// back, begins the time that connections are given anew.
func change(status v1alpha1.TenantStatus, seen Seen) Step {
	move := *status.Move
	switch {
	case only(seen.LeadsTo, move.To):
		status.Gateway, status.GatewaySince = move.To, since(seen.Now)
		return enter(status, seen.Now, v1alpha1.TenantMove{From: move.From, To: move.To, Phase: v1alpha1.MoveDraining})
	case only(seen.Selected, move.To):
		return wait(status, "Waiting for the endpoints of the address to be pods of gateway %s alone.", move.To)
	case seen.Wanted == move.To && seen.unsure() == "":
		return Step{Status: status, Select: move.To}
	case only(seen.LeadsTo, move.From):
		status.GatewaySince = since(seen.Now)
		return enter(status, seen.Now, v1alpha1.TenantMove{From: move.From, To: move.To, Phase: v1alpha1.MoveAttaching})
	}
	return Step{Status: status, Select: move.From}
}

func drain(status v1alpha1.TenantStatus, seen Seen) Step {
	at := status.Gateway
	if !only(seen.LeadsTo, at) {
		// Somebody changed the Services by hand; what came that way needs its time.
		status.GatewaySince = since(seen.Now)
		return wait(status, "Waiting for the address to lead to gateway %s alone.", at)
	}
	if seen.Wanted != at && slices.Contains(status.Attached, seen.Wanted) {
		return enter(status, seen.Now, v1alpha1.TenantMove{From: at, To: seen.Wanted, Phase: v1alpha1.MoveAttaching})
	}
	if status.GatewaySince == nil {
		status.GatewaySince = since(seen.Now)
		return Step{Status: status}
	}
	until := status.GatewaySince.Add(seen.Drain)
	if left := until.Sub(seen.Now); left > 0 {
		step := wait(status, "Until %s, requests may come by connections that were made before the address led to gateway %s alone.",
			until.UTC().Format(time.RFC3339), at)
		step.Wait = left
		return step
	}
	status.Attached, status.Move = []string{at}, nil
	return Step{Status: status}
}

// unsure says why the address must not be switched.
func (s Seen) unsure() string {
	if s.Unready != "" {
		return s.Unready
	}
	return s.Unproved
}

func enter(status v1alpha1.TenantStatus, now time.Time, move v1alpha1.TenantMove) Step {
	move.Since = metav1.NewTime(now)
	status.Move = &move
	return Step{Status: status}
}

func wait(status v1alpha1.TenantStatus, format string, args ...any) Step {
	status.Move.Message = fmt.Sprintf(format, args...)
	return Step{Status: status}
}

// since is a moment that something has begun by. The API keeps whole seconds.
func since(now time.Time) *metav1.Time {
	t := metav1.NewTime(now.Add(time.Second - time.Nanosecond).Truncate(time.Second))
	return &t
}

func only(names []string, name string) bool { return len(names) == 1 && names[0] == name }

func other(names []string, name string) string {
	return names[slices.IndexFunc(names, func(n string) bool { return n != name })]
}

func union(names []string, more ...string) []string {
	all := append(slices.Clone(names), more...)
	slices.Sort(all)
	return slices.Compact(all)
}
