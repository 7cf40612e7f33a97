package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// run shows what tests do while they do it, and returns an error unless all that
// began passed or were skipped.
func run(events io.Reader, out io.Writer) error {
	s, err := read(events, out)
	if err != nil {
		return err
	}
	for _, line := range s.lines() {
		fmt.Fprintln(out, line)
	}
	return s.verdict()
}
