// Package plan orders the steps of bringing the stack up and runs them, those
// that don't wait for each other side by side.
package plan

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
)

// Weight says how much of the machine a step takes.
type Weight int

const (
	// Light steps wait or copy; any number run at once.
	Light Weight = iota
	// Heavy steps compile; a bounded number run at once.
	Heavy
)

// Step is one thing that has to be true for the stack to be up. Run makes it
// true and must be safe to repeat: an interrupted `up` runs it again.
type Step struct {
	Name   string
	Needs  []string
	Weight Weight
	Run    func(ctx context.Context, r *Report) error
}

// Report is how a step tells what it does.
type Report struct {
	// Log takes the output of what the step runs.
	Log    io.Writer
	reused bool
	doing  func(string)
}

// Reused says that the step found its work done already.
func (r *Report) Reused() { r.reused = true }

// Doing shows what the step is at.
func (r *Report) Doing(format string, args ...any) {
	if r.doing != nil {
		r.doing(fmt.Sprintf(format, args...))
	}
}

// Plan is a checked list of steps in an order in which each follows its needs.
type Plan struct{ steps []Step }

// New checks that names are unique, that every need is known and that no step
// waits for itself, and sorts the steps topologically; among those that are
// free to start, the declared order stands.
func New(steps []Step) (Plan, error) {
	index := make(map[string]int, len(steps))
	for i, s := range steps {
		if _, twice := index[s.Name]; twice {
			return Plan{}, fmt.Errorf("step %q is declared twice", s.Name)
		}
		index[s.Name] = i
	}
	waits := make([]int, len(steps))
	followers := make([][]int, len(steps))
	for i, s := range steps {
		for _, need := range s.Needs {
			j, known := index[need]
			if !known {
				return Plan{}, fmt.Errorf("step %q needs %q, which nobody declares", s.Name, need)
			}
			waits[i]++
			followers[j] = append(followers[j], i)
		}
	}
	var free []int
	for i, n := range waits {
		if n == 0 {
			free = append(free, i)
		}
	}
	ordered := make([]Step, 0, len(steps))
	for len(free) > 0 {
		sort.Ints(free)
		i := free[0]
		free = free[1:]
		ordered = append(ordered, steps[i])
		for _, f := range followers[i] {
			if waits[f]--; waits[f] == 0 {
				free = append(free, f)
			}
		}
	}
	if len(ordered) < len(steps) {
		return Plan{}, fmt.Errorf("these steps wait for each other: %s", strings.Join(stuck(steps, waits), ", "))
	}
	return Plan{steps: ordered}, nil
}

// Needed are those of the steps that have to be done for the named ones, themselves among
// them, in the declared order. A name that nobody declares is an error.
func Needed(steps []Step, names ...string) ([]Step, error) {
	index := make(map[string]Step, len(steps))
	for _, s := range steps {
		index[s.Name] = s
	}
	wanted := map[string]bool{}
	for open := slices.Clone(names); len(open) > 0; {
		name := open[0]
		open = open[1:]
		s, known := index[name]
		if !known {
			return nil, fmt.Errorf("no step is called %q", name)
		}
		if !wanted[name] {
			wanted[name] = true
			open = append(open, s.Needs...)
		}
	}
	return slices.DeleteFunc(slices.Clone(steps), func(s Step) bool { return !wanted[s.Name] }), nil
}

func stuck(steps []Step, waits []int) []string {
	var names []string
	for i, n := range waits {
		if n > 0 {
			names = append(names, steps[i].Name)
		}
	}
	return names
}

// Names lists the steps in order.
func (p Plan) Names() []string {
	names := make([]string, len(p.steps))
	for i, s := range p.steps {
		names[i] = s.Name
	}
	return names
}
