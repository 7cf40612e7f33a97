package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/scrape"
)

const (
	mebi = 1 << 20
	// memoryEvery is how often memory is looked at. A process's own high-water mark doesn't
	// miss what was in between, but what a pod had at its very end.
	memoryEvery = 200 * time.Millisecond
)

// peaks are the most resident memory of any process of a kind, in bytes; NaN where none was
// seen.
type peaks struct{ worker, function float64 }

func (p peaks) String() string {
	return fmt.Sprintf("%.0f MiB a worker, %.0f MiB the function", p.worker/mebi, p.function/mebi)
}

// watchMemory looks at the workers of the benchmark's Batches, whose processes run on this
// machine where the node does, and at the function, until ctx ends.
func (b *bench) watchMemory(ctx context.Context) <-chan peaks {
	out := make(chan peaks, 1)
	go func() {
		seen := peaks{math.NaN(), math.NaN()}
		for ctx.Err() == nil {
			for _, held := range workerMemory(os.DirFS("/proc")) {
				seen.worker = most(seen.worker, held)
			}
			if page, err := scrape.Pods(ctx, b.clients.Kube, scrape.Batch); err == nil {
				if held, err := page.Sum("process_resident_memory_bytes", scrape.Every); err == nil {
					seen.function = most(seen.function, held)
				}
			}
			_ = command.Pause(ctx, memoryEvery) // its end is the loop's
		}
		out <- seen
	}()
	return out
}

// most is the greater one; NaN is none.
func most(seen, now float64) float64 {
	if math.IsNaN(seen) {
		return now
	}
	return max(seen, now)
}

// workerMemory is the high-water mark of each of the benchmark's workers' resident memory. A
// process that has gone meanwhile is none.
func workerMemory(proc fs.FS) (held []float64) {
	folders, _ := fs.Glob(proc, "[0-9]*") // the pattern is right
	for _, folder := range folders {
		name, err := fs.ReadFile(proc, path.Join(folder, "comm"))
		if err != nil || strings.TrimSpace(string(name)) != "batch-worker" {
			continue
		}
		told, err := fs.ReadFile(proc, path.Join(folder, "environ"))
		if err != nil || !bytes.Contains(told, []byte(`"namespace":"`+namespace+`"`)) {
			continue
		}
		status, err := fs.ReadFile(proc, path.Join(folder, "status"))
		if err != nil {
			continue
		}
		if mark, ok := highWater(status); ok {
			held = append(held, mark)
		}
	}
	return held
}

// highWater reads a process's status for VmHWM, in bytes.
func highWater(status []byte) (float64, bool) {
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "VmHWM:" {
			kibi, err := strconv.ParseFloat(fields[1], 64)
			return kibi * 1024, err == nil
		}
	}
	return 0, false
}
