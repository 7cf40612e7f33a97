package lease

import (
	"encoding/json"
	"errors"
	"net/http"

	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/callers"
)

// maxAsk bounds what is read of an ask, atOnce the asks that are answered at a time.
const maxAsk, atOnce = 64 << 10, 256

// Handler answers workers' asks. A worker is a pod of its batch's namespace, and asks by its
// own name: nobody asks for another's credits, or tells how far another is.
func (f *Function) Handler(who func(*http.Request) (callers.Caller, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lease, outcome, err := f.answer(w, r, who)
		asks.WithLabelValues(outcome.name).Inc()
		if err != nil {
			if outcome.again {
				w.Header().Set("Retry-After", "1")
			}
			http.Error(w, err.Error(), outcome.status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(lease) // the worker may have gone
	})
}

// outcome is what becomes of an ask. It may be made again where time alone changes that.
type outcome struct {
	name   string
	status int
	again  bool
}

var (
	leased   = outcome{name: "leased", status: http.StatusOK}
	none     = outcome{name: "none", status: http.StatusOK}
	unknown  = outcome{name: "unknown", status: http.StatusUnauthorized}
	anothers = outcome{name: "unknown", status: http.StatusForbidden}
	bad      = outcome{name: "bad", status: http.StatusBadRequest}
	homeless = outcome{name: "homeless", status: http.StatusNotFound}
	full     = outcome{name: "full", status: http.StatusTooManyRequests, again: true}
	busy     = outcome{name: "busy", status: http.StatusServiceUnavailable, again: true}
)

var (
	errBusy    = errors.New("too many ask at a time")
	errAnother = errors.New("the token is not that of the worker, in the batch's namespace")
)

func (f *Function) answer(w http.ResponseWriter, r *http.Request, who func(*http.Request) (callers.Caller, error)) (credits.Lease, outcome, error) {
	caller, err := who(r)
	switch {
	case errors.Is(err, callers.ErrUnknown):
		return credits.Lease{}, unknown, err
	case err != nil:
		return credits.Lease{}, busy, err
	}
	var ask credits.Ask
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsk)).Decode(&ask); err != nil {
		return credits.Lease{}, bad, err
	}
	if err := ask.Check(); err != nil {
		return credits.Lease{}, bad, err
	}
	if caller.Namespace != ask.Namespace || caller.Pod != ask.Worker {
		return credits.Lease{}, anothers, errAnother
	}
	// Nobody takes a turn who isn't known, or writes slowly.
	select {
	case f.underWay <- struct{}{}:
		defer func() { <-f.underWay }()
	default:
		return credits.Lease{}, busy, errBusy
	}
	model, err := f.Model(ask.Namespace, ask.Batch, ask.UID)
	if err != nil {
		return credits.Lease{}, homeless, err
	}
	lease, err := f.lease(model, ask)
	switch {
	case err != nil:
		return lease, full, err
	case lease.Rate <= 0:
		return lease, none, nil
	}
	return lease, leased, nil
}
