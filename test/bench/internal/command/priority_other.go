//go:build !linux

package command

import "errors"

func outrank() error { return errors.ErrUnsupported }

// Ordinarily runs something: all of this process is run by the ordinary policy.
func Ordinarily(run func() error) error { return run() }
