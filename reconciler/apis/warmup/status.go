package warmup

// State is how far a replica is.
type State string

const (
	// Waiting is before the model answers at all.
	Waiting State = "Waiting"
	// Warming is while requests are replayed.
	Warming State = "Warming"
	// Warm replicas serve.
	Warm State = "Warm"
	// Failed replicas could not be warmed up and don't serve.
	Failed State = "Failed"
	// ServingCold replicas could not be warmed up and serve all the same.
	ServingCold State = "ServingCold"
)

// Serves tells whether a replica in this state gets requests.
func (s State) Serves() bool { return s == Warm || s == ServingCold }

// Ended tells whether the warm-up has its verdict.
func (s State) Ended() bool { return s.Serves() || s == Failed }

// Status is what a replica's warm-up has come to.
type Status struct {
	State State `json:"state"`
	// Starts counts the starts of the model that were seen: above 1, it restarted in
	// place and was warmed up again.
	Starts int `json:"starts"`
	// Rounds that were completed, of all requests each.
	Rounds int `json:"rounds"`
	// Requests that were answered as expected.
	Requests int64 `json:"requests"`
	// FirstMilliseconds is the latency of the first request, LastMilliseconds the mean
	// of the last round.
	FirstMilliseconds float64 `json:"firstMilliseconds"`
	LastMilliseconds  float64 `json:"lastMilliseconds"`
	// Seconds that the warm-up took, from the model's first answer on.
	Seconds float64 `json:"seconds"`
	// Reason says in words why the state is what it is.
	Reason string `json:"reason,omitempty"`
}
