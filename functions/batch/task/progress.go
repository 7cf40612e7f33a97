package task

import "time"

// Tally counts items that have a result.
type Tally struct{ Succeeded, Failed int64 }

// Items are all of them.
func (t Tally) Items() int64 { return t.Succeeded + t.Failed }

// Left is how many of a batch's items have no result yet, if so many are known to be done, of
// which so many are asked again.
func Left(total, done, again int64) int64 { return min(total, max(0, total-done)+again) }

// Progress is how far a batch is, by what its workers say while they are at it.
type Progress struct {
	// Shards are those of which something is known, by number: the most that a worker said of
	// each. Items that a killed worker had results of, and had not put in the output, count;
	// Again is how many of those are being asked again.
	Shards map[int32]Tally
	Again  int64
	// Heard is true as long as some worker says something; what follows is 0 where none does.
	Heard    bool
	InFlight int64
	// RequestsPerSecond is the rate at which the Model answers, averaged over some seconds,
	// ItemsPerSecond that at which items get a result.
	RequestsPerSecond, ItemsPerSecond float64
	// Failing are the items that have failed, of shards whose workers say so now, by number.
	Failing map[int32]int64
	// Starves is true of a run whose workers ask, and have had no credit for an hour.
	Starves bool
}

// Seen is what is known of a run by others than its workers.
type Seen struct {
	// Ended are the shards that are complete, with what their workers ended with, and Begun all
	// that have had a worker.
	Ended map[int32]Tally
	Begun []int32
	// Done is how many items its status says have a result.
	Done int64
	// Starves is since when its status says that it does, zero if it doesn't.
	Starves time.Time
}
