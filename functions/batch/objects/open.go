package objects

import (
	"context"

	"sluice.dev/sluice/functions/batch/task"
)

// Open opens what a task names, to write below a prefix.
func Open(ctx context.Context, at *task.Store, prefix string) (Store, error) {
	if at.S3 != nil {
		return OpenS3(ctx, at.S3)
	}
	return OpenFolder(at.Volume, prefix)
}
