//go:build !linux

package warmup

import "errors"

func diagnose(int) ([]uint64, error) { return nil, errors.ErrUnsupported }
