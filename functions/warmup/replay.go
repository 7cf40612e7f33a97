package warmup

import (
	"context"
	"sync"
	"time"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

// failure is why a round ended early.
type failure struct {
	// request that got another answer than expected; nil where there was none to send.
	request *warmup.Request
	err     error
}

func (f *failure) String() string {
	if f.request == nil {
		return f.err.Error()
	}
	return f.request.String() + ": " + f.err.Error()
}

// replay sends a round's requests, so many at once, and tells answered of the latency
// of each, one at a time. It ends with the first failure, which it returns, or with the
// context.
func replay(ctx context.Context, round Requests, concurrency int, call func(context.Context, *warmup.Request) error, answered func(time.Duration)) *failure {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		queue   = make(chan *warmup.Request)
		workers sync.WaitGroup
		mu      sync.Mutex
		first   *failure
	)
	fail := func(f *failure) {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = f
		}
		cancel()
	}
	for range concurrency {
		workers.Go(func() {
			for request := range queue {
				begin := time.Now()
				if err := call(ctx, request); err != nil {
					fail(&failure{request, err})
					continue
				}
				latency := time.Since(begin)
				mu.Lock()
				answered(latency)
				mu.Unlock()
			}
		})
	}
	for request, err := range round {
		if err != nil {
			fail(&failure{err: err})
			break
		}
		select {
		case queue <- request:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(queue)
	workers.Wait()
	if first == nil && ctx.Err() != nil {
		return &failure{err: ctx.Err()}
	}
	return first
}
