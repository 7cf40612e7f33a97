package output

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// Spool holds a part's records on disk, as they come, until they are put in order.
type Spool struct {
	part  plan.Part
	bound int64

	mu   sync.Mutex
	file *os.File
	size int64
	// kept is where the record of each item is.
	kept  []extent
	tally Tally
}

// extent is where a record is; one of length 0 isn't there.
type extent struct {
	at     int64
	length int64
	failed bool
}

// NewSpool returns a Spool for the records of a part, of so many bytes at most. Its file has
// no name any more, so that it goes with the worker however that ends.
func NewSpool(folder string, part plan.Part, bound int64) (*Spool, error) {
	file, err := os.CreateTemp(folder, "spool-")
	if err != nil {
		return nil, full(fmt.Errorf("making room for results: %w", err))
	}
	if err := os.Remove(file.Name()); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("making room for results: %w", err)
	}
	return &Spool{part: part, bound: bound, file: file, kept: make([]extent, part.Items)}, nil
}

// Close gives the room back.
func (s *Spool) Close() error { return s.file.Close() }

// Add keeps the record of an item: the first one, and one alone.
func (s *Spool) Add(record *Record) error {
	line, err := record.line()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := record.Item - s.part.First
	if i < 0 || i >= int64(len(s.kept)) {
		return fmt.Errorf("item %d isn't of the part that begins with item %d", record.Item, s.part.First)
	}
	if s.kept[i].length > 0 {
		return fmt.Errorf("item %d has a record already", record.Item)
	}
	if s.size+int64(len(line)) > s.bound {
		return task.Final(task.DiskFull, fmt.Errorf(
			"the results of items %d to %d take more than %d bytes; have parts of fewer items (bounds.partItems), or more room (bounds.spoolBytes)",
			s.part.First, s.part.First+s.part.Items-1, s.bound))
	}
	if _, err := s.file.WriteAt(line, s.size); err != nil {
		return full(fmt.Errorf("keeping the record of item %d: %w", record.Item, err))
	}
	s.kept[i] = extent{at: s.size, length: int64(len(line)), failed: record.Failed()}
	s.size += int64(len(line))
	s.tally = s.tally.Count(record)
	return nil
}

// full adds that a disk is full, where that is why.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return task.Passing(task.DiskFull, err)
	}
	return err
}

// Tally counts what is kept.
func (s *Spool) Tally() Tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally
}

// complete is an error where an item has no record.
func (s *Spool) complete() error {
	for i, record := range s.kept {
		if record.length == 0 {
			return fmt.Errorf("item %d has no record", s.part.First+int64(i))
		}
	}
	return nil
}

// records reads all records, in the order of their items.
func (s *Spool) records() io.Reader {
	return s.read(func(extent) bool { return true })
}

// failures reads those of what has failed.
func (s *Spool) failures() io.Reader {
	return s.read(func(record extent) bool { return record.failed })
}

func (s *Spool) read(wanted func(extent) bool) io.Reader {
	var pieces []io.Reader
	for _, record := range s.kept {
		if wanted(record) {
			pieces = append(pieces, io.NewSectionReader(s.file, record.at, record.length))
		}
	}
	return io.MultiReader(pieces...)
}
