package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Runner runs a plan.
type Runner struct {
	Display *Display
	// Logs is the folder that gets one file a step.
	Logs string
	// HeavySlots bounds how many heavy steps run at once.
	HeavySlots int
}

type outcome struct {
	step   int
	reused bool
	err    error
}

// Run runs every step and returns the first failure, after the steps that were
// running then have ended.
func (r Runner) Run(ctx context.Context, p Plan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := os.MkdirAll(r.Logs, 0o755); err != nil {
		return err
	}
	r.Display.begin(p.Names())
	defer r.Display.end()

	var (
		started  = make([]bool, len(p.steps))
		done     = make(map[string]bool, len(p.steps))
		outcomes = make(chan outcome)
		running  int
		heavy    int
		failure  error
	)
	for {
		for i, s := range p.steps {
			if failure != nil || ctx.Err() != nil || started[i] || !ready(s, done) {
				continue
			}
			if s.Weight == Heavy {
				if heavy >= r.HeavySlots {
					continue
				}
				heavy++
			}
			started[i] = true
			running++
			r.Display.started(s.Name)
			go func() { outcomes <- r.runStep(ctx, i, s) }()
		}
		if running == 0 {
			break
		}
		o := <-outcomes
		running--
		s := p.steps[o.step]
		if s.Weight == Heavy {
			heavy--
		}
		r.Display.ended(s.Name, o.reused, o.err)
		if o.err == nil {
			done[s.Name] = true
		} else if failure == nil && !errors.Is(o.err, context.Canceled) {
			failure = fmt.Errorf("%s: %w", s.Name, o.err)
			cancel()
		}
	}
	if failure == nil {
		return ctx.Err()
	}
	return failure
}

func ready(s Step, done map[string]bool) bool {
	for _, need := range s.Needs {
		if !done[need] {
			return false
		}
	}
	return true
}

func (r Runner) runStep(ctx context.Context, i int, s Step) outcome {
	log, err := os.OpenFile(filepath.Join(r.Logs, fileName(s.Name)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return outcome{step: i, err: err}
	}
	defer log.Close()
	fmt.Fprintf(log, "--- %s\n", time.Now().Format(time.RFC3339))
	report := &Report{Log: log, doing: func(what string) { r.Display.doing(s.Name, what) }}
	err = s.Run(ctx, report)
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(log, "failed: %v\n", err)
		err = fmt.Errorf("%w (log: %s)", err, log.Name())
	}
	return outcome{step: i, reused: report.reused, err: err}
}

func fileName(step string) string {
	out := []rune(step)
	for i, c := range out {
		if c == ' ' || c == '/' {
			out[i] = '-'
		}
	}
	return "step-" + string(out) + ".log"
}

// Discard is a report for steps that are run on their own.
func Discard() *Report { return &Report{Log: io.Discard} }
