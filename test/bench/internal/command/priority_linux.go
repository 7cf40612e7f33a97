package command

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// outrank has this process run before what it measures. Callers have machines of their
// own; on this one they would be late whenever all cores are busy, and every latency
// would have their own waiting in it. It needs little of a core, and CAP_SYS_NICE.
func outrank() error {
	realtime := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}
	// A thread has the policy of the one that starts it: once none is new, all have it.
	for done := map[string]bool{}; ; {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("listing the benchmark's threads: %w", err)
		}
		before := len(done)
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil || done[thread.Name()] {
				continue
			}
			if err := unix.SchedSetAttr(id, &realtime, 0); err != nil {
				return fmt.Errorf("running before what is measured: %w", err)
			}
			done[thread.Name()] = true
		}
		if len(done) == before {
			return nil
		}
	}
}

// Ordinarily runs what takes a core for long and nobody waits for by the ordinary policy,
// whatever this process has.
func Ordinarily(run func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with what it runs
		ordinary := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}
		if err := unix.SchedSetAttr(0, &ordinary, 0); err != nil {
			done <- fmt.Errorf("running beside what is measured: %w", err)
			return
		}
		done <- run()
	}()
	return <-done
}
