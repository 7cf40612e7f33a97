package output

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"syscall"

	"sluice.dev/sluice/functions/batch/plan"
	"sluice.dev/sluice/functions/batch/task"
)

// Limit is what an output has room for.
type Limit struct {
	// RecordBytes is what a record may take; 0 is any number.
	RecordBytes int64
	// Remedy is how it takes larger ones.
	Remedy string
}

// Spool holds a part's records on disk, as they come, until they are put in order.
type Spool struct {
	part  plan.Part
	bound int64
	limit Limit

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

// NewSpool returns a Spool for the records of a part, of so many bytes at most, for an output
// of some limit. Its file has no name any more, so that it goes with the worker however that
// ends.
func NewSpool(folder string, part plan.Part, bound int64, limit Limit) (*Spool, error) {
	file, err := os.CreateTemp(folder, "spool-")
	if err != nil {
		return nil, full(fmt.Errorf("making room for results: %w", err))
	}
	if err := os.Remove(file.Name()); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("making room for results: %w", err)
	}
	return &Spool{part: part, bound: bound, limit: limit, file: file, kept: make([]extent, part.Items)}, nil
}

// Close gives the room back.
func (s *Spool) Close() error { return s.file.Close() }

// Part is whose records these are.
func (s *Spool) Part() plan.Part { return s.part }

// Add keeps the record of an item: the first one, and one alone. A record for which the
// output has no room becomes that of an item that has failed.
func (s *Spool) Add(record *Record) error {
	line, err := record.line()
	if err != nil {
		return err
	}
	if most := s.limit.RecordBytes; most > 0 && int64(len(line)) > most {
		record.Response, record.Base64 = nil, nil
		record.Reason = fmt.Sprintf("the record takes %d bytes, and the output has room for %d: %s", len(line), most, s.limit.Remedy)
		if line, err = record.line(); err != nil {
			return err
		}
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
			"the results of items %d to %d take more than %d bytes, of which a pod keeps no more; raise spec.resources.limits[ephemeral-storage]",
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

// Line is a record as it is written: JSON, and the end of the line.
type Line struct {
	Item   int64
	JSON   []byte
	Failed bool
}

// Lines yields all records, in the order of their items.
func (s *Spool) Lines() iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for i, record := range s.kept {
			line := Line{Item: s.part.First + int64(i), JSON: make([]byte, record.length), Failed: record.failed}
			if _, err := s.file.ReadAt(line.JSON, record.at); err != nil {
				yield(line, fmt.Errorf("reading the record of item %d: %w", line.Item, err))
				return
			}
			if !yield(line, nil) {
				return
			}
		}
	}
}

// Complete is an error where an item has no record.
func (s *Spool) Complete() error {
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
