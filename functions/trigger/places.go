package trigger

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// places bounds how many events of one InferenceTrigger are under way, so that one whose Model is
// slow leaves room for the others.
type places struct {
	most int

	mu sync.Mutex
	// taken are those that have any.
	taken map[types.UID]int
}

// take returns what gives the place back; nil where there is none.
func (p *places) take(of types.UID) (leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[of] >= p.most {
		return nil
	}
	p.taken[of]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.taken[of]--; p.taken[of] == 0 {
			delete(p.taken, of)
		}
	})
}
