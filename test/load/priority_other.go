//go:build !linux

package load

import "errors"

func goFirst() error { return errors.ErrUnsupported }
