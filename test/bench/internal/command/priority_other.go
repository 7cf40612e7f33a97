//go:build !linux

package command

import "errors"

func outrank() error { return errors.ErrUnsupported }
