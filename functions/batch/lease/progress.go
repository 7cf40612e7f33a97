package lease

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/functions/batch/credits"
	"sluice.dev/sluice/functions/batch/progress"
	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/functions/limit/slack"
)

// Run is a batch that isn't over.
type Run struct {
	UID types.UID
	// Model that it asks, named namespace/name.
	Model string
	// Items are all that it has, 0 until they are counted, and Done those that are known to
	// have a result; PerRequest is how many go into one request, at most.
	Items, Done int64
	PerRequest  int
	// Planned is since when its items are counted, zero before and where something holds it.
	Planned time.Time
	// End is when it has to be over, zero if it needn't.
	End time.Time
	// MaxReplicas bounds the replicas that it may cause; 0 doesn't.
	MaxReplicas int32
	// Starves is since when its status says that it has no credits, zero if it doesn't.
	Starves time.Time
}

// left is how many requests it takes yet, by what is known of how far the run is. What was
// done before that was known of counts as its status has it, but for what is asked again.
func (r Run) left(far progress.Far) float64 {
	done := max(doneOf(far), r.Done)
	left := task.Left(r.Items, done, far.AskedAgain(done))
	perItem := far.PerItem
	if perItem == 0 {
		perItem = 1 / float64(max(1, r.PerRequest))
	}
	return math.Ceil(float64(left) * perItem)
}

// doneOf is how many items have had a result, as workers say.
func doneOf(far progress.Far) int64 {
	done := int64(0)
	for _, tally := range far.Shards {
		done += tally.Items()
	}
	return done
}

// beginWithin is for how long a run that was planned counts as one at work of which nobody has
// asked yet: its workers are on their way, and so can be the replicas that they need.
const beginWithin = time.Minute

// works is true of a run whose workers have asked lately, or are about to.
func (r Run) works(far progress.Far, now time.Time) bool {
	planned := now.Sub(r.Planned) // by another's clock
	return far.Works || planned > -beginWithin && planned < beginWithin
}

// Need is what the run needs to be over by its deadline; false where it has none, or isn't at
// work: then it calls for nothing.
func (r Run) Need(far progress.Far, now time.Time) (slack.Need, bool) {
	if r.End.IsZero() || !r.works(far, now) {
		return slack.Need{}, false
	}
	return slack.NeedOf(r.left(far), r.End.Sub(now), r.MaxReplicas)
}

// question is what the limiter is asked: what is left of Models, of which of them replicas are
// to be held, and what is needed. Where there is more than can be told, namespaces take turns,
// and of each the runs that end first come first.
func question(models []string, holding sets.Set[string], runs []Run, needs map[types.UID]slack.Need) slack.Question {
	q := slack.Question{Models: models[:min(len(models), slack.MostModels)]}
	for _, model := range q.Models {
		if !holding.Has(model) {
			q.Idle = append(q.Idle, model)
		}
	}
	slices.SortFunc(runs, func(a, b Run) int { return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.UID, b.UID)) })
	type told struct {
		Run

		turn int
	}
	var all []told
	ofModel, ofNamespace := map[string]int{}, map[string]int{}
	for _, r := range runs {
		_, needy := needs[r.UID]
		if _, asked := slices.BinarySearch(q.Models, r.Model); !needy || !asked || ofModel[r.Model] == credits.BatchesOf {
			continue
		}
		namespace, _, _ := strings.Cut(r.Model, "/")
		all = append(all, told{r, ofNamespace[namespace]})
		ofModel[r.Model]++
		ofNamespace[namespace]++
	}
	slices.SortStableFunc(all, func(a, b told) int { return cmp.Compare(a.turn, b.turn) })
	for _, r := range all[:min(len(all), slack.MostNeeds)] {
		if q.Needs == nil {
			q.Needs = map[string][]slack.Need{}
		}
		q.Needs[r.Model] = append(q.Needs[r.Model], needs[r.UID])
	}
	return q
}

// note takes in how far a worker says that it is.
func (f *Function) note(ask credits.Ask) {
	f.book.Note(string(ask.UID), progress.Said{
		Worker: ask.Worker, Shard: ask.Shard, Knows: ask.Knows, InFlight: ask.InFlight, Requests: ask.Requests, Items: ask.Items,
		Tally: progress.Tally{Succeeded: ask.Succeeded, Failed: ask.Failed},
	}, f.Clock.Now())
}

// Progress is how far a run is, by what its workers say, and by what is seen of it beside:
// what they said to a function before this one, which nobody here knows.
func (f *Function) Progress(uid types.UID, seen task.Seen) task.Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	ended := make(map[int32]progress.Tally, len(seen.Ended))
	for shard, tally := range seen.Ended {
		ended[shard] = progress.Tally(tally)
	}
	f.book.See(string(uid), ended, seen.Begun)
	now := f.Clock.Now()
	far := f.book.Of(string(uid), now)
	told := task.Progress{
		Shards: make(map[int32]task.Tally, len(far.Shards)), Again: far.AskedAgain(max(doneOf(far), seen.Done)), Heard: far.Heard, InFlight: far.InFlight,
		RequestsPerSecond: far.Requests, ItemsPerSecond: far.Items, Failing: far.Failing, Starves: starving(f.hunger.of(uid, seen.Starves, now)),
	}
	for shard, tally := range far.Shards {
		told.Shards[shard] = task.Tally(tally)
	}
	return told
}
