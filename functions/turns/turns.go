// Package turns bounds what is done at the same time: so much in all, and of that one for each
// name, so that none keeps others from theirs.
package turns

import (
	"sync"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Turns are had by so many at the same time, each of another name.
type Turns struct {
	most int

	mu    sync.Mutex
	taken sets.Set[string]
}

// New returns Turns that are had by at most so many at the same time.
func New(most int) *Turns { return &Turns{most: most, taken: sets.New[string]()} }

// Take is true if there is a turn for a name, which has to Leave it then.
func (t *Turns) Take(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken.Has(name) || t.taken.Len() >= t.most {
		return false
	}
	t.taken.Insert(name)
	return true
}

// Leave gives the turn of a name to others.
func (t *Turns) Leave(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken.Delete(name)
}
