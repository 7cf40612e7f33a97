// Package command is what every demo's command has: its arguments, its end by a signal or after
// a time, and its exit code.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Main parses the arguments, runs the demo for as long as its options allow, and exits with 0
// if all was as it should be, 2 for wrong arguments and 1 otherwise.
func Main[O any](name string, parse func(arguments []string) (O, error), longest func(O) time.Duration, run func(context.Context, O) error) {
	o, err := parse(os.Args[1:])
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		}
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, longest(o))
	err = run(ctx, o)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\n%s: %v\n", name, err)
		os.Exit(1)
	}
}
