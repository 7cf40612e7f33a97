package output

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"sluice.dev/sluice/functions/batch/objects"
	"sluice.dev/sluice/functions/batch/task"
)

// Commit puts a part's results, unless another worker of the part has, and returns the
// tally of those that are there. It can be broken off anywhere: whoever comes next either
// sees no results, or settles those that it sees.
func (o *Output) Commit(ctx context.Context, spool *Spool) (Tally, error) {
	if err := spool.Complete(); err != nil {
		return Tally{}, err
	}
	first := spool.part.First
	err := o.patience.Try(ctx, func() error { return o.store.Create(ctx, o.key(results(first)), spool.records()) })
	if errors.Is(err, objects.ErrExists) {
		return o.adopt(ctx, spool)
	}
	if err != nil {
		return Tally{}, blame(err)
	}
	err = o.patience.Try(ctx, func() error { return o.store.Create(ctx, o.key(failures(first)), spool.failures()) })
	if err != nil && !errors.Is(err, objects.ErrExists) {
		return Tally{}, blame(err)
	}
	return spool.Tally(), nil
}

// adopt leaves results as they are: another worker's, or the own ones of a put whose answer
// was lost.
func (o *Output) adopt(ctx context.Context, spool *Spool) (Tally, error) {
	if err := o.settle(ctx, spool.part.First); err != nil {
		return Tally{}, err
	}
	failed, err := o.countFailures(ctx, spool.part.First)
	return Tally{Succeeded: spool.part.Items - failed, Failed: failed}, err
}

// settle cuts a part's errors from its results.
func (o *Output) settle(ctx context.Context, first int64) error {
	err := o.patience.Try(ctx, func() error { return o.putFailures(ctx, first) })
	if errors.Is(err, objects.ErrExists) {
		return nil
	}
	return blame(err)
}

// putFailures reads results while it writes errors; the reading ends with the writing.
func (o *Output) putFailures(ctx context.Context, first int64) error {
	reading, end := context.WithCancel(ctx)
	records := o.patience.Read(reading, o.store, o.key(results(first)), 0)
	cut, put := io.Pipe()
	var reader sync.WaitGroup
	reader.Go(func() {
		_ = put.CloseWithError(cutFailures(put, records))
		_ = records.Close()
	})
	err := o.store.Create(ctx, o.key(failures(first)), cut)
	end()
	_ = cut.Close()
	reader.Wait()
	return err
}

// cutFailures copies the records of what has failed.
func cutFailures(to io.Writer, from io.Reader) error {
	return eachLine(from, func(line []byte) error {
		var record struct {
			Reason string `json:"reason"`
		}
		if err := json.Unmarshal(line, &record); err != nil {
			return task.Final(task.OutputInUse, fmt.Errorf("the results aren't what a worker wrote there: %w", err))
		}
		if record.Reason == "" {
			return nil
		}
		_, err := to.Write(line)
		return err
	})
}

func (o *Output) countFailures(ctx context.Context, first int64) (int64, error) {
	content := o.patience.Read(ctx, o.store, o.key(failures(first)), 0)
	defer content.Close()
	var failed int64
	err := eachLine(content, func([]byte) error {
		failed++
		return nil
	})
	return failed, blame(err)
}

// eachLine hands on lines, which are as long as the longest record.
func eachLine(from io.Reader, do func(line []byte) error) error {
	buffer := bufio.NewReader(from)
	for {
		line, err := buffer.ReadBytes('\n')
		if len(line) > 0 {
			if err := do(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
