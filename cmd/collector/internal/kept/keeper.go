package kept

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/collector/confmap"
)

// Settings of a Keeper.
type Settings struct {
	Files Files
	// Good is the file that keeps what was good.
	Good string
	// Validate says what the collector would refuse of a State.
	Validate func(context.Context, State) error
	Log      *slog.Logger
}

// Keeper knows which State is in force, and which was refused.
type Keeper struct {
	Settings

	mu sync.Mutex
	// seen is what was mounted when it was last read.
	seen    State
	inForce State
	refused error
	// generation counts what was in force, served is the last that a collector has got, and proved the last
	// that one ran by.
	generation, served, proved int
	serving                    State
	changed                    map[*confmap.WatcherFunc]struct{}
}

// New chooses what to begin with: what is mounted, or, where that is refused, what was good.
func New(ctx context.Context, settings Settings) (*Keeper, error) {
	k := &Keeper{Settings: settings, generation: 1, changed: map[*confmap.WatcherFunc]struct{}{}}
	mounted, err := k.Files.read()
	if err == nil {
		k.seen = mounted
		err = k.Validate(ctx, mounted)
	}
	if err == nil {
		k.inForce = mounted
		return k, nil
	}
	good, goodErr := load(k.Good)
	if goodErr != nil {
		return nil, errors.Join(fmt.Errorf("the configuration is refused: %w", err), fmt.Errorf("and none is kept that was good: %w", goodErr))
	}
	k.inForce = good
	k.refuse(err)
	return k, nil
}

// Watch looks at what is mounted at each tick, until the context ends. running says whether the collector runs.
func (k *Keeper) Watch(ctx context.Context, ticks <-chan time.Time, running func() bool) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
			k.prove(running())
			k.look(ctx)
		}
	}
}

// prove keeps what the collector runs by. It is told to have got a State before it runs by it.
func (k *Keeper) prove(running bool) {
	k.mu.Lock()
	state, news := k.inForce, running && k.served == k.generation && k.proved != k.generation
	if news {
		k.proved = k.generation
	}
	k.mu.Unlock()
	if !news {
		return
	}
	if err := store(k.Good, state); err != nil {
		k.Log.Error("The configuration is good, but can't be kept: a start with one that is refused would fail", "error", err)
	}
}

func (k *Keeper) look(ctx context.Context) {
	mounted, err := k.Files.read()
	k.mu.Lock()
	unchanged, asInForce := err == nil && mounted.equal(k.seen), mounted.equal(k.inForce)
	if err == nil {
		k.seen = mounted
	}
	k.mu.Unlock()
	switch {
	case unchanged:
		return
	case err == nil && asInForce:
		k.accept(nil)
		return
	case err == nil:
		err = k.Validate(ctx, mounted)
	}
	if err != nil {
		k.refuse(err)
		return
	}
	k.accept(&mounted)
}

// accept puts a State in force, or with nil leaves what is.
func (k *Keeper) accept(state *State) {
	k.mu.Lock()
	k.refused = nil
	var watchers []*confmap.WatcherFunc
	if state != nil {
		k.inForce = *state
		k.generation++
		for w := range k.changed {
			watchers = append(watchers, w)
		}
	}
	k.mu.Unlock()
	for _, w := range watchers {
		(*w)(&confmap.ChangeEvent{})
	}
}

func (k *Keeper) refuse(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refused == nil || k.refused.Error() != err.Error() {
		k.Log.Error("The configuration is refused, and the last that was good goes on: correct the ConfigMap", "error", err)
	}
	k.refused = err
}

// Fall goes back to what was good, where the collector couldn't run by what is in force. It says false where that is
// the same, or there is none.
func (k *Keeper) Fall(err error) bool {
	good, goodErr := load(k.Good)
	k.mu.Lock()
	if goodErr != nil || good.equal(k.inForce) {
		k.mu.Unlock()
		return false
	}
	k.inForce = good
	k.generation++
	k.mu.Unlock()
	k.refuse(err)
	return true
}

// Refused is what was wrong with the configuration that is mounted, if anything was.
func (k *Keeper) Refused() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refused
}
