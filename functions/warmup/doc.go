// Package warmup warms up the model beside which it runs, and knows when that has
// to be done again: it waits until the model listens, replays requests in rounds
// until their latency falls no more, and says whether the replica may serve. It knows
// no cluster: its plan comes from the controller, its verdict is asked for.
package warmup
